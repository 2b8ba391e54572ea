"""The tasks, as the fold of the event log (design, §4).

The fold is bounded (`kept`): a finished task that falls out leaves a `Passed`, by which it is read from the log again.
Beside the facts the ledger keeps the indexes that make a decision cheap however many tasks wait: a heap for each
target, one for those that wait for a time, and who waits for whom.
"""

import heapq
from collections.abc import Iterator
from typing import TypeAlias, assert_never

from attrs import Factory, define, evolve, frozen

from omkd.protocol.events import (
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
from omkd.protocol.records import Outcome, ResultStatus
from omkd.protocol.scalars import Ns, Seq, TaskId, WorkerName

from .kept import Bounds, Finished, KeyUse, SentKeys
from .task_entry import Passed, chars_of
from .task_entry import TaskEntry as TaskEntry

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


@frozen(kw_only=True)
class LedgerImage:
    """All of a ledger that a later fold needs, as it was at one moment. Indexes are made anew from it.

    `tasks` may change afterwards: each is to be asked for by `Ledger.as_imaged`. Lists are in the order they matter.
    """

    tasks: list[TaskEntry]
    counts: dict[TaskState, int]
    in_hand: dict[WorkerName, list[TaskId]]
    finished: list[TaskId]
    keys: dict[str, KeyUse]
    passed: list[Passed]


@define
class Ledger:
    """All tasks that are kept, by id, in the order they were queued.

    `counts` of the final states count those that passed too; `passed` are those that the last snapshot does not have.
    """

    tasks: dict[TaskId, TaskEntry] = Factory(dict)
    keys: SentKeys = Factory(SentKeys)
    counts: dict[TaskState, int] = Factory(lambda: dict.fromkeys(TaskState, 0))
    passed: dict[TaskId, Passed] = Factory(dict)
    waiting_chars: int = 0
    _finished: Finished = Factory(Finished)
    _copies: dict[Seq, TaskEntry] | None = None
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
            entry = self.tasks.get(task_id)
            if entry is not None and self._waits_until(entry) == due:
                return due
            heapq.heappop(self._timed)
            self._keep_waiting(entry)
        return None

    @property
    def waiting(self) -> int:
        """How many tasks are not handed out."""
        return self.counts[TaskState.QUEUED] + self.counts[TaskState.HELD]

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
        self._before_change(entry)
        match event:
            case TaskUpdated():
                entry.asked_in = [*entry.asked_in, unit.seq]
                self._update(entry, event)
            case TaskHeld():
                self._move(entry, TaskState.HELD)
            case TaskReleased():
                self._move(entry, TaskState.QUEUED)
            case TaskDispatched():
                self._dispatch(entry, event, unit)
            case TaskStarted():
                entry.done_in = [*entry.done_in, unit.seq]
                entry.started = unit.ts
                self._move(entry, TaskState.RUNNING)
            case TaskRequeued():
                entry.done_in = [*entry.done_in, unit.seq]
                self._requeue(entry, event)
            case TaskCancelRequested():
                entry.done_in = [*entry.done_in, unit.seq]
                entry.cancel_reason = event.reason
            case TaskFinished():
                entry.result, entry.why = event.result, None
                self._finish(entry, STATE_OF_RESULT[event.result.status], unit)
            case TaskCancelled():
                entry.result, entry.why = event.result, event.reason or None
                self._finish(entry, TaskState.CANCELLED, unit)
            case TaskLost():
                entry.why = event.reason
                self._finish(entry, TaskState.LOST, unit)
            case _:
                assert_never(event)

    def _dispatch(self, entry: TaskEntry, event: TaskDispatched, unit: Unit) -> None:
        self._leave_hand(entry)
        entry.worker, entry.handout, entry.dispatched = event.worker, event.handout, unit.ts
        entry.dispatched_seq, entry.started, entry.not_before = unit.seq, None, None
        entry.done_in = [unit.seq]
        entry.result, entry.why = None, None  # those of the hand-out before
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
            handout=event.handouts or 0,
            asked_in=[unit.seq],
        )
        self.tasks[entry.id] = entry
        if entry.key is not None:
            self.keys.note(entry.key, KeyUse(task_id=entry.id, seq=entry.seq, ts=entry.queued))
        self._finished.remove(entry.id)
        self._count(entry, 1)
        self._index(entry)

    def _update(self, entry: TaskEntry, event: TaskUpdated) -> None:
        self._count(entry, -1)
        entry.target = entry.target if event.target is None else event.target
        entry.task = entry.task if event.task is None else event.task
        entry.priority = entry.priority if event.priority is None else event.priority
        entry.not_before = entry.not_before if event.not_before is None else event.not_before
        entry.after = entry.after if event.after is None else list(event.after)
        entry.retries = entry.retries if event.retries is None else event.retries
        self._count(entry, 1)
        self._failed_dependents.pop(entry.id, None)
        self._index(entry)

    def _requeue(self, entry: TaskEntry, event: TaskRequeued) -> None:
        self._leave_hand(entry)
        entry.not_before, entry.why, entry.result = event.not_before, event.why, event.result
        entry.cancel_reason, entry.progress, entry.finished = None, None, None
        if event.by_hand:
            entry.failures, entry.interruptions = 0, 0
        elif event.outcome is Outcome.INTERRUPTED:
            entry.interruptions += 1
        elif event.outcome is Outcome.DONE:
            entry.failures += 1
        self._move(entry, TaskState.QUEUED)

    def _note_progress(self, event: WorkerProgress, ts: Ns) -> None:
        """Of what its worker runs now: a worker runs one task at a time, the oldest that it has begun."""
        for entry in self.in_hand(WorkerName(event.worker_id)).values():
            if entry.state is TaskState.RUNNING:
                self._before_change(entry)
                entry.progress = Progress(percent=event.percent, message=event.message, ts=ts)
                return

    def _finish(self, entry: TaskEntry, state: TaskState, unit: Unit) -> None:
        self._leave_hand(entry)
        self._failed_dependents.pop(entry.id, None)
        entry.finished, entry.done_in = unit.ts, [*entry.done_in, unit.seq]
        self._move(entry, state)
        for task_id in self._waiters.pop(entry.id, ()):
            if (waiter := self.tasks.get(task_id)) is not None:
                self._index(waiter)

    def _leave_hand(self, entry: TaskEntry) -> None:
        if entry.worker is not None:
            self._in_hand.get(entry.worker, {}).pop(entry.id, None)

    def _move(self, entry: TaskEntry, state: TaskState) -> None:
        self._count(entry, -1)
        entry.state = state
        self._count(entry, 1)
        self._index(entry)

    def _count(self, entry: TaskEntry, change: int) -> None:
        """Counts a task in as what it is (-1: out, before it is changed)."""
        self.counts[entry.state] += change
        if not entry.state.is_final:
            self._finished.wait_for(entry.after, change)
        elif change > 0:
            self._finished.add(entry.id, entry.chars)
        else:
            self._finished.remove(entry.id)
        if is_waiting(entry.state):
            self.waiting_chars += change * chars_of(entry.task)
            self._queued_for[entry.target] = self._queued_for.get(entry.target, 0) + change

    # --- the bound, and the image ---

    def pass_on(self) -> None:
        """Lets finished tasks go that are too many. Call it after each unit, when everybody has folded it."""
        for task_id in self._finished.let_go():
            entry = self.tasks.pop(task_id)
            self.passed[task_id] = Passed(id=task_id, units=entry.units)

    def image(self) -> LedgerImage:
        """What it is now; cheap, whatever there is. From here to `end_image` it is kept as it is (copy on write)."""
        self._copies = {}
        return LedgerImage(
            tasks=list(self.tasks.values()),
            counts=dict(self.counts),
            in_hand={worker: list(tasks) for worker, tasks in self._in_hand.items() if tasks},
            finished=list(self._finished.chars),
            keys=dict(self.keys.uses),
            passed=list(self.passed.values()),
        )

    def as_imaged(self, entry: TaskEntry) -> TaskEntry:
        """A task of the image that is under way, as it was when that was taken."""
        return entry if self._copies is None else self._copies.get(entry.seq, entry)

    def end_image(self) -> None:
        self._copies = None

    def _before_change(self, entry: TaskEntry) -> None:
        if self._copies is not None and entry.seq not in self._copies:
            self._copies[entry.seq] = evolve(entry)

    def forget_passed(self, passed: list[Passed]) -> None:
        """They are on disk now."""
        for each in passed:
            if self.passed.get(each.id) is each:
                del self.passed[each.id]

    @classmethod
    def bounded(cls, bounds: Bounds) -> "Ledger":
        return cls(keys=SentKeys(bounds), finished=Finished(bounds))

    @classmethod
    def restored(cls, image: LedgerImage, bounds: Bounds) -> "Ledger":
        """A ledger that goes on as the one imaged would have."""
        ledger = cls.bounded(bounds)
        ledger.tasks = {entry.id: entry for entry in image.tasks}
        ledger.keys.uses = dict(image.keys)
        for entry in image.tasks:
            ledger._count(entry, 1)
        for task_id in image.finished:
            ledger._finished.add(task_id, ledger.tasks[task_id].chars)
        for worker, ids in image.in_hand.items():
            ledger._in_hand[worker] = {task_id: ledger.tasks[task_id] for task_id in ids}
        for entry in image.tasks:
            ledger._index(entry)
        ledger.counts = dict.fromkeys(TaskState, 0) | image.counts
        ledger.passed = {each.id: each for each in image.passed}
        return ledger

    # --- indexes: an entry that no longer fits is dropped when it comes up ---

    def _index(self, entry: TaskEntry) -> None:
        """Puts a queued task where the next decision finds it."""
        if entry.state is not TaskState.QUEUED:
            return
        waits_for = self.waits_for(entry)
        for task_id in waits_for:
            if self._is_over(task_id):
                self._failed_dependents[entry.id] = task_id
            else:
                self._waiters.setdefault(task_id, {})[entry.id] = None
        if waits_for:
            return
        if entry.not_before is not None:
            heapq.heappush(self._timed, (entry.not_before, entry.seq, entry.id))
        else:
            heapq.heappush(self._ready.setdefault(entry.target, []), (-entry.priority, entry.seq, entry.id))

    def _head(self, target: Target) -> TaskEntry | None:
        heap = self._ready[target]
        while heap:
            urgency, _, task_id = heap[0]
            entry = self.tasks.get(task_id)
            if entry is None:
                heapq.heappop(heap)
                continue
            if entry.target == target and -entry.priority == urgency and self._is_ready(entry):
                return entry
            heapq.heappop(heap)
            self._keep_waiting(entry)
        del self._ready[target]
        return None

    def _keep_waiting(self, entry: TaskEntry | None) -> None:
        """An entry dropped because a task that had succeeded was asked for again waits for that one anew."""
        if entry is not None and self.waits_for(entry):
            self._index(entry)

    def _is_ready(self, entry: TaskEntry) -> bool:
        return entry.state is TaskState.QUEUED and entry.not_before is None and not self.waits_for(entry)

    def _waits_until(self, entry: TaskEntry) -> Ns | None:
        return entry.not_before if entry.state is TaskState.QUEUED and not self.waits_for(entry) else None

    def _release_timed(self, now: Ns) -> None:
        while (due := self.next_due()) is not None and due <= now:
            _, _, task_id = heapq.heappop(self._timed)
            entry = self.tasks[task_id]
            self._before_change(entry)
            entry.not_before = None
            self._index(entry)

    def _is_over(self, task_id: TaskId) -> bool:
        entry = self.tasks.get(task_id)
        return entry is None or entry.state.is_final

    def _succeeded(self, task_id: TaskId) -> bool:
        entry = self.tasks.get(task_id)
        return entry is not None and entry.state is TaskState.SUCCESS


def is_waiting(state: TaskState) -> bool:
    return state in (TaskState.QUEUED, TaskState.HELD)
