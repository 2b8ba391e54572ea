import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from attrs import evolve

from omkd.protocol.version import __version__
from omkd.store.locks import LockHeld, is_copy, lock_holder, take_lock, this_process
from omkd.store.procfs import boot_id, start_time

HOLD = """
import sys
from pathlib import Path
from omkd.store.locks import take_lock
lock = take_lock(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def held_elsewhere(path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock until it is ended."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "omkd.lock"


def test_the_one_who_holds_it_is_named(path: Path):
    with held_elsewhere(path) as process:
        with pytest.raises(LockHeld, match=f"omkd.lock is held by pid {process.pid}, omkd {__version__}") as refused:
            take_lock(path)
        holder = refused.value.holder
        assert holder is not None
        assert (holder.pid, holder.start_time, holder.boot_id) == (process.pid, start_time(process.pid), boot_id())


def test_the_holders_death_frees_it(path: Path):
    with held_elsewhere(path) as process:
        process.kill()
        process.wait()
        assert lock_holder(path) is None
        lock = take_lock(path)
    assert path.exists()
    lock.release()


def test_releasing_frees_it_and_keeps_the_file(path: Path):
    lock = take_lock(path)
    lock.release()
    assert path.exists()
    assert lock_holder(path) is None
    take_lock(path).release()


def test_a_second_descriptor_of_the_same_process_is_refused_too(path: Path):
    lock = take_lock(path)
    with pytest.raises(LockHeld, match=f"pid {os.getpid()}"):
        take_lock(path)
    holder = lock_holder(path)
    assert holder == evolve(this_process(), inode=path.stat().st_ino)
    lock.release()


def test_asking_who_holds_it_does_not_take_it(path: Path):
    take_lock(path).release()
    assert lock_holder(path) is None
    with held_elsewhere(path) as process:
        for _ in range(2):
            holder = lock_holder(path)
            assert holder is not None
            assert holder.pid == process.pid
    take_lock(path).release()


def test_nobody_holds_a_lock_that_is_not_there(path: Path):
    assert lock_holder(path) is None
    assert not path.exists()


@pytest.mark.parametrize("text", [b"", b'{"pid":', b"\xff", b"[]"])
def test_a_holder_whose_text_cannot_be_read_holds_it_all_the_same(path: Path, text: bytes):
    lock = take_lock(path)
    path.write_bytes(text)
    holder = lock_holder(path)
    assert holder is not None
    assert holder.pid == 0
    with pytest.raises(LockHeld, match="an unknown process"):
        take_lock(path)
    lock.release()


def test_what_an_earlier_longer_holder_wrote_is_gone(path: Path):
    path.write_bytes(b"x" * 1000)
    lock = take_lock(path)
    assert lock_holder(path) == evolve(this_process(), inode=path.stat().st_ino)
    lock.release()


def test_a_child_does_not_inherit_it(path: Path):
    lock = take_lock(path)
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as child:
        lock.release()
        assert lock_holder(path) is None
        child.kill()


@pytest.mark.parametrize("umask", [0o000, 0o777], ids=oct)
def test_its_file_is_private_and_its_directory_is_made(tmp_path: Path, umask: int):
    path = tmp_path / "session" / "omkd.lock"
    before = os.umask(umask)
    try:
        lock = take_lock(path)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    lock.release()


def test_a_symlink_in_place_of_the_file_is_refused(tmp_path: Path, path: Path):
    target = tmp_path / "target"
    target.write_bytes(b"mine")
    path.symlink_to(target)
    with pytest.raises(OSError, match="symbolic links"):
        take_lock(path)
    with pytest.raises(OSError, match="symbolic links"):
        lock_holder(path)
    assert target.read_bytes() == b"mine"


def test_a_process_is_told_from_a_later_one_of_its_number_by_its_start():
    assert start_time(os.getpid()) == this_process().start_time > 0
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    with pytest.raises(ProcessLookupError, match=f"no process {ended.pid}"):
        start_time(ended.pid)


def test_a_process_whose_name_has_brackets_is_read(tmp_path: Path):
    program = tmp_path / "a) R 1 (b"
    program.symlink_to("/bin/cat")
    with subprocess.Popen([program], stdin=subprocess.PIPE) as process:
        assert start_time(process.pid) > 0


def test_a_lock_file_that_was_copied_is_known_for_a_copy_until_that_is_settled(tmp_path: Path) -> None:
    first = take_lock(tmp_path / "a")
    first.release()
    shutil.copy(tmp_path / "a", tmp_path / "b")
    told = []
    for name, settles in (("a", False), ("b", False), ("b", True), ("b", False)):
        lock = take_lock(tmp_path / name)
        told.append((lock.was_copied, is_copy(tmp_path / name)))
        if settles:
            lock.settle()
        assert lock_holder(tmp_path / name) is not None
        lock.release()
    assert told == [(False, False), (True, True), (True, True), (False, False)]
