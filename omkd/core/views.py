"""Tasks and workers as the control API shows them, and in words why a task waits."""

from typing import Final

from attrs import evolve

from omkd.protocol.events import Event, Target, ToAny, ToRole, ToWorker, Unit, WorkerRegistered, WorkerUpdated
from omkd.protocol.methods import Task, TaskState, Worker, WorkerState
from omkd.protocol.records import Runner
from omkd.protocol.redaction import redacted, redacted_text, secrets_in
from omkd.protocol.scalars import I32, U32, U64
from omkd.protocol.timestamps import format_ns

from .ledger import TaskEntry
from .roster import WorkerEntry
from .schedule import candidates, has_room
from .state import State

SETTINGS: Final = (WorkerRegistered, WorkerUpdated)
"""Events that have a worker's environment."""


def task_view(state: State, entry: TaskEntry) -> Task:
    return Task(
        id=entry.id,
        state=entry.state,
        target=entry.target,
        worker=entry.worker if not is_open(entry) else None,
        handout=U32(entry.handout),
        priority=I32(entry.priority),
        task=entry.task,
        by=entry.by,
        queued=entry.queued,
        dispatched=entry.dispatched,
        started=entry.started,
        finished=entry.finished,
        result=entry.result,
        why=why(state, entry),
        progress=entry.progress,
    )


def worker_view(state: State, entry: WorkerEntry) -> Worker:
    return Worker(
        name=entry.name,
        role=entry.spec.role,
        state=state.worker_state(entry),
        foreign=entry.foreign,
        window=U32(entry.window),
        in_hand=list(state.ledger.in_hand(entry.name)),
        queued=U32(state.ledger.queued_for(ToWorker(value=entry.name))),
        spec=entry.spec,
        runner=shown_runner(entry.runner),
        last_sign=entry.seen.last_sign,
        pid=None if entry.seen.host_pid is None else U64(entry.seen.host_pid),
    )


def shown_runner(runner: Runner | None) -> Runner | None:
    """Without the values of secret names; runner.json and the log have them."""
    if runner is None:
        return None
    secrets = secrets_in(runner.env)
    command = [redacted_text(word, secrets) for word in runner.command]
    return evolve(runner, command=command, env=redacted(runner.env))


def shown_unit(unit: Unit) -> Unit:
    """The unit itself, or one without the values of secret names."""
    if not any(isinstance(event, SETTINGS) and event.runner is not None for event in unit.events):
        return unit
    events: list[Event] = [
        evolve(event, runner=shown_runner(event.runner)) if isinstance(event, SETTINGS) else event
        for event in unit.events
    ]
    return evolve(unit, events=events)


def is_open(entry: TaskEntry) -> bool:
    """Not bound to a worker now."""
    return entry.state in (TaskState.QUEUED, TaskState.HELD)


def why(state: State, entry: TaskEntry) -> str | None:
    """Why a task waits, or ended as it did; None when there is nothing to say."""
    match entry.state:
        case TaskState.HELD:
            return "held until it is released"
        case TaskState.QUEUED:
            reason = why_queued(state, entry)
            return f"{entry.why}; {reason}" if entry.why else reason
        case TaskState.DISPATCHED | TaskState.RUNNING:
            return "its worker was told to end it" if entry.cancel_reason is not None else why_no_sign(state, entry)
        case _:
            return entry.why


def why_no_sign(state: State, entry: TaskEntry) -> str | None:
    """Why nothing comes of a task that a worker has in hand."""
    worker = None if entry.worker is None else state.roster.workers.get(entry.worker)
    match worker and state.worker_state(worker):
        case WorkerState.DEAD:
            return f"worker {entry.worker} is dead: see omkctl worker show {entry.worker}"
        case WorkerState.STOPPED:
            return f"worker {entry.worker} has stopped"
        case WorkerState.STALLED:
            return f"worker {entry.worker} gives no sign of life"
        case _:
            return None


def why_queued(state: State, entry: TaskEntry) -> str:
    if waits := state.ledger.waits_for(entry):
        return f"waits for {', '.join(waits)}"
    if entry.not_before is not None:
        return f"not before {format_ns(entry.not_before)}"
    able = candidates(state, entry.target)
    if not able:
        return why_nobody(state, entry.target)
    if all(worker.seen.outdated for worker in able):
        return f"{', '.join(worker.name for worker in able)}: host of another version is replaced first"
    if all(state.drains[worker.name] for worker in able):
        return f"{', '.join(worker.name for worker in able)}: drains, gets work again when that is over"
    if all(not has_room(state, worker) for worker in able):
        names = ", ".join(worker.name for worker in able)
        return f"{names}: no room for more in hand"
    return "is handed out in its turn"


def why_nobody(state: State, target: Target) -> str:
    match target:
        case ToWorker(value=name) if name in state.roster.workers:
            return f"worker {name} is paused"
        case ToWorker(value=name):
            return f"there is no worker {name}"
        case ToRole(value=role):
            return f"no worker of role {role} is ready"
        case ToAny():
            return "no worker is ready"
