"""omk-worker at work: the tasks of one host. Inbox in, outbox out, without a daemon if need be."""

import logging
import os
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack
from typing import Final

import trio

from omkd.store.locks import lock_holder
from omkd.store.session import CONTROL, INBOX, SessionDir, WorkerDir
from omkd.store.watch import Watcher, open_watcher

from .acp_keeper import open_keeper
from .children import Children
from .heartbeat import PERIOD_S, STOPPED, write_heartbeat
from .processes import RunProcesses, agent_marks_of
from .settings import Settings
from .work import Work

log = logging.getLogger(__name__)

LOOK_S: Final = 60.0
"""The mailbox is read so often even if nothing wakes us."""

POLL_S: Final = 1.0
"""… and so often where inotify is not to be had (fs.inotify.max_user_instances is 128 by default, one a host)."""

IDLE_LOOK_S: Final = 60.0


async def run_host(worker: WorkerDir, settings: Settings) -> None:
    """Works the inbox until told to stop, or idle for too long. The caller holds the worker's lock.

    Raises OSError (in a group): a result could not be written and we were told to stop.
    """
    session = SessionDir(worker.session_dir)
    agents = RunProcesses(marks=agent_marks_of(worker), host=os.getpid())
    async with trio.open_nursery() as nursery:
        async with open_keeper(Children(), agents) as keeper:
            work = Work(worker, settings, keeper)
            await nursery.start(run_signals, work)
            nursery.start_soon(run_heartbeat, work)
            await work.settle_begun()
            nursery.start_soon(run_mailbox, worker, work)
            nursery.start_soon(
                run_idle_exit, settings.runner.idle_exit_secs, lambda: is_needed(work, session), work.stop
            )
            await work.work()
        nursery.cancel_scope.cancel()
    write_heartbeat(worker, STOPPED, None)
    log.info("stopped")


async def run_signals(work: Work, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """SIGTERM and SIGINT: stop; again: at once. SIGHUP is ignored here: the agent would inherit a SIG_IGN."""
    watched = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
    async with trio.open_nursery() as nursery:
        with trio.open_signal_receiver(*watched) as signals:
            task_status.started()
            async for signum in signals:
                if signum == signal.SIGCHLD:
                    work.reap()
                elif signum == signal.SIGHUP:
                    log.info("SIGHUP ignored")
                elif work.is_stopping:
                    log.info("told to stop again: ending the run at once")
                    work.end_run(at_once=True)
                else:
                    log.info("told to stop by %s", signal.Signals(signum).name)
                    work.stop()
                    nursery.start_soon(end_run_after, work, work.grace_secs)


async def end_run_after(work: Work, grace_s: float) -> None:
    await trio.sleep(grace_s)
    work.end_run(at_once=False)


async def run_heartbeat(work: Work) -> None:
    while True:
        work.beat()
        await trio.sleep(PERIOD_S)


async def run_idle_exit(idle_s: float, is_needed: Callable[[], bool], stop: Callable[[], None]) -> None:
    """Stops the host once it was not needed for `idle_s`; 0: never."""
    last_needed = trio.current_time()
    while idle_s > 0:
        await trio.sleep(min(IDLE_LOOK_S, idle_s))
        if is_needed():
            last_needed = trio.current_time()
        elif trio.current_time() - last_needed >= idle_s:
            log.info("idle for %gs, and no daemon: leaving", idle_s)
            stop()
            return


def is_needed(work: Work, session: SessionDir) -> bool:
    """There is work, or a daemon that may bring some."""
    return work.has_some or lock_holder(session.lock) is not None


async def run_mailbox(worker: WorkerDir, work: Work) -> None:
    """Reads the mailbox whenever it changed."""
    async with AsyncExitStack() as opened:
        watcher = await watcher_of(worker, opened)
        while True:
            await work.take_mail()
            await next_look(watcher, worker)


async def watcher_of(worker: WorkerDir, opened: AsyncExitStack) -> Watcher | None:
    """None where inotify is not to be had."""
    try:
        return await opened.enter_async_context(open_watcher([worker.path]))
    except OSError as error:
        log.warning("no inotify (%s): looking every %gs", error, POLL_S)
        return None


async def next_look(watcher: Watcher | None, worker: WorkerDir) -> None:
    """Until inbox or control file changed, or it is time to look anyway. Our own writes wake us too, for nothing."""
    if watcher is None:
        await trio.sleep(POLL_S)
        return
    with trio.move_on_after(LOOK_S):
        while True:
            changed = (await watcher.changes(LOOK_S)).get(worker.path)
            if changed is not None and (not changed or changed & {INBOX, CONTROL}):
                return
