"""Segments and reading: a new file from a size on, and every unit found again, in memory or on disk."""

import errno
import logging
import os
from pathlib import Path

import pytest
from event_log_kit import append_committed, draft, files, lines, open_log, running, start, unit, write_log

from omkd.protocol.scalars import Seq
from omkd.store.event_log import Disk, EventLog
from omkd.store.recent_units import RecentUnits
from omkd.store.segment_writer import SegmentWriter
from omkd.store.segments import UNITS_PER_MARK, Segment, StoredUnit, create_segment, list_segments, segment_name

SMALL = 600
"""Bytes of a segment: four units or so."""


def seqs(found: list[StoredUnit]) -> list[int]:
    return [stored.seq for stored in found]


def name_of(descriptor: int) -> str:
    return Path(os.readlink(f"/proc/self/fd/{descriptor}")).name


async def test_a_full_segment_is_followed_by_one_named_after_its_first_unit(tmp_path: Path) -> None:
    async with open_log(tmp_path, segment_bytes=SMALL) as log, running(log):
        await append_committed(log, 50)
    segments = list_segments(tmp_path)
    assert len(segments) > 5
    folded, recovered = start(tmp_path)
    assert folded == list(range(1, 51))
    assert [segment.path for segment in recovered.segments] == segments


def test_the_segment_that_was_left_is_synced_before_the_new_one(tmp_path: Path) -> None:
    synced: list[str] = []
    writer = two_segments(tmp_path, Disk(sync=lambda descriptor: synced.append(name_of(descriptor))))
    writer.sync()
    writer.sync()
    writer.close()
    assert synced == [segment_name(1), segment_name(2), segment_name(2)]


def test_a_failed_sync_of_the_segment_that_was_left_is_not_passed_over(tmp_path: Path) -> None:
    def sync(descriptor: int) -> None:
        if name_of(descriptor) == segment_name(1):
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    writer = two_segments(tmp_path, Disk(sync=sync))
    for _ in range(2):
        with pytest.raises(OSError, match="Input/output error"):
            writer.sync()
    writer.close()


def two_segments(events_dir: Path, disk: Disk) -> SegmentWriter:
    """A unit in each, neither synced."""
    write_log(events_dir, {1: b""})
    writer = SegmentWriter(events_dir / segment_name(1), disk)
    assert writer.append(lines(1, 1)) == 0
    writer.go_on_in(segment_name(2), writer.prepare_next())
    assert writer.append(lines(2, 2)) == 0
    assert files(events_dir) == {segment_name(1): lines(1, 1), segment_name(2): lines(2, 2)}
    return writer


def test_a_segment_that_cannot_get_its_name_changes_nothing(tmp_path: Path) -> None:
    write_log(tmp_path, {1: b""})
    writer = SegmentWriter(tmp_path / segment_name(1), Disk())
    prepared = writer.prepare_next()
    (tmp_path / segment_name(2)).mkdir()
    with pytest.raises(IsADirectoryError):
        writer.go_on_in(segment_name(2), prepared)
    assert writer.append(lines(1, 1)) == 0
    writer.close()
    assert (tmp_path / segment_name(1)).read_bytes() == lines(1, 1)


async def test_a_log_without_room_for_a_new_segment_goes_on_in_the_old_one_and_says_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tries = []

    def create(path: Path) -> int:
        tries.append(path)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    async with open_log(tmp_path, segment_bytes=SMALL, disk=Disk(create=create)) as log, running(log):
        with caplog.at_level(logging.WARNING):
            await append_committed(log, 30, text="x" * 200_000)
    assert 2 < len(tries) < 10
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "No space left on device" in caplog.text
    assert start(tmp_path)[0] == list(range(1, 31))


