"""Reading the log's past: forward in pages, backward for the newest, and where a time begins."""

import math
from collections import deque
from collections.abc import Callable
from typing import Final, TypeVar

import trio

from omkd.protocol.limits import PAGE_BYTES
from omkd.protocol.scalars import Ns, Seq
from omkd.store.event_log import EventLog, StoredUnit

T = TypeVar("T")

Pick = Callable[[StoredUnit], list[T]]
"""What a unit contributes to an answer: nothing, one thing or several."""

UNITS_A_STEP: Final = 500
BYTES_A_STEP: Final = 512 * 1024
"""Of one look at the log: a few ms, so that nobody waits for a reader of the past."""


async def oldest(
    log: EventLog, after: Seq, pick: Pick[T], *, limit: int, below: Seq | None = None
) -> tuple[list[T], Seq | None]:
    """At least `limit` things of whole units above `after`, if there are so many; and where the next page begins.

    Fewer where they would be more than PAGE_BYTES. None: there is no more. Raises UnitsUnreadable.
    """
    found: list[T] = []
    size = 0
    end = log.committed if below is None else min(log.committed, Seq(below - 1))
    while after < end:
        for stored in log.read_after(after, max_units=UNITS_A_STEP, max_bytes=BYTES_A_STEP):
            if stored.seq > end:
                return found, None
            if len(found) >= limit:
                return found, after
            if picked := pick(stored):
                size += len(stored.line)
                if found and size > PAGE_BYTES:
                    return found, after
                found += picked
            after = stored.seq
        await trio.lowlevel.checkpoint()
    return found, None


async def newest(
    log: EventLog, before: Seq, pick: Pick[T], *, count: int, since: Seq, max_bytes: float = math.inf
) -> tuple[list[T], Seq | None]:
    """The last `count` things of units below `before` and above `since`, in the log's order.

    Fewer, of whole units, where these would have more than `max_bytes`; and below which unit the others are then.
    Raises UnitsUnreadable.
    """
    found: deque[T] = deque()
    size = 0
    while len(found) < count:
        units = log.read_before(before, max_units=UNITS_A_STEP, max_bytes=BYTES_A_STEP)
        for stored in reversed(units):
            if stored.seq <= since or len(found) >= count:
                break
            if picked := pick(stored):
                size += len(stored.line)
                if found and size > max_bytes:
                    return list(found), before
                found.extendleft(reversed(picked))
            before = stored.seq
        if not units or units[0].seq <= since:
            break
        await trio.lowlevel.checkpoint()
    return list(found)[-count:] if count else [], None


async def seq_before(log: EventLog, time: Ns) -> Seq:
    """The last unit before `time`: units above it are of that time or later. (Times never go back in the log.)"""
    low, high = Seq(log.first_seq - 1), log.committed
    while low < high:
        middle = Seq((low + high) // 2)
        found = log.first_readable(middle)
        if found is not None and found.unit.ts < time:
            low = found.seq
        else:
            high = middle
        await trio.lowlevel.checkpoint()
    return low
