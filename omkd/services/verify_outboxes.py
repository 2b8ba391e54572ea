"""Holds what workers wrote against the log: each line that was read is recorded once, or rejected."""

import os
from pathlib import Path
from typing import NamedTuple

from attrs import Factory, define

from omkd.core.roster import WorkerEntry
from omkd.protocol import codec
from omkd.protocol.codec import CodecError
from omkd.protocol.events import DecisionExpired, LineRejected, Source, Unit, WorkerFileEvent
from omkd.protocol.limits import WORKER_LINE_BYTES
from omkd.protocol.lines import Line, LongLine
from omkd.protocol.methods import FindingKind
from omkd.protocol.records import OutboxLine, WorkerResult
from omkd.protocol.scalars import Seq, WorkerName
from omkd.store.session import EVENTS, OUTBOX, SessionDir
from omkd.store.tail import stands

from .mailbox_reader import BLANKS
from .verify_escalations import open_file
from .verify_lines import IN_THE_LOG, lines_up_to, result_in
from .verify_report import Report


class Recorded(NamedTuple):
    """What the log has of one line of a worker's file."""

    seq: Seq
    tail: str
    result: WorkerResult | None


@define
class Generation:
    """What the log has of the newest generation of a worker's file. `was_cut`: it has been shorter before or within."""

    source: Source
    was_cut: bool = False
    by_end: dict[int, Recorded] = Factory(dict)
    rejected: list[tuple[int, int]] = Factory(list)


class OutboxCheck:
    """Takes the units in order, then `check` for each worker: its outbox, and its events."""

    def __init__(self, session: SessionDir, report: Report) -> None:
        self._session = session
        self._report = report
        self._generations: dict[tuple[WorkerName, str], Generation] = {}
        self._log_has_gap = False

    def note_source(self, unit: Unit) -> None:
        if unit.src is None:
            return
        src, result = unit.src, result_in(unit)
        generation = self._generation_of(unit.seq, src)
        if not unit.events:
            self._note_place(generation, src)
            return
        known = generation.by_end.get(src.end)
        if known is not None and known.tail == src.tail and same_handout(known.result, result):
            what = (
                f"{src.worker}/{src.file}: the line that ends at byte {src.end} is in units {known.seq} and {unit.seq}"
            )
            self._find(what, f"it was read twice, a fault in omkd: report it; {IN_THE_LOG}")
        generation.was_cut |= src.end <= generation.source.end and generation.source is not src
        generation.source = src
        generation.by_end[src.end] = Recorded(unit.seq, src.tail, result)
        generation.rejected += [(each.offset, each.end) for each in unit.events if isinstance(each, LineRejected)]

    def _note_place(self, generation: Generation, src: Source) -> None:
        """No line came from there: the file was moved away, or is a copy, in which reading goes on."""
        generation.was_cut |= src.end < generation.source.end
        generation.source = src

    def check(self, entry: WorkerEntry, *, log_has_gap: bool) -> None:
        """As `MailboxCheck.conclude`, of one worker. Raises OSError."""
        self._log_has_gap = log_has_gap
        for file in (EVENTS, OUTBOX):
            generation = self._generations.get((entry.name, file))
            if generation is not None and not generation.was_cut:
                self._check_read_lines(self._session.worker(entry.name).path / file, generation)

    def _generation_of(self, seq: Seq, src: Source) -> Generation:
        known = self._generations.get((src.worker, src.file))
        if known is not None and src.gen < known.source.gen:
            what = f"{src.worker}/{src.file}: unit {seq} is of generation {src.gen}, after {known.source.gen}"
            self._find(what, "an old file was read again, a fault in omkd: report it")
        if known is None:
            known = self._generations[src.worker, src.file] = Generation(src)
        elif src.gen != known.source.gen:
            # The same file, or a copy: it lost its end, and what was read of it stands in the generation before.
            begins_within = known.source.head == src.head
            known = self._generations[src.worker, src.file] = Generation(src, was_cut=begins_within)
        return known

    def _check_read_lines(self, path: Path, generation: Generation) -> None:
        """Each line of the file, as far as it was read, is recorded or rejected; a result is recorded as it stands."""
        end = generation.source.end
        if not is_current(path, generation.source):
            return
        rejected = sorted(generation.rejected)
        unseen = dict(generation.by_end)
        for line in lines_up_to(path, end):
            self._report.count("outbox_lines" if path.name == OUTBOX else "event_lines")
            while rejected and rejected[0][1] <= line.offset:
                rejected.pop(0)
            recorded = unseen.pop(line.end, None)
            if isinstance(line, Line) and not line.text.strip(BLANKS):
                continue
            if recorded is not None and recorded.result is not None:
                self._check_result(path, line, recorded.seq, recorded.result)
            elif recorded is None and not (
                self._log_has_gap
                or (rejected and rejected[0][0] <= line.offset)
                or (path.name == EVENTS and is_expiry(line))
            ):
                what = f"{path}: the line at byte {line.offset} was passed over, reading goes on at byte {end}"
                self._find(what, "what it says is not in the log, a fault in omkd: report it, with the file")
        for recorded_end, recorded in unseen.items():
            what = f"{path}: no line ends at byte {recorded_end}, unit {recorded.seq} comes from there"
            self._find(what, f"the file was changed after omkd had read it; {IN_THE_LOG}")

    def _check_result(self, path: Path, line: Line | LongLine, seq: Seq, result: WorkerResult) -> None:
        try:
            there = codec.loads(line.text, OutboxLine).result() if isinstance(line, Line) else None
        except CodecError:
            there = None
        if there != result:
            what = f"{path}: the line at byte {line.offset} is not the result of {result.task_id} in unit {seq}"
            self._find(what, f"the file was changed after omkd had read it; {IN_THE_LOG}")

    def _find(self, what: str, mend: str) -> None:
        self._report.find(FindingKind.OUTBOX, what, mend)


def same_handout(first: WorkerResult | None, second: WorkerResult | None) -> bool:
    return (first and first.task_id) == (second and second.task_id)


def is_expiry(line: Line | LongLine) -> bool:
    """Both sides may say that a question is over: what omkd has recorded itself is no news."""
    try:
        return isinstance(line, Line) and isinstance(codec.loads(line.text, WorkerFileEvent), DecisionExpired)
    except CodecError:
        return False


def is_current(path: Path, source: Source) -> bool:
    """The file that the path names is the one that `source` speaks of, and is not shorter."""
    opened = open_file(path)
    if opened is None:
        return False
    with opened:
        is_same = os.fstat(opened.fileno()).st_ino == source.inode
        return is_same and stands(opened.fileno(), source.end, source.tail, WORKER_LINE_BYTES)
