"""A worker's host process: started, adopted, told to end. A host outlives the daemon.

That it runs is told by its lock, that it ended by a pidfd.
"""

import logging
import os
import signal
import sys
from collections.abc import Mapping
from typing import Final

import trio
from attrs import define

from omkd.protocol.version import __version__
from omkd.store.files import FILE_MODE, OPEN_FLAGS
from omkd.store.locks import lock_holder
from omkd.store.procfs import start_time
from omkd.store.session import WorkerDir

logger = logging.getLogger(__name__)

HIDDEN_FROM_HOSTS: Final = frozenset(
    {"NOTIFY_SOCKET", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "WATCHDOG_PID", "WATCHDOG_USEC"}
)
"""systemd's word to the daemon alone."""

ENDED: Final = -1

NAME_LOOKS: Final = 40
NAME_LOOK_S: Final = 0.05
"""A host that just took its lock has not written its name into it yet."""


@define
class Host:
    """A running host. `child`: it is ours to reap, and its exit status will be known. `pidfd` is ENDED afterwards."""

    pid: int
    pidfd: int
    child: bool
    version: str

    def tell(self, number: signal.Signals) -> None:
        """Sends it a signal; one that is gone already does not mind."""
        if self.pidfd == ENDED:
            return
        try:
            signal.pidfd_send_signal(self.pidfd, number)
        except ProcessLookupError:
            logger.debug("host %d is gone already", self.pid)

    async def wait(self) -> int | None:
        """Its exit status, 128 + signal after a signal; None when it was not our child. Call it once."""
        try:
            await trio.lowlevel.wait_readable(self.pidfd)
            if not self.child:
                return None
            return exit_status(self.pid)
        finally:
            os.close(self.pidfd)
            self.pidfd = ENDED


def spawn_host(directory: WorkerDir, environment: Mapping[str, str]) -> Host:
    """A new host in a session of its own, stdin /dev/null, output to `host.log`, nothing inherited. Raises OSError."""
    log = os.open(directory.host_log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | OPEN_FLAGS, FILE_MODE)
    try:
        pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-m", "omkd.worker", "--dir", str(directory.path)],
            environment,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, log, 1),
                (os.POSIX_SPAWN_DUP2, log, 2),
                *((os.POSIX_SPAWN_CLOSE, number) for number in inheritable_descriptors()),
            ],
            setsid=True,
        )
    finally:
        os.close(log)
    return Host(pid, os.pidfd_open(pid), child=True, version=__version__)


def inheritable_descriptors() -> list[int]:
    """Those above stderr that who started the daemon left open for it (a shell's `3>file`, make's job pipe)."""
    there = [int(name) for name in os.listdir("/proc/self/fd") if int(name) > 2]
    return [number for number in there if is_inheritable(number)]


def is_inheritable(number: int) -> bool:
    """False for one that is closed by now, as that of the listing itself."""
    try:
        return os.get_inheritable(number)
    except OSError:
        return False


async def adopt_host(directory: WorkerDir) -> Host | None:
    """The host that holds the worker's lock; None when nobody does, once we do not hold it ourselves.

    Raises OSError: the lock is held, and by whom cannot be told (a process of another container).
    """
    looks = 0
    while looks < NAME_LOOKS:
        holder = lock_holder(directory.lock)
        if holder is None:
            return None
        if holder.pid == os.getpid():  # what the host before left in hand is being settled
            await trio.sleep(NAME_LOOK_S)
            continue
        looks += 1
        if holder.pid > 0 and (pidfd := pidfd_of(holder.pid, holder.start_time)) is not None:
            return Host(holder.pid, pidfd, child=False, version=holder.version)
        await trio.sleep(NAME_LOOK_S)
    raise OSError(f"{directory.lock} is held by a process that cannot be told")


def pidfd_of(pid: int, started: int) -> int | None:
    """A pidfd of exactly this process; None if it is gone."""
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return None
    try:
        same = start_time(pid) == started
    except ProcessLookupError:
        same = False
    if not same:
        os.close(pidfd)
        return None
    return pidfd


def exit_status(pid: int) -> int:
    """Of a child that has ended, which is reaped by this: 128 + signal after a signal."""
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    return 128 - code if code < 0 else code
