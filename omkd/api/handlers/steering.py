"""task.update, cancel, retry, hold, release: what one can do with a task that was sent."""

from collections.abc import Awaitable, Callable, Iterable, Sequence

from attrs import evolve

from omkd.api.calls import Answer, Call
from omkd.api.pages import refuse_too_many_bytes
from omkd.core.ledger import TaskEntry
from omkd.core.reports import withdrawn_questions
from omkd.core.views import is_open, task_view
from omkd.protocol.errors import ApiError, ErrorKind
from omkd.protocol.events import (
    Event,
    TaskCancelled,
    TaskCancelRequested,
    TaskHeld,
    TaskLost,
    TaskQueued,
    TaskReleased,
    TaskRequeued,
    TaskUpdated,
)
from omkd.protocol.handout import handout_id
from omkd.protocol.limits import TASK_BYTES
from omkd.protocol.methods import TaskCancelParams, TaskIdsParams, TasksResult, TaskState, TaskUpdateParams
from omkd.protocol.records import Outcome
from omkd.protocol.scalars import I32, U32, TaskId, WorkerName
from omkd.services.hub import Hub
from omkd.services.worker_files import ids_in
from omkd.store.event_log import Draft

from .tasks import check_after, check_room, check_target, check_text, entry_of, invalid, is_to_wait_for


def update(call: Call, params: TaskUpdateParams) -> Answer:
    """All of it or nothing; only while the task is not in an inbox."""
    hub = call.hub
    entry = entry_of(hub, params.id)
    refuse_unless_open(entry, "changed")
    if params.target is not None:
        check_target(hub, params.target)
    if params.after is not None:
        check_after(hub, params.after, waiting=entry.id)
    task = evolve(
        entry.task,
        task=entry.task.task if params.task is None else params.task,
        acceptance_criteria=(
            entry.task.acceptance_criteria if params.acceptance_criteria is None else params.acceptance_criteria
        ),
        context=entry.task.context if params.context is None else params.context,
        budget_secs=entry.task.budget_secs if params.budget_secs is None else params.budget_secs,
    )
    check_text(task)
    updated = TaskUpdated(
        task_id=entry.id,
        target=params.target,
        task=None if task == entry.task else task,
        priority=params.priority,
        not_before=params.not_before,
        after=None if params.after is None else [each for each in params.after if is_to_wait_for(hub, each)],
        retries=params.retries,
    )
    return recorded(call, [entry], [updated], lambda done: task_view(hub.state, done[0]))


def hold(call: Call, params: TaskIdsParams) -> Answer:
    entries = entries_of(call.hub, params.ids)
    for entry in entries:
        refuse_unless_open(entry, "held")
    held = [TaskHeld(task_id=entry.id) for entry in entries if entry.state is TaskState.QUEUED]
    return recorded(call, entries, held, lambda done: tasks_result(call.hub, done))


def release(call: Call, params: TaskIdsParams) -> Answer:
    entries = entries_of(call.hub, params.ids)
    for entry in entries:
        if entry.state is not TaskState.HELD:
            text = f"{entry.id} is {entry.state.value}, only a held task can be released"
            raise ApiError(ErrorKind.REFUSED, text, id=entry.id, state=entry.state.value)
    released = [TaskReleased(task_id=entry.id) for entry in entries]
    return recorded(call, entries, released, lambda done: tasks_result(call.hub, done))


def retry(call: Call, params: TaskIdsParams) -> Answer:
    """A new hand-out of a task that ended, whatever it ended as."""
    entries = entries_of(call.hub, params.ids)
    for entry in entries:
        if not entry.state.is_final:
            text = f"{entry.id} is {entry.state.value}, only a task that ended can be run again"
            raise ApiError(ErrorKind.REFUSED, text, id=entry.id, state=entry.state.value)
    check_room(call.hub, *[entry.task for entry in entries])
    asked = {entry.id for entry in entries}
    again = [event for entry in entries for event in asking_again(call.hub, entry, asked)]
    tasks = call.hub.state.ledger.tasks
    return recorded(call, entries, again, lambda done: tasks_result(call.hub, [tasks[each.id] for each in done]))


