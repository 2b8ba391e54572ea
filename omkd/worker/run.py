"""The run of one hand-out: its files, its command, its end. When it returns, nothing of the run is left alive.

The order tells afterwards how far a dead host came: directory; run.json, synced; TaskStarted; the command; then, by
`host`, result.json and the outbox line. A directory without run.json never began.
"""

import contextlib
import errno
import logging
import os
from collections.abc import Callable, Iterator
from typing import Final

import trio
from attrs import evolve, frozen

from omkd.protocol import codec
from omkd.protocol.events import TaskStarted
from omkd.protocol.records import OutboxLine, RunRecord
from omkd.protocol.scalars import U32, U64, Ns, TaskId
from omkd.store.files import FILE_MODE, OPEN_FLAGS, append_line, atomic_write, make_dir
from omkd.store.locks import this_process
from omkd.store.procfs import start_time
from omkd.store.session import WorkerDir

from .children import Children
from .command import Command, budget_secs_for, command_for, directory_fault, prompt_for
from .files import RunFiles
from .mailbox import Handout
from .output import Output, output_limit
from .processes import KILL_PATIENCE_S, RunMarks, RunProcesses, end_processes, marks_of
from .report import Cancelled, End, Exited, Interrupted, NotStarted, OutOfBudget, report_for
from .settings import Settings

log = logging.getLogger(__name__)

ARGUMENT_BYTES: Final = 128 * 1024
"""MAX_ARG_STRLEN, execve(2)."""

LEFT_BEHIND_S: Final = 1.0
"""For what a command that has ended left behind: Codex starts its `notify` and exits, and that takes 0.7 s."""

PASSING: Final = frozenset({errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE})
"""Why a process cannot be made now, and may be later."""


class Orders:
    """What the host asks of the run in hand. Asked before the run listens, it is heard when it does."""

    def __init__(self) -> None:
        self.listening = trio.CancelScope()
        self.patience = trio.CancelScope()
        self.asked: Cancelled | Interrupted | None = None

    def end_with(self, end: Cancelled | Interrupted) -> None:
        """End the command, with its grace time. The first to ask is the one reported."""
        self.asked = self.asked or end
        self.listening.cancel()

    def end_at_once(self, end: Cancelled | Interrupted) -> None:
        """As `end_with`, without grace time, also one that is running."""
        self.end_with(end)
        self.patience.cancel()


@frozen(kw_only=True)
class Place:
    """Where a run happens."""

    worker: WorkerDir
    settings: Settings
    children: Children
    now_ns: Callable[[], int]


def prepare(handout: Handout, files: RunFiles) -> None:
    """The directory, the task and the prompt in it, empty logs. May be done again. Raises OSError."""
    make_dir(files.path)
    atomic_write(files.task, handout.line, sync=False)
    atomic_write(files.prompt, prompt_for(handout.task).encode(), sync=False)
    for stream in (files.stdout, files.stderr):
        atomic_write(stream, b"", sync=False)


def begin(handout: Handout, files: RunFiles, place: Place) -> RunRecord:
    """run.json, on disk when this returns; then TaskStarted, which others may do without. Raises OSError."""
    us, marks = this_process(), marks_of(place.worker, handout.id)
    record = RunRecord(
        handout=handout.id,
        session=marks.session,
        worker=marks.worker,
        boot_id=us.boot_id,
        host_pid=us.pid,
        host_start_time=us.start_time,
        pid=U64(0),
        start_time=U64(0),
        started=Ns(place.now_ns()),
    )
    atomic_write(files.record, codec.dumps(record))
    started = TaskStarted(task_id=TaskId(handout.id), handout=U32(handout.number))
    try:
        append_line(place.worker.events, codec.dumps(started))
    except OSError as error:
        log.warning("%s: start not written to events.jsonl: %s", handout.id, error)
    return record


async def run_handout(handout: Handout, files: RunFiles, record: RunRecord, place: Place, orders: Orders) -> OutboxLine:
    """Runs the command to its end. Cancellation: the command lives on; the next host ends it."""
    began = trio.current_time()
    end = await run_command(handout, files, record, place, orders)
    elapsed_secs = int(trio.current_time() - began)
    return report_for(handout.id, end, files, elapsed_secs=elapsed_secs, now_ns=place.now_ns())


