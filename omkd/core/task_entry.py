"""One task, as the fold of the event log knows it."""

from attrs import Factory, define, frozen

from omkd.protocol.events import By, Target
from omkd.protocol.methods import Progress, TaskState
from omkd.protocol.records import WorkerResult, WorkerTask
from omkd.protocol.scalars import Ns, Seq, TaskId, WorkerName


@define(kw_only=True)
class TaskEntry:
    """What is known of one task. `handout` counts its hand-outs; those that ended are below the number in hand.

    `asked_in` are the units that say what is to be done, `done_in` those that say what became of it since it was last
    handed out. Lists in here are replaced, never changed in place: an image of the state shares them.
    """

    id: TaskId
    seq: Seq
    by: By
    queued: Ns
    target: Target
    task: WorkerTask
    key: str | None
    priority: int
    not_before: Ns | None
    after: list[TaskId]
    retries: int | None
    state: TaskState
    worker: WorkerName | None = None
    handout: int = 0
    dispatched: Ns | None = None
    dispatched_seq: Seq = Seq(0)
    started: Ns | None = None
    finished: Ns | None = None
    result: WorkerResult | None = None
    failures: int = 0
    interruptions: int = 0
    cancel_reason: str | None = None
    why: str | None = None
    progress: Progress | None = None
    asked_in: list[Seq] = Factory(list)
    done_in: list[Seq] = Factory(list)

    @property
    def in_hand(self) -> bool:
        return self.state in (TaskState.DISPATCHED, TaskState.RUNNING)

    @property
    def units(self) -> list[Seq]:
        """The units from which a ledger that folds nothing else makes the same task (but for its progress)."""
        return sorted({*self.asked_in, *self.done_in})

    @property
    def chars(self) -> int:
        """Of its texts and its result: what it costs to keep."""
        result = self.result
        said = 0 if result is None else len(result.summary) + sum(map(len, result.artifacts))
        return chars_of(self.task) + said


@frozen(kw_only=True)
class Passed:
    """A finished task that is no longer kept. `{"id":"t12","units":[12,15,16,19]}`: what it is read from."""

    id: TaskId
    units: list[Seq]


def chars_of(task: WorkerTask) -> int:
    return len(task.task) + len(task.context or "") + sum(map(len, task.acceptance_criteria))
