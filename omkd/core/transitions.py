"""What may happen to a task or a worker, and when: the table that `verify` holds a log against (design, §4).

The fold itself does not ask: what is in the log happened. A unit that breaks a rule is a fault in omkd, or in the log.
"""

from collections import Counter
from collections.abc import Iterator
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

WAITING: Final = frozenset({TaskState.QUEUED, TaskState.HELD})
IN_HAND: Final = frozenset({TaskState.DISPATCHED, TaskState.RUNNING})

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

LEGAL_IN: Final[dict[type[TaskEvent], frozenset[TaskState]]] = {
    TaskUpdated: WAITING,
    TaskHeld: frozenset({TaskState.QUEUED}),
    TaskReleased: frozenset({TaskState.HELD}),
    TaskDispatched: frozenset({TaskState.QUEUED}),
    TaskStarted: frozenset({TaskState.DISPATCHED}),
    TaskRequeued: IN_HAND,
    TaskCancelRequested: IN_HAND,
    TaskFinished: WAITING | {TaskState.RUNNING},
    TaskCancelled: WAITING | IN_HAND,
    TaskLost: IN_HAND,
}
"""The states in which each may come. TaskFinished of a waiting task: one that it waits for did not succeed."""


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
    if entry.state not in (FINAL_STATES if is_by_hand(event) else LEGAL_IN[type(event)]):
        return f"{name} of {entry.id}, which is {entry.state.value}"
    return handout_fault(state, entry, event)


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
