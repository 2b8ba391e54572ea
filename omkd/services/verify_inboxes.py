"""Holds the inboxes against the log: each hand-out in its worker's once."""

import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from omkd.core.ledger import TaskEntry
from omkd.core.roster import WorkerEntry
from omkd.core.state import State
from omkd.protocol.events import DaemonStarted, TaskDispatched, Unit, WorkerInboxRenewed, WorkerRemoved
from omkd.protocol.handout import handout_id
from omkd.protocol.limits import WORKER_LINE_BYTES
from omkd.protocol.lines import Line, LineSplitter, LongLine
from omkd.protocol.methods import FindingKind
from omkd.protocol.scalars import Seq, WorkerName
from omkd.store.archive import archived, open_archived
from omkd.store.locks import is_copy
from omkd.store.session import SessionDir

from .verify_lines import IN_THE_LOG, lines_up_to, result_in
from .verify_report import TO_BE_COMPLETED, Report
from .worker_files import READ_BYTES, inbox_line, text_at

ID_FIRST: Final = b'{"id":"'
"""How a line of an inbox begins; also one that a crash tore and that was ended later."""

NO_LINE_NEEDED: Final = "ended_handouts_not_in_inbox"
"""No finding: they ended without their worker, or the inbox was begun anew, or the machine was, or the session was
copied at work: an inbox is not synced line by line, and a start completes what is unfinished only."""

RESTART: Final = "restart omkd: its start completes the inboxes (`omkctl status` shows what cannot be written)"


class InboxCheck:
    """Takes the units in order, then `check` for each worker.

    Files may grow meanwhile: only the lines of an inbox that were there at the beginning are looked at, their units
    are in the log for certain. `_worked`: the unit with its result, of each hand-out whose line must be there.
    """

    def __init__(self, session: SessionDir, report: Report) -> None:
        self._session = session
        self._report = report
        self._inbox_sizes = inbox_sizes(session)
        self._is_copy = is_copy(session.lock)
        self._handed_out: dict[WorkerName, set[str]] = {}
        self._worked: dict[WorkerName, dict[str, Seq]] = {}
        self._boot_id = ""
        self._log_has_gap = False

    def note_handouts(self, unit: Unit) -> None:
        for event in unit.events:
            if isinstance(event, TaskDispatched):
                self._handed_out.setdefault(event.worker, set()).add(handout_id(event.task_id, event.handout))
                self._report.count("handouts")

    def note_work(self, unit: Unit) -> None:
        """What was worked from an inbox, until nothing need be left of the inboxes that were."""
        if unit.src is not None and (result := result_in(unit)) is not None:
            self._worked.setdefault(unit.src.worker, {})[result.task_id] = unit.seq
        for event in unit.events:
            match event:
                case DaemonStarted(boot_id=boot_id, copied=copied):
                    if copied or boot_id != self._boot_id:
                        self._worked.clear()
                    self._boot_id = boot_id
                case WorkerInboxRenewed(worker=worker) | WorkerRemoved(worker=worker):
                    self._worked.pop(worker, None)
                case _:
                    pass

    def check(self, state: State, entry: WorkerEntry, *, written_to: Seq | None, log_has_gap: bool) -> None:
        """As `MailboxCheck.conclude`, of one worker. Raises OSError."""
        self._log_has_gap = log_has_gap
        path = self._session.worker(entry.name).inbox
        in_hand: dict[str, TaskEntry] = {
            handout_id(task.id, task.handout): task for task in state.ledger.in_hand(entry.name).values()
        }
        seen = self._archived_handouts(entry.name)
        for line in lines_up_to(path, self._inbox_sizes.get(entry.name, 0)):
            self._report.count("inbox_lines")
            handout = text_at(line.text, ("id",)) if isinstance(line, Line) else None
            self._check_line(path, line, handout, seen, self._handed_out.get(entry.name, set()))
            if handout in in_hand and isinstance(line, Line):
                task = in_hand[handout]
                if all(line.text + b"\n" != inbox_line(task, task.handout, says_by=told) for told in (True, False)):
                    what = f"{path}: the line of {handout} at byte {line.offset} is not what the log says"
                    self._find(what, "somebody changed it: if the worker must not do what it says, cancel the task")
            if handout is not None:
                seen.add(handout)
        for handout, task in in_hand.items():
            if handout in seen:
                continue
            if written_to is None:
                self._report.count(TO_BE_COMPLETED)
            elif task.dispatched_seq <= written_to:
                what = f"{path}: {handout}, handed out in unit {task.dispatched_seq}, is not in it"
                self._find(what, f"it was taken out, or could not be written: {RESTART}")
        missing = self._handed_out.get(entry.name, set()) - seen - in_hand.keys()
        taken = [] if self._is_copy or not path.exists() else sorted(missing & self._worked.get(entry.name, {}).keys())
        for handout in taken:
            what = f"{path}: {handout}, whose result is unit {self._worked[entry.name][handout]}, is not in it"
            self._find(what, f"somebody took it out; only omkd may write an inbox; {IN_THE_LOG}")
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
                self._find(what, "nothing is lost that omkd needs; restore it from a backup if you want it")
        return seen

    def _check_archived(self, path: Path, seen: set[str], handed_out: set[str]) -> None:
        for line in archived_lines(path):
            self._report.count("archived_inbox_lines")
            handout = text_at(line.text, ("id",)) if isinstance(line, Line) else None
            self._check_line(path, line, handout, seen, handed_out)
            if handout is not None:
                seen.add(handout)

    def _check_line(
        self, path: Path, line: Line | LongLine, handout: str | None, seen: set[str], handed_out: set[str]
    ) -> None:
        if handout is None:
            if isinstance(line, LongLine) or not is_torn_handout(line.text):
                what = f"{path}: what stands at byte {line.offset} is no hand-out"
                self._find(what, "another program wrote it; only omkd may write an inbox")
        elif handout not in handed_out:
            if self._log_has_gap:
                return
            what = f"{path}: the line at byte {line.offset} hands out {handout!r}, the log never did"
            self._find(what, "another program wrote it; its result will be rejected: use `omkctl send-task`")
        elif handout in seen:
            what = f"{path}: {handout} stands there a second time, at byte {line.offset}"
            self._find(what, "omk-worker does it once, another worker may do it twice; report it")

    def _find(self, what: str, mend: str) -> None:
        self._report.find(FindingKind.INBOX, what, mend)


def is_torn_handout(text: bytes) -> bool:
    """What a crash left of a line: its beginning, or, where the power went, blocks that the disk never wrote: zeros."""
    return text.startswith(ID_FIRST) or ID_FIRST.startswith(text) or b"\0" in text


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
