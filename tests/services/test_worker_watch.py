"""The directory of the workers' directories, and what becomes of it under the daemon."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from omkd.core.state import State
from omkd.services.hub import Hub
from omkd.services.mailbox_reader import MailboxReader
from omkd.services.mailbox_writer import MailboxWriter
from omkd.services.worker_watch import WorkerWatch
from omkd.store.event_log import open_event_log
from omkd.store.session import SessionDir
from omkd.store.watch import open_watcher
from tests.kit import until

SPEC = '{"name":"w","role":"r","inbox":"inbox.jsonl","outbox":"outbox.jsonl","heartbeat":"heartbeat.json"}'


@asynccontextmanager
async def watched(path: Path) -> AsyncIterator[Hub]:
    session, state = SessionDir(path), State()
    async with (
        open_event_log(session.events, fold=state.fold, clock_ns=lambda: 0) as log,
        open_watcher() as watcher,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(log.run)
        hub = Hub(session=session, log=log, state=state, clock_ns=lambda: 0)
        await nursery.start(WorkerWatch(hub, watcher, MailboxReader(hub), MailboxWriter(hub)).run)
        yield hub
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("how", ["removed", "renamed"])
async def test_the_workers_directory_is_made_again_and_watched(tmp_path: Path, how: str) -> None:
    """The daemon ended at its next look at it."""
    async with watched(tmp_path) as hub:
        workers = hub.session.workers
        if how == "removed":
            workers.rmdir()
        else:
            workers.rename(tmp_path / "away")
        await until(workers.is_dir)
        (workers / "w").mkdir()
        (workers / "w" / "worker-spec.json").write_text(SPEC)
        await until(lambda: "w" in hub.state.roster.workers)


async def test_a_workers_directory_that_cannot_be_made_is_said_and_tried_again(tmp_path: Path) -> None:
    async with watched(tmp_path) as hub:
        workers = hub.session.workers
        workers.rmdir()
        workers.write_bytes(b"in the way")
        await until(lambda: workers in hub.retried.by_path)
        workers.unlink()
        await until(lambda: workers.is_dir() and not hub.retried.by_path)
