"""The processes of a run: which they are, and how they are ended. The host uses it, and the daemon before it requeues.

A run's processes are found anew at each look: what is below the host (or below the recorded command), and what carries
the run's marks in its environment, with everything below that. Agents give their tools sessions of their own, so a
process group is never enough, and a name never proof. A signal goes through a pidfd whose start time was checked after
it was opened: a recycled pid is never hit. This process and its ancestors are spared.
"""

import contextlib
import logging
import os
import signal
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final, Protocol

import trio
from attrs import frozen

from omkd.protocol import codec
from omkd.protocol.handout import task_of_handout
from omkd.protocol.records import RunRecord
from omkd.protocol.scalars import HandoutId
from omkd.store.files import SMALL_FILE_BYTES, read_regular
from omkd.store.procfs import Process, boot_id, environ_of, process_of, processes
from omkd.store.session import WorkerDir

from .files import RunFiles

log = logging.getLogger(__name__)

LEFTOVER_GRACE_S: Final = 2.0
"""From SIGTERM to SIGKILL for what a dead host left: its task is lost to it anyway, but it may close its files."""

KILL_PATIENCE_S: Final = 10.0
"""How long SIGKILL is repeated. What is there then sits in the kernel (state D) or belongs to another user."""

PASS_S: Final = 1.0
"""How long one pass waits for what it killed, before it looks again."""


class Marks(Protocol):
    """What tells processes by their environment, whatever became of their parents."""

    def environment(self) -> dict[str, str]: ...


@frozen(kw_only=True)
class RunMarks:
    """What every process of a command's run has in its environment. The path tells sessions of the same name apart."""

    session: str
    worker: str
    handout: str
    task_file: str

    def environment(self) -> dict[str, str]:
        return {
            "OMK_SESSION": self.session,
            "OMK_WORKER": self.worker,
            "OMK_HANDOUT": self.handout,
            "OMK_TASK_FILE": self.task_file,
        }


@frozen(kw_only=True)
class AgentMarks:
    """What every process of a worker's ACP agent has in its environment, whichever task it is at."""

    session: str
    worker: str
    worker_dir: str

    def environment(self) -> dict[str, str]:
        return {"OMK_SESSION": self.session, "OMK_WORKER": self.worker, "OMK_AGENT_OF": self.worker_dir}


def marks_of(worker: WorkerDir, handout: HandoutId) -> RunMarks:
    task_id, _ = task_of_handout(handout)
    return RunMarks(
        session=worker.session_dir.resolve().name,
        worker=worker.name,
        handout=handout,
        task_file=str(RunFiles(worker.run(task_id, handout).resolve()).task),
    )


def agent_marks_of(worker: WorkerDir) -> AgentMarks:
    return AgentMarks(
        session=worker.session_dir.resolve().name, worker=worker.name, worker_dir=str(worker.path.resolve())
    )


def carries(environ: bytes, marks: Marks) -> bool:
    """Whether a /proc/PID/environ has all of them."""
    return {f"{name}={value}".encode() for name, value in marks.environment().items()} <= set(environ.split(b"\0"))


@frozen(kw_only=True)
class RunProcesses:
    """Which processes belong to a run: `command` is what run.json recorded, `host` a process whose children all do."""

    marks: Marks
    command: tuple[int, int] | None = None
    host: int | None = None

    def alive(self) -> list[Process]:
        """Those that live now. Raises OSError if /proc cannot be read."""
        seen = {process.pid: process for process in processes()}
        spared = self_and_ancestors(seen)
        below = children_by_parent(seen)
        found: set[int] = set()
        fresh = [pid for pid in seen if self._is_root(seen[pid], spared)]
        while fresh:
            pid = fresh.pop()
            if pid not in found and pid not in spared:
                found.add(pid)
                fresh += below.get(pid, ())
        return [seen[pid] for pid in sorted(found) if seen[pid].is_alive]

    def _is_root(self, process: Process, spared: set[int]) -> bool:
        if process.pid in spared:
            return False
        return (
            (self.host is not None and process.parent == self.host)
            or (process.pid, process.start_time) == self.command
            or carries(environ_of(process.pid), self.marks)
        )


async def end_leftovers(worker: WorkerDir, handout: HandoutId, *, grace_s: float = LEFTOVER_GRACE_S) -> int:
    """Ends what is left of a run whose host died: by the marks, below the command that run.json recorded, if that was
    in this boot, and the worker's agent. How many processes were found; 0 also for a run that never was.

    Cancellation: some may live on; call it again.
    """
    task_id, _ = task_of_handout(handout)
    record = read_record(RunFiles(worker.run(task_id, handout)).record)
    is_same_boot = record is not None and record.pid > 0 and record.boot_id == boot_id()
    command = (record.pid, record.start_time) if record is not None and is_same_boot else None
    marks = marks_of(worker, handout)
    if command is not None and is_at_work_elsewhere(environ_of(command[0]), marks):
        command = None
    run = RunProcesses(marks=marks, command=command)
    return await end_processes(run, grace_s=grace_s) + await end_agent(worker, grace_s=grace_s)


