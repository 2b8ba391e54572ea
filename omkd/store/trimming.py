"""The size limit of a run's output: head and tail are kept, the middle is left out. No pipe, no copy while it runs.

The command writes to its file directly, so the file is never cut under it: while it runs, the blocks in the middle are
given back to the disk (a hole, fallocate(2)); when it has ended, the file is written anew with a line in the hole's
place. A file system without holes keeps everything until then.
"""

import ctypes
import errno
import os
from pathlib import Path
from typing import Final

from attrs import frozen

from .files import atomic_write, open_regular

FALLOC_FL_KEEP_SIZE: Final = 1  # linux/falloc.h
FALLOC_FL_PUNCH_HOLE: Final = 2

BLOCK_BYTES: Final = 4096
"""Holes begin and end at a multiple of this: inside a block the kernel writes zeros instead."""


@frozen
class Kept:
    """Of `size` bytes: the first `head` and the last `tail`; what is between them is left out."""

    size: int
    head: int
    tail: int

    @property
    def left_out(self) -> int:
        return self.size - self.head - self.tail


def kept_of(size: int, limit_bytes: int) -> Kept | None:
    """None: all of it. Head a quarter, tail three quarters: how it began, and mostly how it ended."""
    if size <= limit_bytes:
        return None
    head = limit_bytes // 4
    return Kept(size=size, head=head, tail=limit_bytes - head)


def give_back(path: Path, limit_bytes: int) -> bool:
    """Punches the hole of a file that is over the limit; False: this file system has no holes. Raises OSError."""
    descriptor = open_regular(path, os.O_RDWR)
    try:
        kept = kept_of(os.fstat(descriptor).st_size, limit_bytes)
        if kept is None:
            return True
        start = -(-kept.head // BLOCK_BYTES) * BLOCK_BYTES
        end = (kept.size - kept.tail) // BLOCK_BYTES * BLOCK_BYTES
        return end <= start or punch_hole(descriptor, start, end - start)
    finally:
        os.close(descriptor)


def punch_hole(descriptor: int, offset: int, length: int) -> bool:
    """False where the file system cannot. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
    if libc.fallocate64(descriptor, mode, ctypes.c_int64(offset), ctypes.c_int64(length)) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.EOPNOTSUPP, errno.ENOSYS):
        return False
    raise OSError(number, f"fallocate: {os.strerror(number)}")


def trim(path: Path, limit_bytes: int) -> int:
    """Writes a file over the limit anew as head, a line, and tail; how many bytes were left out. Nobody writes to it.

    Raises OSError; the file is as it was then.
    """
    descriptor = open_regular(path)
    try:
        kept = kept_of(os.fstat(descriptor).st_size, limit_bytes)
        if kept is None:
            return 0
        head = os.pread(descriptor, kept.head, 0)
        tail = os.pread(descriptor, kept.tail, kept.size - kept.tail)
    finally:
        os.close(descriptor)
    atomic_write(path, head + left_out_line(kept.left_out) + tail)
    return kept.left_out


def left_out_line(count: int) -> bytes:
    return f"\n… {count} bytes left out …\n".encode()
