"""Looks through a damaged log for `repair`: which lines stay, which go, what must be said of it. Touches nothing.

A unit stays if it decodes, belongs between its segment's name and the next one's, and stands in order. Where numbers
contradict each other the most units possible stay: one flipped digit must not cost all that follows it.
"""

import bisect
from pathlib import Path
from typing import NamedTuple

from attrs import define, field, frozen

from omkd.protocol.events import LogDamaged
from omkd.protocol.scalars import U64, Ns, Seq

from .log_errors import LogTooNew
from .log_scan import ExplainedGaps, judge
from .recovery import unused_name
from .segments import RawLine, first_seq_of, read_lines


class Entry(NamedTuple):
    """A line and what was found in it; `reason` says why it cannot be used. No Unit: a segment has 300,000 of them."""

    line_offset: int
    line_end: int
    ended: bool
    seq: Seq = Seq(0)
    ts: Ns = Ns(0)
    reason: str = ""


@define(kw_only=True)
class Stretch:
    """Lines next to each other that cannot be used; the reason is the first one's."""

    offset: int
    end: int
    lines: int
    reason: str


@frozen(kw_only=True)
class SegmentPlan:
    """What becomes of a segment. `ended` says that what is kept of it ends with a newline."""

    path: Path
    moved_to: Path
    kept: int
    ended: bool
    stretches: list[Stretch]

    @property
    def changes(self) -> bool:
        return bool(self.stretches) or not self.ended


@frozen(kw_only=True)
class Survey:
    """What becomes of a log. `next_seq` is above every number that may have been given out."""

    plans: list[SegmentPlan]
    damage: list[LogDamaged]
    next_seq: Seq
    last_ts: Ns


def survey_damage(paths: list[Path], first_seq: Seq, *, known: Seq, unknown_is_damage: bool) -> Survey:
    """`known`: the newest unit that a snapshot is of. Raises LogTooNew (unless that counts as damage), OSError."""
    surveyor = Surveyor(paths, first_seq)
    plans = []
    for path, above in zip(paths, [*map(first_seq_of, paths[1:]), None], strict=True):
        entries = [entry_for(path, line, unknown_is_damage) for line in read_lines(path)]
        plans.append(surveyor.take(path, without_misfits(entries, first_seq_of(path), above)))
    next_seq = surveyor.conclude(known)
    return Survey(plans=plans, damage=surveyor.damage, next_seq=next_seq, last_ts=surveyor.last_ts)


def entry_for(path: Path, line: RawLine, unknown_is_damage: bool) -> Entry:
    try:
        unit = judge(path, line, first_seq_of(path))
    except LogTooNew as exc:
        if not unknown_is_damage:
            raise
        unit = exc.reason
    if isinstance(unit, str):
        return Entry(line.offset, line.end, line.ended, reason=unit)
    return Entry(line.offset, line.end, line.ended, unit.seq, unit.ts)


def without_misfits(entries: list[Entry], first: Seq, above: Seq | None) -> list[Entry]:
    """The entries, those whose number does not fit where they stand given a reason."""
    fitting = [
        place for place, entry in enumerate(entries) if entry.seq >= first and (above is None or entry.seq < above)
    ]
    kept = {fitting[place] for place in longest_rising([entries[place].seq for place in fitting])}
    return [
        entry if place in kept or entry.reason else entry._replace(reason=f"unit {entry.seq} does not belong here")
        for place, entry in enumerate(entries)
    ]


def longest_rising(numbers: list[Seq]) -> list[int]:
    """The places of a longest strictly rising subsequence (patience sorting)."""
    ends: list[Seq] = []  # ends[n]: the smallest number that n+1 rising ones can end with
    end_places: list[int] = []
    before: list[int] = []
    for place, number in enumerate(numbers):
        length = bisect.bisect_left(ends, number)
        before.append(end_places[length - 1] if length else -1)
        ends[length : length + 1] = [number]
        end_places[length : length + 1] = [place]
    found = []
    place = end_places[-1] if end_places else -1
    while place >= 0:
        found.append(place)
        place = before[place]
    return found[::-1]


@define
class Surveyor:
    """Goes from segment to segment; bad stretches are `_open` until the unit behind them is known."""

    paths: list[Path]
    first_seq: Seq
    damage: list[LogDamaged] = field(factory=list, init=False)
    last_ts: Ns = field(default=Ns(0), init=False)
    _last: int = field(init=False)
    _open: list[tuple[SegmentPlan, Stretch]] = field(factory=list, init=False)
    _gaps: ExplainedGaps = field(init=False)

    def __attrs_post_init__(self) -> None:
        self._last = self.first_seq - 1
        self._gaps = ExplainedGaps(lambda: self.paths)

    def take(self, path: Path, entries: list[Entry]) -> SegmentPlan:
        kept = [entry for entry in entries if not entry.reason]
        plan = SegmentPlan(
            path=path,
            moved_to=unused_name(path, "damaged"),
            kept=len(kept),
            ended=all(entry.ended for entry in kept),
            stretches=[],
        )
        for entry in entries:
            if entry.reason:
                self._spoil(plan, entry)
            else:
                self._keep(path, entry)
        return plan

    def conclude(self, known: Seq) -> Seq:
        """Tells of what stands at the very end; returns the number for the unit that holds it all."""
        spoilt = sum(stretch.lines for _, stretch in self._open)
        last_path = self.paths[-1]
        next_seq = Seq(max(self._last + spoilt, first_seq_of(last_path) - 1, known) + 1)
        self._tell(last_path, last_path.stat().st_size, next_seq)
        return next_seq

    def _spoil(self, plan: SegmentPlan, entry: Entry) -> None:
        if plan.stretches and plan.stretches[-1].end == entry.line_offset:
            plan.stretches[-1].end = entry.line_end
            plan.stretches[-1].lines += 1
            return
        stretch = Stretch(offset=entry.line_offset, end=entry.line_end, lines=1, reason=entry.reason)
        plan.stretches.append(stretch)
        self._open.append((plan, stretch))

    def _keep(self, path: Path, entry: Entry) -> None:
        self._tell(path, entry.line_offset, entry.seq)
        self._last, self.last_ts = entry.seq, entry.ts

    def _tell(self, path: Path, offset: int, before: Seq) -> None:
        """What is to be said of the space between the last kept unit and `before`."""
        after = Seq(self._last)
        for plan, stretch in self._open:
            moved_to = plan.moved_to.name
            self._add(plan.path, stretch.offset, moved_to, after, before, stretch.reason)
        missing = before != after + 1 and not self._open and not self._gaps.explain(after, before)
        if missing:
            self._add(path, offset, "", after, before, f"units {after + 1} to {before - 1} are missing")
        self._open = []

    def _add(self, path: Path, offset: int, moved_to: str, after: Seq, before: Seq, reason: str) -> None:
        self.damage.append(
            LogDamaged(
                segment=path.name, offset=U64(offset), moved_to=moved_to, after=after, before=before, reason=reason
            )
        )
