"""The tasks, as the fold of the event log (design, §4).

Beside the facts it keeps the indexes that make a decision cheap however many tasks wait: a heap for each target,
one for those that wait for a time, and who waits for whom.
"""

import heapq
from collections.abc import Iterator
from typing import TypeAlias, assert_never

from attrs import Factory, define

from omkd.protocol.events import (
    By,
    Event,
    Target,
    TaskCancelled,
    TaskCancelRequested,
    TaskDispatched,
    TaskFinished,
    TaskHeld,
    TaskLost,
    TaskQueued,
    TaskReleased,
    TaskRequeued,
    TaskStarted,
    TaskUpdated,
    Unit,
    WorkerProgress,
)
from omkd.protocol.methods import Progress, TaskState
from omkd.protocol.records import Outcome, ResultStatus, WorkerResult, WorkerTask
from omkd.protocol.scalars import Ns, Seq, TaskId, WorkerName

STATE_OF_RESULT = {
    ResultStatus.SUCCESS: TaskState.SUCCESS,
    ResultStatus.PARTIAL: TaskState.PARTIAL,
    ResultStatus.FAILED: TaskState.FAILED,
}


TaskChange: TypeAlias = (
    TaskUpdated
    | TaskHeld
    | TaskReleased
    | TaskDispatched
    | TaskStarted
    | TaskRequeued
    | TaskCancelRequested
    | TaskFinished
    | TaskCancelled
    | TaskLost
)
"""What may become of a task once it is queued."""


@define(kw_only=True)
class TaskEntry:
    """What is known of one task. `handout` counts its hand-outs; those that ended are below the number in hand."""

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

    @property
    def in_hand(self) -> bool:
        return self.state in (TaskState.DISPATCHED, TaskState.RUNNING)


