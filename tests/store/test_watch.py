"""Watcher: which names changed in which directories, and that no change is passed over in silence."""

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio
import trio.testing

from omkd.store.watch import Watcher, open_watcher

DEADLINE_S = 20
QUEUE_LENGTH = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())


@pytest.fixture
async def watcher(tmp_path: Path) -> AsyncIterator[Watcher]:
    async with open_watcher([tmp_path]) as watcher:
        yield watcher


async def changes(watcher: Watcher) -> dict[Path, set[str]]:
    with trio.fail_after(DEADLINE_S):
        return await watcher.changes(DEADLINE_S)


async def test_a_file_that_is_made_grows_moves_in_or_goes_is_named(tmp_path: Path, watcher: Watcher):
    elsewhere = tmp_path.with_name(f"{tmp_path.name}-elsewhere")
    elsewhere.write_bytes(b"")
    (tmp_path / "made").write_bytes(b"")
    assert await changes(watcher) == {tmp_path: {"made"}}
    with (tmp_path / "made").open("ab", buffering=0) as file:
        file.write(b"x")
        assert await changes(watcher) == {tmp_path: {"made"}}
    elsewhere.rename(tmp_path / "moved")
    assert await changes(watcher) == {tmp_path: {"moved"}}
    (tmp_path / "moved").unlink()
    (tmp_path / "made").rename(elsewhere)
    assert await changes(watcher) == {tmp_path: {"moved", "made"}}


async def test_a_change_wakes_who_waits(tmp_path: Path, watcher: Watcher):
    found: list[dict[Path, set[str]]] = []

    async def wait(task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        task_status.started()
        found.append(await changes(watcher))

    async with trio.open_nursery() as nursery:
        await nursery.start(wait)
        await trio.testing.wait_all_tasks_blocked()
        (tmp_path / "x").write_bytes(b"")
    assert found == [{tmp_path: {"x"}}]


async def test_without_a_change_it_returns_empty_after_the_timeout(watcher: Watcher):
    assert await watcher.changes(0.01) == {}
    assert await watcher.changes(0) == {}


async def test_several_directories_are_told_apart(tmp_path: Path, watcher: Watcher):
    inner = tmp_path / "inner"
    inner.mkdir()
    watcher.add(inner)
    watcher.add(inner)
    (inner / "a").write_bytes(b"")
    (tmp_path / "b").write_bytes(b"")
    assert await changes(watcher) == {tmp_path: {"inner", "b"}, inner: {"a"}}


async def test_a_name_that_is_no_utf8_is_told(tmp_path: Path, watcher: Watcher):
    name = os.fsdecode(b"\xff")
    (tmp_path / name).write_bytes(b"")
    assert await changes(watcher) == {tmp_path: {name}}


async def test_a_directory_that_was_made_anew_can_be_watched_again(tmp_path: Path, watcher: Watcher):
    inner = tmp_path / "inner"
    inner.mkdir()
    watcher.add(inner)
    inner.rmdir()
    assert set(await changes(watcher)) == {tmp_path, inner}
    inner.mkdir()
    watcher.add(inner)
    (inner / "a").write_bytes(b"")
    assert (await changes(watcher))[inner] == {"a"}


async def test_a_directory_made_anew_before_anybody_looked_is_watched(tmp_path: Path, watcher: Watcher):
    """The end of the old watch is told after the new one was made, and must not end it."""
    inner = tmp_path / "inner"
    inner.mkdir()
    watcher.add(inner)
    inner.rmdir()
    inner.mkdir()
    watcher.add(inner)
    await changes(watcher)
    (inner / "a").write_bytes(b"")
    assert await changes(watcher) == {inner: {"a"}}


async def test_after_an_overflow_every_directory_counts_as_changed(tmp_path: Path, watcher: Watcher):
    """Two files in turn: the kernel joins like events that follow each other."""
    inner = tmp_path / "inner"
    inner.mkdir()
    watcher.add(inner)
    with (inner / "a").open("ab", buffering=0) as a, (inner / "b").open("ab", buffering=0) as b:
        for _ in range(QUEUE_LENGTH):
            a.write(b"x")
            b.write(b"x")
    assert await changes(watcher) == {tmp_path: set(), inner: set()}
    (inner / "c").write_bytes(b"")
    assert await changes(watcher) == {inner: {"c"}}


async def test_what_is_no_directory_is_refused_and_leaves_nothing_open(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"")
    before = set(os.listdir("/proc/self/fd"))
    for path, error in ((tmp_path / "file", NotADirectoryError), (tmp_path / "nothing", FileNotFoundError)):
        with pytest.raises(error):
            async with open_watcher([path]):
                pass
    assert set(os.listdir("/proc/self/fd")) == before
