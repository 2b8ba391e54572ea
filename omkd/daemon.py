"""The composition root: the only place where the parts meet. Their nesting is the order in which they end."""

import gc
import logging
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from typing import Final

import trio
from attrs import frozen

from omkd import logs, pulse
from omkd.api.calls import Desk
from omkd.api.handlers import HANDLERS
from omkd.api.server import run_server
from omkd.api.unix_socket import open_unix_listener, socket_lock
from omkd.config import Config
from omkd.core.state import State
from omkd.holding import held, make_own_directories, settle_copy, tidy_up
from omkd.protocol.errors import ApiError
from omkd.protocol.events import ByOmkd, DaemonStarted, DaemonStopped, Unit
from omkd.protocol.methods import ConfigResult, ReloadResult
from omkd.protocol.scalars import U32, Ns
from omkd.protocol.version import LOG_FORMAT, __version__
from omkd.services.compaction import finish_compactions
from omkd.services.decisions import run_decisions
from omkd.services.disk_watch import DiskWatch
from omkd.services.dispatcher import run_dispatcher
from omkd.services.escalation_pos import load_pos
from omkd.services.escalation_writer import EscalationWriter
from omkd.services.event_lines import run_event_lines
from omkd.services.hub import Hub, QueueLimits, Wakeup
from omkd.services.mailbox_reader import MailboxReader
from omkd.services.mailbox_writer import MailboxWriter
from omkd.services.notices import Notices
from omkd.services.retention import Retention
from omkd.services.snapshot_records import Beginning, load_newest
from omkd.services.snapshots import Snapshots, snapshots_for
from omkd.services.supervisor import Supervisor
from omkd.services.watchdog import Patience, Watchdog
from omkd.services.worker_watch import WorkerWatch
from omkd.settings.live import LiveSettings
from omkd.settings.table import Settings
from omkd.store.event_log import Draft, EventLog, LogLost, LogWriteFailed, open_event_log
from omkd.store.files import sync_way_to
from omkd.store.locks import FileLock
from omkd.store.procfs import boot_id
from omkd.store.session import SessionDir
from omkd.store.watch import open_watcher
from omkd.systemd import Notifier

logger = logging.getLogger(__name__)

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
SWITCH_S: Final = 0.0001
"""So long, instead of Python's 5 ms, a thread that comes back from the disk waits for a busy loop to let it go on. A
commit has several such waits: beside a client that floods, they were most of everybody's latency. It must be well below
a connection's turn, since each look at the sockets between two turns begins the wait anew (measured: 6 ms instead of
30 where both are equal)."""

LAST_SNAPSHOT_S: Final = 20.0
"""For the snapshot before the end; without it the next start folds more of the log."""

LAST_COMMIT_S: Final = 10.0
"""For the last sync before the end; a disk that is slower leaves the run marked as not ended cleanly."""


async def run_daemon(config: Config, notifier: Notifier) -> None:
    """Serves the session until a signal or `omkd.shutdown` ends it. Hosts and agents at work go on.

    Raises LockHeld, LogDamaged, LogTooNew, LogBroken, LogWriteFailed, OSError (in groups, as nurseries do).
    """
    sys.setswitchinterval(SWITCH_S)
    make_own_directories(config)
    async with held(config.session.lock) as lock, held(socket_lock(config.socket)):
        tidy_up(config.session)
        await run_locked(config, notifier, lock)


async def run_locked(config: Config, notifier: Notifier, lock: FileLock) -> None:
    was_copied = lock.was_copied
    begun = load_newest(config.session) or Beginning(state=State())
    state, work = begun.state, Wakeup()
    progress = pulse.FoldProgress(notifier, time.monotonic)
    fold = folding(state, work, progress.note)
    async with (
        open_event_log(config.session.events, fold=fold, clock_ns=time.time_ns, base=begun.base) as log,
        trio.open_nursery() as nursery,
    ):
        progress.end()
        refuse_lost_log(config.session, log)
        sync_way_to(config.session.events)
        for torn in log.torn:
            logger.warning("the end of the log was torn by a crash, moved aside: %s", torn)
        await nursery.start(log.run)
        hub = Hub(session=config.session, log=log, state=state, clock_ns=time.time_ns, work=work, was_copied=was_copied)
        snapshots = snapshots_for(hub, EscalationWriter(hub), Retention(), begun.base)
        with trio.open_signal_receiver(*SIGNALS) as signals:  # from here on an end is a fact of the log
            started = log.append(Draft(by=ByOmkd(), events=(daemon_started(state, was_copied=was_copied),)))
            await log.commit(started.seq)
            async with open_unix_listener(config.socket, config.passed_socket) as listener:
                reason = await serve(config, notifier, hub, snapshots, listener, signals, started.ts, lock)
            await record_stop(log, reason)
            with trio.move_on_after(LAST_SNAPSHOT_S):
                await snapshots.take()
        nursery.cancel_scope.cancel()


def refuse_lost_log(session: SessionDir, log: EventLog) -> None:
    """Its numbers would be given a second time. Raises LogLost."""
    shown_to = load_pos(session.escalations_pos).seq
    if log.written == 0 and shown_to > 0:
        raise LogLost(session.events, shown_to, session.escalations_pos)


