"""What may happen to a task or a worker, and when: the table that `verify` holds a log against (design, §4).

The fold itself does not ask: what is in the log happened. A unit that breaks a rule is a fault in omkd, or in the log.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Final

from omkd.protocol.events import (
    Event,
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
    WorkerCompleted,
    WorkerExited,
    WorkerInboxRenewed,
    WorkerPaused,
    WorkerRecovered,
    WorkerRegistered,
    WorkerRemoved,
    WorkerResumed,
    WorkerStalled,
    WorkerStarted,
    WorkerUpdated,
)
from omkd.protocol.methods import FINAL_STATES, TaskState

from .ledger import TaskEntry
from .state import State

TaskEvent = (
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

Transitions = Mapping[type[TaskEvent], frozenset[TaskState]]

ENDED_BY_A_RESULT: Final = frozenset({TaskState.SUCCESS, TaskState.PARTIAL, TaskState.FAILED})

WHILE_WAITING: Final[Transitions] = {
    TaskFinished: frozenset({TaskState.FAILED}),
    TaskCancelled: frozenset({TaskState.CANCELLED}),
}
"""TaskFinished of a waiting task: one that it waits for did not succeed."""

WHILE_IN_HAND: Final[Transitions] = {
    TaskRequeued: frozenset({TaskState.QUEUED}),
    TaskCancelled: frozenset({TaskState.CANCELLED}),
    TaskLost: frozenset({TaskState.LOST}),
}

AGAIN: Final[Transitions] = {TaskRequeued: frozenset({TaskState.QUEUED})}
"""Of a task that ended: by hand only."""

TRANSITIONS: Final[Mapping[TaskState, Transitions]] = {
    TaskState.QUEUED: {
        TaskUpdated: frozenset({TaskState.QUEUED}),
        TaskHeld: frozenset({TaskState.HELD}),
        TaskDispatched: frozenset({TaskState.DISPATCHED}),
        **WHILE_WAITING,
    },
    TaskState.HELD: {
        TaskUpdated: frozenset({TaskState.HELD}),
        TaskReleased: frozenset({TaskState.QUEUED}),
        **WHILE_WAITING,
    },
    TaskState.DISPATCHED: {
        TaskStarted: frozenset({TaskState.RUNNING}),
        TaskCancelRequested: frozenset({TaskState.DISPATCHED}),
        **WHILE_IN_HAND,
    },
    TaskState.RUNNING: {
        TaskFinished: ENDED_BY_A_RESULT,
        TaskCancelRequested: frozenset({TaskState.RUNNING}),
        **WHILE_IN_HAND,
    },
    **dict.fromkeys(sorted(FINAL_STATES, key=lambda state: state.value), AGAIN),
}
"""From each state: which events may come, and the states that each may lead to. `docs/tasks.md` prints it."""


def task_fault(state: State, event: Event) -> str | None:
    """Why `event` cannot happen to its task now; None: it can, or it speaks of no task."""
    if isinstance(event, TaskQueued):
        return f"{event.task_id} is queued a second time" if event.task_id in state.ledger.tasks else None
    if not isinstance(event, TaskEvent):
        return None
    entry = state.ledger.tasks.get(event.task_id)
    name = type(event).__name__
    if entry is None:
        return f"{name} of {event.task_id}, which was never queued"
    if type(event) not in TRANSITIONS[entry.state] or is_by_hand(event) != entry.state.is_final:
        return f"{name} of {entry.id}, which is {entry.state.value}"
    return handout_fault(state, entry, event)


def landing_fault(before: TaskState, event: Event, after: TaskState) -> str | None:
    """Whether a task came where `event` may lead from where it was; for an event that `task_fault` lets pass."""
    if not isinstance(event, TaskEvent) or after in TRANSITIONS[before][type(event)]:
        return None
    return f"{type(event).__name__} of {event.task_id} made {before.value} {after.value}"


def handout_fault(state: State, entry: TaskEntry, event: TaskEvent) -> str | None:
    """Whether the event speaks of the hand-out in hand, and of the worker that has it."""
    name = type(event).__name__
    if isinstance(event, TaskDispatched):
        if event.worker not in state.roster.workers:
            return f"{name} of {entry.id} to {event.worker}, which is no worker"
        expected = entry.handout + 1
    else:
        expected = entry.handout if entry.in_hand or is_by_hand(event) else 0
        worker = getattr(event, "worker", entry.worker)
        if entry.in_hand and worker != entry.worker:
            return f"{name} of {entry.id} at {worker}, which is at {entry.worker}"
    handout = getattr(event, "handout", expected)
    return None if handout == expected else f"{name} of {entry.id}, hand-out {handout} instead of {expected}"


def is_by_hand(event: TaskEvent) -> bool:
    """Somebody asked for a task again that had ended."""
    return isinstance(event, TaskRequeued) and event.by_hand


def worker_fault(state: State, event: Event) -> str | None:
    """Why `event` cannot happen to its worker now; None: it can, or it speaks of no worker."""
    match event:
        case WorkerRegistered() if event.worker in state.roster.workers:
            return f"{event.worker} is registered a second time"
        case (
            WorkerUpdated()
            | WorkerRemoved()
            | WorkerPaused()
            | WorkerResumed()
            | WorkerStalled()
            | WorkerRecovered()
            | WorkerInboxRenewed()
            | WorkerExited()
        ):
            if event.worker not in state.roster.workers:
                return f"{type(event).__name__} of {event.worker}, which is no worker"
            if isinstance(event, WorkerRemoved) and (in_hand := state.ledger.in_hand(event.worker)):
                return f"{event.worker} is removed with {', '.join(in_hand)} in hand"
            return None
        case _:
            return None


def pairing_fault(state: State, unit: Unit) -> str | None:
    """A hand-out begins and ends with the seeds' events in the same unit, one of each. `state`: after the unit."""
    started = Counter(starts(state, unit))
    ended = Counter(ends_with_result(unit))
    for worker, number in started.items():
        said = sum(isinstance(event, WorkerStarted) and event.worker_id == worker for event in unit.events)
        if said != number:
            return f"{number} TaskStarted at {worker}, {said} WorkerStarted"
    for worker, number in ended.items():
        said = sum(isinstance(event, WorkerCompleted) and event.worker_id == worker for event in unit.events)
        if said != number:
            return f"{number} hand-outs ended at {worker}, {said} WorkerCompleted"
    return None


def starts(state: State, unit: Unit) -> Iterator[str]:
    """The workers at which a hand-out began."""
    for event in unit.events:
        entry = state.ledger.tasks.get(event.task_id) if isinstance(event, TaskStarted) else None
        if entry is not None and entry.worker is not None:
            yield entry.worker


def ends_with_result(unit: Unit) -> Iterator[str]:
    """The workers whose result ended a hand-out."""
    for event in unit.events:
        match event:
            case TaskRequeued(by_hand=True):
                pass
            case TaskFinished() | TaskRequeued() | TaskCancelled() if event.worker is not None and event.result:
                yield event.worker
            case _:
                pass
