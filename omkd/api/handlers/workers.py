"""worker.add, list, get, remove."""

import os
from contextlib import suppress
from pathlib import Path

from omkd.api.calls import Answer, Call
from omkd.core.roster import WorkerEntry
from omkd.core.views import worker_view
from omkd.protocol import codec
from omkd.protocol.errors import ApiError, ErrorKind
from omkd.protocol.events import TaskLost, WorkerPaused, WorkerRegistered, WorkerRemoved
from omkd.protocol.limits import MIN_RUN_OUTPUT_BYTES, TASK_BYTES
from omkd.protocol.methods import (
    NoParams,
    WorkerAddParams,
    WorkerListResult,
    WorkerNameParams,
    WorkerRemoveParams,
    WorkerRemoveResult,
)
from omkd.protocol.names import role_fault, worker_name_fault
from omkd.protocol.nearest import hint
from omkd.protocol.records import DEFAULT_GRACE_SECS, Pattern, Runner, WorkerSpec
from omkd.protocol.scalars import WorkerName
from omkd.services.hub import Hub
from omkd.services.worker_files import write_settings
from omkd.store.event_log import Draft, LogWriteFailed
from omkd.store.files import make_dir, sync_dir
from omkd.store.locks import LockHeld, take_lock
from omkd.store.session import WorkerDir

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
    if isinstance(params.approval_policy, Pattern):
        check_patterns(params.approval_policy)
    if len(codec.dumps(params)) > TASK_BYTES:
        raise ApiError(ErrorKind.TOO_LARGE, f"the settings have over {TASK_BYTES} bytes", limit=TASK_BYTES)


def check_project_dir(text: str) -> None:
    if not text.startswith("/") or "\0" in text:
        raise invalid("project_dir", f"{text!r} is not an absolute path")
    if not os.path.isdir(text):
        raise invalid("project_dir", f"{text} is not a directory: make it first")


def check_runner(runner: Runner, project_dir: str | None) -> None:
    if not runner.command or not runner.command[0]:
        raise invalid("runner.command", "it is empty: give the command that does a task")
    if any("\0" in text for text in (*runner.command, *runner.env, *runner.env.values())):
        raise invalid("runner", "a NUL character cannot be in a command or its environment")
    for name in runner.env:
        if not name or "=" in name:
            raise invalid("runner.env", f"{name!r} cannot be the name of a variable")
    if runner.output_bytes is not None and runner.output_bytes < MIN_RUN_OUTPUT_BYTES:
        raise invalid("runner.output_bytes", f"{runner.output_bytes} is too few: at least {MIN_RUN_OUTPUT_BYTES}")
    if runner.budget_secs == 0:
        raise invalid("runner.budget_secs", "a budget of 0 s would end every run at once")
    if not command_exists(runner, project_dir):
        path = runner.env.get("PATH", os.environ.get("PATH", os.defpath))
        text = f"no command {runner.command[0]!r} in the daemon's PATH ({path}): give its full path, or --env PATH=…"
        raise invalid("runner.command[0]", text)


def command_exists(runner: Runner, project_dir: str | None) -> bool:
    """Whether the host will find it: with a slash from the project directory, else in PATH."""
    command = runner.command[0]
    if "{" in command:
        return True
    if "/" in command:
        places = [Path(project_dir or "/") / command]
    else:
        path = runner.env.get("PATH", os.environ.get("PATH", os.defpath))
        places = [Path(each or ".") / command for each in path.split(os.pathsep)]
    return any(place.is_file() and os.access(place, os.X_OK) for place in places)


def check_patterns(policy: Pattern) -> None:
    import re

    for number, pattern in enumerate(policy.patterns):
        path = f"approval_policy.pattern.patterns[{number}]"
        if not pattern:
            raise invalid(path, "an empty pattern would allow everything")
        try:
            re.compile(pattern)
        except re.error as fault:
            raise invalid(path, f"{pattern!r} is no regular expression: {fault}") from None


def list_workers(call: Call, _: NoParams) -> Answer:
    state = call.hub.state
    workers = sorted(state.roster.workers.values(), key=lambda entry: entry.name)
    return Answer(
        result=WorkerListResult(workers=[worker_view(state, entry) for entry in workers]), seq=call.hub.log.written
    )


def get(call: Call, params: WorkerNameParams) -> Answer:
    entry = entry_of(call.hub, params.name)
    return Answer(result=worker_view(call.hub.state, entry), seq=call.hub.log.written)


