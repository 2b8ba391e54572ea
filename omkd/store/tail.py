"""Complete lines of a file that others append to, cut, replace or remove. Each line once, none lost (design, §3.4)."""

import contextlib
import hashlib
import itertools
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from attrs import frozen

from omkd.protocol.lines import Line, LineSplitter, LongLine

from .files import OPEN_FLAGS

CHUNK_BYTES: Final = 64 * 1024
"""Of one read: some 500 lines, 50 ms of the event loop."""

MARK_BYTES: Final = 64
BLOCK_BYTES: Final = 4096
"""Read first where the beginning of a line is looked for."""


@frozen(kw_only=True)
class Position:
    """Where reading goes on. `gen` counts the file's changes; `head` and `tail` are hashes of what stands before.

    `tail` is of the whole last line, which names its task: results of two tasks may be as long and end the same.
    """

    gen: int
    end: int
    tail: str
    inode: int
    head: str


@frozen(kw_only=True)
class Piece:
    """What one read brought: lines of one generation of the file. `more` says that there is more to read now."""

    lines: list[Line | LongLine]
    more: bool


class TailReader:
    """Reads `path` from `start` on; None: from the beginning, as generation `first_gen`.

    `earlier` gives the positions that were kept before, the newest first: a file that lost its end is read on behind
    the last of the known lines that stands in it. `was_copied`: with all around it the file is a copy, so that another
    inode does not make another file of it; `to_keep` is then the place in the copy, until its owner has kept it.
    """

    def __init__(
        self,
        path: Path,
        *,
        start: Position | None,
        first_gen: int,
        limit_bytes: int,
        earlier: Callable[[], Iterable[Position]] = tuple,
        was_copied: bool = False,
    ) -> None:
        self.path = path
        self.to_keep: Position | None = None
        self._earlier = earlier
        self._limit_bytes = limit_bytes
        self._start = start
        self._was_copied = was_copied
        self._gen = start.gen if start else first_gen
        self._descriptor: int | None = None
        self._inode = 0
        self._head = ""
        self._known = b""
        self._last_line = b""
        self._splitter = LineSplitter(limit_bytes)
        self._read_to = 0

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def go_back_to(self, offset: int) -> None:
        """What the last `read` brought from `offset` on, where a line begins, comes again. Raises OSError."""
        self._go_to(offset)

    def size(self) -> int | None:
        """Of the file that the path names now; None when there is none."""
        try:
            return os.stat(self.path, follow_symlinks=False).st_size
        except FileNotFoundError:
            return None

    def position_at(self, end: int) -> Position:
        """The position behind a line that the last `read` brought."""
        assert self._descriptor is not None
        tail = mark(line_before(self._descriptor, end, self._limit_bytes))
        return Position(gen=self._gen, end=end, tail=tail, inode=self._inode, head=self._head)

    def read(self, up_to: int | None = None) -> Piece:
        """The next complete lines, of a chunk of 64 KiB; in the newest file not beyond `up_to`. Raises OSError.

        A replaced file is read to its end before the new one is begun; a piece never mixes the two.
        """
        if not self.open():
            return Piece(lines=[], more=False)
        assert self._descriptor is not None
        replaced = self._is_replaced()
        self._notice_rewriting(self._descriptor)
        stop = None if replaced else up_to
        wanted = CHUNK_BYTES if stop is None else min(CHUNK_BYTES, stop - self._read_to)
        data = os.pread(self._descriptor, wanted, self._read_to) if wanted > 0 else b""
        if not data:
            return self._next_file() if replaced else Piece(lines=[], more=False)
        self._note_read(data)
        more = replaced or (len(data) == wanted and self._read_to != stop)
        return Piece(lines=self._splitter.receive_data(data), more=more)

    def _note_read(self, data: bytes) -> None:
        lines_end = data.rfind(b"\n") + 1
        if lines_end:
            self._last_line = last_line(self._known + data[:lines_end], self._limit_bytes)
            self._known = self._last_line + data[lines_end:]
            self._head = self._head or self._first_line_mark()
        else:
            self._known = (self._known + data)[-self._limit_bytes :]
        self._read_to += len(data)

    def _next_file(self) -> Piece:
        self.close()
        self._gen += 1
        return Piece(lines=[], more=self.open())

    def open(self) -> bool:
        """Opens the file, as `read` does, and finds the place to begin at; False: there is none. Raises OSError."""
        if self._descriptor is not None:
            return True
        try:
            descriptor = os.open(self.path, os.O_RDONLY | OPEN_FLAGS)
        except FileNotFoundError:
            return False
        self._descriptor = descriptor
        try:
            self._inode = os.fstat(descriptor).st_ino
            self._head = self._first_line_mark()
            self._go_to(0 if self._start is None else self._place_of(descriptor, self._start))
        except OSError:
            self.close()
            raise
        self._start = None
        return True

    def _place_of(self, descriptor: int, start: Position) -> int:
        """The offset to go on at. The generation is counted on if it is not the file that `start` speaks of, or lost
        its end: what is written there now may end where a lost line ended.
        """
        is_copy = self._was_copied and start is self._start and start.inode not in (0, self._inode)
        place = self._last_that_stands(descriptor, start) if is_copy or start.inode == self._inode else None
        if place is not start:
            self._gen += 1
        end = 0 if place is None else place.end
        if is_copy:
            self.to_keep = self.position_at(end)
        return end

    def _last_that_stands(self, descriptor: int, start: Position) -> Position | None:
        if self._stands(descriptor, start):
            return start
        if self._first_line_mark() != start.head:
            return None  # not a line of it stands: the file was written anew
        this_file = start.inode, start.head
        of_it = itertools.takewhile(lambda each: (each.inode, each.head) == this_file, self._earlier())
        return next((each for each in of_it if self._stands(descriptor, each)), None)

    def _stands(self, descriptor: int, position: Position) -> bool:
        return stands(descriptor, position.end, position.tail, self._limit_bytes)

    def _is_replaced(self) -> bool:
        with contextlib.suppress(FileNotFoundError):
            return os.stat(self.path, follow_symlinks=False).st_ino != self._inode
        return False

    def _notice_rewriting(self, descriptor: int) -> None:
        """The same inode with other content, cut or written anew: goes on as a start would behind the last line."""
        known = self._known
        is_shorter = os.fstat(descriptor).st_size < self._read_to
        if is_shorter or os.pread(descriptor, len(known), self._read_to - len(known)) != known:
            end, tail = self._splitter.offset, mark(self._last_line)
            behind = Position(gen=self._gen, end=end, tail=tail, inode=self._inode, head=self._head)
            self._go_to(self._place_of(descriptor, behind))

    def _go_to(self, offset: int) -> None:
        self._read_to = offset
        self._splitter = LineSplitter(self._limit_bytes, offset=offset)
        assert self._descriptor is not None
        self._known = self._last_line = line_before(self._descriptor, offset, self._limit_bytes)
        self._head = self._first_line_mark()

    def _first_line_mark(self) -> str:
        """Of the first line, at most its first 64 bytes; empty while it is not complete."""
        assert self._descriptor is not None
        first, newline, _ = os.pread(self._descriptor, MARK_BYTES, 0).partition(b"\n")
        return mark(first) if newline or len(first) == MARK_BYTES else ""


