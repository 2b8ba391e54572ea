"""Bytes in, complete lines out, in any chunks. Standard library only.

What follows the last newline is not there yet.
"""

from typing import NamedTuple


class Line(NamedTuple):
    """A complete line without its newline; `offset` and `end` (behind the newline) count bytes from the start."""

    text: bytes
    offset: int
    end: int


class LongLine(NamedTuple):
    """A line over the limit: skipped, its bytes not kept."""

    offset: int
    end: int


class LineSplitter:
    """Feed with `receive_data` in chunks of any size; memory stays below the limit plus one chunk.

    `limit_bytes` counts a line without its newline. `overlong` says that the line now coming in is over it already:
    a peer that may not send such a line need not be waited for.
    """

    def __init__(self, limit_bytes: int, offset: int = 0) -> None:
        self._limit_bytes = limit_bytes
        self._offset = offset
        self._begun = bytearray()  # not bytes: a line that comes byte by byte would be copied at each
        self._dropped_bytes = 0

    @property
    def overlong(self) -> bool:
        return self._dropped_bytes > 0

    @property
    def offset(self) -> int:
        """Where the line that is not complete yet begins."""
        return self._offset

    def receive_data(self, data: bytes) -> list[Line | LongLine]:
        pieces = data.split(b"\n")
        lines = [self._end_line(piece) for piece in pieces[:-1]]
        self._begin_line(pieces[-1])
        return lines

    def _end_line(self, piece: bytes) -> Line | LongLine:
        size = self._dropped_bytes + len(self._begun) + len(piece)
        text = bytes(self._begun) + piece if self._begun else piece
        self._begun.clear()
        self._dropped_bytes = 0
        start, self._offset = self._offset, self._offset + size + 1
        if size > self._limit_bytes:
            return LongLine(start, self._offset)
        return Line(text, start, self._offset)

    def _begin_line(self, piece: bytes) -> None:
        if self._dropped_bytes:
            self._dropped_bytes += len(piece)
            return
        self._begun += piece
        if len(self._begun) > self._limit_bytes:
            self._dropped_bytes = len(self._begun)
            self._begun.clear()
