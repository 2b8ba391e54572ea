"""An agent's output: what of it reaches a pipe, and a terminal."""

import io
import re
from typing import TextIO

import pytest

from omkctl.render import Output
from omkctl.run_text import HELD_BYTES, RunText


class Screen(io.TextIOWrapper):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def shown(*pieces: bytes, terminal: bool = False, color: str = "auto") -> str:
    """What came out of `pieces`."""
    kept = io.BytesIO()
    stream: TextIO = (Screen if terminal else io.TextIOWrapper)(kept, encoding="utf-8", newline="")
    text = RunText(Output(as_json=False, color=color, stream=stream))
    for piece in pieces:
        text.write(piece)
    text.end()
    stream.flush()
    return kept.getvalue().decode(errors="surrogateescape")


@pytest.fixture(autouse=True)
def colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")


SENT = "\x1b[1;32mgreen\x1b[0m \x1b]8;;http://x\x1b\\link\x1b]8;;\x07 \x1b[2K\x1b(Bäöü\x1b7\r\nend\n".encode()


def test_a_pipe_gets_the_text_without_sequences() -> None:
    assert shown(SENT) == "green link äöü\r\nend\n"


def test_a_terminal_gets_the_colours_and_nothing_that_it_would_obey() -> None:
    assert shown(SENT, terminal=True) == "\x1b[1;32mgreen\x1b[0m link äöü\nend\n\x1b[0m"
    assert shown(SENT, terminal=True, color="never") == "green link äöü\nend\n"
    assert shown(b"\x1b[31mred", color="always") == "\x1b[31mred\x1b[0m"


@pytest.mark.parametrize("terminal", [True, False])
def test_it_does_not_matter_where_the_pieces_are_cut(terminal: bool) -> None:
    whole = shown(SENT, terminal=terminal)
    assert shown(*(SENT[n : n + 1] for n in range(len(SENT))), terminal=terminal) == whole
    for size in (2, 3, 7):
        pieces = [SENT[n : n + size] for n in range(0, len(SENT), size)]
        assert shown(*pieces, terminal=terminal) == whole


def test_what_never_ends_is_no_sequence() -> None:
    endless = b"\x1b]0;" + b"x" * HELD_BYTES
    assert shown(endless, b"more").endswith("xmore")
    out = shown(b"a\x1b]0;t", b"\x9b2J \x08\r", terminal=True)
    assert not re.search("[\x1b\x08\x9b\r]", out)


def test_bytes_that_are_no_text_pass_a_pipe_as_they_are() -> None:
    assert shown(b"\xff\xfe\x00") == b"\xff\xfe\x00".decode(errors="surrogateescape")


def test_it_knows_whether_a_line_is_open() -> None:
    text = RunText(Output(as_json=False, color="never", stream=io.TextIOWrapper(io.BytesIO())))
    assert text.at_line_start
    for piece, at_start in ((b"abc", False), (b"\x1b[", False), (b"2K\n", True)):
        text.write(piece)
        assert text.at_line_start is at_start
