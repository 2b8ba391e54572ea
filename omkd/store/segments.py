"""Segments: the files of the event log, their names, and where in them a unit stands.

`events/<seq of its first unit, 20 digits>.jsonl`. Every other name is somebody else's and is left alone.
"""

import bisect
import os
import re
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from attrs import frozen

from omkd.protocol.events import Unit
from omkd.protocol.scalars import Seq

from .files import FILE_MODE, OPEN_FLAGS

NAME: Final = re.compile(r"[0-9]{20}\.jsonl")
SEQ_FIRST: Final = re.compile(rb'\{"seq":([1-9][0-9]{0,19}),')

FIRST_SEQ: Final = Seq(1)

UNITS_PER_MARK: Final = 256
"""A mark (16 bytes) for so many units: a reader skips 128 lines on average, a million units cost 64 KiB."""

READ_BYTES: Final = 64 * 1024
"""Of one read(2): what a pipe holds; more gains nothing from the page cache."""


class RawLine(NamedTuple):
    """A line as it stands in a segment, without its newline; `ended` says that there was one."""

    offset: int
    text: bytes
    ended: bool

    @property
    def end(self) -> int:
        return self.offset + len(self.text) + self.ended


@frozen(kw_only=True)
class StoredUnit:
    """A unit and the bytes it has in the log, without their newline."""

    seq: Seq
    line: bytes
    unit: Unit


class Segment:
    """One file of the log and a sparse index of it: seq and offset of each 256th unit.

    Of a segment that a start did not read (`unread`) the index is made when it is first asked for: 50 ms for 64 MiB.
    """

    def __init__(self, path: Path, *, unread: bool = False) -> None:
        self.path = path
        self.first = first_seq_of(path)
        self._unread = unread
        self._newest: int = self.first - 1
        self._unmarked = UNITS_PER_MARK
        self._seqs = array("Q")
        self._offsets = array("Q")

    def note(self, seq: Seq, offset: int) -> None:
        """The next unit of this segment begins at `offset`. Only one that goes on from the one before is a mark.

        So a number that was damaged is none, and neither is the first one behind a gap.
        """
        if self._unmarked >= UNITS_PER_MARK and seq == self._newest + 1:
            self._seqs.append(seq)
            self._offsets.append(offset)
            self._unmarked = 0
        self._newest = seq
        self._unmarked += 1

    def marks_before(self, seq: int) -> Iterator[tuple[Seq, int]]:
        """(seq, offset) of the marks below `seq`, newest first; its own beginning is always one. Raises OSError."""
        self._read_if_unread()
        for place in range(bisect.bisect_left(self._seqs, seq) - 1, -1, -1):
            yield Seq(self._seqs[place]), self._offsets[place]
        if not self._offsets or self._offsets[0] > 0:
            yield self.first, 0

    def mark_for(self, seq: int) -> tuple[Seq, int]:
        """(seq, offset) where reading must begin to meet the first unit at or above `seq`. Raises OSError."""
        self._read_if_unread()
        place = bisect.bisect_right(self._seqs, seq) - 1
        return (Seq(self._seqs[place]), self._offsets[place]) if place >= 0 else (self.first, 0)

    def offset_for(self, seq: int) -> int:
        """As `mark_for`, the offset alone."""
        return self.mark_for(seq)[1]

    def _read_if_unread(self) -> None:
        """A line that does not begin as omkd writes it gets no mark; who reads it finds out what it is."""
        if not self._unread:
            return
        for line in read_lines(self.path):
            if match := SEQ_FIRST.match(line.text):
                self.note(Seq(int(match[1])), line.offset)
        self._unread = False


def segment_name(first: int) -> str:
    return f"{first:020d}.jsonl"


def first_seq_of(path: Path) -> Seq:
    return Seq(int(path.stem))


def list_segments(events_dir: Path) -> list[Path]:
    """The segments in order of their first seq. Raises OSError."""
    return sorted(path for path in events_dir.iterdir() if NAME.fullmatch(path.name))


def create_segment(path: Path) -> int:
    """A new empty file 0600, synced; returns its append descriptor. The caller syncs the directory.

    Raises OSError: FileExistsError too, nothing is ever overwritten.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_EXCL | OPEN_FLAGS, FILE_MODE)
    try:
        os.fchmod(descriptor, FILE_MODE)
        os.fsync(descriptor)
    except OSError:
        os.close(descriptor)
        path.unlink(missing_ok=True)
        raise
    return descriptor


def read_lines(path: Path, offset: int = 0) -> Iterator[RawLine]:
    """The lines of a segment from `offset` on, the last one perhaps not ended. Raises OSError (ELOOP: a symlink)."""
    descriptor = os.open(path, os.O_RDONLY | OPEN_FLAGS)
    with open(descriptor, "rb", buffering=READ_BYTES) as opened:
        opened.seek(offset)
        for line in opened:
            if line.endswith(b"\n"):
                yield RawLine(offset, line[:-1], True)
            else:
                yield RawLine(offset, line, False)
            offset += len(line)


def segments_from(segments: list[Segment], seq: int) -> list[Segment]:
    """The segment that `seq` stands in, and all behind it."""
    place = bisect.bisect_right([segment.first for segment in segments], seq) - 1
    return segments[max(place, 0) :]
