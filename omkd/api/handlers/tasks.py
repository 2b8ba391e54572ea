"""task.send, get, wait."""

import math

import trio
from attrs import evolve

from omkd.api.calls import Answer, Call
from omkd.api.pages import first_that_fit, refuse_too_many_bytes
from omkd.core.kept import KeyUse
from omkd.core.task_entry import TaskEntry, chars_of
from omkd.core.views import task_view
from omkd.protocol import codec
from omkd.protocol.errors import ApiError, ErrorKind
from omkd.protocol.events import Target, TaskQueued, ToAny, ToRole, ToWorker
from omkd.protocol.limits import KEY_CHARS, TASK_BYTES
from omkd.protocol.methods import (
    NewTask,
    TaskIdParams,
    TaskSendParams,
    TasksResult,
    TaskState,
    TaskWaitParams,
    WaitUntil,
)
from omkd.protocol.names import role_fault, task_id_fault
from omkd.protocol.nearest import hint, shown_name
from omkd.protocol.records import WorkerTask
from omkd.protocol.scalars import Seq, TaskId
from omkd.services.hub import Hub
from omkd.services.older_tasks import is_older, older_task
from omkd.store.event_log import Draft


def send(call: Call, params: TaskSendParams) -> Answer:
    """The same key and body again is the same task; it is answered once the first is on disk."""
    check_names(params)
    hub = call.hub
    known = hub.state.ledger.keys.get(params.key) if params.key is not None else None
    if known is not None:
        return same_again(hub, known, params)
    check_text(worker_task(params.task.id or TaskId(""), params.task))
    check_target(hub, params.target)
    check_after(hub, params.after)
    check_room(hub, worker_task(TaskId(""), params.task))
    if params.task.id is not None:
        check_unused(hub, params.task.id)
    task_id = params.task.id or TaskId(f"t{hub.log.next_seq}")
    queued = TaskQueued(
        task_id=task_id,
        target=params.target,
        task=worker_task(task_id, params.task),
        key=params.key,
        priority=params.priority,
        not_before=params.not_before,
        after=[each for each in params.after if is_to_wait_for(hub, each)],
        hold=params.hold,
        retries=params.retries,
    )
    unit = hub.log.append(Draft(by=call.caller.by(), events=(queued,)))
    return Answer(result=task_view(hub.state, hub.state.ledger.tasks[task_id]), seq=unit.seq)


def same_again(hub: Hub, use: KeyUse, params: TaskSendParams) -> Answer:
    """What was sent first is kept in the log; the queue may have changed it since."""
    entry = entry_of(hub, use.task_id)
    sent = hub.log.read_after(Seq(use.seq - 1), max_units=1)
    events = [event for each in sent if each.seq == use.seq for event in each.unit.events]
    first = next((event for event in events if isinstance(event, TaskQueued)), entry)
    after = [each for each in params.after if each in first.after or not was_left_out(hub, each, use.seq)]
    if not is_same(first, evolve(params, after=after)):
        text = f"key {params.key!r} was used for {entry.id}, which is another task: use a new key"
        raise ApiError(ErrorKind.CONFLICT, text, id=entry.id)
    return Answer(result=task_view(hub.state, entry), seq=use.seq)


def is_same(first: TaskQueued | TaskEntry, params: TaskSendParams) -> bool:
    """Whether the whole body is what was sent first."""
    asked_id = params.task.id or first.task.id
    held = first.hold if isinstance(first, TaskQueued) else first.state is TaskState.HELD
    return (first.target, first.task, first.priority, first.not_before, first.after, held, first.retries) == (
        params.target,
        worker_task(TaskId(asked_id), params.task),
        params.priority,
        params.not_before,
        params.after,
        params.hold,
        params.retries,
    )


def was_left_out(hub: Hub, task_id: TaskId, sent_in: Seq) -> bool:
    """Whether what was sent in this unit did not have to wait for the task; it may have been asked for again since."""
    entry = hub.state.ledger.tasks.get(task_id)
    return entry.seq > sent_in if entry is not None else not is_to_wait_for(hub, task_id)


def worker_task(task_id: TaskId, task: NewTask) -> WorkerTask:
    return WorkerTask(
        id=task_id,
        task=task.task,
        acceptance_criteria=task.acceptance_criteria,
        context=task.context,
        budget_secs=task.budget_secs,
    )


def check_names(params: TaskSendParams) -> None:
    """Raises ApiError for an id or key that cannot be."""
    if params.task.id is not None and (fault := task_id_fault(params.task.id)) is not None:
        raise invalid("task.id", fault)
    if params.key is not None and not 1 <= len(params.key) <= KEY_CHARS:
        raise invalid("key", f"a key has 1 to {KEY_CHARS} characters, this one has {len(params.key)}")


def check_unused(hub: Hub, task_id: TaskId) -> None:
    """Raises ApiError CONFLICT for the id of any task before: a worker does not run one hand-out twice."""
    if task_id in hub.state.ledger.tasks or is_older(hub, task_id):
        text = f"there is a task {task_id} already: choose another id, or leave it to omkd"
        raise ApiError(ErrorKind.CONFLICT, text, id=task_id)


def check_text(task: WorkerTask) -> None:
    """Raises ApiError for a task that no worker could be given."""
    if task.budget_secs == 0:
        raise invalid("task.budget_secs", "a budget of 0 s would end every run at once: give seconds, or leave it out")
    texts = {"task": task.task, "context": task.context or ""}
    texts |= {f"acceptance_criteria[{n}]": text for n, text in enumerate(task.acceptance_criteria)}
    for name, text in texts.items():
        if "\0" in text:
            raise invalid(f"task.{name}", f"a NUL character at {text.index(chr(0))}: no command can be given it")
    size = len(codec.dumps(task))
    if size > TASK_BYTES:
        text = f"the task has {size} bytes, at most {TASK_BYTES} are taken: put the rest into a file and name it"
        raise ApiError(ErrorKind.TOO_LARGE, text, limit=TASK_BYTES)