def stands(descriptor: int, end: int, tail: str, limit_bytes: int) -> bool:
    """Whether the line that ended at `end`, with this `tail`, is there still. Raises OSError."""
    if os.fstat(descriptor).st_size < end:
        return False
    line = line_before(descriptor, end, limit_bytes)
    return tail in (mark(line), mark(line[-MARK_BYTES:]))  # the second is what `tail` was before the first release


def line_before(descriptor: int, end: int, limit_bytes: int) -> bytes:
    """What stands before `end` from the beginning of its line on: at least 64 bytes, at most the limit."""
    size = min(BLOCK_BYTES, end)
    while True:
        block = os.pread(descriptor, size, end - size)
        if b"\n" in block[:-1] or size >= min(end, limit_bytes):
            return last_line(block, limit_bytes)
        size = min(2 * size, end)


def last_line(block: bytes, limit_bytes: int) -> bytes:
    """The line at the end of `block`, which may end within it; with what is before it at least 64 bytes."""
    begin = block.rfind(b"\n", 0, -1) + 1
    return block[max(0, min(begin, len(block) - MARK_BYTES)) :][-limit_bytes:]


def mark(content: bytes) -> str:
    """A short hash that tells one piece of text from another."""
    return hashlib.blake2b(content, digest_size=8).hexdigest()
