"""The past of the log: pages forward, the newest backward, where a time begins. A real log, a clock that is given."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from omkd.api import history
from omkd.protocol.events import ByOmkd, DisclosureLine
from omkd.protocol.scalars import Ns, Seq
from omkd.store.event_log import Draft, EventLog, StoredUnit, open_event_log

COUNT = 60


@asynccontextmanager
async def filled_log(path: Path) -> AsyncIterator[EventLog]:
    """Unit n is of the time 10 n; small segments, so that reading crosses their borders."""
    times = iter(range(10, 10 * COUNT + 1, 10))
    opened = open_event_log(path, fold=lambda _: None, clock_ns=lambda: next(times), segment_bytes=2000)
    async with opened as log, trio.open_nursery() as nursery:
        await nursery.start(log.run)
        for number in range(1, COUNT + 1):
            log.append(Draft(by=ByOmkd(), events=(DisclosureLine(value=f"unit {number}"),)))
            await log.commit(log.written)
        yield log
        nursery.cancel_scope.cancel()


def every(stored: StoredUnit) -> list[Seq]:
    return [stored.seq]


def twice_each_third(stored: StoredUnit) -> list[Seq]:
    return [stored.seq, stored.seq] if stored.seq % 3 == 0 else []


async def test_pages_forward_are_all_of_it(tmp_path: Path) -> None:
    async with filled_log(tmp_path) as log:
        found: list[Seq] = []
        after: Seq | None = Seq(0)
        while after is not None:
            page, after = await history.oldest(log, after, every, limit=7)
            assert len(page) <= 7
            found += page
        assert found == list(range(1, COUNT + 1))


async def test_a_page_holds_whole_units_and_ends_below_a_bound(tmp_path: Path) -> None:
    async with filled_log(tmp_path) as log:
        page, more = await history.oldest(log, Seq(0), twice_each_third, limit=3)
        assert (page, more) == ([3, 3, 6, 6], 6)
        assert await history.oldest(log, Seq(50), every, limit=100, below=Seq(55)) == ([51, 52, 53, 54], None)
        assert await history.oldest(log, Seq(COUNT), every, limit=5) == ([], None)


@pytest.mark.parametrize("count", [0, 1, 5, COUNT, 2 * COUNT])
async def test_the_newest_are_in_the_logs_order(tmp_path: Path, count: int) -> None:
    async with filled_log(tmp_path) as log:
        found, _ = await history.newest(log, Seq(COUNT + 1), every, count=count, since=Seq(0))
        assert found == list(range(1, COUNT + 1))[max(0, COUNT - count) :]
        assert await history.newest(log, Seq(31), every, count=5, since=Seq(28)) == ([29, 30], None)
        assert await history.newest(log, Seq(10), twice_each_third, count=3, since=Seq(0)) == ([6, 9, 9], None)
        few = await history.newest(log, Seq(10), twice_each_third, count=3, since=Seq(0), max_bytes=1)
        assert few == ([9, 9], Seq(7))


async def test_a_time_is_found_exactly(tmp_path: Path) -> None:
    async with filled_log(tmp_path) as log:
        for time, before in [(0, 0), (10, 0), (11, 1), (20, 1), (305, 30), (10 * COUNT, COUNT - 1), (10**9, COUNT)]:
            assert await history.seq_before(log, Ns(time)) == before
