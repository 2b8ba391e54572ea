"""The log of a turn's messages: what stands in it, and where it ends."""

import json
from pathlib import Path

import pytest

from omkd.worker.acp_record import open_transcript


def noted(path: Path, *pieces: bytes, limit_bytes: int = 1000) -> list[dict[str, object]]:
    with open_transcript(path, lambda: 7.0, limit_bytes) as transcript:
        for piece in pieces:
            transcript.note("in", piece)
    return [json.loads(line) for line in path.read_bytes().splitlines()]


@pytest.mark.parametrize("step", [1, 3, 1000])
def test_each_line_stands_as_it_was_whatever_pieces_it_came_in(tmp_path: Path, step: int) -> None:
    sent = b'{"a":1}\nno JSON\n\n[1, 2\n'
    pieces = [sent[at : at + step] for at in range(0, len(sent), step)]
    assert noted(tmp_path / "acp.jsonl", *pieces) == [
        {"t": 0.0, "dir": "in", "msg": {"a": 1}},
        {"t": 0.0, "dir": "in", "text": "no JSON"},
        {"t": 0.0, "dir": "in", "text": "[1, 2"},
    ]


def test_at_its_limit_it_says_so_and_takes_no_more(tmp_path: Path) -> None:
    lines = noted(tmp_path / "acp.jsonl", b'{"a":1}\n', b"1" * 100 + b"\n", b'{"b":2}\n', limit_bytes=50)
    assert lines == [
        {"t": 0.0, "dir": "in", "msg": {"a": 1}},
        {"t": 0.0, "dir": "in", "text": "the log of this run is full: no more is kept"},
    ]
