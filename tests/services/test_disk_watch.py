"""A person is told before the disk is full, once each time; numbers are a file system's as statvfs(3) tells them."""

import os
import shutil
from pathlib import Path

import pytest
import trio

from omkd.core.state import State
from omkd.protocol.events import PersonNeeded
from omkd.services.disk_watch import DiskWatch, shortage_of
from omkd.services.hub import Hub
from omkd.store.event_log import open_event_log
from omkd.store.session import SessionDir

MIB = 2**20


def room(free_mib: int, of_mib: int, inodes: int = 0, of_inodes: int = 0) -> os.statvfs_result:
    return os.statvfs_result((MIB, MIB, of_mib, free_mib, free_mib, of_inodes, inodes, inodes, 0, 255))


@pytest.mark.parametrize(
    ("seen", "shortage"),
    [
        (room(1025, 500_000), None),
        (room(1023, 500_000), "1,023 MiB"),
        (room(6, 100), None),
        (room(4, 100), "4 MiB"),
        (room(9000, 10_000, 999, 100_000), "999 inodes"),
        (room(9000, 10_000, 0, 0), None),
    ],
)
def test_what_is_too_little_depends_on_the_size_of_the_disk(seen: os.statvfs_result, shortage: str | None):
    assert shortage_of(seen, 1.0) == shortage


async def test_it_is_said_once_until_there_was_enough_room_again(tmp_path: Path) -> None:
    said: list[str] = []
    state = State()
    async with open_event_log(
        tmp_path / "events",
        fold=lambda unit: said.extend(event.text for event in unit.events if isinstance(event, PersonNeeded)),
        clock_ns=lambda: 0,
    ) as log:
        watch = DiskWatch(Hub(session=SessionDir(tmp_path), log=log, state=state, clock_ns=lambda: 0))
        for free in (90, 4, 3, 6, 4, 8, 4):
            watch.look(room(free, 100))
    assert ["4 MiB left" in text for text in said] == [True, True]


async def test_a_log_that_was_taken_away_is_said_once_and_put_back(tmp_path: Path) -> None:
    said: list[str] = []
    async with (
        open_event_log(
            tmp_path / "events",
            fold=lambda unit: said.extend(event.text for event in unit.events if isinstance(event, PersonNeeded)),
            clock_ns=lambda: 0,
        ) as log,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(log.run)
        watch = DiskWatch(Hub(session=SessionDir(tmp_path), log=log, state=State(), clock_ns=lambda: 0))
        watch.look_at_log()
        shutil.rmtree(tmp_path / "events")
        for _ in range(2):
            watch.look_at_log()
            await log.commit(log.written)
        nursery.cancel_scope.cancel()
    assert ["was removed or renamed" in text for text in said] == [True]
    assert [path.name for path in (tmp_path / "events").iterdir()] == ["00000000000000000001.jsonl"]