def is_at_work_elsewhere(environ: bytes, marks: RunMarks) -> bool:
    """Whether this process names a task file of another session, and that is there: what we read is a copy of its."""
    name = b"OMK_TASK_FILE="
    named = [os.fsdecode(each.removeprefix(name)) for each in environ.split(b"\0") if each.startswith(name)]
    return any(each != marks.task_file and os.path.exists(each) for each in named)


async def end_agent(worker: WorkerDir, *, grace_s: float = LEFTOVER_GRACE_S) -> int:
    """Ends what is left of a dead host's ACP agent, at work or not. How many processes were found.

    Cancellation: some may live on; call it again.
    """
    return await end_processes(RunProcesses(marks=agent_marks_of(worker)), grace_s=grace_s)


def read_record(path: Path) -> RunRecord | None:
    """None if it is not there or (a power cut) not readable: then the marks alone identify the run."""
    try:
        return codec.loads(read_regular(path, SMALL_FILE_BYTES), RunRecord)
    except (OSError, ValueError):
        return None


async def end_processes(
    members: RunProcesses, *, grace_s: float, patience: trio.CancelScope | None = None, by_themselves_s: float = 0.0
) -> int:
    """SIGTERM to all, `grace_s` later SIGKILL to what is left, until a look finds none; how many were found in all.

    `by_themselves_s`: what ends within that is not told to. Cancelling `patience` ends both times. What SIGKILL does
    not end within 10 s is logged and left.
    """
    told: set[Process] = set()
    with patience or trio.CancelScope():
        with trio.move_on_after(by_themselves_s):
            await wait_ended(members.alive())
        await tell_to_end(members, told, grace_s)
    killed = await kill_until_none(members)
    return len(told | killed)


async def tell_to_end(members: RunProcesses, told: set[Process], grace_s: float) -> None:
    with trio.move_on_after(grace_s):
        while found := members.alive():
            signal_each([process for process in found if process not in told], signal.SIGTERM)
            told.update(found)
            await wait_ended(found)


async def kill_until_none(members: RunProcesses) -> set[Process]:
    killed: set[Process] = set()
    with trio.move_on_after(KILL_PATIENCE_S):
        while found := members.alive():
            signal_each(found, signal.SIGKILL)
            killed.update(found)
            with trio.move_on_after(PASS_S):
                await wait_ended(found)
        return killed
    log.error("processes that SIGKILL did not end: %s", " ".join(str(process.pid) for process in members.alive()))
    return killed


async def wait_ended(found: list[Process]) -> None:
    """Until all of them ended; a zombie has. One descriptor at a time, so that a swarm does not use them up."""
    for process in found:
        with pidfd_of(process) as descriptor:
            if descriptor is not None:
                await trio.lowlevel.wait_readable(descriptor)
    await trio.lowlevel.checkpoint()


def signal_each(found: list[Process], signum: signal.Signals) -> None:
    for process in found:
        send_signal(process, signum)


def send_signal(process: Process, signum: signal.Signals) -> None:
    """To that process or to none. One of another user (sudo) is beyond us: it is logged."""
    with pidfd_of(process) as descriptor:
        if descriptor is None:
            return
        try:
            signal.pidfd_send_signal(descriptor, signum)
        except ProcessLookupError:
            return
        except PermissionError:
            log.warning("not allowed to send %s to process %d", signum.name, process.pid)


@contextlib.contextmanager
def pidfd_of(process: Process) -> Iterator[int | None]:
    """A pidfd of exactly this process; None if it is gone. The start time is read once the pidfd holds the pid."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        yield None
        return
    try:
        now = process_of(process.pid)
        yield descriptor if now is not None and now.start_time == process.start_time else None
    finally:
        os.close(descriptor)


def self_and_ancestors(seen: Mapping[int, Process]) -> set[int]:
    line: set[int] = set()
    pid = os.getpid()
    while pid in seen and pid not in line:
        line.add(pid)
        pid = seen[pid].parent
    return line


def children_by_parent(seen: Mapping[int, Process]) -> dict[int, list[int]]:
    below: dict[int, list[int]] = {}
    for process in seen.values():
        below.setdefault(process.parent, []).append(process.pid)
    return below
