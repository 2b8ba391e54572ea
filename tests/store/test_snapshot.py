"""A snapshot is whole or it is none, and the index of older tasks is found in whatever order they ended."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omkd.protocol.scalars import U32, Ns, Seq, TaskId
from omkd.store.older_index import OlderRow, drop_older, find_older, older_before, older_files, write_older
from omkd.store.snapshot import (
    Header,
    SnapshotUnusable,
    list_snapshots,
    newest_known,
    read_snapshot,
    remove_old_snapshots,
    write_snapshot,
)


def header(seq: int) -> Header:
    return Header(format=U32(1), shape="s", omkd="0", seq=Seq(seq), ts=Ns(seq * 10))


def row(task_id: str, *units: int) -> OlderRow:
    return OlderRow(id=TaskId(task_id), units=[Seq(unit) for unit in units])


def test_a_snapshot_is_read_as_it_was_written(tmp_path: Path):
    path = write_snapshot(tmp_path, header(7), [b'{"a":1}', b"{}"])
    snapshot = read_snapshot(path)
    assert (path.name, path.stat().st_mode & 0o777) == ("snapshot-7.json", 0o600)
    assert (snapshot.header, snapshot.records) == (header(7), [b'{"a":1}', b"{}"])


def test_no_byte_of_a_snapshot_can_change_or_be_missing(tmp_path: Path):
    path = write_snapshot(tmp_path, header(7), [b'{"a":1}'])
    content = path.read_bytes()
    for place in range(len(content)):
        path.write_bytes(content[:place])
        with pytest.raises(SnapshotUnusable):
            read_snapshot(path)
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(SnapshotUnusable):
            read_snapshot(path)


def test_a_snapshot_under_another_name_is_none(tmp_path: Path):
    path = write_snapshot(tmp_path, header(7), [])
    path.rename(tmp_path / "snapshot-8.json")
    with pytest.raises(SnapshotUnusable, match="says that it is of unit 7"):
        read_snapshot(tmp_path / "snapshot-8.json")


def test_the_newest_two_are_kept(tmp_path: Path):
    for seq in (9, 10, 8):
        write_snapshot(tmp_path, header(seq), [])
    remove_old_snapshots(tmp_path)
    assert [path.name for path in list_snapshots(tmp_path)] == ["snapshot-10.json", "snapshot-9.json"]
    remove_old_snapshots(tmp_path)
    assert len(list_snapshots(tmp_path)) == 2


def test_the_newest_whole_one_says_what_was_on_disk(tmp_path: Path):
    assert newest_known(tmp_path) == 0
    write_snapshot(tmp_path, header(8), [])
    write_snapshot(tmp_path, header(9), []).write_bytes(b"torn")
    assert newest_known(tmp_path) == 8


def test_an_older_task_is_found_by_its_whole_id_and_in_its_newest_row(tmp_path: Path):
    assert find_older(tmp_path / "older", TaskId("t1")) is None
    write_older(tmp_path / "older", 50, [row("t12", 12, 20), row("t1", 1, 9)])
    write_older(tmp_path / "older", 90, [row("mine", 30, 60), row("t12", 70, 80)])
    found = [find_older(tmp_path / "older", TaskId(each)) for each in ("t1", "t12", "mine", "t2", "ine")]
    assert found == [row("t1", 1, 9), row("t12", 70, 80), row("mine", 30, 60), None, None]


def test_without_rows_there_is_no_file(tmp_path: Path):
    write_older(tmp_path / "older", 50, [])
    assert older_files(tmp_path / "older") == []
    assert older_before(tmp_path / "older", 99, 9) == []


def test_files_that_no_snapshot_stands_for_are_dropped(tmp_path: Path):
    for seq in (50, 90, 130):
        write_older(tmp_path, seq, [row(f"t{seq}", seq)])
    drop_older(tmp_path, above=100)
    drop_older(tmp_path, below=60)
    assert [int(path.stem) for path in older_files(tmp_path)] == [90]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sets(st.integers(1, 60), max_size=20), max_size=4), st.integers(0, 70), st.integers(1, 12))
def test_older_tasks_come_newest_first_whatever_file_they_are_in(
    tmp_path_factory: pytest.TempPathFactory, files: list[set[int]], bound: int, count: int
):
    directory = tmp_path_factory.mktemp("older")
    for number, seqs in enumerate(files):
        write_older(directory, number + 100, [row(f"t{seq}", seq, 60 + number) for seq in seqs])
    found = [each.seq for each in older_before(directory, bound, count)]
    assert found == sorted({seq for seqs in files for seq in seqs if seq < bound}, reverse=True)[:count]