def check_room(hub: Hub, *tasks: WorkerTask) -> None:
    """Raises ApiError QUEUE_FULL when these would be more than may wait."""
    limits, ledger = hub.queue_limits, hub.state.ledger
    advice = "wait until some are done, cancel some, or raise it in omkd.toml"
    if ledger.waiting + len(tasks) > limits.max_tasks:
        text = f"{ledger.waiting} tasks wait, max_queued_tasks is {limits.max_tasks}: {advice}"
        raise ApiError(ErrorKind.QUEUE_FULL, text, limit="max_queued_tasks", max=limits.max_tasks)
    if ledger.waiting_chars + sum(map(chars_of, tasks)) > limits.max_bytes:
        text = f"the texts of {ledger.waiting} waiting tasks reach max_queued_bytes, {limits.max_bytes}: {advice}"
        raise ApiError(ErrorKind.QUEUE_FULL, text, limit="max_queued_bytes", max=limits.max_bytes)


def check_after(hub: Hub, after: list[TaskId], waiting: TaskId | None = None) -> None:
    """Raises ApiError for a task that is not there, and when `waiting` would wait for itself."""
    for task_id in after:
        entry_of(hub, task_id)
    reached, ahead = set[TaskId](), list(after)
    while ahead:
        task_id = ahead.pop()
        if task_id == waiting:
            raise invalid("after", f"{waiting} would wait for itself")
        if task_id not in reached and (entry := hub.state.ledger.tasks.get(task_id)) is not None:
            reached.add(task_id)
            ahead += entry.after


def is_to_wait_for(hub: Hub, task_id: TaskId) -> bool:
    """Not one that is no longer in memory: if it did not fail it is over, or not even the log knows of it."""
    if task_id in hub.state.ledger.tasks:
        return True
    older = older_task(hub, task_id)
    return older is not None and older.state is not TaskState.SUCCESS


def check_target(hub: Hub, target: Target) -> None:
    """Raises ApiError for a worker or role that nobody has."""
    workers = hub.state.roster.workers
    match target:
        case ToWorker(value=name) if name not in workers:
            text = f"no worker {shown_name(name)}{hint(name, workers, 'there is none yet: omkctl worker add')}"
            raise ApiError(ErrorKind.NOT_FOUND, text, worker=name)
        case ToRole(value=role):
            if (fault := role_fault(role)) is not None:
                raise invalid("target.role", fault)
            roles = {entry.spec.role for entry in workers.values()}
            if role not in roles:
                known = hint(role, roles, "there is none yet: omkctl worker add")
                text = f"no worker has the role {shown_name(role)}{known}"
                raise ApiError(ErrorKind.NOT_FOUND, text, role=role)
        case ToWorker() | ToAny():
            pass


def get(call: Call, params: TaskIdParams) -> Answer:
    return Answer(result=task_view(call.hub.state, entry_of(call.hub, params.id)), seq=call.hub.log.written)


async def wait(call: Call, params: TaskWaitParams) -> Answer:
    """The tasks, once they are there: all of them, or with `any` those that are, as many as fit."""
    entries = [entry_of(call.hub, task_id) for task_id in params.ids]
    if not entries:
        raise invalid("ids", "no task to wait for")
    if not params.any:
        refuse_too_many_bytes([task_view(call.hub.state, entry) for entry in entries])
    timeout = math.inf if params.timeout is None else max(0.0, params.timeout)
    with trio.move_on_after(timeout):
        await until_there(call.hub, entries, params)
    if is_enough(entries, params):
        tasks = [task_view(call.hub.state, entry) for entry in entries if is_there(entry, params.until)]
        return Answer(
            result=TasksResult(tasks=first_that_fit(tasks) if params.any else tasks), seq=call.hub.log.written
        )
    waiting = [entry.id for entry in entries if not is_there(entry, params.until)]
    text = f"{', '.join(waiting)} not {params.until.value} within {timeout:g} s"
    raise ApiError(ErrorKind.TIMEOUT, text, ids=waiting)


async def until_there(hub: Hub, entries: list[TaskEntry], params: TaskWaitParams) -> None:
    """Returns when what was waited for is written; an answer waits until it is on disk."""
    while not is_enough(entries, params):
        await hub.log.wait_beyond(hub.log.written)


def is_enough(entries: list[TaskEntry], params: TaskWaitParams) -> bool:
    enough = any if params.any else all
    return enough(is_there(entry, params.until) for entry in entries)


def is_there(entry: TaskEntry, until: WaitUntil) -> bool:
    if entry.state.is_final:
        return True
    return until is WaitUntil.STARTED and entry.state is TaskState.RUNNING


def entry_of(hub: Hub, task_id: TaskId) -> TaskEntry:
    """Raises ApiError NOT_FOUND, with what there is."""
    entry = hub.state.ledger.tasks.get(task_id) or older_task(hub, task_id)
    if entry is None:
        recent = [known.id for known, _ in zip(hub.state.ledger.newest_first(), range(10), strict=False)]
        text = f"no task {shown_name(task_id)}{hint(task_id, recent, 'there is none yet: omkctl send-task')}"
        raise ApiError(ErrorKind.NOT_FOUND, text, id=task_id)
    return entry


def invalid(path: str, text: str) -> ApiError:
    return ApiError(ErrorKind.INVALID_PARAMS, f"{path}: {text}", path=path)
