"""The composition root: the only place where the parts meet. Their nesting is the order in which they end."""

import gc
import logging
import signal
import time
from collections.abc import Callable
from typing import Final

import trio

from omkd.api.calls import Desk
from omkd.api.handlers import HANDLERS
from omkd.api.server import run_server
from omkd.api.unix_socket import open_unix_listener
from omkd.config import Config
from omkd.core.state import State
from omkd.protocol.events import ByOmkd, DaemonStarted, DaemonStopped, Unit
from omkd.protocol.scalars import U32, Ns
from omkd.protocol.version import LOG_FORMAT, __version__
from omkd.services.dispatcher import run_dispatcher
from omkd.services.escalation_writer import EscalationWriter
from omkd.services.hub import Hub, Wakeup
from omkd.services.mailbox_reader import MailboxReader
from omkd.services.mailbox_writer import MailboxWriter
from omkd.services.supervisor import Supervisor
from omkd.services.watchdog import Watchdog
from omkd.services.worker_watch import WorkerWatch
from omkd.store.event_log import Draft, EventLog, LogWriteFailed, open_event_log
from omkd.store.files import make_dir
from omkd.store.locks import boot_id, take_lock
from omkd.store.watch import open_watcher
from omkd.systemd import Notifier

logger = logging.getLogger(__name__)

STOP_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
LAST_COMMIT_S: Final = 10.0
"""For the last sync before the end; a disk that is slower leaves the run marked as not ended cleanly."""


async def run_daemon(config: Config, notifier: Notifier) -> None:
    """Serves the session until a signal or `omkd.shutdown` ends it. Hosts and agents at work go on.

    Raises LockHeld, LogDamaged, LogTooNew, LogBroken, LogWriteFailed, OSError (in groups, as nurseries do).
    """
    make_dir(config.session.path)
    lock = take_lock(config.session.lock)
    try:
        await run_locked(config, notifier)
    finally:
        lock.release()


async def run_locked(config: Config, notifier: Notifier) -> None:
    state, work = State(), Wakeup()
    async with (
        open_event_log(config.session.events, fold=folding(state, work), clock_ns=time.time_ns) as log,
        trio.open_nursery() as nursery,
    ):
        for torn in log.torn:
            logger.warning("the end of the log was torn by a crash, moved aside: %s", torn)
        await nursery.start(log.run)
        hub = Hub(session=config.session, log=log, state=state, clock_ns=time.time_ns, work=work)
        started = log.append(Draft(by=ByOmkd(), events=(daemon_started(state),)))
        await log.commit(started.seq)
        async with open_unix_listener(config.socket) as listener:
            reason = await serve(config, notifier, hub, listener, started.ts)
        await record_stop(log, reason)
        nursery.cancel_scope.cancel()


async def serve(config: Config, notifier: Notifier, hub: Hub, listener: trio.SocketListener, started: Ns) -> str:
    """Runs the services until the daemon is asked to end; why it was."""
    reader = MailboxReader(hub)
    desk = Desk(
        hub=hub,
        supervisor=Supervisor(hub, reader, config.environment),
        reader=reader,
        mailbox_writer=MailboxWriter(hub),
        escalation_writer=EscalationWriter(hub),
        socket=config.socket,
        started=started,
    )
    try:
        async with open_watcher() as watcher, trio.open_nursery() as nursery:
            nursery.start_soon(await_signal, desk)
            await nursery.start(desk.mailbox_writer.run)
            await nursery.start(WorkerWatch(hub, watcher, reader).run)
            await nursery.start(desk.escalation_writer.run)
            await nursery.start(desk.supervisor.run)
            await nursery.start(run_dispatcher, hub)
            await nursery.start(Watchdog(hub).run)
            await nursery.start(run_server, listener, desk, HANDLERS)
            gc.collect()
            gc.freeze()
            logger.info("session %s is served on %s", hub.session.path, config.socket)
            notifier.ready(f"serving session {hub.session.name}")
            nursery.start_soon(end_when_drained, desk)
            await desk.stop.wait()
            logger.info("ends: %s", desk.stop_reason)
            if desk.end_hosts:
                await desk.supervisor.stop_all()
            notifier.stopping("hosts and agents at work go on")
            nursery.cancel_scope.cancel()
    finally:
        reader.close()
    return desk.stop_reason


async def end_when_drained(desk: Desk) -> None:
    """Once a drain is asked for: ends the daemon when nothing runs, at the latest at the deadline."""
    await desk.drain_asked.wait()
    while (running := desk.hub.state.ledger.running()) and trio.current_time() < (desk.drain_deadline or 0):
        logger.info("drains: waits for %s", ", ".join(entry.id for entry in running))
        with trio.move_on_at(desk.drain_deadline or 0):
            await desk.hub.log.wait_beyond(desk.hub.log.written)
    desk.end("omkd.shutdown, drained" if not running else "omkd.shutdown, the time to drain ran out")


async def await_signal(desk: Desk) -> None:
    with trio.open_signal_receiver(*STOP_SIGNALS) as signals:
        async for number in signals:
            desk.end(signal.Signals(number).name)


async def record_stop(log: EventLog, reason: str) -> None:
    try:
        stopped = log.append(Draft(by=ByOmkd(), events=(DaemonStopped(reason=reason),)))
    except LogWriteFailed as failure:
        logger.warning("this end is not recorded: %s", failure)
        return
    with trio.move_on_after(LAST_COMMIT_S):
        await log.commit(stopped.seq)


def folding(state: State, work: Wakeup) -> Callable[[Unit], None]:
    def fold(unit: Unit) -> None:
        state.fold(unit)
        work.wake()

    return fold


def daemon_started(state: State) -> DaemonStarted:
    return DaemonStarted(version=__version__, format=U32(LOG_FORMAT), boot_id=boot_id(), clean=state.ended_cleanly)
