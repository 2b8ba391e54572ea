"""What next: which task is handed to which worker (design, §4: target, window, order). A decision looks at one task a
target and at the workers, however many tasks are queued."""

from typing import Final, assert_never

from attrs import frozen

from omkd.protocol.events import Target, ToAny, ToRole, ToWorker
from omkd.protocol.methods import WorkerState
from omkd.protocol.scalars import Ns, TaskId, WorkerName

from .roster import WorkerEntry
from .state import State

TAKES_ANY: Final = frozenset({WorkerState.READY, WorkerState.BUSY, WorkerState.UNKNOWN})
"""States in which a worker gets what was not sent to it by name."""


@frozen(kw_only=True)
class Handout:
    task_id: TaskId
    worker: WorkerName
    handout: int


@frozen(kw_only=True)
class Doomed:
    """A queued task that can never be handed out: `cause` did not succeed."""

    task_id: TaskId
    cause: TaskId


def next_step(state: State, now: Ns) -> Handout | Doomed | None:
    """The next decision; None: nothing can be handed out now. Record it, fold it, ask again."""
    if (doomed := state.ledger.doomed()) is not None:
        entry, cause = doomed
        return Doomed(task_id=entry.id, cause=cause)
    for entry in state.ledger.heads(now):
        worker = worker_for(state, entry.target)
        if worker is not None:
            return Handout(task_id=entry.id, worker=worker, handout=entry.handout + 1)
    return None


def worker_for(state: State, target: Target) -> WorkerName | None:
    """Who gets the next task of `target`: of those that may, the least loaded, then the longest idle."""
    free = [entry for entry in candidates(state, target) if has_room(state, entry)]
    if not free:
        return None
    return min(free, key=lambda entry: (len(state.ledger.in_hand(entry.name)), entry.idle_since, entry.seq)).name


def candidates(state: State, target: Target) -> list[WorkerEntry]:
    """Who may take a task of `target` in its present state, room or not."""
    workers = state.roster.workers
    match target:
        case ToWorker(value=name):
            entry = workers.get(name)
            return [entry] if entry is not None and not entry.paused else []
        case ToRole(value=role):
            return [e for e in workers.values() if e.spec.role == role and state.worker_state(e) in TAKES_ANY]
        case ToAny():
            return [entry for entry in workers.values() if state.worker_state(entry) in TAKES_ANY]
        case _:
            assert_never(target)


def has_room(state: State, entry: WorkerEntry) -> bool:
    """A worker whose host is to be replaced, or that drains, gets nothing: new work would put that off for ever."""
    if entry.seen.outdated or state.drains[entry.name]:
        return False
    return entry.window == 0 or len(state.ledger.in_hand(entry.name)) < entry.window
