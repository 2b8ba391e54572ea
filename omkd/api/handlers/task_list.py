"""task.list: tasks by the page, the newest first; those that are no longer in memory too."""

from collections.abc import Iterator
from heapq import merge
from typing import Final

import trio

from omkd.api.calls import Answer, Call
from omkd.api.pages import size_of
from omkd.core.task_entry import TaskEntry
from omkd.core.views import task_view
from omkd.protocol.events import Target, ToRole, ToWorker
from omkd.protocol.limits import PAGE_BYTES, PAGE_LIMIT
from omkd.protocol.methods import Task, TaskListParams, TaskListResult
from omkd.protocol.names import GIVEN_BY_OMKD
from omkd.protocol.scalars import Seq, TaskId
from omkd.services.hub import Hub
from omkd.services.older_tasks import OlderTask, older_tasks, read_task

from .tasks import entry_of

OLDER_A_PAGE: Final = 1000
"""Read from the log for one page, 0.3 ms each, whether they fit or not; the next page goes on behind them."""

OLDER_A_STEP: Final = 10
"""Between two looks at everything else."""

CHUNK: Final = 100


async def list_tasks(call: Call, params: TaskListParams) -> Answer:
    """The newest tasks that fit, oldest first. A page may have fewer than asked for, and still a `next`."""
    hub = call.hub
    limit = min(params.limit, PAGE_LIMIT)
    page: list[Task] = []
    looked = size = 0
    next_before: TaskId | None = None
    for candidate in newest_first(hub, params.before):
        if len(page) == limit:
            next_before = page[-1].id
            break
        entry: TaskEntry | None
        if isinstance(candidate, OlderTask):
            looked += 1
            if looked > OLDER_A_PAGE:
                break
            next_before = candidate.id if looked == OLDER_A_PAGE else None
            if looked % OLDER_A_STEP == 0:
                await trio.lowlevel.checkpoint()
            entry = read_task(hub, candidate.id, candidate.units)
        else:
            entry = candidate
        if entry is not None and params.since is not None and entry.queued < params.since:
            break
        if entry is not None and fits(hub, entry, params):
            view = task_view(hub.state, entry)
            size += size_of(view)
            if page and size > PAGE_BYTES:
                next_before = page[-1].id
                break
            page.append(view)
    page.reverse()
    return Answer(result=TaskListResult(tasks=page, next=next_before), seq=hub.log.written)


def newest_first(hub: Hub, before: TaskId | None) -> Iterator[TaskEntry | OlderTask]:
    bound = Seq(hub.log.next_seq) if before is None else seq_of(hub, before)
    kept = (entry for entry in list(hub.state.ledger.newest_first()) if entry.seq < bound)
    return merge(kept, older_chunks(hub, bound), key=lambda task: -task.seq)


def seq_of(hub: Hub, task_id: TaskId) -> Seq:
    """Of the unit that queued it; of omkd's own ids also when retention took the task between two pages.

    Raises ApiError NOT_FOUND.
    """
    if GIVEN_BY_OMKD.fullmatch(task_id) and int(task_id[1:]) < hub.log.first_seq:
        return Seq(int(task_id[1:]))
    return entry_of(hub, task_id).seq


def older_chunks(hub: Hub, bound: Seq) -> Iterator[OlderTask]:
    """The first alone: mostly it is older than a whole page."""
    count = 1
    while chunk := older_tasks(hub, bound, count):
        yield from chunk
        bound, count = chunk[-1].seq, CHUNK


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
