"""Holds the workers' files against the log: each hand-out in its inbox once, each line that was read recorded once."""

import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from attrs import Factory, define

from omkd.core.ledger import TaskEntry
from omkd.core.roster import WorkerEntry
from omkd.core.state import State
from omkd.protocol import codec
from omkd.protocol.codec import CodecError
from omkd.protocol.events import (
    DaemonStarted,
    LineRejected,
    Source,
    TaskCancelled,
    TaskDispatched,
    TaskFinished,
    TaskRequeued,
    Unit,
    WorkerInboxRenewed,
    WorkerRemoved,
)
from omkd.protocol.handout import handout_id
from omkd.protocol.limits import WORKER_LINE_BYTES
from omkd.protocol.lines import Line, LineSplitter, LongLine
from omkd.protocol.methods import FindingKind
from omkd.protocol.records import OutboxLine, WorkerResult
from omkd.protocol.scalars import Seq, WorkerName
from omkd.store.archive import archived, open_archived
from omkd.store.session import EVENTS, OUTBOX, SessionDir
from omkd.store.tail import MARK_BYTES, mark

from .mailbox_reader import BLANKS
from .verify_escalations import open_file
from .verify_report import TO_BE_COMPLETED, Report
from .worker_files import READ_BYTES, inbox_line, text_at

ID_FIRST: Final = b'{"id":"'
"""How a line of an inbox begins; also one that a crash tore and that was ended later."""

IN_THE_LOG: Final = "what the log has of it stands; nothing is done twice"
NO_LINE_NEEDED: Final = "ended_handouts_not_in_inbox"
"""No finding: they ended without their worker, or the inbox was begun anew, or the machine was: an inbox is not synced
line by line, and a start completes what is unfinished only."""

RESTART: Final = "restart omkd: its start completes the inboxes (`omkctl status` shows what cannot be written)"


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


class MailboxCheck:
    """Takes the units in order, then `conclude`.

    Files may grow meanwhile: only the lines of an inbox that were there at the beginning are looked at, their units
    are in the log for certain.
    """

    def __init__(self, session: SessionDir, report: Report) -> None:
        self._session = session
        self._report = report
        self._inbox_sizes = inbox_sizes(session)
        self._handed_out: dict[WorkerName, set[str]] = {}
        self._worked: dict[WorkerName, dict[str, Seq]] = {}
        self._boot_id = ""
        self._generations: dict[tuple[WorkerName, str], Generation] = {}
        self._log_has_gap = False

    def note_handouts(self, unit: Unit) -> None:
        for event in unit.events:
            if isinstance(event, TaskDispatched):
                self._handed_out.setdefault(event.worker, set()).add(handout_id(event.task_id, event.handout))
                self._report.count("handouts")

    def note_source(self, unit: Unit) -> None:
        self._note_renewals(unit)
        if unit.src is None:
            return
        src, result = unit.src, result_in(unit)
        if result is not None:
            self._worked.setdefault(src.worker, {})[result.task_id] = unit.seq
        generation = self._generation_of(unit.seq, src)
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

    def _note_renewals(self, unit: Unit) -> None:
        """From here on nothing need be left of the inboxes that were."""
        for event in unit.events:
            match event:
                case DaemonStarted(boot_id=boot_id):
                    if boot_id != self._boot_id:
                        self._worked.clear()
                    self._boot_id = boot_id
                case WorkerInboxRenewed(worker=worker) | WorkerRemoved(worker=worker):
                    self._worked.pop(worker, None)
                case _:
                    pass

    def conclude(self, state: State, *, written_to: Seq | None, log_has_gap: bool) -> None:
        """`state`: the fold of what was taken; `written_to`: where a running mailbox writer is; None: none runs.

        With a gap in the log, lines that the log does not know are no finding: they may have been known.
        """
        self._log_has_gap = log_has_gap
        for entry in state.roster.workers.values():
            self._report.count("workers")
            try:
                self._check_worker(state, entry, written_to)
            except OSError as fault:
                what = f"{fault.filename}: {fault.strerror}: worker {entry.name} was not held against the log"
                self._find(what, "put a file in its place that omkd can read, see omkctl doctor")

    def _check_worker(self, state: State, entry: WorkerEntry, written_to: Seq | None) -> None:
        """Raises OSError."""
        self._check_inbox(state, entry, written_to)
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

    # --- inbox

    def _check_inbox(self, state: State, entry: WorkerEntry, written_to: Seq | None) -> None:
        path = self._session.worker(entry.name).inbox
        in_hand: dict[str, TaskEntry] = {
            handout_id(task.id, task.handout): task for task in state.ledger.in_hand(entry.name).values()
        }
        seen = self._archived_handouts(entry.name)
        for line in lines_up_to(path, self._inbox_sizes.get(entry.name, 0)):
            self._report.count("inbox_lines")
            handout = text_at(line.text, ("id",)) if isinstance(line, Line) else None
            self._check_inbox_line(path, line, handout, seen, self._handed_out.get(entry.name, set()))
            if handout in in_hand and isinstance(line, Line):
                task = in_hand[handout]
                if all(line.text + b"\n" != inbox_line(task, task.handout, says_by=told) for told in (True, False)):
                    what = f"{path}: the line of {handout} at byte {line.offset} is not what the log says"
                    self._find_inbox(
                        what, "somebody changed it: if the worker must not do what it says, cancel the task"
                    )
            if handout is not None:
                seen.add(handout)
        for handout, task in in_hand.items():
            if handout in seen:
                continue
            if written_to is None:
                self._report.count(TO_BE_COMPLETED)
            elif task.dispatched_seq <= written_to:
                what = f"{path}: {handout}, handed out in unit {task.dispatched_seq}, is not in it"
                self._find_inbox(what, f"it was taken out, or could not be written: {RESTART}")
        missing = self._handed_out.get(entry.name, set()) - seen - in_hand.keys()
        taken = sorted(missing & self._worked.get(entry.name, {}).keys()) if path.exists() else []
        for handout in taken:
            what = f"{path}: {handout}, whose result is unit {self._worked[entry.name][handout]}, is not in it"
            self._find_inbox(what, f"somebody took it out; only omkd may write an inbox; {IN_THE_LOG}")
        self._report.count(NO_LINE_NEEDED, len(missing) - len(taken))

    def _archived_handouts(self, worker: WorkerName) -> set[str]:
        """Those whose lines stand in inboxes that were compacted; each was handed out, and once."""
        seen: set[str] = set()
        for path in archived(self._session.worker(worker).archive, "inbox"):
            try:
                self._check_archived(path, seen, self._handed_out.get(worker, set()))
            except FileNotFoundError:
                continue  # it is gzipped just now
            except (OSError, EOFError, zlib.error) as fault:
                what = f"{path} cannot be read: {fault}"
                self._find_inbox(what, "nothing is lost that omkd needs; restore it from a backup if you want it")
        return seen

    def _check_archived(self, path: Path, seen: set[str], handed_out: set[str]) -> None:
        for line in archived_lines(path):
            self._report.count("archived_inbox_lines")
            handout = text_at(line.text, ("id",)) if isinstance(line, Line) else None
            self._check_inbox_line(path, line, handout, seen, handed_out)
            if handout is not None:
                seen.add(handout)

    def _check_inbox_line(
        self, path: Path, line: Line | LongLine, handout: str | None, seen: set[str], handed_out: set[str]
    ) -> None:
        if handout is None:
            if isinstance(line, LongLine) or not is_torn_handout(line.text):
                what = f"{path}: what stands at byte {line.offset} is no hand-out"
                self._find_inbox(what, "another program wrote it; only omkd may write an inbox")
        elif handout not in handed_out:
            if self._log_has_gap:
                return
            what = f"{path}: the line at byte {line.offset} hands out {handout!r}, the log never did"
            self._find_inbox(what, "another program wrote it; its result will be rejected: use `omkctl send-task`")
        elif handout in seen:
            what = f"{path}: {handout} stands there a second time, at byte {line.offset}"
            self._find_inbox(what, "omk-worker does it once, another worker may do it twice; report it")

    # --- outbox and events

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
            elif recorded is None and not self._log_has_gap and not (rejected and rejected[0][0] <= line.offset):
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

    def _find_inbox(self, what: str, mend: str) -> None:
        self._report.find(FindingKind.INBOX, what, mend)


