"""Repair: what is damaged goes aside, what is intact stays, and the log says so and starts again."""

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from event_log_kit import (
    SPOILING,
    append_committed,
    files,
    line,
    lines,
    logs,
    open_log,
    running,
    spoil,
    start,
    write_log,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from omkd.protocol import codec
from omkd.protocol.events import Unit
from omkd.protocol.scalars import Seq
from omkd.store.damage_survey import longest_rising
from omkd.store.log_errors import LogDamaged, LogTooNew
from omkd.store.repair import Repaired, repair
from omkd.store.segments import segment_name

FIRST, SECOND, THIRD = segment_name(1), segment_name(4), segment_name(7)


def repaired(events_dir: Path, *, unknown_is_damage: bool = False) -> Repaired:
    with pytest.raises((LogDamaged, LogTooNew)):
        start(events_dir)
    found = repair(events_dir, lambda: 5, unknown_is_damage=unknown_is_damage)
    assert found
    return found


def gaps(found: Repaired) -> list[tuple[int, int]]:
    return [(damage.after, damage.before) for damage in found.damage]


def test_a_sound_log_is_not_touched(tmp_path: Path) -> None:
    write_log(tmp_path, {1: lines(1, 3), 4: lines(4, 6)})
    before = files(tmp_path)
    assert repair(tmp_path, lambda: 5) is None
    assert files(tmp_path) == before


def test_the_tail_of_a_crash_is_left_to_the_next_start(tmp_path: Path) -> None:
    write_log(tmp_path, {1: lines(1, 3) + b"half a un"})
    assert repair(tmp_path, lambda: 5) is None
    assert files(tmp_path) == {FIRST: lines(1, 3) + b"half a un"}


def test_a_bad_line_goes_aside_and_the_log_says_so(tmp_path: Path) -> None:
    write_log(tmp_path, {1: lines(1, 3) + b"garbage\n" + lines(5, 9)})
    found = repaired(tmp_path)
    assert found.moved_to == (tmp_path / f"{FIRST}.damaged",)
    assert files(tmp_path)[f"{FIRST}.damaged"] == b"garbage\n"
    assert start(tmp_path)[0] == [1, 2, 3, 5, 6, 7, 8, 9, 10]
    told = codec.loads(files(tmp_path)[FIRST].splitlines()[-1], Unit)
    assert told.events == list(found.damage)
    (damage,) = found.damage
    assert (damage.segment, damage.offset, damage.moved_to) == (FIRST, len(lines(1, 3)), f"{FIRST}.damaged")
    assert (damage.after, damage.before) == (3, 5)
    assert repair(tmp_path, lambda: 5) is None


def test_a_repair_says_in_words_what_it_did(tmp_path: Path) -> None:
    write_log(tmp_path, {1: lines(1, 3) + b"oops\n" + lines(5, 6) + b"\n" + lines(7, 9)})
    first, second = str(repaired(tmp_path)).splitlines()
    assert first.startswith(f"{FIRST}, byte {len(lines(1, 3))}: ")
    assert first.endswith(f": units 4 to 4 are lost; what stood there is in {FIRST}.damaged")
    assert ": no unit is lost; what stood there is in" in second


def test_each_stretch_of_each_segment_is_told(tmp_path: Path) -> None:
    first = lines(1, 1) + b"\0\0\n" + lines(3, 3)
    second = b"xx\nyy\n" + lines(6, 6)
    third = lines(7, 7) + b"zz\n" + lines(9, 11) + b"half a un"
    write_log(tmp_path, {1: first, 4: second, 7: third})
    found = repaired(tmp_path)
    assert gaps(found) == [(1, 3), (3, 6), (7, 9), (11, 13)]
    assert start(tmp_path)[0] == [1, 3, 6, 7, 9, 10, 11, 13]
    aside = {name: content for name, content in files(tmp_path).items() if name.endswith("damaged")}
    assert aside == {
        f"{FIRST}.damaged": b"\0\0\n",
        f"{SECOND}.damaged": b"xx\nyy\n",
        f"{THIRD}.damaged": b"zz\nhalf a un",
    }


def test_a_segment_of_which_nothing_is_intact_goes_whole(tmp_path: Path) -> None:
    write_log(tmp_path, {1: lines(1, 3), 4: b"aa\nbb\ncc\n", 7: lines(7, 9)})
    found = repaired(tmp_path)
    assert gaps(found) == [(3, 7)]
    assert start(tmp_path)[0] == [1, 2, 3, 7, 8, 9, 10]
    assert sorted(files(tmp_path)) == [FIRST, f"{SECOND}.damaged", THIRD]


@pytest.mark.parametrize(
    ("contents", "gap", "folded"),
    [
        ({1: lines(1, 3), 7: lines(7, 9)}, (3, 7), [1, 2, 3, 7, 8, 9, 10]),
        ({4: lines(4, 6), 7: lines(7, 9)}, (0, 4), [4, 5, 6, 7, 8, 9, 10]),
        ({4: b""}, (0, 4), [4]),
    ],
    ids=["between", "first", "all"],
)
def test_a_missing_segment_is_told(
    tmp_path: Path, contents: dict[int, bytes], gap: tuple[int, int], folded: list[int]
) -> None:
    write_log(tmp_path, contents)
    found = repaired(tmp_path)
    assert (gaps(found), found.moved_to, found.damage[0].moved_to) == ([gap], (), "")
    assert start(tmp_path)[0] == folded


def test_a_number_with_a_flipped_digit_costs_that_unit_alone(tmp_path: Path) -> None:
    content = lines(1, 9).replace(b'{"seq":3,', b'{"seq":8,')
    write_log(tmp_path, {1: content})
    assert gaps(repaired(tmp_path)) == [(2, 4)]
    assert start(tmp_path)[0] == [1, 2, 4, 5, 6, 7, 8, 9, 10]


def test_a_unit_that_only_lacks_its_newline_stays(tmp_path: Path) -> None:
    write_log(tmp_path, {1: lines(1, 3)[:-1], 4: lines(4, 6)})
    found = repaired(tmp_path)
    assert (found, str(found)) == (
        Repaired(damage=(), moved_to=()),
        "a line without its end was completed; nothing is lost",
    )
    assert files(tmp_path) == {FIRST: lines(1, 3), SECOND: lines(4, 6)}


def test_numbers_that_stood_in_the_last_bad_stretch_are_not_given_out_again(tmp_path: Path) -> None:
    write_log(tmp_path, {1: lines(1, 2) + b"bad\n" + lines(4, 5) + b"66\n77\n88\n"})
    assert gaps(repaired(tmp_path)) == [(2, 4), (5, 9)]
    assert start(tmp_path)[0] == [1, 2, 4, 5, 9]


def test_a_second_damage_is_told_beside_the_first(tmp_path: Path) -> None:
    write_log(tmp_path, {1: lines(1, 3) + b"bad\n" + lines(5, 9)})
    repaired(tmp_path)
    content = files(tmp_path)[FIRST].replace(line(7), b"worse\n")
    write_log(tmp_path, {1: content})
    assert gaps(repaired(tmp_path)) == [(6, 8)]
    assert start(tmp_path)[0] == [1, 2, 3, 5, 6, 8, 9, 10, 11]
    assert files(tmp_path)[f"{FIRST}.damaged.2"] == b"worse\n"


def test_a_gap_whose_record_was_lost_is_told_again(tmp_path: Path) -> None:
    write_log(tmp_path, {1: lines(1, 3) + b"bad\n" + lines(5, 9)})
    repaired(tmp_path)
    *kept, _ = files(tmp_path)[FIRST].splitlines(keepends=True)
    write_log(tmp_path, {1: b"".join(kept) + b"lost\n" + lines(11, 12)})
    assert gaps(repaired(tmp_path)) == [(3, 5), (9, 11)]
    assert start(tmp_path)[0] == [1, 2, 3, 5, 6, 7, 8, 9, 11, 12, 13]


def test_a_gap_is_accepted_only_as_it_was_told(tmp_path: Path) -> None:
    write_log(tmp_path, {1: lines(1, 3) + b"bad\n" + lines(5, 9)})
    repaired(tmp_path)
    write_log(tmp_path, {1: files(tmp_path)[FIRST].replace(line(5), b"")})
    with pytest.raises(LogDamaged, match="unit 4 comes next, this is 6"):
        start(tmp_path)


@pytest.mark.parametrize(
    "unknown", [b'{"seq":2,"shape":"unknown"}\n', line(2).replace(b"PersonNeeded", b"QersonNeeded")]
)
def test_what_only_a_newer_omkd_writes_is_repaired_on_demand_alone(tmp_path: Path, unknown: bytes) -> None:
    write_log(tmp_path, {1: lines(1, 1) + unknown + lines(3, 4)})
    before = files(tmp_path)
    with pytest.raises(LogTooNew):
        repair(tmp_path, lambda: 5)
    assert files(tmp_path) == before
    assert gaps(repaired(tmp_path, unknown_is_damage=True)) == [(1, 3)]
    assert start(tmp_path)[0] == [1, 3, 4, 5]


def test_damage_and_a_newer_unit_are_not_touched(tmp_path: Path) -> None:
    write_log(tmp_path, {1: lines(1, 1) + b"bad\n" + lines(3, 4) + b'{"seq":5,"shape":"unknown"}\n'})
    before = files(tmp_path)
    with pytest.raises(LogTooNew):
        repair(tmp_path, lambda: 5)
    assert files(tmp_path) == before


def test_time_does_not_go_back_at_a_repair(tmp_path: Path) -> None:
    write_log(tmp_path, {1: lines(1, 1) + b"bad\n" + lines(3, 4)})
    repair(tmp_path, lambda: 77)
    assert codec.loads(files(tmp_path)[FIRST].splitlines()[-1], Unit).ts == 77


async def test_a_repaired_log_is_read_and_goes_on_across_its_gaps(tmp_path: Path) -> None:
    write_log(tmp_path, {1: lines(1, 3) + b"bad\n" + lines(5, 6), 7: b"aa\nbb\n" + lines(9, 300), 301: lines(301, 400)})
    repaired(tmp_path)
    everything = [1, 2, 3, 5, 6, *range(9, 402)]
    async with open_log(tmp_path) as log:
        for position in (0, 2, 3, 4, 6, 7, 8, 9, 256, 300, 301, 401):
            after = [stored.seq for stored in log.read_after(Seq(position))]
            assert after == [seq for seq in everything if seq > position]
            before = [stored.seq for stored in log.read_before(Seq(position), max_units=5)]
            assert before == [seq for seq in everything if seq < position][-5:]
        async with running(log):
            await append_committed(log, 1)
        assert [stored.seq for stored in log.read_after(Seq(399))] == [400, 401, 402]
    assert start(tmp_path)[0] == [*everything, 402]


INTERRUPTED = """
import os, sys
from pathlib import Path
from omkd.store.repair import repair

steps = int(sys.argv[2])
def audit(event, args):
    global steps
    if event in ("os.rename", "os.remove") and str(args[0]).startswith(sys.argv[1]):
        if steps == 0:
            os._exit(9)
        steps -= 1
sys.addaudithook(audit)
repair(Path(sys.argv[1]), lambda: 5)
"""


def interrupted_repair(events_dir: Path, steps: int) -> None:
    command = [sys.executable, "-c", INTERRUPTED, str(events_dir), str(steps)]
    assert subprocess.run(command, timeout=60, check=False).returncode == 9


@pytest.mark.parametrize("steps", range(6))
def test_an_interrupted_repair_is_finished_by_the_next_one(tmp_path: Path, steps: int) -> None:
    """Killed before each of its renames: copies, the last segment, the others."""
    contents = {1: lines(1, 1) + b"xx\n" + lines(3, 3), 4: b"yy\nyy\nyy\n", 7: lines(7, 7) + b"zz\n" + lines(9, 11)}
    write_log(tmp_path, contents)
    interrupted_repair(tmp_path, steps)
    repaired(tmp_path)
    folded = start(tmp_path)[0]
    assert [seq for seq in folded if seq <= 11] == [1, 3, 7, 9, 10, 11]
    aside = b"".join(content for name, content in files(tmp_path).items() if ".damaged" in name)
    assert all(bad in aside for bad in (b"xx\n", b"yy\nyy\nyy\n", b"zz\n"))


def test_what_an_interrupted_repair_left_is_never_taken_for_the_tail_of_a_crash(tmp_path: Path) -> None:
    """Only the misplaced unit 4 knew that 3 was on disk, and it is moved aside before the damage is."""
    write_log(tmp_path, {1: line(1, 0) + line(2, 0) + b"bad\n", 4: line(5, 0) + line(6, 0) + line(4, 3)})
    interrupted_repair(tmp_path, 3)
    assert gaps(repaired(tmp_path))[0] == (2, 5)
    assert [seq for seq in start(tmp_path)[0] if seq <= 6] == [1, 2, 5, 6]


@given(st.lists(st.integers(0, 20), unique=True))
def test_the_longest_rising_part_rises_and_none_is_longer(numbers: list[int]) -> None:
    places = longest_rising([Seq(number) for number in numbers])
    found = [numbers[place] for place in places]
    assert places == sorted(set(places))
    assert found == sorted(set(found))
    best = [0] * len(numbers)
    for place, number in enumerate(numbers):
        best[place] = 1 + max((best[earlier] for earlier in range(place) if numbers[earlier] < number), default=0)
    assert len(found) == max(best, default=0)


@settings(deadline=None)
@given(logs(), st.lists(SPOILING, max_size=3))
def test_a_repair_keeps_every_intact_unit_and_the_log_starts(
    contents: dict[int, bytes], spoilings: list[tuple[float, int, bytes]]
) -> None:
    spoilt = spoil(contents, spoilings)
    with tempfile.TemporaryDirectory() as directory:
        events_dir = Path(directory)
        write_log(events_dir, spoilt)
        found = repair(events_dir, lambda: 5, unknown_is_damage=True)
        if found is None:
            return
        folded, recovered = start(events_dir)
        assert recovered.torn == ()
        assert set(intact(contents, spoilt)) <= set(folded)
        assert repair(events_dir, lambda: 5) is None
        aside = sum(len(content) for name, content in files(events_dir).items() if "damaged" in name)
        kept = sum(len(content) for name, content in files(events_dir).items() if "damaged" not in name)
        assert aside + kept >= sum(map(len, spoilt.values()))


def intact(contents: dict[int, bytes], spoilt: dict[int, bytes]) -> list[int]:
    """The numbers of the lines that are as they were, in the segment where they were."""
    found = []
    for first, content in contents.items():
        left = spoilt[first].split(b"\n")
        for number, text in enumerate(content.splitlines(), first):
            if text in left:
                found.append(number)
    return found
