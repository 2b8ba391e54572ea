"""Proves a session consistent, or says what is not. Reads only; with or without a daemon that runs.

The log is read once, as a start reads it, and everything else is held against it. What a crash left undone and the next
start does (a torn last line, a hand-out not in its inbox yet) is no finding; it is counted.
"""

from contextlib import closing

from attrs import evolve, frozen

from omkd.core.state import State
from omkd.core.transitions import landing_fault, pairing_fault, task_fault, worker_fault
from omkd.protocol.events import Event, Unit
from omkd.protocol.methods import FindingKind, TaskState, VerifyResult
from omkd.protocol.scalars import Ns, Seq, TaskId, WorkerName
from omkd.store.log_errors import LogDamaged, LogTooNew
from omkd.store.log_scan import Scan, scan_log
from omkd.store.segments import FIRST_SEQ, first_seq_of, list_segments
from omkd.store.session import SessionDir
from omkd.store.snapshot import Snapshot, SnapshotUnusable, list_snapshots, read_snapshot

from .snapshot_records import decoded
from .verify_escalations import EscalationCheck
from .verify_mailboxes import MailboxCheck
from .verify_report import TO_BE_COMPLETED, Report

REPAIR = "restore the segment from a backup, or stop omkd and let `omkd repair` move the damage aside"
TOO_NEW = (
    "files were not held against it; use the omkd that wrote it; if there never was a newer one, the segment is "
    "damaged: restore it from a backup, or stop omkd and run `omkd repair --unknown-is-damage`"
)
READ_AGAIN = "make it readable (`omkctl doctor` looks at modes and disk), then verify again"
REPORT_IT = "the log is readable and omkd goes on with it; it is a fault in omkd: report it, with the units around"


def verify_session(
    session: SessionDir,
    *,
    up_to: Seq | None = None,
    mailbox_position: Seq | None = None,
    escalation_position: Seq | None = None,
) -> VerifyResult:
    """What was looked at and what was found in a session's files. Call it in a thread: 100,000 units take seconds.

    With a daemon that runs, `up_to` is a committed unit, and the positions say how far its writers have come; without
    one all three are None. What cannot be read is a finding too.
    """
    report = Report()
    try:
        hold_against_log(session, report, up_to, mailbox_position, escalation_position)
    except LogDamaged as damage:
        what = f"{damage.segment}: damaged at byte {damage.offset}: {damage.reason}"
        report.find(FindingKind.SEQUENCE, what, f"files were not held against it; {REPAIR}")
    except LogTooNew as newer:
        what = f"{newer.segment}: byte {newer.offset}: no unit of this omkd: {newer.reason}"
        report.find(FindingKind.SEQUENCE, what, TOO_NEW)
    except OSError as error:
        report.find(FindingKind.SEQUENCE, f"the session cannot be read: {error}", READ_AGAIN)
    return report.result()


def hold_against_log(
    session: SessionDir,
    report: Report,
    up_to: Seq | None,
    mailbox_position: Seq | None,
    escalation_position: Seq | None,
) -> None:
    """Raises LogDamaged, LogTooNew, OSError."""
    if not session.events.is_dir():
        what = f"{session.events} is gone: there is no event log that files could be held against"
        report.find(FindingKind.SEQUENCE, what, "restore it from a backup")
        return
    with closing(EscalationCheck(session, report, written_to=escalation_position)) as escalations:
        mailboxes = MailboxCheck(session, report)
        begun = beginning_of(session, report)
        if begun is None:
            return
        check = LogCheck(report, mailboxes, escalations, up_to, begun)
        scan = scan_log(session.events, check.take, first_seq=begun.first)
        if check.is_whole(scan):
            has_gap = check.gap_before > 0 or begun.first > FIRST_SEQ
            mailboxes.conclude(check.state, written_to=mailbox_position, log_has_gap=has_gap)
            escalations.conclude(scan.last)


@frozen(kw_only=True)
class Begun:
    """What the fold begins with. `first`: the log's first unit; `folded`: those up to this are in `state` already.

    `known`: the newest unit that a snapshot is of, which was on disk.
    """

    first: Seq
    folded: Seq
    state: State
    known: Seq


def beginning_of(session: SessionDir, report: Report) -> Begun | None:
    """None, and a finding: the log's beginning is gone, and no snapshot stands for it. Raises OSError.

    Retention cuts below the older snapshot: the fold then begins with that one.
    """
    whole: list[Snapshot] = []
    for path in list_snapshots(session.path):
        try:
            whole.append(read_snapshot(path))
            report.count("snapshots")
        except FileNotFoundError:
            continue  # a newer one has taken its place
        except SnapshotUnusable as fault:
            report.find(FindingKind.SNAPSHOT, str(fault), "remove it: a start passes it over and folds more of the log")
    segments = list_segments(session.events)
    first = first_seq_of(segments[0]) if segments else FIRST_SEQ
    known = max((each.header.seq for each in whole), default=Seq(0))
    if first == FIRST_SEQ:
        return Begun(first=first, folded=Seq(0), state=State(), known=known)
    for snapshot in reversed(whole):
        if snapshot.header.seq >= first - 1:
            try:
                return Begun(first=first, folded=snapshot.header.seq, state=decoded(snapshot), known=known)
            except SnapshotUnusable:
                continue
    what = f"the log begins with unit {first}, and no snapshot stands for what was before"
    report.find(FindingKind.SEQUENCE, what, REPAIR)
    return None


