"""Reads units of the log's past. A start behind a snapshot does not look at all of it, so damage may be met here.

A line counts if it is the next unit. Where others are missing or cannot be read in front of it, it counts if so many
lines were passed over, if the line behind it goes on from it, or if a repair left that gap. Everything else is damage,
told with the next unit that can be read, so that a reader may go on behind it.
"""

import errno
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple, TypeAlias

from attrs import define, field

from omkd.protocol import codec
from omkd.protocol.events import Unit
from omkd.protocol.scalars import Seq

from .log_errors import UnitsUnreadable
from .log_scan import ExplainedGaps
from .segments import SEQ_FIRST, RawLine, Segment, StoredUnit, read_lines, segments_from

logger = logging.getLogger(__name__)

SHORTAGES: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""What keeps us from reading a file, and is not the file's fault."""

NO_NUMBER: Final = 0
"""Of a line that is no unit; no unit has it."""

Mark: TypeAlias = tuple[Seq, int]
"""A unit that is known to stand where its number says, and its offset."""

Thing: TypeAlias = StoredUnit | UnitsUnreadable
"""What stands in a segment. Damage is not raised at once: units behind it may be wanted first."""


class Placed(NamedTuple):
    """A unit where it belongs; read only if it is wanted."""

    seq: Seq
    stored: StoredUnit | None


class Misfit(NamedTuple):
    """A line that is no unit, or not the one that belongs there."""

    offset: int
    reason: str


@define
class PastReader:
    """Reads the log's segments: the list is the log's own, and changes."""

    _segments: list[Segment]
    _gaps: ExplainedGaps = field(init=False)
    _said: set[tuple[Path, int]] = field(factory=set, init=False)

    def __attrs_post_init__(self) -> None:
        self._gaps = ExplainedGaps(lambda: [segment.path for segment in self._segments])

    def after(self, after: Seq, upto: Seq, *, max_units: int, max_bytes: int) -> list[StoredUnit]:
        """Units above `after`, not above `upto`, ascending: as many as the limits allow, at least one.

        `upto`, above `after`, is known to be on disk. Memory stays below `max_bytes`, one unit and one read.
        Raises UnitsUnreadable (no unit stands in front of the damage), OSError (one of SHORTAGES).
        """
        return self._as_many_as_fit(self._things_after(after, upto), max_units, max_bytes)

    def before(self, before: Seq, *, max_units: int, max_bytes: int) -> list[StoredUnit]:
        """The newest `max_units` units below `before` (as far as `max_bytes` goes, at least one), ascending.

        Raises UnitsUnreadable (no unit stands behind the damage), OSError (one of SHORTAGES).
        """
        return self._as_many_as_fit(self._things_before(before), max_units, max_bytes)[::-1]

    def _as_many_as_fit(self, things: Iterator[Thing], max_units: int, max_bytes: int) -> list[StoredUnit]:
        """One at least, if there is one in front of damage. Raises UnitsUnreadable, OSError."""
        found: list[StoredUnit] = []
        room = max_bytes
        try:
            for thing in things:
                if isinstance(thing, UnitsUnreadable):
                    raise thing
                room -= len(thing.line)
                if found and (room < 0 or len(found) >= max_units):
                    break
                found.append(thing)
        except UnitsUnreadable as damage:
            if not found:
                self._say_once(damage)
                raise
        return found

    def _say_once(self, damage: UnitsUnreadable) -> None:
        """Who reads is told each time, and may ask each second."""
        if (damage.segment, damage.offset) not in self._said:
            self._said.add((damage.segment, damage.offset))
            logger.error("%s", damage)

    def _things_after(self, after: Seq, upto: Seq) -> Iterator[Thing]:
        """What stands above `after`, to `upto`: each number is a unit's, damage, or in a gap."""
        ahead = segments_from(self._segments, after + 1)
        last: int = after
        for segment, end in zip(ahead, ends_of(ahead, Seq(upto + 1)), strict=True):
            if last >= upto:
                return
            for thing in self._things_in(segment, mark_for(segment, after, end), after, end):
                yield thing
                last = thing.seq if isinstance(thing, StoredUnit) else thing.readable_from - 1
        if last < upto:
            path = ahead[-1].path
            raise UnitsUnreadable(path, path.stat().st_size, f"unit {upto} stood here", readable_from=Seq(upto + 1))

    def _things_before(self, before: Seq) -> Iterator[Thing]:
        """What stands below `before`, the newest first. Goes from mark to mark, backwards."""
        bound = before
        for segment, end in reversed(list(zip(self._segments, ends_of(self._segments, before), strict=True))):
            for mark in marks_of(segment, before, end):
                yield from reversed(list(self._things_in(segment, mark, Seq(mark[0] - 1), end, below=bound)))
                bound = mark[0]

    def _things_in(
        self, segment: Segment, mark: Mark, after: Seq, end: Seq, *, below: Seq | None = None
    ) -> Iterator[Thing]:
        """Units above `after` and `below` (by default all), and the damage that took such units."""
        below = end if below is None else min(below, end)
        last: int = after
        misfit: Misfit | None = None
        for each in self._judged(segment, mark, after, end, below):
            if isinstance(each, Misfit):
                misfit = misfit or each
                continue
            if misfit and each.seq > last + 1:
                yield UnitsUnreadable(segment.path, misfit.offset, misfit.reason, readable_from=each.seq)
            misfit, last = None, max(last, each.seq)
            if each.stored:
                yield each.stored
        if misfit and below > last + 1:
            yield UnitsUnreadable(segment.path, misfit.offset, misfit.reason, readable_from=below)

    def _judged(self, segment: Segment, mark: Mark, after: Seq, end: Seq, below: Seq) -> Iterator[Placed | Misfit]:
        """The lines from the mark on, of units `below`; those above `after` are read."""
        first, offset = mark
        last, passed = first - 1, 0
        lines = LinesAhead(lines_of(segment, offset, end))
        for line in lines:
            seq = number_of(line)
            if seq == last + 1 and seq <= after and passed == 0:
                last = seq  # most lines of a reading that begins at a mark: nothing is to be said of them
                continue
            counts = seq in (last + 1, last + 1 + passed)
            counts = counts or (seq > last and (lines.next_number(end) == seq + 1 or self._is_gap(last, seq)))
            if last + 1 >= below or (counts and seq >= below):
                return
            judged = placed(line, seq, after) if counts else Misfit(line.offset, why_not(line, seq))
            if isinstance(judged, Placed):
                last, passed = seq, 0
            else:
                passed += 1
            yield judged

    def _is_gap(self, after: int, before: int) -> bool:
        """Whether a repair left it. Reads all of the log, once, if there is any reason to ask."""
        try:
            return self._gaps.reach(after, before)
        except OSError:
            return False


