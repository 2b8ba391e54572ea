"""Lock files: who holds one is asked of the kernel, its text only says who that is.

Open-file-description locks (fcntl(2), F_OFD_SETLK): held by the descriptor, gone with the process, and others can ask
for them without taking them.
"""

import fcntl
import os
import struct
from pathlib import Path

from attrs import evolve

from omkd.protocol import codec
from omkd.protocol.records import LockHolder
from omkd.protocol.scalars import U64
from omkd.protocol.version import __version__

from .files import FILE_MODE, OPEN_FLAGS, SMALL_FILE_BYTES, make_dir, read_regular
from .procfs import boot_id, start_time

FLOCK = "hhqqi"  # struct flock of Linux: l_type, l_whence, l_start, l_len, l_pid


class LockHeld(Exception):
    """Another process holds the lock. `holder` is what its file says, None if that cannot be read."""

    def __init__(self, path: Path, holder: LockHolder | None) -> None:
        who = f"pid {holder.pid}, omkd {holder.version}" if holder else "an unknown process"
        super().__init__(f"{path} is held by {who}")
        self.path = path
        self.holder = holder


class FileLock:
    """A held lock; it ends with `release` or with the process. The file stays.

    `was_copied`: the file is a copy of the one that was locked last, and so is what stands beside it. The next holder
    is told the same, until `settle` says that all is known that this one must know of it.
    """

    def __init__(self, path: Path, descriptor: int, *, was_copied: bool) -> None:
        self.path = path
        self.was_copied = was_copied
        self._descriptor = descriptor

    def settle(self) -> None:
        """Raises OSError."""
        write_holder(self._descriptor, os.fstat(self._descriptor).st_ino)

    def release(self) -> None:
        os.close(self._descriptor)


def take_lock(path: Path) -> FileLock:
    """The lock on `path`, the file made if missing and filled with who we are. Raises LockHeld, OSError."""
    make_dir(path.parent)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | OPEN_FLAGS, FILE_MODE)
    try:
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
        os.fchmod(descriptor, FILE_MODE)
        before, inode = read_holder(path), os.fstat(descriptor).st_ino
        was_copied = before is not None and before.inode not in (0, inode)
        write_holder(descriptor, before.inode if before is not None and was_copied else inode)
    except BlockingIOError:
        os.close(descriptor)
        raise LockHeld(path, read_holder(path)) from None
    except OSError:
        os.close(descriptor)
        raise
    return FileLock(path, descriptor, was_copied=was_copied)


def write_holder(descriptor: int, inode: int) -> None:
    """This process, as who holds a lock. Raises OSError: the file says what it said."""
    text = codec.dumps(evolve(this_process(), inode=U64(inode)))
    os.ftruncate(descriptor, os.pwrite(descriptor, text, 0))


def lock_holder(path: Path) -> LockHolder | None:
    """Who holds the lock on `path`, without taking it; None when nobody does or there is no such file.

    A holder whose text is not (yet) readable has pid 0.
    """
    try:
        descriptor = os.open(path, os.O_RDWR | OPEN_FLAGS)
    except FileNotFoundError:
        return None
    try:
        asked = struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind = struct.unpack(FLOCK, fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, asked))[0]
    finally:
        os.close(descriptor)
    if kind == fcntl.F_UNLCK:
        return None
    return read_holder(path) or LockHolder(pid=U64(0), start_time=U64(0), boot_id="", version="?")


def read_holder(path: Path) -> LockHolder | None:
    try:
        return codec.loads(read_regular(path, SMALL_FILE_BYTES), LockHolder)
    except (OSError, ValueError):
        return None


def is_copy(path: Path) -> bool:
    """The file on `path` is a copy of the one that was locked, and so is what stands beside it; nobody settled that."""
    holder = read_holder(path)
    return holder is not None and holder.inode not in (0, os.stat(path, follow_symlinks=False).st_ino)


def is_gone(holder: LockHolder) -> bool:
    """The process that took the lock has ended. One that it was just starting holds it until its exec."""
    try:
        return holder.boot_id != boot_id() or start_time(holder.pid) != holder.start_time
    except ProcessLookupError:
        return True


def this_process() -> LockHolder:
    pid = os.getpid()
    return LockHolder(pid=U64(pid), start_time=U64(start_time(pid)), boot_id=boot_id(), version=__version__)
