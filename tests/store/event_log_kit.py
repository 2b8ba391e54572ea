"""Logs for the tests: drafts, units, whole logs written as bytes, and what a start makes of them."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio
from hypothesis import strategies as st

from omkd.protocol import codec
from omkd.protocol.events import ByOmkd, DaemonStarted, Event, PersonNeeded, Unit
from omkd.protocol.scalars import U32, Ns, Seq
from omkd.store.event_log import Draft, EventLog, open_event_log
from omkd.store.recovery import Recovered, recover
from omkd.store.segments import segment_name

DEADLINE_S = 20


def draft(text: str = "x") -> Draft:
    return Draft(by=ByOmkd(), events=(PersonNeeded(text=text),))


def ignore(unit: Unit) -> None:
    """A fold that keeps nothing."""


def unit(seq: int, synced: int | None = None, *, event: Event | None = None, ts: int = 0) -> Unit:
    """By default all before it was on disk when it was written."""
    return Unit(
        seq=Seq(seq),
        ts=Ns(ts),
        by=ByOmkd(),
        synced=Seq(seq - 1 if synced is None else synced),
        events=[event or PersonNeeded(text=f"unit {seq}")],
    )


def line(seq: int, synced: int | None = None) -> bytes:
    return codec.dumps(unit(seq, synced)) + b"\n"


def lines(first: int, last: int) -> bytes:
    return b"".join(line(seq) for seq in range(first, last + 1))


def started(log_format: int) -> DaemonStarted:
    return DaemonStarted(version="9.9", format=U32(log_format), boot_id="b", clean=True)


def write_log(events_dir: Path, segments: dict[int, bytes]) -> None:
    events_dir.mkdir(exist_ok=True)
    for first, content in segments.items():
        (events_dir / segment_name(first)).write_bytes(content)


def files(events_dir: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(events_dir.iterdir())}


def start(events_dir: Path) -> tuple[list[int], Recovered]:
    """The numbers folded, and what was recovered."""
    folded: list[int] = []
    recovered = recover(events_dir, lambda unit: folded.append(unit.seq))
    return folded, recovered


@asynccontextmanager
async def open_log(events_dir: Path, *, fold: Callable[[Unit], None] = ignore, **more: Any) -> AsyncIterator[EventLog]:
    """A log without a committer, at time 0."""
    clock_ns = more.pop("clock_ns", lambda: 0)
    async with open_event_log(events_dir, fold=fold, clock_ns=clock_ns, **more) as log:
        yield log


@asynccontextmanager
async def running(log: EventLog) -> AsyncIterator[trio.Nursery]:
    """The committer runs within; all of it has a deadline."""
    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery:
            await nursery.start(log.run)
            yield nursery
            nursery.cancel_scope.cancel()


async def append_committed(log: EventLog, count: int, text: str = "x") -> None:
    for _ in range(count):
        await log.commit(log.append(draft(text)).seq)


# --- logs that something happened to

SOME_GARBAGE = st.sampled_from([b"", b"\0", b"\n", b"\xff", b"{}", b'{"seq":9}\n', b"x" * 40, b"\n\n", b"}"])
SPOILING = st.tuples(st.floats(0, 1), st.integers(0, 120), SOME_GARBAGE)
"""Where (a fraction of the log), how many bytes go, what comes in their place."""


@st.composite
def logs(draw: st.DrawFn) -> dict[int, bytes]:
    """A log as omkd writes it: `synced` never falls, segments anywhere."""
    content: dict[int, bytes] = {1: b""}
    synced = 0
    for seq in range(1, draw(st.integers(1, 9)) + 1):
        synced = draw(st.integers(synced, seq - 1))
        if seq > 1 and draw(st.booleans()):
            content[seq] = b""
        content[max(content)] += line(seq, synced)
    return content


def spoil(contents: dict[int, bytes], spoilings: list[tuple[float, int, bytes]]) -> dict[int, bytes]:
    spoilt = dict(contents)
    for where, count, garbage in spoilings:
        first = sorted(spoilt)[min(int(where * len(spoilt)), len(spoilt) - 1)]
        at = int((where * len(spoilt)) % 1 * len(spoilt[first]))
        spoilt[first] = spoilt[first][:at] + garbage + spoilt[first][at + count :]
    return spoilt
