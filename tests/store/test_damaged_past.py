"""Reading a log that is damaged below a snapshot: whoever reads is told, and what can be read is read."""

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from event_log_kit import append_committed, draft, files, line, lines, open_log, running, write_log
from hypothesis import given, settings
from hypothesis import strategies as st

from omkd.protocol.scalars import Ns, Seq
from omkd.store.event_log import Base, EventLog, UnitsUnreadable
from omkd.store.segments import UNITS_PER_MARK, segment_name
from tests.kit import without_descriptors

LAST = 12
MANY = UNITS_PER_MARK + 50


def past(log: EventLog, after: int = 0) -> Iterator[int | tuple[int, int]]:
    """The units above `after`, and (first, last) of what is told to be unreadable in between."""
    at = Seq(after)
    while at < log.committed:
        try:
            found = [each.seq for each in log.read_after(at, max_units=2)]
        except UnitsUnreadable as damage:
            yield (at + 1, damage.readable_from - 1)
            found = [Seq(damage.readable_from - 1)]
        else:
            yield from found
        assert found, "a reader that is told nothing asks again and again"
        assert found[0] > at, "a reader that goes on must get on"
        at = found[-1]


def newest(log: EventLog, before: int) -> list[int] | UnitsUnreadable:
    try:
        return [each.seq for each in log.read_before(Seq(before), max_units=3)]
    except UnitsUnreadable as damage:
        return damage


def behind_all(contents: dict[int, bytes], last: int = LAST) -> dict[int, bytes]:
    """And a snapshot's unit, which the start does not look below."""
    return {**contents, last + 1: lines(last + 1, last + 1)}


def base(last: int = LAST) -> Base:
    return Base(seq=Seq(last + 1), ts=Ns(0))


async def test_a_unit_that_cannot_be_read_is_told_and_all_others_are_read(tmp_path: Path) -> None:
    write_log(tmp_path, behind_all({1: lines(1, 4) + b"\xff" * 30 + b"\n" + lines(6, LAST)}))
    async with open_log(tmp_path, base=base()) as log:
        assert list(past(log)) == [1, 2, 3, 4, (5, 5), *range(6, LAST + 2)]
        assert list(past(log, after=5)) == list(range(6, LAST + 2))
        assert [newest(log, seq) for seq in (5, 9, 7)] == [[2, 3, 4], [6, 7, 8], [6]]
        with pytest.raises(UnitsUnreadable, match=r"byte \d+: not UTF-8.*omkd repair") as caught:
            log.read_before(Seq(6))
        assert caught.value.segment == tmp_path / segment_name(1)
        assert caught.value.offset == len(lines(1, 4))


@pytest.mark.parametrize("wrong", [2, 3, 6, 7, 9, 4000])
async def test_a_unit_whose_number_is_damaged_is_neither_shown_nor_waited_for(tmp_path: Path, wrong: int) -> None:
    spoilt = line(5).replace(b'"seq":5,', b'"seq":%d,' % wrong)
    write_log(tmp_path, behind_all({1: lines(1, 4) + spoilt + lines(6, LAST)}))
    async with open_log(tmp_path, base=base()) as log:
        assert list(past(log)) == [1, 2, 3, 4, (5, 5), *range(6, LAST + 2)]
        assert newest(log, LAST + 2) == [LAST - 1, LAST, LAST + 1]
        assert newest(log, 8) == [6, 7]