def asking_again(hub: Hub, entry: TaskEntry, asked: set[TaskId]) -> Iterable[Event]:
    """One that is no longer in memory is queued anew, with the same id; its hand-outs are counted on.

    One that is waits no more for what has left memory meanwhile, unless that failed, or is `asked` for again with it.
    """
    if entry.id not in hub.state.ledger.tasks:
        yield TaskQueued(
            task_id=entry.id,
            target=entry.target,
            task=entry.task,
            priority=I32(entry.priority),
            retries=None if entry.retries is None else U32(entry.retries),
            handouts=U32(entry.handout),
        )
        return
    yield TaskRequeued(
        task_id=entry.id,
        handout=U32(entry.handout),
        worker=entry.worker,
        outcome=Outcome.DONE,
        why="run again by request",
        by_hand=True,
    )
    after = [each for each in entry.after if each in asked or is_to_wait_for(hub, each)]
    if after != entry.after:
        yield TaskUpdated(task_id=entry.id, after=after)


def cancel(call: Call, params: TaskCancelParams) -> Answer | Awaitable[Answer]:
    """Ends queued tasks at once; asks the workers of others. What ended already stays as it ended."""
    entries = entries_of(call.hub, params.ids, params.reason)
    events = [event for entry in entries for event in cancelling(call.hub, entry, params)]
    answer = recorded(call, entries, events, lambda done: tasks_result(call.hub, done))
    asked = {entry.worker for entry in entries if entry.in_hand and entry.worker is not None}
    hostless = [name for name in asked if call.desk.supervisor.lacks_host(name)]
    return cancelled_for(call, hostless, entries) if hostless else answer


async def cancelled_for(call: Call, hostless: list[WorkerName], entries: list[TaskEntry]) -> Answer:
    """A worker of ours whose host does not run cannot be told: what it has in hand has ended when this returns."""
    for worker in hostless:
        await call.desk.supervisor.settle_cancelled(worker)
    return Answer(result=tasks_result(call.hub, entries), seq=call.hub.log.written)


def cancelling(hub: Hub, entry: TaskEntry, params: TaskCancelParams) -> Iterable[Event]:
    if entry.state.is_final:
        return ()
    if is_open(entry):
        return (TaskCancelled(task_id=entry.id, reason=params.reason),)
    worker = None if entry.worker is None else hub.state.roster.workers.get(entry.worker)
    is_anothers = worker is None or worker.runner is None or worker.foreign
    if params.force and entry.worker is not None and (is_anothers or was_reported(hub, entry, entry.worker)):
        why = f": {params.reason}" if params.reason else ", its worker did not confirm it"
        reason = f"cancelled by force{why}"
        return (TaskLost(task_id=entry.id, worker=entry.worker, reason=reason), *withdrawn_questions(hub.state, entry))
    if entry.cancel_reason is not None:
        return ()
    return (TaskCancelRequested(task_id=entry.id, reason=params.reason),)


def was_reported(hub: Hub, entry: TaskEntry, worker: WorkerName) -> bool:
    """Its worker has told the end of it and will not tell it again: the log lost that, and was repaired."""
    if entry.cancel_reason is None:
        return False
    try:
        return handout_id(entry.id, entry.handout) in ids_in(hub.session.worker(worker).outbox, "task_id")
    except OSError:
        return False


def recorded(
    call: Call, entries: list[TaskEntry], events: Sequence[Event], result: Callable[[list[TaskEntry]], object]
) -> Answer:
    """One unit for all, so that either all of it happened or nothing."""
    if events:
        call.hub.log.append(Draft(by=call.caller.by(), events=tuple(events)))
    return Answer(result=result(entries), seq=call.hub.log.written)


def tasks_result(hub: Hub, entries: list[TaskEntry]) -> TasksResult:
    return TasksResult(tasks=[task_view(hub.state, entry) for entry in entries])


def entries_of(hub: Hub, ids: list[TaskId], reason: str = "") -> list[TaskEntry]:
    """Each once. Raises ApiError NOT_FOUND, TOO_LARGE."""
    if not ids:
        raise invalid("ids", "no task is named")
    if len(reason.encode()) > TASK_BYTES:
        raise ApiError(ErrorKind.TOO_LARGE, f"the reason has over {TASK_BYTES} bytes", limit=TASK_BYTES)
    entries = [entry_of(hub, task_id) for task_id in dict.fromkeys(ids)]
    refuse_too_many_bytes([task_view(hub.state, entry) for entry in entries], reason)
    return entries


def refuse_unless_open(entry: TaskEntry, what: str) -> None:
    if not is_open(entry):
        where = f" at {entry.worker}" if entry.in_hand else ""
        text = f"{entry.id} is {entry.state.value}{where}: only a task that is not handed out can be {what}"
        raise ApiError(ErrorKind.REFUSED, text, id=entry.id, state=entry.state.value)
