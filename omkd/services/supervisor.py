"""Looks after the hosts of omkd's own workers: starts, adopts, watches them and starts them again (design, §5)."""

import logging
import signal
from collections.abc import Callable, Mapping
from typing import Final

import trio
from attrs import define, field

from omkd.core.roster import Sighting, WorkerEntry
from omkd.protocol.events import WorkerExited
from omkd.protocol.scalars import I32, U32, Seq, WorkerName
from omkd.protocol.version import __version__

from .heartbeats import read_heartbeat
from .hosts import HIDDEN_FROM_HOSTS, Host, adopt_host, spawn_host
from .hub import Hub, Wakeup
from .mailbox_reader import MailboxReader
from .reclaiming import Reclaimer, is_begun_or_cancelled
from .worker_files import write_settings

logger = logging.getLogger(__name__)

LONG_ENOUGH_S: Final = 60.0
"""A host that ran for so long begins a new row of restarts."""

RESTART_FIRST_S: Final = 0.5
RESTART_MAX_S: Final = 30.0

STOP_MARGIN_S: Final = 5.0
"""Beyond twice the grace time (to finish by itself, and after SIGTERM), until a host told to end is killed."""

LOCK_HELD_STATUS: Final = 6
"""omk-worker's exit status when another host was faster."""


@define
class Charge:
    """A worker that is looked after. `wanted` False: its host is to end and stay ended.

    `asked`: its host is told to end for another to take its place; that is no failure. `told`: its host is to end,
    one way or the other.
    """

    host: Host | None = None
    wanted: bool = True
    asked: bool = False
    told: trio.Event = field(factory=trio.Event)
    replaced: trio.Event = field(factory=trio.Event)
    hurry: trio.Event = field(factory=trio.Event)
    scope: trio.CancelScope = field(factory=trio.CancelScope)
    ended: trio.Event = field(factory=trio.Event)