async def serve(
    config: Config,
    notifier: Notifier,
    hub: Hub,
    snapshots: Snapshots,
    listener: trio.SocketListener,
    signals: AsyncIterator[int],
    started: Ns,
    lock: FileLock,
) -> str:
    """Runs the services until the daemon is asked to end; why it was."""
    live = LiveSettings(config.file, config.loaded)
    reader, notices = MailboxReader(hub), Notices(hub, config.environment)
    live.follow(lambda settings: logs.set_level(settings.log_level))
    live.follow(lambda settings: notices.use(settings.notify))
    live.follow(lambda settings: limit_queue(hub, settings))
    live.follow(lambda settings: limit_log(snapshots, settings))
    desk = Desk(
        hub=hub,
        supervisor=Supervisor(hub, reader, config.environment, lambda: live.now.max_restarts),
        reader=reader,
        mailbox_writer=MailboxWriter(hub),
        escalation_writer=snapshots.escalation_writer,
        notices=notices,
        configuration=Reloading(live, notifier, hub),
        socket=config.socket,
        started=started,
    )
    try:
        async with open_watcher() as watcher, trio.open_nursery() as nursery:
            nursery.start_soon(await_signals, desk, signals, config.ends_on_hangup)
            await nursery.start(desk.mailbox_writer.run)
            await nursery.start(WorkerWatch(hub, watcher, reader, desk.mailbox_writer).run)
            await nursery.start(desk.escalation_writer.run)
            await nursery.start(desk.supervisor.run)
            await nursery.start(run_dispatcher, hub)
            await nursery.start(run_decisions, hub)
            await nursery.start(Watchdog(hub, lambda: patience_of(live)).run)
            await nursery.start(notices.run)
            nursery.start_soon(run_event_lines, hub)
            await nursery.start(DiskWatch(hub).run)
            await nursery.start(snapshots.run)
            nursery.start_soon(finish_compactions, hub, reader)
            await nursery.start(run_server, listener, desk, HANDLERS)
            settle_copy(lock)
            gc.collect()
            gc.freeze()
            logger.info("session %s is served on %s", hub.session.path, config.socket)
            notifier.ready(pulse.status_words(hub.state))
            nursery.start_soon(pulse.run_status, hub, notifier)
            if config.watchdog_s is not None:
                nursery.start_soon(pulse.run_watchdog, hub, notifier, config.watchdog_s)
            nursery.start_soon(end_when_drained, desk)
            await desk.stop.wait()
            logger.info("ends: %s", desk.stop_reason)
            notifier.stopping("ends the hosts too" if desk.end_hosts else "hosts and agents at work go on")
            if desk.end_hosts:
                await desk.supervisor.stop_all()
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


async def await_signals(desk: Desk, signals: AsyncIterator[int], ends_on_hangup: bool) -> None:
    """SIGHUP is the end of the terminal where there is one, else it asks for the configuration to be read again."""
    async for number in signals:
        if number == signal.SIGHUP and not ends_on_hangup:
            try:
                desk.configuration.reload()
            except ApiError:
                continue  # it said so itself
        else:
            desk.end(signal.Signals(number).name)


@frozen
class Reloading:
    """The configuration, with systemd told of each reload."""

    live: LiveSettings
    notifier: Notifier
    hub: Hub

    def reload(self) -> ReloadResult:
        """Raises ApiError: nothing was changed."""
        self.notifier.reloading()
        try:
            result = self.live.reload()
        except ApiError as refusal:
            self.notifier.ready(refusal.message)
            raise
        self.notifier.ready(pulse.status_words(self.hub.state))
        return result

    def shown(self) -> ConfigResult:
        return self.live.shown()


def limit_queue(hub: Hub, settings: Settings) -> None:
    hub.queue_limits = QueueLimits(max_tasks=settings.max_queued_tasks, max_bytes=settings.max_queued_bytes)


def limit_log(snapshots: Snapshots, settings: Settings) -> None:
    """In the configuration 0 stands for no limit: TOML has no null."""
    snapshots.retention = Retention(keep_bytes=settings.keep_bytes or None, keep_days=settings.keep_days or None)


def patience_of(live: LiveSettings) -> Patience:
    return Patience(
        look_s=live.now.look_secs,
        stalled_after_s=live.now.stalled_after_secs,
        queued_warn_s=live.now.queued_warn_secs,
    )


async def record_stop(log: EventLog, reason: str) -> None:
    try:
        stopped = log.append(Draft(by=ByOmkd(), events=(DaemonStopped(reason=reason),)))
    except LogWriteFailed as failure:
        logger.warning("this end is not recorded: %s", failure)
        return
    with trio.move_on_after(LAST_COMMIT_S):
        await log.commit(stopped.seq)


def folding(state: State, work: Wakeup, progress: Callable[[], None]) -> Callable[[Unit], None]:
    """`progress` is called for each unit, and counts those of the start."""

    def fold(unit: Unit) -> None:
        state.fold(unit)
        work.wake()
        progress()

    return fold


def daemon_started(state: State, *, was_copied: bool) -> DaemonStarted:
    return DaemonStarted(
        version=__version__,
        format=U32(LOG_FORMAT),
        boot_id=boot_id(),
        clean=state.ended_cleanly,
        copied=was_copied,
    )
