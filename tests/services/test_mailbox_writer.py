"""Inboxes follow the log: each hand-out is one line, however the units come."""

import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import trio
from attrs import define

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
from omkd.protocol.scalars import U32, Seq, TaskId, WorkerName
from omkd.services.hub import Hub
from omkd.services.mailbox_writer import MailboxWriter
from omkd.store.event_log import Disk, Draft, open_event_log
from omkd.store.session import SessionDir
from tests.kit import json_lines

CODER = WorkerName("coder")
DEADLINE_S = 20


def queued(task_id: str) -> TaskQueued:
    return TaskQueued(task_id=TaskId(task_id), target=ToWorker(value=CODER), task=WorkerTask(id=task_id, task="x"))


def dispatched(task_id: str) -> TaskDispatched:
    return TaskDispatched(task_id=TaskId(task_id), worker=CODER, handout=U32(1))


def disk_waiting_for(permits: threading.Semaphore) -> Disk:
    """Each sync takes one."""

    def sync(_descriptor: int) -> None:
        permits.acquire(timeout=DEADLINE_S)

    return Disk(sync=sync)


@define
class World:
    """A log and the writer that follows it; nothing else appends."""

    hub: Hub
    writer: MailboxWriter

    def record(self, *events: Event) -> Seq:
        return self.hub.log.append(Draft(by=ByOmkd(), events=events)).seq

    async def follow(self, seq: Seq) -> None:
        await until(lambda: self.writer.position >= seq)

    def handed_out(self) -> list[str]:
        return [line["id"] for line in json_lines(self.hub.session.worker(CODER).inbox)]

    def done(self) -> list[str]:
        return [line["done"]["id"] for line in json_lines(self.hub.session.worker(CODER).control)]


async def until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(DEADLINE_S):
        while not condition():
            await trio.lowlevel.checkpoint()


@asynccontextmanager
async def open_world(path: Path, disk: Disk, *begun: Event) -> AsyncIterator[World]:
    """With a worker, the tasks a to d, and `begun`; each event is a unit, and all are on disk."""
    session, state = SessionDir(path), State()
    spec = WorkerSpec(name=CODER, role="r", inbox="i", outbox="o", heartbeat="h")
    session.worker(CODER).path.mkdir(parents=True)
    async with (
        open_event_log(session.events, fold=state.fold, clock_ns=lambda: 0, disk=disk) as log,
        trio.open_nursery() as nursery,
    ):
        hub = Hub(session=session, log=log, state=state, clock_ns=lambda: 0)
        world = World(hub, MailboxWriter(hub))
        world.record(WorkerRegistered(worker=CODER, spec=spec, foreign=False, window=U32(0)))
        for event in (*map(queued, "abcd"), *begun):
            world.record(event)
        await nursery.start(log.run)
        await nursery.start(world.writer.run)
        yield world
        nursery.cancel_scope.cancel()


async def test_a_hand_out_is_written_once_when_something_to_reconcile_comes_with_it(tmp_path: Path) -> None:
    """In one turn of the writer: a line that waited, and a reconciliation that found it missing, made it two."""
    async with open_world(tmp_path, Disk(), dispatched("a"), dispatched("b")) as world:
        world.record(dispatched("c"))
        world.record(TaskLost(task_id=TaskId("a"), worker=CODER, reason="by force"))
        world.record(dispatched("d"))
        await world.follow(world.record(TaskCancelled(task_id=TaskId("b"), worker=CODER, reason="enough")))
        assert world.handed_out() == ["a", "b", "c", "d"]
        assert world.done() == ["a", "b"]


async def test_a_hand_out_is_done_only_once_its_end_is_on_disk(tmp_path: Path) -> None:
    """A power cut between the two took the end, and left the `done`: in hand for ever, and never run."""
    permits = threading.Semaphore(1)
    async with open_world(tmp_path, disk_waiting_for(permits), dispatched("a"), dispatched("b")) as world:
        on_disk = world.record(TaskLost(task_id=TaskId("a"), worker=CODER, reason="by force"))
        await until(lambda: world.hub.log.syncing_s() is not None)
        written = world.record(TaskLost(task_id=TaskId("b"), worker=CODER, reason="by force"))
        permits.release()
        await world.follow(on_disk)
        assert world.done() == ["a"]
        permits.release()
        await world.follow(written)
        assert world.done() == ["a", "b"]