@define
class Ledger:
    """All tasks by id, in the order they were queued."""

    tasks: dict[TaskId, TaskEntry] = Factory(dict)
    keys: dict[str, TaskId] = Factory(dict)
    counts: dict[TaskState, int] = Factory(lambda: dict.fromkeys(TaskState, 0))
    _in_hand: dict[WorkerName, dict[TaskId, TaskEntry]] = Factory(dict)
    _ready: dict[Target, list[tuple[int, Seq, TaskId]]] = Factory(dict)
    _timed: list[tuple[Ns, Seq, TaskId]] = Factory(list)
    _waiters: dict[TaskId, dict[TaskId, None]] = Factory(dict)
    _queued_for: dict[Target, int] = Factory(dict)
    _failed_dependents: dict[TaskId, TaskId] = Factory(dict)

    # --- asked ---

    def in_hand(self, worker: WorkerName) -> dict[TaskId, TaskEntry]:
        """What is in a worker's inbox and has not ended, oldest hand-out first."""
        return self._in_hand.get(worker, {})

    def running(self) -> list[TaskEntry]:
        """What workers have begun and not ended."""
        held = (entry for in_hand in self._in_hand.values() for entry in in_hand.values())
        return [entry for entry in held if entry.state is TaskState.RUNNING]

    def queued_for(self, target: Target) -> int:
        """How many tasks with this target are not handed out."""
        return self._queued_for.get(target, 0)

    def newest_first(self) -> Iterator[TaskEntry]:
        return reversed(self.tasks.values())

    def heads(self, now: Ns) -> list[TaskEntry]:
        """The first task of each target that could be handed out at `now`, the most urgent target first."""
        self._release_timed(now)
        return sorted(self.oldest_waiting(), key=lambda entry: (-entry.priority, entry.seq))

    def doomed(self) -> tuple[TaskEntry, TaskId] | None:
        """A queued task that waits for one that did not succeed, and that one."""
        while self._failed_dependents:
            task_id, cause = next(iter(self._failed_dependents.items()))
            entry = self.tasks[task_id]
            if entry.state is TaskState.QUEUED and cause in self.waits_for(entry) and self._is_over(cause):
                return entry, cause
            del self._failed_dependents[task_id]  # it was held, or the other was asked for again
            self._index(entry)
        return None

    def oldest_waiting(self) -> list[TaskEntry]:
        """Of each target the first task that is ready to be handed out."""
        return [entry for target in list(self._ready) if (entry := self._head(target)) is not None]

    def next_due(self) -> Ns | None:
        """When the next task becomes ready by time alone; None: none waits for a time."""
        while self._timed:
            due, _, task_id = self._timed[0]
            if self._waits_until(self.tasks[task_id]) == due:
                return due
            heapq.heappop(self._timed)
        return None

    def waits_for(self, entry: TaskEntry) -> list[TaskId]:
        """Those of `entry.after` that have not succeeded."""
        return [task_id for task_id in entry.after if not self._succeeded(task_id)]

    # --- the fold ---

    def fold(self, unit: Unit) -> None:
        for event in unit.events:
            self._apply(event, unit)

    def _apply(self, event: Event, unit: Unit) -> None:
        """What is said of a task that is not known is passed over: a repair of the log took out what made it."""
        match event:
            case TaskQueued():
                self._queue(event, unit)
            case WorkerProgress():
                self._note_progress(event, unit.ts)
            case (
                TaskUpdated()
                | TaskHeld()
                | TaskReleased()
                | TaskDispatched()
                | TaskStarted()
                | TaskRequeued()
                | TaskCancelRequested()
                | TaskFinished()
                | TaskCancelled()
                | TaskLost()
            ):
                entry = self.tasks.get(event.task_id)
                if entry is not None:
                    self._change(entry, event, unit)
            case _:
                pass

    def _change(self, entry: TaskEntry, event: TaskChange, unit: Unit) -> None:
        match event:
            case TaskUpdated():
                self._update(entry, event)
            case TaskHeld():
                self._move(entry, TaskState.HELD)
            case TaskReleased():
                self._move(entry, TaskState.QUEUED)
            case TaskDispatched():
                self._dispatch(entry, event, unit)
            case TaskStarted():
                entry.started = unit.ts
                self._move(entry, TaskState.RUNNING)
            case TaskRequeued():
                self._requeue(entry, event)
            case TaskCancelRequested():
                entry.cancel_reason = event.reason
            case TaskFinished():
                entry.result = event.result
                self._finish(entry, STATE_OF_RESULT[event.result.status], unit.ts)
            case TaskCancelled():
                entry.result, entry.why = event.result, event.reason or None
                self._finish(entry, TaskState.CANCELLED, unit.ts)
            case TaskLost():
                entry.why = event.reason
                self._finish(entry, TaskState.LOST, unit.ts)
            case _:
                assert_never(event)

    def _dispatch(self, entry: TaskEntry, event: TaskDispatched, unit: Unit) -> None:
        self._leave_hand(entry)
        entry.worker, entry.handout, entry.dispatched = event.worker, event.handout, unit.ts
        entry.dispatched_seq, entry.started, entry.not_before = unit.seq, None, None
        self._move(entry, TaskState.DISPATCHED)
        self._in_hand.setdefault(event.worker, {})[entry.id] = entry

    def _queue(self, event: TaskQueued, unit: Unit) -> None:
        state = TaskState.HELD if event.hold else TaskState.QUEUED
        entry = TaskEntry(
            id=event.task_id,
            seq=unit.seq,
            by=unit.by,
            queued=unit.ts,
            target=event.target,
            task=event.task,
            key=event.key,
            priority=event.priority,
            not_before=event.not_before,
            after=list(event.after),
            retries=event.retries,
            state=state,
        )
        self.tasks[entry.id] = entry
        if entry.key is not None:
            self.keys[entry.key] = entry.id
        self.counts[state] += 1
        self._count_queued(entry.target, 1)
        self._index(entry)

    def _update(self, entry: TaskEntry, event: TaskUpdated) -> None:
        if event.target is not None:
            self._count_queued(entry.target, -1)
            entry.target = event.target
            self._count_queued(entry.target, 1)
        entry.task = entry.task if event.task is None else event.task
        entry.priority = entry.priority if event.priority is None else event.priority
        entry.not_before = entry.not_before if event.not_before is None else event.not_before
        entry.after = entry.after if event.after is None else list(event.after)
        entry.retries = entry.retries if event.retries is None else event.retries
        self._failed_dependents.pop(entry.id, None)
        self._index(entry)

    def _requeue(self, entry: TaskEntry, event: TaskRequeued) -> None:
        self._leave_hand(entry)
        entry.not_before, entry.why, entry.result = event.not_before, event.why, event.result
        entry.cancel_reason, entry.progress, entry.finished = None, None, None
        if event.by_hand:
            entry.failures, entry.interruptions = 0, 0
            self._move(entry, TaskState.QUEUED)
            return
        match event.outcome:
            case Outcome.INTERRUPTED:
                entry.interruptions += 1
            case Outcome.DONE:
                entry.failures += 1
            case Outcome.LATER | Outcome.CANCELLED:
                pass
        self._move(entry, TaskState.QUEUED)

    def _note_progress(self, event: WorkerProgress, ts: Ns) -> None:
        """Of what its worker runs now: a worker runs one task at a time, the oldest that it has begun."""
        for entry in self.in_hand(WorkerName(event.worker_id)).values():
            if entry.state is TaskState.RUNNING:
                entry.progress = Progress(percent=event.percent, message=event.message, ts=ts)
                return

    def _finish(self, entry: TaskEntry, state: TaskState, ts: Ns) -> None:
        self._leave_hand(entry)
        self._failed_dependents.pop(entry.id, None)
        entry.finished = ts
        self._move(entry, state)
        for task_id in self._waiters.pop(entry.id, ()):
            self._index(self.tasks[task_id])

    def _leave_hand(self, entry: TaskEntry) -> None:
        if entry.worker is not None:
            self._in_hand.get(entry.worker, {}).pop(entry.id, None)

    def _move(self, entry: TaskEntry, state: TaskState) -> None:
        was_waiting, waits = is_waiting(entry.state), is_waiting(state)
        self.counts[entry.state] -= 1
        self.counts[state] += 1
        entry.state = state
        self._count_queued(entry.target, waits - was_waiting)
        self._index(entry)

    # --- indexes: an entry that no longer fits is dropped when it comes up ---

    def _index(self, entry: TaskEntry) -> None:
        """Puts a queued task where the next decision finds it."""
        if entry.state is not TaskState.QUEUED:
            return
        for task_id in self.waits_for(entry):
            if self._is_over(task_id):
                self._failed_dependents[entry.id] = task_id
            else:
                self._waiters.setdefault(task_id, {})[entry.id] = None
            return
        if entry.not_before is not None:
            heapq.heappush(self._timed, (entry.not_before, entry.seq, entry.id))
        else:
            heapq.heappush(self._ready.setdefault(entry.target, []), (-entry.priority, entry.seq, entry.id))

    def _head(self, target: Target) -> TaskEntry | None:
        heap = self._ready[target]
        while heap:
            urgency, _, task_id = heap[0]
            entry = self.tasks[task_id]
            if entry.target == target and -entry.priority == urgency and self._is_ready(entry):
                return entry
            heapq.heappop(heap)
        del self._ready[target]
        return None

    def _is_ready(self, entry: TaskEntry) -> bool:
        return entry.state is TaskState.QUEUED and entry.not_before is None and not self.waits_for(entry)

    def _waits_until(self, entry: TaskEntry) -> Ns | None:
        return entry.not_before if entry.state is TaskState.QUEUED and not self.waits_for(entry) else None

    def _release_timed(self, now: Ns) -> None:
        while (due := self.next_due()) is not None and due <= now:
            _, _, task_id = heapq.heappop(self._timed)
            self.tasks[task_id].not_before = None
            self._index(self.tasks[task_id])

    def _is_over(self, task_id: TaskId) -> bool:
        entry = self.tasks.get(task_id)
        return entry is None or entry.state.is_final

    def _succeeded(self, task_id: TaskId) -> bool:
        entry = self.tasks.get(task_id)
        return entry is not None and entry.state is TaskState.SUCCESS

    def _count_queued(self, target: Target, change: int) -> None:
        if change:
            self._queued_for[target] = self._queued_for.get(target, 0) + change


def is_waiting(state: TaskState) -> bool:
    return state in (TaskState.QUEUED, TaskState.HELD)
