"""Holds the workers' files against the log."""

from omkd.core.state import State
from omkd.protocol.events import Unit
from omkd.protocol.methods import FindingKind
from omkd.protocol.scalars import Seq
from omkd.store.session import SessionDir

from .verify_inboxes import InboxCheck
from .verify_outboxes import OutboxCheck
from .verify_report import Report


class MailboxCheck:
    """Takes the units in order, then `conclude`."""

    def __init__(self, session: SessionDir, report: Report) -> None:
        self._report = report
        self._inboxes = InboxCheck(session, report)
        self._outboxes = OutboxCheck(session, report)

    def note_handouts(self, unit: Unit) -> None:
        self._inboxes.note_handouts(unit)

    def note_source(self, unit: Unit) -> None:
        self._inboxes.note_work(unit)
        self._outboxes.note_source(unit)

    def conclude(self, state: State, *, written_to: Seq | None, log_has_gap: bool) -> None:
        """`state`: the fold of what was taken; `written_to`: where a running mailbox writer is; None: none runs.

        With a gap in the log, lines that the log does not know are no finding: they may have been known.
        """
        for entry in state.roster.workers.values():
            self._report.count("workers")
            try:
                self._inboxes.check(state, entry, written_to=written_to, log_has_gap=log_has_gap)
                self._outboxes.check(entry, log_has_gap=log_has_gap)
            except OSError as fault:
                what = f"{fault.filename}: {fault.strerror}: worker {entry.name} was not held against the log"
                mend = "put a file in its place that omkd can read, see omkctl doctor"
                self._report.find(FindingKind.OUTBOX, what, mend)