@pytest.mark.parametrize("spoilt", [1, 2, UNITS_PER_MARK, UNITS_PER_MARK + 1, UNITS_PER_MARK + 2, MANY])
@pytest.mark.parametrize("garbage", [b"\xff\n", b'{"seq":9999,"x":1}\n', b'{"seq":1,"x":1}\n', b""])
async def test_damage_at_a_mark_hides_nothing_else(tmp_path: Path, spoilt: int, garbage: bytes) -> None:
    write_log(tmp_path, behind_all({1: lines(1, spoilt - 1) + garbage + lines(spoilt + 1, MANY)}, MANY))
    intact = [seq for seq in range(1, MANY + 2) if seq != spoilt]
    async with open_log(tmp_path, base=base(MANY)) as log:
        for after in (0, spoilt - 1, spoilt, UNITS_PER_MARK, MANY):
            assert [seq for seq in past(log, after) if isinstance(seq, int)] == [seq for seq in intact if seq > after]
        backwards: list[int] = []
        before = MANY + 2
        while before > 1:
            found = newest(log, before)
            if isinstance(found, list) and found:
                backwards = found + backwards
                before = found[0]
            else:
                before -= 1
        assert backwards == intact


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_whatever_bytes_are_spoilt_each_line_that_is_whole_is_read(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    firsts = sorted({1, *data.draw(st.lists(st.integers(2, LAST), max_size=3))})
    contents = {a: lines(a, b - 1) for a, b in zip(firsts, [*firsts[1:], LAST + 1], strict=True)}
    spots = data.draw(st.lists(st.tuples(st.sampled_from(firsts), st.integers(0, 10_000)), max_size=4))
    spoilt = {first: bytearray(content) for first, content in contents.items()}
    for first, at in spots:
        spoilt[first][at % len(spoilt[first])] = 0xFF
    intact = [
        seq
        for first, content in contents.items()
        for seq, was in enumerate(content.splitlines(), first)
        if was in bytes(spoilt[first]).split(b"\n")
    ]
    events_dir = tmp_path_factory.mktemp("events")
    write_log(events_dir, behind_all({first: bytes(content) for first, content in spoilt.items()}))
    trio.run(assert_all_is_read_or_told, events_dir, intact)


async def assert_all_is_read_or_told(events_dir: Path, intact: list[int]) -> None:
    async with open_log(events_dir, base=base()) as log:
        found = list(past(log))
    assert [seq for seq in found if isinstance(seq, int)] == [*intact, LAST + 1]
    told = [seq for pair in found if isinstance(pair, tuple) for seq in range(pair[0], pair[1] + 1)]
    assert sorted([*told, *intact, LAST + 1]) == list(range(1, LAST + 2))


async def test_a_segment_that_lost_its_end_or_is_gone_is_told(tmp_path: Path) -> None:
    contents = behind_all({1: lines(1, 4), 5: lines(5, 8), 9: lines(9, LAST)})
    write_log(tmp_path, contents)
    async with open_log(tmp_path, base=base()) as log:
        (tmp_path / segment_name(5)).unlink()
        assert list(past(log)) == [1, 2, 3, 4, (5, 8), *range(9, LAST + 2)]
        assert isinstance(newest(log, 9), UnitsUnreadable)
        write_log(tmp_path, {5: lines(5, 6) + line(7)[:-9]})
        assert list(past(log)) == [1, 2, 3, 4, 5, 6, (7, 8), *range(9, LAST + 2)]
        write_log(tmp_path, {LAST + 1: b""})
        assert list(past(log, LAST)) == [(LAST + 1, LAST + 1)]


async def test_a_segment_that_cannot_be_read_is_damage_and_a_shortage_of_ours_is_not(tmp_path: Path) -> None:
    write_log(tmp_path, behind_all({1: lines(1, 4), 5: lines(5, LAST)}))
    async with open_log(tmp_path, base=base()) as log:
        (tmp_path / segment_name(5)).unlink()
        (tmp_path / segment_name(5)).symlink_to("elsewhere")
        assert list(past(log)) == [1, 2, 3, 4, (5, LAST), LAST + 1]
        with pytest.raises(UnitsUnreadable, match=os.strerror(errno.ELOOP)):
            log.read_after(Seq(4))
        with without_descriptors(), pytest.raises(OSError, match=os.strerror(errno.EMFILE)):
            log.read_after(Seq(0))


async def test_damage_is_said_once_however_often_it_is_met(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_log(tmp_path, behind_all({1: lines(1, 4) + b"\xff\n" + lines(6, LAST)}))
    async with open_log(tmp_path, base=base()) as log:
        for _ in range(3):
            with pytest.raises(UnitsUnreadable):
                log.read_after(Seq(4))
            with pytest.raises(UnitsUnreadable):
                log.read_before(Seq(6))
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "Traceback" not in caplog.text


async def test_units_that_are_not_on_disk_yet_are_no_damage(tmp_path: Path) -> None:
    write_log(tmp_path, behind_all({1: lines(1, LAST - 1) + b"\xff\n"}))
    async with open_log(tmp_path, base=base()) as log, running(log):
        await append_committed(log, 2)
        log.append(draft())
        assert list(past(log, LAST - 2)) == [LAST - 1, (LAST, LAST), LAST + 1, LAST + 2, LAST + 3]
    assert len(files(tmp_path)) == 2
