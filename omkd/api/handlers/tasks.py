"""task.send, list, get, wait."""

import math
from collections.abc import Iterator

import trio

from omkd.api.calls import Answer, Call
from omkd.core.ledger import TaskEntry
from omkd.core.views import task_view
from omkd.protocol import codec
from omkd.protocol.errors import ApiError, ErrorKind
from omkd.protocol.events import Target, TaskQueued, ToAny, ToRole, ToWorker
from omkd.protocol.limits import KEY_CHARS, PAGE_LIMIT, TASK_BYTES
from omkd.protocol.methods import (
    NewTask,
    Task,
    TaskIdParams,
    TaskListParams,
    TaskListResult,
    TaskSendParams,
    TasksResult,
    TaskState,
    TaskWaitParams,
    WaitUntil,
)
from omkd.protocol.names import role_fault, task_id_fault
from omkd.protocol.nearest import hint
from omkd.protocol.records import WorkerTask
from omkd.protocol.scalars import Seq, TaskId
from omkd.services.hub import Hub
from omkd.store.event_log import Draft


def send(call: Call, params: TaskSendParams) -> Answer:
    """The same key and body again is the same task; it is answered once the first is on disk."""
    check_names(params)
    hub = call.hub
    known = hub.state.ledger.keys.get(params.key) if params.key is not None else None
    if known is not None:
        return same_again(hub, hub.state.ledger.tasks[known], params)
    check_text(worker_task(params.task.id or TaskId(""), params.task))
    check_target(hub, params.target)
    check_after(hub, params.after)
    if params.task.id is not None and params.task.id in hub.state.ledger.tasks:
        text = f"there is a task {params.task.id} already: choose another id, or leave it to omkd"
        raise ApiError(ErrorKind.CONFLICT, text, id=params.task.id)
    task_id = params.task.id or TaskId(f"t{hub.log.next_seq}")
    queued = TaskQueued(
        task_id=task_id,
        target=params.target,
        task=worker_task(task_id, params.task),
        key=params.key,
        priority=params.priority,
        not_before=params.not_before,
        after=params.after,
        hold=params.hold,
        retries=params.retries,
    )
    unit = hub.log.append(Draft(by=call.caller.by(), events=(queued,)))
    return Answer(result=task_view(hub.state, hub.state.ledger.tasks[task_id]), seq=unit.seq)


def same_again(hub: Hub, entry: TaskEntry, params: TaskSendParams) -> Answer:
    """What was sent first is kept in the log; the queue may have changed it since."""
    sent = hub.log.read_after(Seq(entry.seq - 1), max_units=1)
    first = next((event for each in sent for event in each.unit.events if isinstance(event, TaskQueued)), entry)
    asked_id = params.task.id or entry.id
    if (first.target, first.task) != (params.target, worker_task(asked_id, params.task)):
        text = f"key {params.key!r} was used for {entry.id}, which is another task: use a new key"
        raise ApiError(ErrorKind.CONFLICT, text, id=entry.id)
    return Answer(result=task_view(hub.state, entry), seq=entry.seq)


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


def check_target(hub: Hub, target: Target) -> None:
    """Raises ApiError for a worker or role that nobody has."""
    workers = hub.state.roster.workers
    match target:
        case ToWorker(value=name) if name not in workers:
            text = f"no worker {name!r}{hint(name, workers, 'there is none yet: omkctl worker add')}"
            raise ApiError(ErrorKind.NOT_FOUND, text, worker=name)
        case ToRole(value=role):
            if (fault := role_fault(role)) is not None:
                raise invalid("target.role", fault)
            roles = {entry.spec.role for entry in workers.values()}
            if role not in roles:
                text = f"no worker has the role {role!r}{hint(role, roles, 'there is none yet: omkctl worker add')}"
                raise ApiError(ErrorKind.NOT_FOUND, text, role=role)
        case ToWorker() | ToAny():
            pass


