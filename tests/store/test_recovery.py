"""Start: whatever a crash, a bad disk or a hand did to the files, no unit known to be on disk is passed over."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from event_log_kit import SPOILING, files, ignore, line, lines, logs, spoil, start, started, unit, write_log
from hypothesis import given, settings
from hypothesis import strategies as st

from omkd.protocol import codec
from omkd.protocol.scalars import Seq
from omkd.protocol.version import LOG_FORMAT
from omkd.store.log_errors import LogDamaged, LogTooNew
from omkd.store.log_scan import scan_log
from omkd.store.recovery import COPY_BYTES, recover, rewrite
from omkd.store.segments import list_segments, segment_name

FIRST, SECOND = segment_name(1), segment_name(4)
GARBAGE = [b"\0" * 50 + b"\n", b"\n", b"\xff\xfe\n", b'{"seq":\n', b"[]\n", b"7\n", b'{"seq":0}\n', b'{"ts":"x"}\n']


def test_a_new_log_is_one_empty_segment(tmp_path: Path) -> None:
    folded, recovered = start(tmp_path)
    assert (folded, recovered.last, recovered.torn) == ([], 0, ())
    assert files(tmp_path) == {FIRST: b""}


def test_every_prefix_of_a_log_starts_with_its_whole_lines(tmp_path: Path) -> None:
    whole = b"".join(line(seq, max(0, seq - 3)) for seq in range(1, 8))
    for size in range(len(whole) + 1):
        events_dir = tmp_path / str(size)
        write_log(events_dir, {1: whole[:size]})
        end = whole.rfind(b"\n", 0, size) + 1
        units = whole[:end].count(b"\n")
        folded, recovered = start(events_dir)
        assert folded == list(range(1, units + 1))
        expected = {FIRST: whole[:end]}
        if end < size:
            expected[FIRST + ".torn"] = whole[end:size]
            assert [(tail.offset, tail.bytes) for tail in recovered.torn] == [(end, size - end)]
        assert files(events_dir) == expected
        again, recovered = start(events_dir)
        assert (again, recovered.torn) == (folded, ())


@pytest.mark.parametrize("garbage", GARBAGE, ids=["zeros", "empty", "bytes", "cut", "list", "number", "zero", "no seq"])
@pytest.mark.parametrize("bad", range(1, 9))
def test_a_bad_line_is_damage_up_to_the_largest_synced_and_a_crash_s_tail_above(
    tmp_path: Path, bad: int, garbage: bytes
) -> None:
    """Unit 8 says that 5 is on disk; units 6 and 7 say 4."""
    synced = {6: 4, 7: 4, 8: 5}
    good = {seq: line(seq, synced.get(seq)) for seq in range(1, 9)}
    spoilt = {**good, bad: garbage}
    write_log(
        tmp_path, {1: b"".join(spoilt[seq] for seq in (1, 2, 3)), 4: b"".join(spoilt[seq] for seq in range(4, 9))}
    )
    before = files(tmp_path)
    largest = 4 if bad == 8 else 5
    if bad <= largest:
        with pytest.raises(LogDamaged, match="omkd repair") as caught:
            start(tmp_path)
        name, offset = place_of(before, garbage)
        assert (caught.value.segment.name, caught.value.offset) == (name, offset)
        assert files(tmp_path) == before
    else:
        folded, recovered = start(tmp_path)
        assert folded == list(range(1, bad))
        tail = b"".join(spoilt[seq] for seq in range(bad, 9))
        assert [moved.moved_to.read_bytes() for moved in recovered.torn] == [tail]
        assert files(tmp_path)[SECOND] == before[SECOND].removesuffix(tail)


def place_of(contents: dict[str, bytes], garbage: bytes) -> tuple[str, int]:
    for name, content in contents.items():
        offset = 0
        for text in content.splitlines(keepends=True):
            if text == garbage:
                return name, offset
            offset += len(text)
    raise AssertionError("the garbage is gone")


@pytest.mark.parametrize(
    ("second", "reason"),
    [
        (lines(1, 3) + lines(5, 6), "unit 4 comes next, this is 5"),
        (lines(1, 3) + lines(3, 6), "unit 4 comes next, this is 3"),
        (lines(1, 3) + line(4, 9) + lines(5, 6), "unit 4 says that 9 was on disk before it"),
    ],
    ids=["a gap", "twice", "synced ahead of itself"],
)
def test_units_out_of_sequence_are_damage(tmp_path: Path, second: bytes, reason: str) -> None:
    write_log(tmp_path, {1: second})
    with pytest.raises(LogDamaged, match=reason):
        start(tmp_path)


def test_a_missing_segment_is_damage(tmp_path: Path) -> None:
    write_log(tmp_path, {1: lines(1, 3), 7: lines(7, 9)})
    with pytest.raises(LogDamaged, match="units 4 to 6 are missing: no segment holds them") as caught:
        start(tmp_path)
    assert (caught.value.segment.name, caught.value.offset) == (segment_name(7), 0)


@pytest.mark.parametrize("content", [lines(4, 6), line(4, 0), b"", b"torn"])
def test_a_first_segment_that_is_not_the_first_is_damage_whatever_it_holds(tmp_path: Path, content: bytes) -> None:
    write_log(tmp_path, {4: content})
    with pytest.raises(LogDamaged, match="units 1 to 3 are missing"):
        start(tmp_path)
    assert files(tmp_path) == {segment_name(4): content}


def test_a_log_may_begin_where_retention_left_it(tmp_path: Path) -> None:
    write_log(tmp_path, {4: lines(4, 6)})
    assert recover(tmp_path, ignore, first_seq=Seq(4)).last == 6


def test_a_segment_named_after_a_unit_that_is_there_already_is_damage(tmp_path: Path) -> None:
    write_log(tmp_path, {1: lines(1, 5), 4: lines(6, 9)})
    with pytest.raises(LogDamaged, match="its name says 4, unit 6 comes next"):
        start(tmp_path)


def test_segments_behind_a_crash_s_bad_line_are_moved_aside_whole(tmp_path: Path) -> None:
    """The old segment's end was not synced, the new one's beginning came to disk all the same."""
    old, new = lines(1, 2) + line(3, 1)[:20], line(4, 1) + line(5, 1)
    write_log(tmp_path, {1: old, 4: new, 6: b""})
    folded, recovered = start(tmp_path)
    assert folded == [1, 2]
    moved = {
        FIRST: lines(1, 2),
        FIRST + ".torn": line(3, 1)[:20],
        SECOND + ".torn": new,
        segment_name(6) + ".torn": b"",
    }
    assert files(tmp_path) == moved
    assert [(tail.segment.name, tail.offset, tail.bytes) for tail in recovered.torn] == [
        (FIRST, len(lines(1, 2)), 20),
        (SECOND, 0, len(new)),
        (segment_name(6), 0, 0),
    ]
    assert [segment.path.name for segment in recovered.segments] == [FIRST]


@pytest.mark.parametrize("first", [b"half a un", b"garbage\n"])
def test_a_log_whose_very_first_unit_is_torn_begins_anew(tmp_path: Path, first: bytes) -> None:
    write_log(tmp_path, {1: first})
    assert start(tmp_path)[0] == []
    assert files(tmp_path) == {FIRST: b"", FIRST + ".torn": first}


def test_a_last_segment_that_is_torn_from_its_start_is_left_for_the_one_before(tmp_path: Path) -> None:
    write_log(tmp_path, {1: lines(1, 3), 4: b"half a un"})
    _, recovered = start(tmp_path)
    assert [segment.path.name for segment in recovered.segments] == [FIRST]
    assert files(tmp_path) == {FIRST: lines(1, 3), SECOND + ".torn": b"half a un"}


def test_an_empty_last_segment_is_gone_on_in(tmp_path: Path) -> None:
    write_log(tmp_path, {1: lines(1, 3), 4: b""})
    folded, recovered = start(tmp_path)
    assert (folded, recovered.segments[-1].path.name, recovered.torn) == ([1, 2, 3], SECOND, ())


def test_an_earlier_torn_tail_is_never_written_over(tmp_path: Path) -> None:
    for torn in (b"one", b"two", b"three"):
        write_log(tmp_path, {1: lines(1, 3) + torn})
        start(tmp_path)
    names = [FIRST, FIRST + ".torn", FIRST + ".torn.2", FIRST + ".torn.3"]
    assert files(tmp_path) == dict(zip(names, [lines(1, 3), b"one", b"two", b"three"], strict=True))


def test_a_long_torn_tail_is_copied_whole(tmp_path: Path) -> None:
    tail = os.urandom(COPY_BYTES + 12345).replace(b"\n", b"x")
    write_log(tmp_path, {1: lines(1, 3) + tail})
    assert start(tmp_path)[0] == [1, 2, 3]
    assert files(tmp_path)[FIRST + ".torn"] == tail


@pytest.mark.parametrize(
    "new",
    [
        b'{"seq":3,"shape":"unknown"}\n',
        line(3).replace(b"PersonNeeded", b"FutureEvent"),
        line(3).replace(b'"kind":"omkd"', b'"kind":"comet"'),
        codec.dumps(unit(3, event=started(LOG_FORMAT + 1))) + b"\n",
    ],
    ids=["shape", "event", "by", "format"],
)
@pytest.mark.parametrize("rest", [b"", lines(4, 6), b"torn"])
def test_what_only_a_newer_omkd_writes_is_not_touched(tmp_path: Path, new: bytes, rest: bytes) -> None:
    write_log(tmp_path, {1: lines(1, 2) + new + rest})
    before = files(tmp_path)
    with pytest.raises(LogTooNew, match="a newer omkd wrote this") as caught:
        start(tmp_path)
    assert caught.value.offset == len(lines(1, 2))
    assert files(tmp_path) == before


def test_a_newer_unit_behind_a_torn_line_is_not_moved_aside_either(tmp_path: Path) -> None:
    write_log(tmp_path, {1: lines(1, 2) + b"torn\n" + b'{"seq":4,"shape":"unknown"}\n'})
    with pytest.raises(LogTooNew):
        start(tmp_path)


@pytest.mark.parametrize("end", [b"}", b',"events":[]}'])
def test_a_torn_line_that_happens_to_be_json_is_not_a_newer_omkds(tmp_path: Path, end: bytes) -> None:
    torn = line(3).partition(b',"by"')[0] + end + b"\n"
    write_log(tmp_path, {1: lines(1, 2) + torn})
    assert start(tmp_path)[0] == [1, 2]
    assert files(tmp_path)[FIRST + ".torn"] == torn


def test_our_own_format_is_read(tmp_path: Path) -> None:
    write_log(tmp_path, {1: codec.dumps(unit(1, event=started(LOG_FORMAT))) + b"\n"})
    assert start(tmp_path)[0] == [1]


def test_files_of_others_are_left_alone(tmp_path: Path) -> None:
    others = {FIRST + ".torn": b"a", "00001.jsonl": b"b", FIRST + ".bak": b"c", ".hidden.jsonl": b"d"}
    write_log(tmp_path, {1: lines(1, 3)})
    for name, content in others.items():
        (tmp_path / name).write_bytes(content)
    assert start(tmp_path)[0] == [1, 2, 3]
    assert files(tmp_path) == {FIRST: lines(1, 3), **others}


def test_a_symlink_in_place_of_a_segment_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_bytes(lines(1, 3))
    (tmp_path / FIRST).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic links"):
        start(tmp_path)


def test_units_not_known_to_be_on_disk_are_written_again(tmp_path: Path) -> None:
    """In both segments that hold some; the one before them is not touched."""
    contents = {1: lines(1, 3), 4: lines(4, 4) + line(5, 4), 6: line(6, 4) + line(7, 4)}
    write_log(tmp_path, contents)
    for path in list_segments(tmp_path):
        os.utime(path, ns=(0, 0))
    assert start(tmp_path)[0] == [1, 2, 3, 4, 5, 6, 7]
    assert files(tmp_path) == {segment_name(first): content for first, content in contents.items()}
    assert [path.stat().st_mtime_ns > 0 for path in list_segments(tmp_path)] == [False, True, True]


def test_writing_again_changes_no_byte_of_a_long_segment(tmp_path: Path) -> None:
    content = os.urandom(3 * COPY_BYTES + 17)
    path = tmp_path / "x"
    for offset in (0, 1, COPY_BYTES, len(content)):
        path.write_bytes(content)
        rewrite(path, offset)
        assert path.read_bytes() == content


def test_a_scan_alone_touches_nothing(tmp_path: Path) -> None:
    write_log(tmp_path, {1: lines(1, 3) + b"torn"})
    scan = scan_log(tmp_path, ignore)
    assert (scan.last, scan.synced, scan.bad is not None) == (3, 2, True)
    assert files(tmp_path) == {FIRST: lines(1, 3) + b"torn"}


NO_ROOM = """
import resource, sys
from pathlib import Path
from event_log_kit import start
from omkd.store.log_errors import LogWriteFailed
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
try:
    start(Path(sys.argv[1]))