async def run_command(handout: Handout, files: RunFiles, record: RunRecord, place: Place, orders: Orders) -> End:
    marks = marks_of(place.worker, handout.id)
    command = command_for(
        handout.task, handout.task_id, place.settings, files, os.environb, variables(handout, files, marks)
    )
    if (fault := directory_fault(command.cwd)) is not None:
        return NotStarted(why=no_directory(command, fault, place.worker))
    try:
        process = await start(command, files, place.children)
    except OSError as error:
        return NotStarted(why=start_failure(error, command), is_passing=error.errno in PASSING)
    except ValueError as error:
        return NotStarted(why=f"the command cannot be started: {error} in an argument or in its environment")
    try:
        note_command(files, record, process.pid)
        output = Output(place.worker, files, output_limit(place.settings.runner))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(output.run)
            end = await supervise(process, budget_secs_for(handout.task, place.settings.runner), orders)
            members = RunProcesses(marks=marks, host=os.getpid())
            left = await end_processes(
                members,
                grace_s=place.settings.runner.grace_secs,
                patience=orders.patience,
                by_themselves_s=LEFT_BEHIND_S if isinstance(end, Exited) else 0.0,
            )
            nursery.cancel_scope.cancel()
        output.finish()
        if left and isinstance(end, Exited):
            log.info("%s: ended %d processes that the command left behind", handout.id, left)
        with trio.move_on_after(KILL_PATIENCE_S):
            await process.wait()
    finally:
        place.children.forget(process)
    return end


async def supervise(process: trio.Process, budget_secs: int, orders: Orders) -> End:
    """Waits until the command exits, runs out of budget, or is asked to end. An exit that was there first counts."""
    with orders.listening, trio.move_on_after(budget_secs):
        await process.wait()
    if process.returncode is not None:
        return Exited(status=process.returncode)
    return orders.asked or OutOfBudget(budget_secs=budget_secs)


def variables(handout: Handout, files: RunFiles, marks: RunMarks) -> dict[str, str]:
    who = {} if handout.task.by is None else {"OMK_TASK_BY": handout.task.by}
    return {
        **marks.environment(),
        **who,
        "OMK_TASK_ID": handout.task_id,
        "OMK_RESULT_FILE": str(files.agent_result),
    }


async def start(command: Command, files: RunFiles, children: Children) -> trio.Process:
    """Output goes to files, never through the host: its death must not reach the agent as SIGPIPE."""
    with contextlib.ExitStack() as opened:
        stdin = opened.enter_context(descriptor(str(files.prompt) if command.reads_prompt else os.devnull, os.O_RDONLY))
        stdout = opened.enter_context(descriptor(str(files.stdout), os.O_WRONLY | os.O_APPEND))
        stderr = opened.enter_context(descriptor(str(files.stderr), os.O_WRONLY | os.O_APPEND))
        return await children.start(
            command.argv, env=command.env, cwd=command.cwd, stdin=stdin, stdout=stdout, stderr=stderr
        )


@contextlib.contextmanager
def descriptor(path: str, flags: int) -> Iterator[int]:
    opened = os.open(path, flags | OPEN_FLAGS, FILE_MODE)
    try:
        yield opened
    finally:
        os.close(opened)


def note_command(files: RunFiles, record: RunRecord, pid: int) -> None:
    """Adds the command's pid to run.json. Not synced: no pid outlives the machine. The marks do if this fails."""
    try:
        known = evolve(record, pid=U64(pid), start_time=U64(start_time(pid)))
        atomic_write(files.record, codec.dumps(known), sync=False)
    except OSError as error:
        log.warning("%s: pid not written to run.json: %s", record.handout, error)


def no_directory(command: Command, fault: str, worker: WorkerDir) -> str:
    another = f"or name another with `omkctl worker update {worker.name} --project-dir DIR`"
    return f"project directory {command.cwd} {fault}, {another}"


def start_failure(error: OSError, command: Command) -> str:
    """What a person is to do about it."""
    name = command.argv[0].decode()
    match error.errno:
        case errno.E2BIG:
            longest = max(len(argument) for argument in command.argv)
            return (
                f"the argument list is too long: the longest argument has {longest} bytes, "
                f"Linux takes {ARGUMENT_BYTES - 1}: "
                "use {prompt_file} in place of {task}, or neither and read the prompt from stdin"
            )
        case errno.ENOENT:
            return (
                f"command not found: {name} (or the interpreter it names): install it, or give its path, and see PATH"
            )
        case errno.EACCES:
            return f"command is not executable: {name}: `chmod +x` it, or name an interpreter before it"
        case errno.ENOEXEC:
            return f"command has no format that the system can run: {name}: name an interpreter before it"
        case _:
            return f"command {name} cannot be started: {error.strerror}"
