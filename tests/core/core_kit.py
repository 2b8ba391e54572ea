"""A state that facts are folded into one after the other, at times that the test says."""

from typing import Any

from attrs import define, field

from omkd.core.ledger import TaskEntry
from omkd.core.roster import WorkerEntry
from omkd.core.schedule import Doomed, Handout, next_step
from omkd.core.state import State
from omkd.protocol.events import (
    By,
    ByOmkd,
    Event,
    Source,
    Target,
    TaskDispatched,
    TaskFinished,
    TaskQueued,
    TaskStarted,
    ToAny,
    ToRole,
    ToWorker,
    Unit,
    WorkerRegistered,
)
from omkd.protocol.records import ResultStatus, Runner, WorkerResult, WorkerSpec, WorkerTask
from omkd.protocol.scalars import I32, U32, U64, Ns, Seq, TaskId, WorkerName

SECOND_NS = 1_000_000_000
CODER, DOCS = WorkerName("coder"), WorkerName("docs")
ANY = ToAny()


def to(worker: str) -> Target:
    return ToWorker(value=WorkerName(worker))


def to_role(role: str) -> Target:
    return ToRole(value=role)


def spec(name: str, role: str = "coder") -> WorkerSpec:
    return WorkerSpec(name=name, role=role, inbox="i", outbox="o", heartbeat="h")


def registered(name: str, *, role: str = "coder", window: int = 1, runner: Runner | None = None) -> WorkerRegistered:
    return WorkerRegistered(
        worker=WorkerName(name), spec=spec(name, role), foreign=runner is None, window=U32(window), runner=runner
    )


def queued(task_id: str, target: Target, **more: Any) -> TaskQueued:
    return TaskQueued(task_id=TaskId(task_id), target=target, task=WorkerTask(id=task_id, task=f"do {task_id}"), **more)


def finished(task_id: str, status: ResultStatus = ResultStatus.SUCCESS, *, handout: int = 1) -> TaskFinished:
    result = WorkerResult(task_id=task_id, status=status, summary="said")
    return TaskFinished(task_id=TaskId(task_id), handout=U32(handout), worker=CODER, result=result)


def source(file: str = "outbox.jsonl", *, worker: str = CODER, gen: int = 1, end: int = 1) -> Source:
    return Source(worker=WorkerName(worker), gen=U32(gen), file=file, end=U64(end), tail="t", inode=U64(1), head="h")


@define
class World:
    state: State = field(factory=State)
    seq: int = 0
    now: int = 0

    def tell(self, *events: Event, src: Source | None = None, by: By | None = None) -> Unit:
        """One unit."""
        self.seq += 1
        unit = Unit(seq=Seq(self.seq), ts=Ns(self.now), by=by or ByOmkd(), src=src, synced=Seq(0), events=list(events))
        self.state.fold(unit)
        return unit

    def worker(self, name: str = CODER, **more: Any) -> WorkerEntry:
        """A worker whose heartbeat was seen."""
        self.tell(registered(name, **more))
        entry = self.state.roster.workers[WorkerName(name)]
        entry.seen.heartbeat, entry.seen.host_pid = "ready", 7
        return entry

    def send(self, task_id: str, target: Target | None = None, *, priority: int = 0, **more: Any) -> TaskEntry:
        self.tell(queued(task_id, target or to(CODER), priority=I32(priority), **more))
        return self.task(task_id)

    def task(self, task_id: str) -> TaskEntry:
        return self.state.ledger.tasks[TaskId(task_id)]

    def step(self) -> Handout | Doomed | None:
        return next_step(self.state, Ns(self.now))

    def hand_out(self) -> list[str]:
        """Does all that can be decided now; the tasks handed out, in order."""
        done = []
        while (step := self.step()) is not None:
            self.tell(decided(step))
            if isinstance(step, Handout):
                done.append(step.task_id)
        return done

    def run(self, task_id: str) -> None:
        """A task in hand begins."""
        self.tell(TaskStarted(task_id=TaskId(task_id), handout=U32(self.task(task_id).handout)))


def decided(step: Handout | Doomed) -> TaskDispatched | TaskFinished:
    """The fact that a decision becomes."""
    if isinstance(step, Handout):
        return TaskDispatched(task_id=step.task_id, worker=step.worker, handout=U32(step.handout))
    result = WorkerResult(task_id=step.task_id, status=ResultStatus.FAILED, summary="not run")
    return TaskFinished(task_id=step.task_id, handout=U32(0), worker=None, result=result)
