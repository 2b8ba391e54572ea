"""What /proc says of the processes of this machine (proc(5)). It is in memory: reading it waits for no disk."""

import os
import time
from pathlib import Path
from typing import Final

from attrs import frozen

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")

EXEC_S: Final = 0.25
"""How long a process that is becoming another program is looked at again: microseconds, but for a slow disk."""

EXEC_POLL_S: Final = 0.001


@frozen(kw_only=True)
class Process:
    """As /proc/PID/stat shows it. `start_time` (clock ticks since boot) tells it from the next with its pid."""

    pid: int
    parent: int
    start_time: int
    is_alive: bool


def processes() -> list[Process]:
    found = (process_of(int(name)) for name in os.listdir("/proc") if name.isdecimal())
    return [process for process in found if process is not None]


def process_of(pid: int) -> Process | None:
    """None if it is gone, or hidden from us. A zombie whose other threads run on is alive."""
    try:
        fields = stat_of(pid)
    except OSError:
        return None
    state, parent, threads, began = fields[0], int(fields[1]), int(fields[17]), int(fields[19])
    return Process(pid=pid, parent=parent, start_time=began, is_alive=state not in b"ZX" or threads > 1)


def start_time(pid: int) -> int:
    """Clock ticks since boot. Raises ProcessLookupError if it is gone."""
    try:
        return int(stat_of(pid)[19])
    except (FileNotFoundError, ProcessLookupError):
        raise ProcessLookupError(f"no process {pid}") from None


def now_as_start_time() -> int:
    """The `start_time` of a process that begins now."""
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK"))


def environ_of(pid: int) -> bytes:
    """Empty for another user's process, and for one that is gone.

    In the midst of execve(2) /proc shows none of a program that has one: then it is looked at again.
    """
    until = time.monotonic() + EXEC_S
    try:
        while not (environ := Path(f"/proc/{pid}/environ").read_bytes()):
            if not has_environ(pid) or time.monotonic() > until:
                break
            time.sleep(EXEC_POLL_S)  # All of a look at /proc is one step of trio, this little time too.
    except OSError:
        return b""
    return environ


def has_environ(pid: int) -> bool:
    """Whether an environment that was seen empty is not: not set up yet, or set up meanwhile. Raises OSError.

    execve(2) gives the process a new memory first, writes the environment's place next, that of the code last.
    """
    fields = stat_of(pid)
    vsize, start_code, env_start, env_end = (int(fields[at]) for at in (20, 23, 47, 48))
    return vsize > 0 and (start_code == 0 or env_end > env_start)


def name_of(pid: int) -> str:
    """Of its program, as /proc shortens it; empty for one that is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text(errors="replace").strip()
    except OSError:
        return ""


def stat_of(pid: int) -> list[bytes]:
    """The fields of /proc/PID/stat from `state` on: field N of proc(5) at N - 3. Raises OSError."""
    stat = Path(f"/proc/{pid}/stat").read_bytes()
    return stat[stat.rindex(b")") + 2 :].split()


def boot_id() -> str:
    """Of this boot of the machine: pids and start times mean nothing beyond it."""
    return BOOT_ID.read_text().strip()