def placed(line: RawLine, seq: int, after: Seq) -> Placed | Misfit:
    try:
        return Placed(Seq(seq), stored_unit(line) if seq > after else None)
    except codec.CodecError as exc:
        return Misfit(line.offset, str(exc))


def ends_of(segments: list[Segment], end: Seq) -> list[Seq]:
    """For each segment the number that its units are below; `end` is that of the last one."""
    return [*(segment.first for segment in segments[1:]), end]


def mark_for(segment: Segment, after: Seq, end: Seq) -> Mark:
    try:
        return segment.mark_for(after + 1)
    except OSError as exc:
        raise failed_read(segment, exc, end) from exc


def marks_of(segment: Segment, before: Seq, end: Seq) -> list[Mark]:
    try:
        return list(segment.marks_before(before)) if segment.first < before else []
    except OSError as exc:
        raise failed_read(segment, exc, end) from exc


def failed_read(segment: Segment, error: OSError, end: Seq) -> Exception:
    if error.errno in SHORTAGES:
        return error
    return UnitsUnreadable(segment.path, 0, f"it cannot be read: {error.strerror or error}", readable_from=end)


@define
class LinesAhead:
    """Lines, of which the number of the next one may be asked."""

    _lines: Iterator[RawLine]
    _ahead: list[RawLine] = field(factory=list, init=False)

    def __iter__(self) -> Iterator[RawLine]:
        while self._ahead or self._look():
            yield self._ahead.pop()

    def next_number(self, end: Seq) -> int:
        """`end` behind the last line."""
        return number_of(self._ahead[0]) if self._ahead or self._look() else end

    def _look(self) -> bool:
        self._ahead = [line] if (line := next(self._lines, None)) is not None else []
        return bool(self._ahead)


def lines_of(segment: Segment, offset: int, end: Seq) -> Iterator[RawLine]:
    try:
        yield from read_lines(segment.path, offset)
    except OSError as exc:
        raise failed_read(segment, exc, end) from exc


def number_of(line: RawLine) -> int:
    """Read from the line's first bytes where omkd wrote it (`seq` comes first), else by decoding all of it."""
    match = SEQ_FIRST.match(line.text)
    if match:
        return int(match[1])
    try:
        return stored_unit(line).seq
    except codec.CodecError:
        return NO_NUMBER


def why_not(line: RawLine, seq: int) -> str:
    if seq == NO_NUMBER:
        try:
            stored_unit(line)
        except codec.CodecError as exc:
            return str(exc)
    return f"this is unit {seq}, another belongs here"


def stored_unit(line: RawLine) -> StoredUnit:
    """Raises CodecError."""
    unit = codec.loads(line.text, Unit)
    return StoredUnit(seq=unit.seq, line=line.text, unit=unit)
