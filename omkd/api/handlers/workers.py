"""worker.add, list, get, remove."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from omkd.api.calls import Answer, Call
from omkd.core.roster import WorkerEntry
from omkd.core.views import worker_view
from omkd.protocol import codec
from omkd.protocol.errors import ApiError, ErrorKind
from omkd.protocol.events import WorkerRegistered
from omkd.protocol.limits import MIN_RUN_OUTPUT_BYTES, TASK_BYTES
from omkd.protocol.methods import (
    NoParams,
    WorkerAddParams,
    WorkerListResult,
    WorkerNameParams,
)
from omkd.protocol.names import role_fault, worker_name_fault
from omkd.protocol.nearest import hint, shown_name
from omkd.protocol.records import AcpSession, Runner, WorkerSpec
from omkd.protocol.scalars import WorkerName
from omkd.services.hub import Hub
from omkd.services.worker_files import write_settings
from omkd.store.event_log import Draft, LogWriteFailed
from omkd.store.files import make_dir, sync_dir
from omkd.store.session import WorkerDir
from omkd.worker.acp_agents import command_fault
from omkd.worker.command import directory_fault
from omkd.worker.policy import PolicyError, check_policy

from .tasks import invalid


async def add(call: Call, params: WorkerAddParams) -> Answer:
    check_worker(params)
    entry = await add_worker(call, params)
    return Answer(result=worker_view(call.hub.state, entry), seq=call.hub.log.written)


async def add_worker(call: Call, params: WorkerAddParams) -> WorkerEntry:
    """The worker is on disk, and its directory written, when this returns."""
    hub = call.hub
    directory = hub.session.worker(params.name)
    registered = WorkerRegistered(
        worker=params.name,
        spec=spec_for(directory, params),
        foreign=False,
        window=params.window,
        runner=params.runner,
    )
    if (known := hub.state.roster.workers.get(params.name)) is not None:
        return same_again(known, registered)
    claim_directory(directory)
    try:
        unit = hub.log.append(Draft(by=call.caller.by(), events=(registered,)))
    except LogWriteFailed:
        with suppress(OSError):  # an empty one is taken by the next call
            directory.path.rmdir()
        raise
    entry = hub.state.roster.workers[params.name]
    await hub.log.commit(unit.seq)
    try:
        write_settings(directory, entry)
    except OSError as error:
        text = f"worker {params.name} is added, but its files cannot be written yet (they are tried again): {error}"
        raise ApiError(ErrorKind.WRITE_FAILED, text, path=str(directory.path)) from error
    return entry


def same_again(known: WorkerEntry, asked: WorkerRegistered) -> WorkerEntry:
    """Adding what is there already, with the same settings, is no error: a retry after a lost answer."""
    if (known.spec, known.window, known.runner, known.foreign) == (asked.spec, asked.window, asked.runner, False):
        return known
    text = f"there is a worker {known.name} already, with other settings: choose another name, or remove it first"
    raise ApiError(ErrorKind.CONFLICT, text, worker=known.name)


def claim_directory(directory: WorkerDir) -> None:
    """Raises ApiError when a directory is there that is not a worker's (yet), or none can be made.

    An empty one is taken: a call that was interrupted here, or could not sync it, may have left it.
    """
    try:
        make_dir(directory.path.parent)
        make_or_take_empty(directory.path)
        directory.path.chmod(0o700)
        sync_dir(directory.path.parent)
    except FileExistsError:
        text = f"{directory.path} is there already and belongs to no worker: move it away, or choose another name"
        raise ApiError(ErrorKind.CONFLICT, text, path=str(directory.path)) from None
    except OSError as error:
        raise ApiError(ErrorKind.WRITE_FAILED, f"{directory.path}: {error}", path=str(directory.path)) from error


def make_or_take_empty(path: Path) -> None:
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        if path.is_symlink() or not path.is_dir() or any(path.iterdir()):
            raise


def spec_for(directory: WorkerDir, params: WorkerAddParams) -> WorkerSpec:
    return WorkerSpec(
        name=params.name,
        role=params.role,
        inbox=str(directory.inbox),
        outbox=str(directory.outbox),
        heartbeat=str(directory.heartbeat),
        project_dir=params.project_dir,
        external_tools=params.external_tools,
        approval_policy=params.approval_policy,
        approval_timeout_secs=params.approval_timeout_secs,
    )


def check_worker(params: WorkerAddParams) -> None:
    """Raises ApiError for settings that cannot work."""
    if (fault := worker_name_fault(params.name)) is not None:
        raise invalid("name", fault)
    if (fault := role_fault(params.role)) is not None:
        raise invalid("role", fault)
    if params.project_dir is not None:
        check_project_dir(params.project_dir)
    if params.runner is not None:
        check_runner(params.runner, params.project_dir)
    try:
        check_policy(params.approval_policy)
    except PolicyError as error:
        raise invalid(error.path, error.reason) from None
    if len(codec.dumps(params)) > TASK_BYTES:
        raise ApiError(ErrorKind.TOO_LARGE, f"the settings have over {TASK_BYTES} bytes", limit=TASK_BYTES)


def check_project_dir(text: str) -> None:
    if not text.startswith("/") or "\0" in text:
        raise invalid("project_dir", f"{shown_name(text)} is not an absolute path")
    if (fault := directory_fault(Path(text))) is not None:
        raise invalid("project_dir", f"{text} {fault}, or name another")


def check_runner(runner: Runner, project_dir: str | None) -> None:
    if not runner.command or not runner.command[0]:
        raise invalid("runner.command", "it is empty: give the command that does a task")
    if any("\0" in text for text in (*runner.command, *runner.env, *runner.env.values())):
        raise invalid("runner", "a NUL character cannot be in a command or its environment")
    for name in runner.env:
        if not name or "=" in name:
            raise invalid("runner.env", f"{shown_name(name)} cannot be the name of a variable")
    if runner.output_bytes is not None and runner.output_bytes < MIN_RUN_OUTPUT_BYTES:
        raise invalid("runner.output_bytes", f"{runner.output_bytes} is too few: at least {MIN_RUN_OUTPUT_BYTES}")
    if runner.budget_secs == 0:
        raise invalid("runner.budget_secs", "a budget of 0 s would end every run at once")
    check_acp(runner)
    if (fault := lookup_fault(runner, project_dir)) is not None:
        raise invalid("runner.command[0]", fault)


def check_acp(runner: Runner) -> None:
    """Raises ApiError for a command that is known not to speak ACP, and for settings of ACP without it."""
    if runner.acp:
        if (fault := command_fault(runner.command)) is not None:
            raise invalid("runner.command", fault)
        return
    set_without_it = {
        "acp_asks": runner.acp_asks,
        "acp_mode": runner.acp_mode,
        "acp_session": runner.acp_session is not AcpSession.TASK,
    }
    for name, is_set in set_without_it.items():
        if is_set:
            raise invalid(f"runner.{name}", "it is for an agent that speaks ACP: set acp too (--acp)")


def lookup_fault(runner: Runner, project_dir: str | None) -> str | None:
    """Why the host will not find it: with a slash from the project directory, else in PATH. None if it will."""
    command = runner.command[0]
    if "{" in command:
        return None
    if "/" in command:
        place = Path(project_dir or "/") / command
        if shutil.which(place) is not None:
            return None
        return f"{place} is not executable: chmod +x it" if os.path.isfile(place) else f"there is no file {place}"
    path = runner.env.get("PATH", os.environ.get("PATH", os.defpath))
    if shutil.which(command, path=path) is not None:
        return None
    return f"no command {command!r} in the daemon's PATH ({path}): give its full path, or --env PATH=…"


def list_workers(call: Call, _: NoParams) -> Answer:
    state = call.hub.state
    workers = sorted(state.roster.workers.values(), key=lambda entry: entry.name)
    return Answer(
        result=WorkerListResult(workers=[worker_view(state, entry) for entry in workers]), seq=call.hub.log.written
    )


def get(call: Call, params: WorkerNameParams) -> Answer:
    entry = entry_of(call.hub, params.name)
    return Answer(result=worker_view(call.hub.state, entry), seq=call.hub.log.written)


async def until_idle(hub: Hub, entry: WorkerEntry) -> None:
    """Returns when the worker has nothing in hand, or is dead: what it has then does not end by itself."""
    while hub.state.ledger.in_hand(entry.name) and not entry.is_dead:
        await hub.log.wait_beyond(hub.log.written)


@contextmanager
def nothing_handed_out(hub: Hub, worker: WorkerName) -> Iterator[None]:
    """Nothing more is handed out to the worker in here. It is no fact as a pause is: it ends with the daemon too."""
    hub.state.drains[worker] += 1
    try:
        yield
    finally:
        hub.state.drains[worker] -= 1
        hub.work.wake()


def refuse_dead(hub: Hub, entry: WorkerEntry) -> None:
    """Raises ApiError for a worker that is dead with something in hand: to wait for that would never end."""
    in_hand = list(hub.state.ledger.in_hand(entry.name))
    if not in_hand or not entry.is_dead:
        return
    is_ours = entry.runner is not None and not entry.foreign
    start = f"start it again (omkctl worker restart {entry.name})" if is_ours else "start its program again"
    cancel = f"omkctl cancel {'' if is_ours else '--force '}{' '.join(in_hand)}"
    text = f"worker {entry.name} is dead and has {', '.join(in_hand)} in hand: {start}, or give that up ({cancel})"
    raise ApiError(ErrorKind.REFUSED, text, worker=entry.name, in_hand=in_hand)


def refuse_drain_and_force(*, drain: bool, force: bool) -> None:
    if drain and force:
        raise invalid("force", "drain waits for what is in hand, force does not: one of them")


def entry_of(hub: Hub, name: WorkerName) -> WorkerEntry:
    """Raises ApiError NOT_FOUND, with what there is."""
    entry = hub.state.roster.workers.get(name)
    if entry is None:
        invalid_spec = hub.invalid_specs.get(name)
        if invalid_spec is not None:
            raise ApiError(ErrorKind.NOT_FOUND, f"no worker {shown_name(name)}: {invalid_spec.error}", worker=name)
        known = hint(name, hub.state.roster.workers, "there is none yet: omkctl worker add")
        raise ApiError(ErrorKind.NOT_FOUND, f"no worker {shown_name(name)}{known}", worker=name)
    return entry