def result_in(unit: Unit) -> WorkerResult | None:
    """The result that a line of an outbox brought."""
    for event in unit.events:
        if isinstance(event, TaskFinished | TaskRequeued | TaskCancelled):
            return event.result
    return None


def same_handout(first: WorkerResult | None, second: WorkerResult | None) -> bool:
    return (first and first.task_id) == (second and second.task_id)


def is_torn_handout(text: bytes) -> bool:
    """What a crash left of a line: its beginning, or, where the power went, blocks that the disk never wrote: zeros."""
    return text.startswith(ID_FIRST) or ID_FIRST.startswith(text) or b"\0" in text


def is_current(path: Path, source: Source) -> bool:
    """The file that the path names is the one that `source` speaks of, and is not shorter."""
    opened = open_file(path)
    if opened is None:
        return False
    with opened:
        size = min(MARK_BYTES, source.end)
        before = os.pread(opened.fileno(), size, source.end - size)
        return os.fstat(opened.fileno()).st_ino == source.inode and mark(before) == source.tail


def inbox_sizes(session: SessionDir) -> dict[WorkerName, int]:
    sizes = {}
    for path in session.workers.glob("*"):
        try:
            sizes[WorkerName(path.name)] = os.stat(session.worker(path.name).inbox, follow_symlinks=False).st_size
        except (FileNotFoundError, NotADirectoryError):
            continue
    return sizes


def archived_lines(path: Path) -> Iterator[Line | LongLine]:
    """The complete lines of an archive, gzipped or not yet. Raises OSError, EOFError, zlib.error (damaged)."""
    splitter = LineSplitter(WORKER_LINE_BYTES)
    with open_archived(path) as opened:
        while data := opened.read(READ_BYTES):
            yield from splitter.receive_data(data)


def lines_up_to(path: Path, end: int) -> Iterator[Line | LongLine]:
    """The complete lines of the first `end` bytes; none of a file that is missing. Raises OSError."""
    opened = open_file(path)
    if opened is None:
        return
    splitter = LineSplitter(WORKER_LINE_BYTES)
    with opened:
        while end > 0 and (data := opened.read(min(READ_BYTES, end))):
            end -= len(data)
            yield from splitter.receive_data(data)