def get(call: Call, params: TaskIdParams) -> Answer:
    return Answer(result=task_view(call.hub.state, entry_of(call.hub, params.id)), seq=call.hub.log.written)


def list_tasks(call: Call, params: TaskListParams) -> Answer:
    """The newest tasks that fit, oldest first."""
    limit = max(1, min(params.limit, PAGE_LIMIT))
    page: list[Task] = []
    more = False
    for entry in older_than(call.hub, params.before):
        if not fits(call.hub, entry, params):
            continue
        if len(page) == limit:
            more = True
            break
        page.append(task_view(call.hub.state, entry))
    page.reverse()
    return Answer(result=TaskListResult(tasks=page, next=page[0].id if more else None), seq=call.hub.log.written)


def older_than(hub: Hub, before: TaskId | None) -> Iterator[TaskEntry]:
    """Newest first."""
    entries = hub.state.ledger.newest_first()
    if before is None:
        return entries
    bound = entry_of(hub, before).seq
    return (entry for entry in entries if entry.seq < bound)


def fits(hub: Hub, entry: TaskEntry, params: TaskListParams) -> bool:
    if params.states and entry.state not in params.states:
        return False
    if params.since is not None and entry.queued < params.since:
        return False
    if params.finished_since is not None and (entry.finished is None or entry.finished < params.finished_since):
        return False
    if params.worker is not None and params.worker not in (entry.worker, named_worker(entry.target)):
        return False
    return params.role is None or params.role in roles_of(hub, entry)


def named_worker(target: Target) -> str | None:
    return target.value if isinstance(target, ToWorker) else None


def roles_of(hub: Hub, entry: TaskEntry) -> set[str]:
    roles = {entry.target.value} if isinstance(entry.target, ToRole) else set()
    names = {entry.worker, named_worker(entry.target)}
    return roles | {worker.spec.role for worker in hub.state.roster.workers.values() if worker.name in names}


async def wait(call: Call, params: TaskWaitParams) -> Answer:
    """The tasks, once they are there: all of them, or with `any` those that are."""
    entries = [entry_of(call.hub, task_id) for task_id in params.ids]
    if not entries:
        raise invalid("ids", "no task to wait for")
    timeout = math.inf if params.timeout is None else max(0.0, params.timeout)
    with trio.move_on_after(timeout):
        await until_there(call.hub, entries, params)
        there = [entry for entry in entries if is_there(entry, params.until)]
        return Answer(result=TasksResult(tasks=[task_view(call.hub.state, entry) for entry in there]))
    waiting = [entry.id for entry in entries if not is_there(entry, params.until)]
    text = f"{', '.join(waiting)} not {params.until.value} within {timeout:g} s"
    raise ApiError(ErrorKind.TIMEOUT, text, ids=waiting)


async def until_there(hub: Hub, entries: list[TaskEntry], params: TaskWaitParams) -> None:
    """Returns when what was waited for is on disk."""
    enough = any if params.any else all
    while True:
        seen = hub.log.written
        if enough(is_there(entry, params.until) for entry in entries):
            await hub.log.commit(seen)
            return
        await hub.log.wait_beyond(seen)


def is_there(entry: TaskEntry, until: WaitUntil) -> bool:
    if entry.state.is_final:
        return True
    return until is WaitUntil.STARTED and entry.state is TaskState.RUNNING


def entry_of(hub: Hub, task_id: TaskId) -> TaskEntry:
    """Raises ApiError NOT_FOUND, with what there is."""
    entry = hub.state.ledger.tasks.get(task_id)
    if entry is None:
        recent = [known.id for known, _ in zip(hub.state.ledger.newest_first(), range(10), strict=False)]
        text = f"no task {task_id!r}{hint(task_id, recent, 'there is none yet: omkctl send-task')}"
        raise ApiError(ErrorKind.NOT_FOUND, text, id=task_id)
    return entry


def invalid(path: str, text: str) -> ApiError:
    return ApiError(ErrorKind.INVALID_PARAMS, f"{path}: {text}", path=path)
