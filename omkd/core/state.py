"""The daemon's state: the fold of the event log."""

from collections import Counter
from typing import Final

from attrs import Factory, define

from omkd.protocol.escalation import needs_person
from omkd.protocol.events import (
    DaemonStarted,
    DaemonStopped,
    DecisionAnswered,
    DecisionExpired,
    EscalationAcked,
    LineRejected,
    TaskCancelled,
    TaskFinished,
    TaskLost,
    TaskRequeued,
    Unit,
)
from omkd.protocol.methods import WorkerState
from omkd.protocol.scalars import Seq, TaskId, WorkerName

from .decisions import Decisions
from .ledger import Ledger
from .roster import Roster, WorkerEntry

MAX_UNACKED: Final = 10_000
"""Of units that need a person and were not acknowledged; the oldest beyond count as seen."""


@define
class State:
    """`ended_cleanly` speaks of the run before; `rejected_lines` counts those of this run.

    `unacked`: the units that need a person and were not acknowledged, oldest first. `drains`: how many calls wait until
    a worker has nothing in hand, and want nothing handed out to it meanwhile; not in the log: they end with the daemon.
    """

    ledger: Ledger = Factory(Ledger)
    roster: Roster = Factory(Roster)
    decisions: Decisions = Factory(Decisions)
    ended_cleanly: bool = True
    rejected_lines: int = 0
    unacked: dict[Seq, None] = Factory(dict)
    drains: Counter[WorkerName] = Factory(Counter)

    def fold(self, unit: Unit) -> None:
        """Takes in the next unit; each once, in the log's order."""
        self.fold_part(unit)
        self.ledger.pass_on()

    def fold_part(self, unit: Unit) -> None:
        """Takes in a unit of some of its events: `ledger.pass_on` is to follow the last of them."""
        self.roster.fold(unit)
        self.ledger.fold(unit)
        self.decisions.fold(unit)
        if any(needs_person(event) for event in unit.events):
            self._note_unacked(unit.seq)
        for event in unit.events:
            match event:
                case DaemonStarted():
                    self.ended_cleanly, self.rejected_lines = False, 0
                case DaemonStopped():
                    self.ended_cleanly = True
                case DecisionAnswered() | DecisionExpired():
                    self._note_decided(event.decision_id)
                case EscalationAcked():
                    for seq in event.seqs:
                        self.unacked.pop(seq, None)
                case LineRejected():
                    self.rejected_lines += event.count
                case TaskFinished() | TaskRequeued() | TaskCancelled() | TaskLost():
                    self._note_idle(event.task_id, unit.seq)
                case _:
                    pass

    def _note_unacked(self, seq: Seq) -> None:
        self.unacked[seq] = None
        if len(self.unacked) > MAX_UNACKED:
            del self.unacked[next(iter(self.unacked))]

    def _note_decided(self, decision_id: str) -> None:
        """A question that is decided needs nobody any more; that it expired is a line of its own."""
        question = self.decisions.decided.get(decision_id)
        if question is not None:
            self.unacked.pop(question.seq, None)

    def _note_idle(self, task_id: TaskId, seq: Seq) -> None:
        task = self.ledger.tasks.get(task_id)
        worker = None if task is None or task.worker is None else self.roster.workers.get(task.worker)
        if worker is not None and not self.is_busy(worker.name):
            worker.idle_since = seq

    def worker_state(self, entry: WorkerEntry) -> WorkerState:
        return entry.state(busy=self.is_busy(entry.name))

    def is_busy(self, worker: WorkerName) -> bool:
        return bool(self.ledger.in_hand(worker))