except LogWriteFailed as exc:
    print(exc)
"""


def test_without_room_for_the_torn_tail_nothing_is_cut_off(tmp_path: Path) -> None:
    write_log(tmp_path, {1: lines(1, 3) + b"t" * 2000})
    before = files(tmp_path)
    result = subprocess.run(
        [sys.executable, "-c", NO_ROOM, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
    )
    assert "File too large" in result.stdout
    assert files(tmp_path) == before


# --- whatever happens to the bytes


def synced_seen(contents: dict[int, bytes]) -> int:
    """By other means than the code's: the largest `synced` of a line that is JSON."""
    found = [0]
    for content in contents.values():
        for text in content.split(b"\n"):
            try:
                value = json.loads(text)
                if value["synced"] < value["seq"]:
                    found.append(value["synced"])
            except (ValueError, KeyError, TypeError):
                continue
    return max(found)


@settings(deadline=None)
@given(logs(), st.lists(SPOILING, max_size=3))
def test_a_start_folds_all_that_is_known_to_be_on_disk_or_touches_nothing(
    contents: dict[int, bytes], spoilings: list[tuple[float, int, bytes]]
) -> None:
    spoilt = spoil(contents, spoilings)
    with tempfile.TemporaryDirectory() as directory:
        events_dir = Path(directory)
        write_log(events_dir, spoilt)
        before = files(events_dir)
        try:
            folded, _ = start(events_dir)
        except (LogDamaged, LogTooNew):
            assert files(events_dir) == before
            return
        assert folded == list(range(1, len(folded) + 1))
        assert len(folded) >= synced_seen(spoilt)
        assert sum(map(len, files(events_dir).values())) == sum(map(len, before.values()))
        again, recovered = start(events_dir)
        assert (again, recovered.torn) == (folded, ())
