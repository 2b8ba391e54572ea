"""What is fed with bytes that no one vouches for. Each target returns, or raises what is no answer to bad bytes."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, Final

from omkd.protocol import codec
from omkd.protocol.codec import CodecError
from omkd.protocol.events import Unit, WorkerFileEvent
from omkd.protocol.jsonrpc import Connection, LineTooLong
from omkd.protocol.lines import Line
from omkd.protocol.records import (
    ControlLine,
    Heartbeat,
    InboxLine,
    LockHolder,
    OutboxLine,
    Runner,
    RunRecord,
    WorkerSpec,
)
from omkd.services.escalation_pos import EscalationsPos
from omkd.store.log_errors import LogDamaged, LogTooNew
from omkd.store.log_scan import scan_log
from omkd.store.recovery import recover
from omkd.store.segments import segment_name
from omkd.store.tail import TailReader

RECORDS: Final[tuple[Any, ...]] = (
    Unit,
    OutboxLine,
    InboxLine,
    ControlLine,
    WorkerFileEvent,
    WorkerSpec,
    Runner,
    RunRecord,
    Heartbeat,
    LockHolder,
    EscalationsPos,
)
LINE_LIMIT_BYTES: Final = 4096
SEGMENT_MARK: Final = b"=== next segment\n"
"""In an input of a log: what follows is another segment."""


def jsonrpc(content: bytes, rng: Random) -> None:
    """Any bytes, in pieces of any size: events, never an exception."""
    connection = Connection(codec.parse, codec.encode, line_limit_bytes=LINE_LIMIT_BYTES)
    at = 0
    while at < len(content):
        step = rng.choice((1, 3, 100, 5000))
        connection.receive_data(content[at : at + step])
        at += step
        while (event := connection.next_event()) is not None:
            if isinstance(event, LineTooLong):
                return


def records(content: bytes, rng: Random) -> None:  # noqa: ARG001 all targets are called alike
    """What is read is written and read again as the same; what is not read is a CodecError."""
    for line in content.split(b"\n"):
        for kind in RECORDS:
            try:
                value = codec.loads(line, kind)
            except CodecError:
                continue
            try:
                text = codec.dumps(value)
            except CodecError:
                continue
            assert codec.loads(text, kind) == value, (kind, line)


def tail(content: bytes, rng: Random) -> None:
    """Each complete line once, whatever is in it, also over a restart in the middle."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name, "outbox.jsonl")
        reader = TailReader(path, start=None, first_gen=1, limit_bytes=LINE_LIMIT_BYTES)
        found: list[bytes] = []
        at = 0
        try:
            while at < len(content):
                step = rng.choice((1, 50, 1000, 20_000))
                with path.open("ab") as file:
                    file.write(content[at : at + step])
                at += step
                more = True
                while more:
                    piece = reader.read()
                    more = piece.more
                    found += [line.text for line in piece.lines if isinstance(line, Line)]
                    for line in piece.lines:
                        position = reader.position_at(line.end) if isinstance(line, Line) else None
                        assert position is None or position.end <= at
        finally:
            reader.close()
    whole = content.rpartition(b"\n")[0].split(b"\n") if b"\n" in content else []
    assert found == [line for line in whole if len(line) <= LINE_LIMIT_BYTES], "lines were lost or changed"


def log(content: bytes, rng: Random) -> None:  # noqa: ARG001
    """A start either refuses the log and leaves it as it is, or reads it, and then again as the same."""
    with tempfile.TemporaryDirectory() as name:
        events_dir = Path(name)
        first = 1
        for part in content.split(SEGMENT_MARK):
            (events_dir / segment_name(first)).write_bytes(part)
            first += max(1, part.count(b"\n"))
        before = {path.name: path.read_bytes() for path in events_dir.iterdir()}
        folded: list[int] = []
        try:
            recover(events_dir, lambda unit: folded.append(unit.seq))
        except (LogDamaged, LogTooNew):
            assert before == {path.name: path.read_bytes() for path in events_dir.iterdir()}, "touched, though refused"
            return
        again: list[int] = []
        scan = scan_log(events_dir, lambda unit: again.append(unit.seq))
        assert scan.bad is None, scan.bad
        assert again == folded


TARGETS: Final[dict[str, Callable[[bytes, Random], None]]] = {
    "jsonrpc": jsonrpc,
    "records": records,
    "tail": tail,
    "log": log,
}