class LogCheck:
    """Takes each unit of the log: its time, whether what it says could happen, and the state that follows.

    `gap_before`: the first unit behind the last gap that a repair left; 0: there is none.
    """

    def __init__(
        self, report: Report, mailboxes: MailboxCheck, escalations: EscalationCheck, up_to: Seq | None, begun: Begun
    ) -> None:
        self.state = begun.state
        self._begun = begun
        self._report = report
        self._mailboxes = mailboxes
        self._escalations = escalations
        self._up_to = up_to
        self._last = Seq(begun.first - 1)
        self._last_ts = Ns(0)
        self.gap_before = Seq(0)
        if begun.first > FIRST_SEQ:
            escalations.pass_gap(begun.first)

    def take(self, unit: Unit) -> None:
        """Units above `up_to` count only for what was written of them already."""
        if unit.seq != self._last + 1:
            self.gap_before = unit.seq
            self._escalations.pass_gap(unit.seq)
        self._last = unit.seq
        self._escalations.take(unit)
        self._mailboxes.note_handouts(unit)
        if self._up_to is not None and unit.seq > self._up_to:
            return
        self._report.count("units")
        self._check_time(unit)
        if unit.seq > self._begun.folded:
            self._fold(unit)
        self._mailboxes.note_source(unit)

    def is_whole(self, scan: Scan) -> bool:
        """Whether all is there that was on disk; else nothing can be held against it."""
        self._report.count("tasks", sum(self.state.ledger.counts.values()))
        if self._up_to is not None and scan.last < self._up_to:
            bad = scan.bad
            where = f"{bad.segment}, byte {bad.offset}: {bad.reason}" if bad else "the log ends there"
            what = f"unit {self._up_to} was on disk, the last one that can be read is {scan.last} ({where})"
            self._report.find(FindingKind.SEQUENCE, what, f"do not restart omkd before you made a copy: {REPAIR}")
            return False
        if scan.last < self._begun.known:
            what = f"unit {self._begun.known} was on disk (a snapshot is of it), the log ends with unit {scan.last}"
            self._report.find(FindingKind.SEQUENCE, what, REPAIR)
            return False
        if self._up_to is None and scan.bad is not None:
            self._report.count(TO_BE_COMPLETED)
        return True

    def _check_time(self, unit: Unit) -> None:
        if unit.ts < self._last_ts:
            what = f"unit {unit.seq} is {self._last_ts - unit.ts} ns older than the one before it"
            self._report.find(FindingKind.SEQUENCE, what, REPORT_IT)
        self._last_ts = max(self._last_ts, unit.ts)

    def _fold(self, unit: Unit) -> None:
        """Event by event: what can happen depends on those before it in the same unit."""
        events = unit.events
        for event in events:
            before = self._task_state(event) if self._check_event(unit, event) else None
            self.state.fold_part(unit if len(events) == 1 else evolve(unit, events=[event]))
            self._check_landing(unit, event, before)
        self.state.ledger.pass_on()
        if (fault := pairing_fault(self.state, unit)) is not None:
            self._report.find(FindingKind.TASKS, f"unit {unit.seq}: {fault}", REPORT_IT)

    def _check_event(self, unit: Unit, event: Event) -> bool:
        """Whether it could happen."""
        fault = task_fault(self.state, event) or worker_fault(self.state, event)
        if fault is not None and not self._is_explained(event):
            self._report.find(FindingKind.TASKS, f"unit {unit.seq}: {fault}", REPORT_IT)
        return fault is None

    def _check_landing(self, unit: Unit, event: Event, before: TaskState | None) -> None:
        after = self._task_state(event)
        if before is not None and after is not None and (fault := landing_fault(before, event, after)) is not None:
            self._report.find(FindingKind.TASKS, f"unit {unit.seq}: {fault}", REPORT_IT)

    def _task_state(self, event: Event) -> TaskState | None:
        task = self.state.ledger.tasks.get(getattr(event, "task_id", TaskId("")))
        return None if task is None else task.state

    def _is_explained(self, event: Event) -> bool:
        """What it speaks of, or what made it possible, stood in a gap that LogDamaged accounts for."""
        task = self.state.ledger.tasks.get(getattr(event, "task_id", TaskId("")))
        worker = self.state.roster.workers.get(getattr(event, "worker", WorkerName("")))
        known_since = max((entry.seq for entry in (task, worker) if entry is not None), default=Seq(0))
        return known_since < self.gap_before