class Supervisor:
    """`run` looks after every worker with a command; `stop` ends the host of one for good.

    `max_restarts`, in a row, is asked each time a host has ended: the configuration may change.
    """

    def __init__(
        self,
        hub: Hub,
        reader: MailboxReader,
        environment: Mapping[str, str],
        max_restarts: Callable[[], int],
    ) -> None:
        self._hub = hub
        self._reclaimer = Reclaimer(hub, reader)
        self._environment = {name: text for name, text in environment.items() if name not in HIDDEN_FROM_HOSTS}
        self._max_restarts = max_restarts
        self._charges: dict[WorkerName, Charge] = {}
        self._look = Wakeup()
        self._ends_hosts = False

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Runs until cancelled. Cancellation: the hosts go on."""
        async with trio.open_nursery() as nursery:
            if self._hub.was_copied:
                await self._reclaimer.reclaim_lost_runs(self._own_workers())
            task_status.started()
            nursery.start_soon(self._wake_on_facts)
            while True:
                for entry in [] if self._ends_hosts else self._own_workers():
                    if entry.name not in self._charges:
                        charge = self._charges[entry.name] = Charge()
                        nursery.start_soon(self._look_after, charge, entry)
                await self._look.wait()

    def _own_workers(self) -> list[WorkerEntry]:
        workers = self._hub.state.roster.workers.values()
        return [entry for entry in workers if entry.runner is not None and not entry.foreign]

    async def _wake_on_facts(self) -> None:
        seen = Seq(0)
        while True:
            seen = await self._hub.log.wait_beyond(seen)
            self._look.wake()

    def look_again(self) -> None:
        """A worker whose host was stopped is there still: it gets a new one."""
        self._look.wake()

    async def stop_all(self) -> None:
        """Every host has ended when this returns, and none is started any more."""
        self._ends_hosts = True
        async with trio.open_nursery() as nursery:
            for name in list(self._charges):
                nursery.start_soon(self.stop, name)

    async def restart(self, worker: WorkerName, *, force: bool) -> None:
        """The host that runs has ended when this returns, and another is started; also after it was given up.

        Cancellation: it is replaced all the same.
        """
        charge, entry = self._charges.get(worker), self._hub.state.roster.workers[worker]
        if charge is not None and entry.seen.gave_up:
            await charge.ended.wait()  # what the dead host had begun is taken back first
        if charge is None or charge.ended.is_set():
            self._charges.pop(worker, None)
            entry.seen.gave_up = False
            self._look.wake()
        elif charge.host is None:
            charge.hurry.set()
        else:
            charge.asked = True
            charge.told.set()
            if force:
                charge.host.tell(signal.SIGKILL)
            await charge.replaced.wait()

    async def stop(self, worker: WorkerName) -> None:
        """The worker's host has ended when this returns, and is not started again.

        Cancellation: it ends all the same, and another takes its place.
        """
        charge = self._charges.get(worker)
        if charge is None:
            return
        charge.wanted = False
        if charge.host is None:
            charge.scope.cancel()
        else:
            charge.told.set()
        try:
            await charge.ended.wait()
        finally:
            if not charge.ended.is_set():
                charge.wanted, charge.asked = True, True
            elif self._charges.get(worker) is charge:
                del self._charges[worker]

    def lacks_host(self, worker: WorkerName) -> bool:
        """It is ours to play, and no host of it is known; whether there is one, its lock says."""
        entry, charge = self._hub.state.roster.workers.get(worker), self._charges.get(worker)
        is_ours = entry is not None and entry.runner is not None and not entry.foreign
        return is_ours and (charge is None or charge.host is None)

    async def settle_cancelled(self, worker: WorkerName) -> None:
        """What a worker that lacks a host was to cancel is cancelled when this returns, if its lock can be taken."""
        if self.lacks_host(worker):
            entry = self._hub.state.roster.workers[worker]
            await self._reclaimer.reclaim(entry, lambda task: task.cancel_reason is not None)

    async def _look_after(self, charge: Charge, entry: WorkerEntry) -> None:
        try:
            with charge.scope:
                await self._hub.log.commit(entry.seq)
                await self._keep_running(charge, entry)
        finally:
            charge.ended.set()
            charge.replaced.set()

    async def _keep_running(self, charge: Charge, entry: WorkerEntry) -> None:
        restarts = 0
        while charge.wanted:
            began = trio.current_time()
            charge.host = await self._host_of(entry)
            status = await self._watch(charge, entry, charge.host)
            if status == LOCK_HELD_STATUS:
                continue
            restarts = 1 if trio.current_time() - began >= LONG_ENOUGH_S else restarts + 1
            if not charge.wanted:
                await self._record(exited(entry, status, failure=False))
                if status != 0:
                    await self._reclaimer.end_leftovers_of(entry)
            elif charge.asked:
                restarts, charge.asked, charge.told = 0, False, trio.Event()
                await self._record(exited(entry, status, failure=False))
                charge.replaced.set()
                charge.replaced = trio.Event()
            elif restarts > (allowed := self._max_restarts()):
                await self._record(exited(entry, status, restarts=allowed, failure=True))
                entry.seen.gave_up = True
                self._hub.work.wake()
                await self._reclaimer.reclaim(entry, is_begun_or_cancelled)
                return
            else:
                await self._record(exited(entry, status, restart=restarts, restarts=allowed, failure=status != 0))
                with trio.move_on_after(min(RESTART_MAX_S, RESTART_FIRST_S * 2 ** (restarts - 1))):
                    await charge.hurry.wait()
                charge.hurry = trio.Event()

    async def _record(self, exit: WorkerExited) -> None:
        await self._reclaimer.record(lambda: (exit,))

    async def _host_of(self, entry: WorkerEntry) -> Host:
        """The host that is there, or a new one; as soon as it can be had."""
        directory = self._hub.session.worker(entry.name)
        pause_s = RESTART_FIRST_S
        while True:
            try:
                host = await adopt_host(directory)
                if host is None:
                    write_settings(directory, entry)
                    host = spawn_host(directory, self._environment)
            except OSError as error:
                if self._hub.retried.note(directory.lock, str(error), self._hub.now()):
                    logger.warning("worker %s cannot be started, tried again: %s", entry.name, error)
                await trio.sleep(pause_s)
                pause_s = min(pause_s * 2, RESTART_MAX_S)
            else:
                self._hub.retried.clear(directory.lock)
                logger.info("worker %s: host %d %s", entry.name, host.pid, "started" if host.child else "adopted")
                return host

    async def _watch(self, charge: Charge, entry: WorkerEntry, host: Host) -> int | None:
        is_outdated = host.version != __version__
        entry.seen = Sighting(host_pid=host.pid, outdated=is_outdated, last_sign=self._hub.now())
        if not host.child:
            read_heartbeat(self._hub, entry)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._end_when_told, charge, entry, host)
                if is_outdated:
                    nursery.start_soon(self._replace_when_idle, charge, entry, host)
                status = await host.wait()
                nursery.cancel_scope.cancel()
        finally:
            charge.host = None
            entry.seen.host_pid, entry.seen.heartbeat, entry.seen.outdated = None, None, False
        logger.info(
            "worker %s: host %d ended, status %s", entry.name, host.pid, "unknown" if status is None else status
        )
        return status

    async def _replace_when_idle(self, charge: Charge, entry: WorkerEntry, host: Host) -> None:
        """A host of another version ends as soon as it has nothing in hand; ours takes its place."""
        while self._hub.state.is_busy(entry.name):
            await self._hub.log.wait_beyond(self._hub.log.written)
        logger.info("worker %s: host %d is of omkd %s, replaced", entry.name, host.pid, host.version)
        charge.asked = True
        charge.told.set()

    async def _end_when_told(self, charge: Charge, entry: WorkerEntry, host: Host) -> None:
        """A host that hangs is killed, whether or not who asked waits for it still."""
        await charge.told.wait()
        host.tell(signal.SIGTERM)
        grace_s = 0 if entry.runner is None else entry.runner.grace_secs
        await trio.sleep(2 * grace_s + STOP_MARGIN_S)
        logger.warning("host of worker %s does not end, killed", entry.name)
        host.tell(signal.SIGKILL)


def exited(
    entry: WorkerEntry, status: int | None, *, failure: bool, restart: int = 0, restarts: int = 0
) -> WorkerExited:
    known = None if status is None else I32(status)
    return WorkerExited(worker=entry.name, status=known, failure=failure, restart=U32(restart), restarts=U32(restarts))