async def test_a_new_segment_is_made_once_there_is_room(tmp_path: Path) -> None:
    full = [True]

    def create(path: Path) -> int:
        if full[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return create_segment(path)

    async with open_log(tmp_path, segment_bytes=SMALL, disk=Disk(create=create)) as log, running(log):
        await append_committed(log, 10)
        full[0] = False
        await append_committed(log, 10, text="x" * 200_000)
    assert len(list_segments(tmp_path)) > 1
    assert start(tmp_path)[0] == list(range(1, 21))


async def test_what_a_crash_left_of_a_new_segment_is_no_obstacle(tmp_path: Path) -> None:
    write_log(tmp_path, {1: lines(1, 5)})
    files_before = {"next-segment.tmp": b"half a uni", "notes.txt": b"a person's"}
    write_foreign(tmp_path, files_before)
    async with open_log(tmp_path, segment_bytes=1) as log, running(log):
        await append_committed(log, 5)
    assert start(tmp_path)[0] == list(range(1, 11))
    assert files(tmp_path)["notes.txt"] == b"a person's"


def write_foreign(events_dir: Path, contents: dict[str, bytes]) -> None:
    for name, content in contents.items():
        (events_dir / name).write_bytes(content)


@pytest.mark.parametrize("segment_bytes", [SMALL, 10_000_000])
async def test_every_range_is_read_the_same_from_memory_and_from_disk(tmp_path: Path, segment_bytes: int) -> None:
    async with open_log(tmp_path, segment_bytes=segment_bytes) as log, running(log):
        for _ in range(60):
            for _ in range(10):
                log.append(draft())
            await log.commit(log.written)
        assert_reads(log, 600)
        from_memory = log.read_after(Seq(0))
    async with open_log(tmp_path, segment_bytes=segment_bytes) as log:
        assert_reads(log, 600)
        assert log.read_after(Seq(0)) == from_memory


def assert_reads(log: EventLog, last: int) -> None:
    for position in (0, 1, 7, 255, 256, 257, 511, 512, 598, 599):
        assert seqs(log.read_after(Seq(position))) == list(range(position + 1, last + 1))
        assert seqs(log.read_after(Seq(position), max_units=3)) == list(range(position + 1, last + 1))[:3]
        before = list(range(1, position))
        assert seqs(log.read_before(Seq(position))) == before
        assert seqs(log.read_before(Seq(position), max_units=3)) == before[-3:]
    assert log.read_after(Seq(last)) == log.read_after(Seq(last + 5)) == []
    assert seqs(log.read_before(Seq(10**9), max_units=2)) == [last - 1, last]


@pytest.mark.parametrize("restart", [False, True], ids=["from memory", "from disk"])
async def test_a_reading_has_at_least_one_unit_and_else_stays_below_its_limits(tmp_path: Path, restart: bool) -> None:
    async with open_log(tmp_path) as log, running(log):
        await append_committed(log, 10, text="x" * 1000)
        if not restart:
            assert_limits(log)
    async with open_log(tmp_path) as log:
        assert_limits(log)


def assert_limits(log: EventLog) -> None:
    assert seqs(log.read_after(Seq(2), max_bytes=1)) == [3]
    assert seqs(log.read_after(Seq(2), max_bytes=2500)) == [3, 4]
    assert seqs(log.read_after(Seq(2), max_units=0)) == [3]
    assert seqs(log.read_before(Seq(9), max_bytes=1)) == [8]
    assert seqs(log.read_before(Seq(9), max_bytes=2500)) == [7, 8]


async def test_live_readers_share_one_object_a_unit(tmp_path: Path) -> None:
    async with open_log(tmp_path) as log, running(log):
        unit = log.append(draft())
        await log.commit(unit.seq)
        (first,), (second,) = log.read_after(Seq(0)), log.read_after(Seq(0))
        assert first is second
        assert first.unit is unit


def test_recent_units_are_bounded_in_number_and_bytes(tmp_path: Path) -> None:
    write_log(tmp_path, {1: b""})
    recent = RecentUnits(max_units=100, max_bytes=50 * 100)
    for seq in range(1, 1001):
        recent.add(stored(seq, 30))
    assert not recent.hold(900)
    assert recent.hold(901)
    assert seqs(recent.after(Seq(990), Seq(995), max_units=100, max_bytes=1000)) == [991, 992, 993, 994, 995]
    for seq in range(1001, 1101):
        recent.add(stored(seq, 500))
    assert (recent.hold(1090), recent.hold(1091)) == (False, True)
    recent.add(stored(1101, 50 * 100 + 1))
    assert not recent.hold(1101)


def stored(seq: int, size: int) -> StoredUnit:
    return StoredUnit(seq=Seq(seq), line=b"x" * size, unit=unit(seq))


def test_a_segment_remembers_where_each_256th_unit_begins(tmp_path: Path) -> None:
    segment = Segment(tmp_path / segment_name(1))
    for place in range(1000):
        segment.note(Seq(place + 1), place * 100)
    assert segment.offset_for(1) == 0
    assert segment.offset_for(UNITS_PER_MARK) == 0
    assert segment.offset_for(UNITS_PER_MARK + 1) == UNITS_PER_MARK * 100
    assert [seq for seq, _ in segment.marks_before(600)] == [513, 257, 1]
    assert [seq for seq, _ in segment.marks_before(513)] == [257, 1]


async def test_units_whose_keys_stand_in_another_order_are_found_too(tmp_path: Path) -> None:
    odd = lines(2, 2).replace(b'{"seq":2,', b"{").replace(b"]}\n", b'],"seq":2}\n')
    write_log(tmp_path, {1: lines(1, 1) + odd + lines(3, 3)})
    async with open_log(tmp_path) as log:
        assert seqs(log.read_after(Seq(1))) == [2, 3]
