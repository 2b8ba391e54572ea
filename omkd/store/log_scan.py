"""Reads a whole event log as a start does, and judges each line. Touches nothing on disk.

The judgement rests on `synced`: each unit says which units were on disk when it was written. The largest one seen
anywhere, also behind a bad line, decides what a bad line is: above it the tail of a crash, at or below it damage.

A start that has a snapshot reads what follows its unit only. That unit was on disk, so a log that ends before it is
damaged; what stands before it is not looked at (`omkd verify` does).
"""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from attrs import define, field, frozen

from omkd.protocol import codec, events
from omkd.protocol.events import Unit
from omkd.protocol.scalars import Ns, Seq
from omkd.protocol.version import LOG_FORMAT
from omkd.protocol.wire_forms import wire_fields

from .log_errors import LogDamaged, LogTooNew
from .segments import FIRST_SEQ, SEQ_FIRST, RawLine, Segment, first_seq_of, list_segments, read_lines, segment_name

UNIT_FIELDS: Final = frozenset(each.key for each in wire_fields(Unit))
IN_EACH_UNIT: Final = frozenset(each.key for each in wire_fields(Unit) if each.required)
DAMAGE_TAG: Final = b'"LogDamaged"'


@frozen(kw_only=True)
class BadSpot:
    """The first line that cannot be used. `seq` is the unit that should have been there."""

    segment: Path
    offset: int
    seq: Seq
    reason: str

    def is_start_of(self, path: Path) -> bool:
        """A log whose first segment is not the one to begin with has lost what was before, whatever `synced` says."""
        return self.segment == path and self.offset == 0 and first_seq_of(path) != self.seq


@frozen(kw_only=True)
class Base:
    """What a snapshot stands for: all units up to `seq`, which were on disk; `ts` is the time of the last."""

    seq: Seq
    ts: Ns


@define(kw_only=True)
class Scan:
    """What a log holds. Units up to `last` were folded; what follows a `bad` spot was only looked at."""

    segments: list[Segment] = field(factory=list)
    last: Seq
    last_ts: Ns = Ns(0)
    synced: Seq = Seq(0)
    bad: BadSpot | None = None


def scan_log(
    events_dir: Path, fold: Callable[[Unit], None], *, first_seq: Seq = FIRST_SEQ, base: Base | None = None
) -> Scan:
    """Folds each unit (above `base`, if there is one) up to the first bad line, in order.

    Raises LogDamaged (the bad line is at or below the largest `synced`), LogTooNew, OSError. What was folded until then
    is of no use.
    """
    paths = list_segments(events_dir)
    reader = LogReader(paths, first_seq, base)
    for path in paths:
        reader.read_segment(path, fold)
    if (lost := reader.lost_below_base()) is not None:
        raise lost
    bad = reader.scan.bad
    if bad and (bad.seq <= reader.scan.synced or bad.is_start_of(paths[0])):
        raise LogDamaged(bad.segment, bad.offset, bad.reason)
    return reader.scan