async def remove(call: Call, params: WorkerRemoveParams) -> Answer:
    return Answer(result=await remove_worker(call, params), seq=call.hub.log.written)


async def until_idle(hub: Hub, worker: WorkerName) -> None:
    """Returns when the worker has nothing in hand."""
    while hub.state.ledger.in_hand(worker):
        await hub.log.wait_beyond(hub.log.written)


async def remove_worker(call: Call, params: WorkerRemoveParams) -> WorkerRemoveResult:
    """Its host has ended and its directory has its new name when this returns."""
    hub = call.hub
    entry = entry_of(hub, params.name)
    if params.drain:
        hub.log.append(Draft(by=call.caller.by(), events=(WorkerPaused(worker=entry.name, reason="is removed"),)))
        await until_idle(hub, entry.name)
    refuse_in_hand(hub, entry, params)
    grace_secs = DEFAULT_GRACE_SECS if entry.runner is None else entry.runner.grace_secs
    await call.desk.supervisor.stop(entry.name, grace_secs)
    try:
        return remove_stopped(call, entry, params)
    except ApiError:
        call.desk.supervisor.look_again()
        raise


def remove_stopped(call: Call, entry: WorkerEntry, params: WorkerRemoveParams) -> WorkerRemoveResult:
    """Nothing else happens in the meantime: what the host wrote last is read, and the worker is gone."""
    hub = call.hub
    directory = hub.session.worker(entry.name)
    try:
        lock = take_lock(directory.lock)
    except LockHeld as held:
        raise ApiError(ErrorKind.REFUSED, f"worker {entry.name} is at work: {held}", worker=entry.name) from held
    except OSError as error:
        raise ApiError(ErrorKind.WRITE_FAILED, f"{directory.lock}: {error}", path=str(directory.lock)) from error
    try:
        while call.desk.reader.read(entry):
            pass
        refuse_in_hand(hub, entry, params)
        return rename_away(hub, entry, call)
    finally:
        lock.release()


def refuse_in_hand(hub: Hub, entry: WorkerEntry, params: WorkerRemoveParams) -> None:
    in_hand = list(hub.state.ledger.in_hand(entry.name))
    if in_hand and not params.force:
        text = f"worker {entry.name} has {', '.join(in_hand)} in hand: wait for it, or force it (they become lost)"
        raise ApiError(ErrorKind.REFUSED, text, worker=entry.name, in_hand=in_hand)


def rename_away(hub: Hub, entry: WorkerEntry, call: Call) -> WorkerRemoveResult:
    """Its facts first; then the directory, which a start of the daemon would finish."""
    moved_to = f"removed/{entry.name}.{hub.log.next_seq}"
    lost = [
        TaskLost(task_id=task_id, worker=entry.name, reason=f"worker {entry.name} was removed")
        for task_id in hub.state.ledger.in_hand(entry.name)
    ]
    removed = WorkerRemoved(worker=entry.name, moved_to=moved_to)
    hub.log.append(Draft(by=call.caller.by(), events=(*lost, removed)))
    call.desk.reader.forget(entry.name)
    hub.invalid_specs.pop(entry.name, None)
    target = hub.session.path / moved_to
    try:
        make_dir(target.parent)
        hub.session.worker(entry.name).path.rename(target)
        sync_dir(target.parent)
    except FileNotFoundError:
        moved_to = ""
    except OSError as error:
        text = f"worker {entry.name} is removed, its directory could not be moved to {target}: {error}"
        raise ApiError(ErrorKind.WRITE_FAILED, text, path=str(target)) from error
    return WorkerRemoveResult(name=entry.name, moved_to=str(target) if moved_to else "")


def entry_of(hub: Hub, name: WorkerName) -> WorkerEntry:
    """Raises ApiError NOT_FOUND, with what there is."""
    entry = hub.state.roster.workers.get(name)
    if entry is None:
        invalid_spec = hub.invalid_specs.get(name)
        if invalid_spec is not None:
            raise ApiError(ErrorKind.NOT_FOUND, f"no worker {name!r}: {invalid_spec.error}", worker=name)
        text = f"no worker {name!r}{hint(name, hub.state.roster.workers, 'there is none yet: omkctl worker add')}"
        raise ApiError(ErrorKind.NOT_FOUND, text, worker=name)
    return entry
