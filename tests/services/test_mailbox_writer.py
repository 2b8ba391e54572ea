"""Inboxes follow the log: each hand-out is one line, however the units come."""

import json
from pathlib import Path

import trio

from omkd.core.state import State
from omkd.protocol.events import (
    ByOmkd,
    Event,
    TaskCancelled,
    TaskDispatched,
    TaskLost,
    TaskQueued,
    ToWorker,
    WorkerRegistered,
)
from omkd.protocol.records import WorkerSpec, WorkerTask
from omkd.protocol.scalars import U32, TaskId, WorkerName
from omkd.services.hub import Hub
from omkd.services.mailbox_writer import MailboxWriter
from omkd.store.event_log import Draft, open_event_log
from omkd.store.session import SessionDir

CODER = WorkerName("coder")


def queued(task_id: str) -> TaskQueued:
    return TaskQueued(task_id=TaskId(task_id), target=ToWorker(value=CODER), task=WorkerTask(id=task_id, task="x"))


def dispatched(task_id: str) -> TaskDispatched:
    return TaskDispatched(task_id=TaskId(task_id), worker=CODER, handout=U32(1))


async def test_a_hand_out_is_written_once_when_something_to_reconcile_comes_with_it(tmp_path: Path) -> None:
    """In one turn of the writer: a line that waited, and a reconciliation that found it missing, made it two."""
    session, state = SessionDir(tmp_path), State()
    spec = WorkerSpec(name=CODER, role="r", inbox="i", outbox="o", heartbeat="h")
    session.worker(CODER).path.mkdir(parents=True)
    async with (
        open_event_log(session.events, fold=state.fold, clock_ns=lambda: 0) as log,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(log.run)
        hub = Hub(session=session, log=log, state=state, clock_ns=lambda: 0)

        def record(*events: Event) -> None:
            log.append(Draft(by=ByOmkd(), events=events))

        record(WorkerRegistered(worker=CODER, spec=spec, foreign=False, window=U32(0)))
        for task_id in "abcd":
            record(queued(task_id))
        record(dispatched("a"))
        record(dispatched("b"))
        writer = MailboxWriter(hub)
        await nursery.start(writer.run)
        record(dispatched("c"))
        record(TaskLost(task_id=TaskId("a"), worker=CODER, reason="by force"))
        record(dispatched("d"))
        record(TaskCancelled(task_id=TaskId("b"), worker=CODER, reason="enough"))
        await log.commit(log.written)
        while writer.position < log.committed:
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    inbox = session.worker(CODER).inbox.read_text().splitlines()
    assert [json.loads(line)["id"] for line in inbox] == ["a", "b", "c", "d"]