class LogReader:
    """One pass over a log's segments.

    Lines up to the base are passed over by their first bytes. Some that cannot be read are `_held` until the next that
    can says on which side they stand.
    """

    def __init__(self, paths: list[Path], first_seq: Seq, base: Base | None) -> None:
        self.scan = Scan(last=Seq(first_seq - 1))
        self._paths = paths
        self._gaps = ExplainedGaps(lambda: paths)
        self._base = base
        self._passing = base is not None
        self._held: list[RawLine] = []
        self._newest_passed = 0
        if base is not None:
            self.scan = Scan(last=base.seq, last_ts=base.ts, synced=base.seq)

    def read_segment(self, path: Path, fold: Callable[[Unit], None]) -> None:
        if self._base is not None and is_below(path, self._paths, self._base.seq):
            self.scan.segments.append(Segment(path, unread=True))
            return
        segment = Segment(path)
        self._check_name(segment)
        if self.scan.bad is None:
            self.scan.segments.append(segment)
        for line in read_lines(path):
            if not (self._passing and self._pass_over(segment, line, fold)):
                self._take(segment, line, fold)
        self._take_held(segment, fold)

    def lost_below_base(self) -> LogDamaged | None:
        """The log ends before the unit that the snapshot says was on disk."""
        base = self._base
        if base is None or self.scan.last > base.seq or self._newest_passed == base.seq:
            return None
        if self._paths and first_seq_of(self._paths[-1]) == base.seq + 1:
            return None  # a segment is begun behind a unit that is there
        path = self._paths[-1] if self._paths else Path(segment_name(FIRST_SEQ))
        size = path.stat().st_size if self._paths else 0
        return LogDamaged(path, size, f"the log ends here, unit {base.seq} was on disk: a snapshot is of it")

    def _take(self, segment: Segment, line: RawLine, fold: Callable[[Unit], None]) -> None:
        unit = self._next_unit(segment.path, line)
        if unit:
            segment.note(unit.seq, line.offset)
            fold(unit)
            self.scan.last, self.scan.last_ts = unit.seq, unit.ts

    def _pass_over(self, segment: Segment, line: RawLine, fold: Callable[[Unit], None]) -> bool:
        """Whether the line stands below the base, or may. Bad lines are below it if the unit behind it comes next."""
        last = self.scan.last
        match = SEQ_FIRST.match(line.text)
        if match is None or not line.ended:
            self._held.append(line)
            return True
        seq = int(match[1])
        if seq <= last:
            segment.note(Seq(seq), line.offset)
            self._newest_passed = seq
            self._held.clear()
            return True
        self._passing = False
        if seq == last + 1:
            self._held.clear()
        self._take_held(segment, fold)
        return False

    def _take_held(self, segment: Segment, fold: Callable[[Unit], None]) -> None:
        held, self._held = self._held, []
        for line in held:
            self._passing = False
            self._take(segment, line, fold)

    def _check_name(self, segment: Segment) -> None:
        """A segment is named after its first unit: the next one, or one within an explained gap."""
        first, expected = segment.first, self.scan.last + 1
        if self.scan.bad:
            return
        if self._passing and first <= expected:
            return
        if first < expected:
            self._note_bad(segment.path, 0, f"its name says {first}, unit {expected} comes next")
        elif first > expected and not self._gaps.begin_after(self.scan.last):
            why = f"units {expected} to {first - 1} are missing: no segment holds them, and no snapshot stands for them"
            self._note_bad(segment.path, 0, why)

    def _next_unit(self, path: Path, line: RawLine) -> Unit | None:
        """The line's unit, if it is the one that comes next; otherwise the first bad spot is noted."""
        scan = self.scan
        unit = judge(path, line, scan.last + 1)
        if isinstance(unit, str):
            self._note_bad(path, line.offset, unit)
            return None
        scan.synced = max(scan.synced, unit.synced)
        if scan.bad:
            return None
        if unit.seq != scan.last + 1 and not self._gaps.explain(scan.last, unit.seq):
            self._note_bad(path, line.offset, f"unit {scan.last + 1} comes next, this is {unit.seq}")
        elif not line.ended:
            self._note_bad(path, line.offset, f"unit {unit.seq} has no end of line")
        return None if scan.bad else unit

    def _note_bad(self, path: Path, offset: int, reason: str) -> None:
        if self.scan.bad is None:
            self.scan.bad = BadSpot(segment=path, offset=offset, seq=Seq(self.scan.last + 1), reason=reason)


def is_below(path: Path, paths: list[Path], seq: int) -> bool:
    """Whether all of a segment's units are at or below `seq`."""
    place = paths.index(path) + 1
    return place < len(paths) and first_seq_of(paths[place]) <= seq + 1


class ExplainedGaps:
    """The gaps that LogDamaged units account for; looked for once, and only in a log that has a gap."""

    def __init__(self, paths: Callable[[], list[Path]]) -> None:
        self._paths = paths
        self._found: frozenset[tuple[Seq, Seq]] | None = None

    def explain(self, after: Seq, before: Seq) -> bool:
        return (after, before) in self._gaps()

    def begin_after(self, after: Seq) -> bool:
        return any(gap_after == after for gap_after, _ in self._gaps())

    def reach(self, after: int, before: int) -> bool:
        """Whether one ends at `before`, and `after` is not above where it begins or stands within."""
        return any(gap_after <= after < before == gap_before for gap_after, gap_before in self._gaps())

    def _gaps(self) -> frozenset[tuple[Seq, Seq]]:
        if self._found is None:
            self._found = frozenset((gap.after, gap.before) for path in self._paths() for gap in recorded_damage(path))
        return self._found


def recorded_damage(path: Path) -> Iterator[events.LogDamaged]:
    """The LogDamaged events of a segment. Their name is searched as bytes: decoding each line takes 50 times longer."""
    for line in read_lines(path):
        if DAMAGE_TAG in line.text and line.ended:
            try:
                unit = codec.loads(line.text, Unit)
            except codec.CodecError:
                continue
            yield from (event for event in unit.events if isinstance(event, events.LogDamaged))


def judge(path: Path, line: RawLine, expected: int) -> Unit | str:
    """The line's unit, or why it is none. Raises LogTooNew.

    JSON with a number that may come next, yet no unit we know, was not made by a crash: a torn line is no JSON, or, if
    what followed it happened to close it, lacks fields and has no other.
    """
    try:
        unit = codec.loads(line.text, Unit)
    except codec.CodecError as exc:
        if exc.kind == "wrong_type" and is_of_some_omkd(line.text, expected):
            raise LogTooNew(path, line.offset, str(exc)) from exc
        return str(exc)
    if unit.synced >= unit.seq:
        return f"unit {unit.seq} says that {unit.synced} was on disk before it"
    for event in unit.events:
        if type(event) is events.DaemonStarted and event.format > LOG_FORMAT:
            raise LogTooNew(path, line.offset, f"format {event.format} of omkd {event.version}, we know {LOG_FORMAT}")
    return unit


def is_of_some_omkd(text: bytes, expected: int) -> bool:
    value = json.loads(text)
    if not isinstance(value, dict) or (value.keys() <= UNIT_FIELDS and not value.keys() >= IN_EACH_UNIT):
        return False
    seq = value.get("seq")
    return type(seq) is int and seq >= expected
