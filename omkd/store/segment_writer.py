"""The segment that is written to: whole lines or nothing, and the change to the next one.

Knows bytes and files, neither units nor trio. `sync` is made for a thread; the rest runs between two appends.
"""

import errno
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from attrs import frozen

from .files import OPEN_FLAGS, make_dir, sync_dir, write_all
from .log_errors import LogBroken, LogWriteFailed
from .segments import create_segment

NEXT_SEGMENT: Final = "next-segment.tmp"
COPY_BYTES: Final = 1024 * 1024


@frozen(kw_only=True)
class Disk:
    """The calls that can fail, as the log makes them."""

    write: Callable[[int, bytes], int] = os.write
    truncate: Callable[[int, int], None] = os.ftruncate
    sync: Callable[[int], None] = os.fdatasync
    create: Callable[[Path], int] = create_segment


class SegmentWriter:
    """Appends to one segment at a time. `end` is where the next line begins."""

    def __init__(self, path: Path, disk: Disk) -> None:
        self.path = path
        self._disk = disk
        self._descriptor = os.open(path, os.O_RDWR | os.O_APPEND | OPEN_FLAGS)
        self._left: list[int] = []
        self.end = os.fstat(self._descriptor).st_size

    def append(self, line: bytes) -> int:
        """All of `line`, or nothing of it: another must not begin behind half a one. Returns where it begins.

        Raises LogWriteFailed, LogBroken (half a line is there and cannot be cut off).
        """
        start = self.end
        try:
            count = self._disk.write(self._descriptor, line)
        except OSError as exc:
            self.cut_back(start)
            raise LogWriteFailed(self.path, exc.strerror or str(exc)) from exc
        if count != len(line):
            self.cut_back(start)
            raise LogWriteFailed(
                self.path, f"it took {count} of {len(line)} bytes: the disk is full, or a limit reached"
            )
        self.end += count
        return start

    def cut_back(self, end: int) -> None:
        """What was written behind `end` is gone. Raises LogBroken."""
        try:
            self._disk.truncate(self._descriptor, end)
        except OSError as exc:
            raise LogBroken(self.path, f"half a line cannot be cut off at byte {end}: {exc.strerror or exc}") from exc
        self.end = end

    def sync(self) -> None:
        """All that was appended before the call is on disk, whatever segment it went to. Raises OSError: nobody knows.

        A segment left since the last call, and the name of the one that followed it, come first.
        """
        active = self._descriptor
        for descriptor in self._left:
            self._disk.sync(descriptor)
        if self._left:
            sync_dir(self.path.parent)
        self._disk.sync(active)
        while self._left:
            os.close(self._left.pop())

    def is_in_place(self) -> bool:
        """The segment has its name still."""
        ours = os.fstat(self._descriptor)
        try:
            named = os.stat(self.path, follow_symlinks=False)
        except (FileNotFoundError, NotADirectoryError):
            return False
        return (named.st_dev, named.st_ino) == (ours.st_dev, ours.st_ino)

    def put_back(self) -> None:
        """A segment that was removed, renamed or replaced is copied to its name; the next `sync` makes that durable.

        What stands there is kept as `….replaced`. Raises OSError: it has no name still.
        """
        make_dir(self.path.parent)
        copy = self.prepare_next()
        try:
            at = 0
            while at < self.end:
                block = os.pread(self._descriptor, min(COPY_BYTES, self.end - at), at)
                if not block:
                    raise OSError(errno.EIO, f"it ends at byte {at}, not at {self.end}", str(self.path))
                write_all(copy, block)
                at += len(block)
            with suppress(FileNotFoundError):
                self.path.rename(self.path.with_name(self.path.name + ".replaced"))
            self.path.with_name(NEXT_SEGMENT).rename(self.path)
        except OSError:
            os.close(copy)
            raise
        self._left.append(self._descriptor)
        self._descriptor = copy

    def prepare_next(self) -> int:
        """A descriptor of an empty synced file without a name of its own yet. Raises OSError."""
        prepared = self.path.with_name(NEXT_SEGMENT)
        prepared.unlink(missing_ok=True)
        return self._disk.create(prepared)

    def go_on_in(self, name: str, descriptor: int) -> None:
        """The prepared file gets its name and is appended to from now on. Raises OSError: then nothing has changed."""
        path = self.path.with_name(name)
        try:
            self.path.with_name(NEXT_SEGMENT).rename(path)
        except OSError:
            os.close(descriptor)
            raise
        self._left.append(self._descriptor)
        self.path, self._descriptor, self.end = path, descriptor, 0

    def close(self) -> None:
        for descriptor in (*self._left, self._descriptor):
            os.close(descriptor)
