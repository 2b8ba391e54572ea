"""`omkd repair`: what cannot be used of a damaged log is moved aside, and the log says so itself.

Every intact unit stays, also behind the damage. Bad bytes go to `<segment>.damaged`; a unit at the end of the log has
a LogDamaged for each bad stretch or gap: `after` and `before` are the units around it. A reader accepts a gap in the
numbers only if one names it (`log_scan.ExplainedGaps`). Numbers that stood in a bad stretch are not given out again.

The order makes each step safe against a crash: the copies, then the end of the log with its LogDamaged, then the other
segments. Interrupted anywhere, no byte is lost, and bad bytes that are still in place are still called damage.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from attrs import frozen

from omkd.protocol import codec
from omkd.protocol.events import ByOmkd, LogDamaged, Unit
from omkd.protocol.scalars import Ns, Seq

from . import log_errors
from .damage_survey import SegmentPlan, Survey, survey_damage
from .files import atomic_write, sync_dir
from .log_scan import scan_log
from .recovery import rewrite
from .segments import FIRST_SEQ, create_segment, first_seq_of, list_segments, segment_name

NOTHING_KNOWN: Final = Seq(0)


@frozen(kw_only=True)
class Repaired:
    """What was damaged, as the log now says it; `moved_to` are the files that hold what stood there."""

    damage: tuple[LogDamaged, ...]
    moved_to: tuple[Path, ...]

    def __str__(self) -> str:
        return "\n".join(map(told, self.damage)) or "a line without its end was completed; nothing is lost"


def told(damage: LogDamaged) -> str:
    """One line for a person."""
    first, last = damage.after + 1, damage.before - 1
    lost = f"units {first} to {last} are lost" if first <= last else "no unit is lost"
    aside = f"; what stood there is in {damage.moved_to}" if damage.moved_to else ""
    return f"{damage.segment}, byte {damage.offset}: {damage.reason}: {lost}{aside}"


def repair(
    events_dir: Path,
    clock_ns: Callable[[], int],
    *,
    first_seq: Seq = FIRST_SEQ,
    known: Seq = NOTHING_KNOWN,
    unknown_is_damage: bool = False,
) -> Repaired | None:
    """None if there is nothing to repair (the tail of a crash is none: the next start deals with it).

    The caller holds the session's lock. `known` is the unit of the newest snapshot: all up to it was on disk, and what
    retention cut in front of it is no damage. With `unknown_is_damage` what only a newer omkd could have written counts
    as damage: for a log that no newer one ever touched. Raises LogTooNew, OSError; the log is no worse then.
    Durability: all of it is on disk. Memory: one segment, twice.
    """
    paths = list_segments(events_dir)
    if not paths and known:
        paths = [new_beginning(events_dir, known)]
    if paths and first_seq < first_seq_of(paths[0]) <= known + 1:
        first_seq = first_seq_of(paths[0])
    if not is_damaged(events_dir, first_seq, known, unknown_is_damage):
        return None
    survey = survey_damage(paths, first_seq, known=known, unknown_is_damage=unknown_is_damage)
    spoilt = [plan for plan in survey.plans if plan.stretches]
    for plan in spoilt:
        atomic_write(plan.moved_to, bad_bytes(plan))
    *others, last = survey.plans
    for plan in others:
        rewrite(plan.path)
    atomic_write(last.path, kept_bytes(last) + damage_line(survey, clock_ns))
    for plan in others:
        put_right(plan)
    return Repaired(damage=tuple(survey.damage), moved_to=tuple(plan.moved_to for plan in spoilt))


def new_beginning(events_dir: Path, known: Seq) -> Path:
    """Of a log whose segments are all gone: an empty first one, the numbers of what is lost left out."""
    path = events_dir / segment_name(known)
    os.close(create_segment(path))
    sync_dir(events_dir)
    return path


def is_damaged(events_dir: Path, first_seq: Seq, known: Seq, unknown_is_damage: bool) -> bool:
    try:
        scan = scan_log(events_dir, lambda unit: None, first_seq=first_seq)  # noqa: ARG005 only its verdict counts
    except log_errors.LogDamaged:
        return True
    except log_errors.LogTooNew:
        if not unknown_is_damage:
            raise
        return True
    return scan.last < known


def put_right(plan: SegmentPlan) -> None:
    """A segment of which nothing is kept goes: an empty one would stand for units that are not there."""
    if plan.stretches and plan.kept == 0:
        plan.path.unlink()
        sync_dir(plan.path.parent)
    elif plan.changes:
        atomic_write(plan.path, kept_bytes(plan))


def damage_line(survey: Survey, clock_ns: Callable[[], int]) -> bytes:
    """Empty if nothing was lost: a last line that only lacked its newline.

    `synced` is the number before its own: all there is below it is on disk by then, and bad bytes left in place by an
    interrupted repair are damage, never the tail of a crash.
    """
    if not survey.damage:
        return b""
    unit = Unit(
        seq=survey.next_seq,
        ts=Ns(max(survey.last_ts, clock_ns())),
        by=ByOmkd(),
        synced=Seq(survey.next_seq - 1),
        events=list(survey.damage),
    )
    return codec.dumps(unit) + b"\n"


def bad_bytes(plan: SegmentPlan) -> bytes:
    content = plan.path.read_bytes()
    return b"".join(content[stretch.offset : stretch.end] for stretch in plan.stretches)


def kept_bytes(plan: SegmentPlan) -> bytes:
    content = plan.path.read_bytes()
    kept, place = [], 0
    for stretch in plan.stretches:
        kept.append(content[place : stretch.offset])
        place = stretch.end
    kept.append(content[place:])
    return b"".join(kept) + (b"" if plan.ended else b"\n")
