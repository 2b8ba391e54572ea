"""A start that has a snapshot: it reads what follows, and what is lost below it is damage."""

from pathlib import Path

import pytest
from event_log_kit import append_committed, files, line, lines, open_log, running, write_log
from hypothesis import given, settings
from hypothesis import strategies as st

from omkd.protocol.scalars import Ns, Seq
from omkd.store.event_log import Base
from omkd.store.log_errors import LogDamaged
from omkd.store.recovery import Recovered, recover
from omkd.store.repair import repair
from omkd.store.segments import segment_name


def base(seq: int) -> Base:
    return Base(seq=Seq(seq), ts=Ns(5))


def start(events_dir: Path, seq: int) -> tuple[list[int], Recovered]:
    folded: list[int] = []
    return folded, recover(events_dir, lambda unit: folded.append(unit.seq), base=base(seq))


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_what_follows_is_folded_wherever_segments_begin(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject):
    events_dir = tmp_path_factory.mktemp("events")
    last = data.draw(st.integers(1, 12), label="last")
    seq = data.draw(st.integers(1, last), label="base")
    firsts = sorted({1, *data.draw(st.lists(st.integers(1, last + 1), max_size=4), label="segments")})
    gone = data.draw(st.integers(0, sum(first <= seq + 1 for first in firsts) - 1), label="cut by retention")
    content = {a: lines(a, b - 1) for a, b in zip(firsts, [*firsts[1:], last + 1], strict=True)}
    write_log(events_dir, dict(list(content.items())[gone:]))
    folded, recovered = start(events_dir, seq)
    assert folded == list(range(seq + 1, last + 1))
    assert (recovered.last, recovered.torn) == (last, ())


async def test_units_below_the_snapshot_are_read_from_segments_that_the_start_passed_over(tmp_path: Path) -> None:
    async with open_log(tmp_path, segment_bytes=20_000) as log, running(log):
        await append_committed(log, 2000)
    assert len(files(tmp_path)) > 5
    async with open_log(tmp_path, base=base(1990)) as log:
        assert [each.seq for each in log.read_after(Seq(0), max_units=3)] == [1, 2, 3]
        assert [each.seq for each in log.read_after(Seq(777), max_units=2)] == [778, 779]
        assert [each.seq for each in log.read_before(Seq(1500), max_units=400)] == list(range(1100, 1500))
        assert log.first_seq == 1
        assert log.closed_segments[0][1] == int(sorted(files(tmp_path))[1][:20]) - 1


async def test_the_time_of_the_snapshot_is_not_gone_behind(tmp_path: Path) -> None:
    write_log(tmp_path, {1: lines(1, 3)})
    async with open_log(tmp_path, base=base(3)) as log:
        assert log.last_ts == 5


def test_damage_below_the_snapshot_is_not_looked_at(tmp_path: Path):
    write_log(tmp_path, {1: b"\xff\n" + lines(2, 3), 4: line(4) + b"garbage\n" + lines(6, 8)})
    assert start(tmp_path, 6)[0] == [7, 8]
    write_log(tmp_path, {1: b"\xff\n" + lines(2, 3), 4: lines(4, 5) + b"garbage\n" + lines(7, 8)})
    assert start(tmp_path, 6)[0] == [7, 8]


def test_the_torn_tail_of_a_crash_behind_the_snapshot_is_moved_aside(tmp_path: Path):
    write_log(tmp_path, {1: lines(1, 3) + line(4)[:20]})
    folded, recovered = start(tmp_path, 3)
    assert (folded, recovered.last, [tail.bytes for tail in recovered.torn]) == ([], 3, [20])
    assert files(tmp_path)[segment_name(1)] == lines(1, 3)


def test_damage_behind_the_snapshot_is_damage(tmp_path: Path):
    write_log(tmp_path, {1: lines(1, 3) + b"garbage\n" + lines(5, 6)})
    with pytest.raises(LogDamaged):
        start(tmp_path, 3)


@pytest.mark.parametrize(
    "content", [{1: lines(1, 2)}, {1: lines(1, 2) + line(3)[:-5]}, {1: lines(1, 2) + b"\0\0\n"}, {}, {1: b""}]
)
def test_a_log_that_ends_before_the_snapshot_is_damaged_until_it_is_repaired(tmp_path: Path, content: dict[int, bytes]):
    write_log(tmp_path, content)
    before = files(tmp_path)
    with pytest.raises(LogDamaged, match="unit 3 was on disk: a snapshot is of it"):
        start(tmp_path, 3)
    assert files(tmp_path) == before
    assert repair(tmp_path, lambda: 9, known=Seq(3)) is not None
    folded, recovered = start(tmp_path, 3)
    assert (folded, recovered.last) == ([4], 4)
    assert repair(tmp_path, lambda: 9, known=Seq(3)) is None


def test_without_a_snapshot_a_log_whose_beginning_was_cut_is_damaged(tmp_path: Path):
    write_log(tmp_path, {5: lines(5, 7)})
    with pytest.raises(LogDamaged, match="no snapshot stands for them"):
        recover(tmp_path, lambda _: None)


def test_what_retention_cut_is_nothing_to_repair(tmp_path: Path):
    write_log(tmp_path, {5: lines(5, 7)})
    assert repair(tmp_path, lambda: 9, known=Seq(6)) is None


async def test_retention_drops_the_oldest_segment(tmp_path: Path) -> None:
    write_log(tmp_path, {1: lines(1, 3), 4: lines(4, 6)})
    async with open_log(tmp_path) as log:
        assert log.active_bytes == len(lines(4, 6))
        log.drop_oldest_segment()
        assert (log.first_seq, log.closed_segments) == (4, [])
        assert [each.seq for each in log.read_after(Seq(0))] == [4, 5, 6]
        assert [each.seq for each in log.read_before(Seq(9))] == [4, 5, 6]
