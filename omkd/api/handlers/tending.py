"""worker.log, update, adopt, apply, pause, resume, restart: what one can do with a worker that is there."""

import os
from contextlib import ExitStack
from pathlib import Path

from attrs import asdict, evolve

from omkd.api.calls import Answer, Call
from omkd.core.roster import WorkerEntry
from omkd.core.views import worker_view
from omkd.protocol import codec
from omkd.protocol.errors import ApiError, ErrorKind
from omkd.protocol.events import WorkerPaused, WorkerResumed, WorkerUpdated
from omkd.protocol.limits import HOST_LOG_LINES
from omkd.protocol.methods import (
    WorkerAddParams,
    WorkerApplyParams,
    WorkerApplyResult,
    WorkerLogParams,
    WorkerLogResult,
    WorkerNameParams,
    WorkerPauseParams,
    WorkerRemoveParams,
    WorkerRestartParams,
    WorkerUpdateParams,
)
from omkd.protocol.records import Runner
from omkd.protocol.scalars import U32, WorkerName
from omkd.services.hub import Hub
from omkd.store.event_log import Draft
from omkd.store.files import OPEN_FLAGS, read_regular
from omkd.store.locks import lock_holder

from .removal import remove_worker
from .tasks import invalid
from .workers import (
    add_worker,
    check_worker,
    entry_of,
    nothing_handed_out,
    refuse_dead,
    refuse_drain_and_force,
    spec_for,
    until_idle,
)

RUNNER_LIMIT_BYTES = 1024 * 1024
HOST_LOG_TAIL_BYTES = 256 * 1024
"""What is read of a host.log, so that a reply stays below its limit whatever stands there."""

OF_RUNNER = (
    "command",
    "env",
    "budget_secs",
    "grace_secs",
    "idle_exit_secs",
    "on_interrupt",
    "retries",
    "stall_secs",
    "output_bytes",
    "acp",
    "acp_asks",
    "acp_mode",
    "acp_session",
)
OF_SPEC = ("role", "project_dir", "approval_policy", "approval_timeout_secs", "external_tools")


def update(call: Call, params: WorkerUpdateParams) -> Answer:
    """The new settings, whole, are a fact; files follow from it."""
    hub = call.hub
    entry = own_entry(hub, params.name, "changed: its own files say what it is")
    given = {name: value for name, value in asdict(params, recurse=False).items() if value is not None}
    for_runner = {name: given[name] for name in OF_RUNNER if name in given}
    runner = entry.runner
    if for_runner and runner is None and "command" not in for_runner:
        raise invalid(next(iter(for_runner)), f"worker {entry.name} has no command: another program plays it")
    if for_runner:
        runner = Runner(**for_runner) if runner is None else evolve(runner, **for_runner)
    declared = WorkerAddParams(
        name=entry.name,
        **{name: given.get(name, getattr(entry.spec, name)) for name in OF_SPEC},
        window=given.get("window", U32(entry.window)),
        runner=runner,
    )
    check_worker(declared)
    return Answer(result=worker_view(hub.state, entry_after(call, entry, declared)), seq=hub.log.written)


def entry_after(call: Call, entry: WorkerEntry, declared: WorkerAddParams) -> WorkerEntry:
    """Records the settings, if they are others than before."""
    updated = update_for(call.hub, entry, declared)
    if changed_fields(entry, updated):
        call.hub.log.append(Draft(by=call.caller.by(), events=(updated,)))
    return call.hub.state.roster.workers[entry.name]


def update_for(hub: Hub, entry: WorkerEntry, declared: WorkerAddParams) -> WorkerUpdated:
    return WorkerUpdated(
        worker=entry.name,
        spec=spec_for(hub.session.worker(entry.name), declared),
        foreign=False,
        window=declared.window,
        runner=declared.runner,
    )


def changed_fields(entry: WorkerEntry, updated: WorkerUpdated) -> list[str]:
    """Names of what is different, in the terms of `worker.update`."""
    changed = [name for name in OF_SPEC if getattr(entry.spec, name) != getattr(updated.spec, name)]
    if entry.window != updated.window:
        changed.append("window")
    if (entry.runner is None) != (updated.runner is None):
        changed.append("command")
    elif entry.runner is not None and updated.runner is not None:
        changed += [name for name in OF_RUNNER if getattr(entry.runner, name) != getattr(updated.runner, name)]
    return changed


def adopt(call: Call, params: WorkerNameParams) -> Answer:
    """From here on the log wins over the worker's files; its runner.json, if it has one, is started."""
    hub = call.hub
    entry = entry_of(hub, params.name)
    if not entry.foreign:
        return Answer(result=worker_view(hub.state, entry), seq=hub.log.written)
    path = hub.session.worker(entry.name).runner
    runner = None
    if path.exists():
        try:
            runner = codec.loads(read_regular(path, RUNNER_LIMIT_BYTES), Runner)
        except (OSError, ValueError) as fault:
            raise ApiError(ErrorKind.REFUSED, f"{path} cannot be used: {fault}", path=str(path)) from fault
    adopted = WorkerUpdated(worker=entry.name, spec=entry.spec, foreign=False, window=U32(entry.window), runner=runner)
    hub.log.append(Draft(by=call.caller.by(), events=(adopted,)))
    return Answer(result=worker_view(hub.state, entry), seq=hub.log.written)


async def apply(call: Call, params: WorkerApplyParams) -> Answer:
    """Everything is checked before anything is changed; a dry run ends there."""
    hub = call.hub
    names = [declared.name for declared in params.workers]
    for number, name in enumerate(names):
        if name in names[:number]:
            raise invalid(f"workers[{number}].name", f"{name!r} is declared twice")
    updated: dict[str, list[str]] = {}
    for number, declared in enumerate(params.workers):
        check_declared(number, declared)
        if declared.name in hub.state.roster.workers:
            entry = own_entry(hub, declared.name, "declared: `omkctl worker adopt` it first")
            updated[entry.name] = changed_fields(entry, update_for(hub, entry, declared))
    added = [name for name in names if name not in hub.state.roster.workers]
    removed = [entry.name for entry in hub.state.roster.workers.values() if is_pruned(entry, names, params)]
    refuse_pruned(hub, removed)
    if not params.dry_run:
        with ExitStack() as kept_idle:
            for name in removed:
                kept_idle.enter_context(nothing_handed_out(hub, name))
            await change(call, params, removed)
    result = WorkerApplyResult(
        added=added,
        updated={name: fields for name, fields in updated.items() if fields},
        removed=removed,
        unchanged=[WorkerName(name) for name, fields in updated.items() if not fields],
    )
    return Answer(result=result, seq=hub.log.written)


def refuse_pruned(hub: Hub, removed: list[WorkerName]) -> None:
    """Raises ApiError when one that is to be removed has something in hand, or is at work for another program."""
    busy = {name: list(in_hand) for name in removed if (in_hand := hub.state.ledger.in_hand(name))}
    if busy:
        what = "; ".join(f"worker {name} has {', '.join(in_hand)} in hand" for name, in_hand in busy.items())
        text = f"{what}: let that end, or cancel it, then prune; nothing is changed"
        raise ApiError(ErrorKind.REFUSED, text, in_hand=busy)
    for name in removed:
        is_played_by_another = hub.state.roster.workers[name].runner is None
        if is_played_by_another and (holder := lock_holder(hub.session.worker(name).lock)) is not None:
            text = f"worker {name} is at work (pid {holder.pid}): end its program, then prune; nothing is changed"
            raise ApiError(ErrorKind.REFUSED, text, worker=name)


async def change(call: Call, params: WorkerApplyParams, removed: list[WorkerName]) -> None:
    """Makes the workers as declared, and removes the others."""
    workers = call.hub.state.roster.workers
    for declared in params.workers:
        if declared.name in workers:
            entry_after(call, workers[declared.name], declared)
        else:
            await add_worker(call, declared)
    for name in removed:
        await remove_worker(call, WorkerRemoveParams(name=name))


def check_declared(number: int, declared: WorkerAddParams) -> None:
    """Raises ApiError whose path says which worker it is."""
    try:
        check_worker(declared)
    except ApiError as fault:
        if "path" not in fault.data:
            raise
        place = f"workers[{number}]"
        data = {**fault.data, "path": f"{place}.{fault.data['path']}"}
        raise ApiError(fault.kind, f"{place}.{fault.message}", **data) from None


def is_pruned(entry: WorkerEntry, names: list[WorkerName], params: WorkerApplyParams) -> bool:
    return params.prune and not entry.foreign and entry.name not in names


def log(call: Call, params: WorkerLogParams) -> Answer:
    """Of the newest file alone: a new one is begun at 1 MiB. Raises ApiError for what cannot be read."""
    path = call.hub.session.worker(entry_of(call.hub, params.name).name).host_log
    try:
        text = read_end(path, HOST_LOG_TAIL_BYTES)
    except FileNotFoundError:
        text = b""
    except OSError as error:
        raise ApiError(ErrorKind.NOT_FOUND, f"{path}: {error}", path=str(path)) from error
    lines = text.decode(errors="replace").splitlines()
    wanted = min(params.lines, HOST_LOG_LINES)
    return Answer(result=WorkerLogResult(path=str(path), lines=lines[len(lines) - min(wanted, len(lines)) :]))


def read_end(path: Path, limit_bytes: int) -> bytes:
    """The last bytes of a file, from the beginning of a line. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | OPEN_FLAGS)
    with open(descriptor, "rb", buffering=0) as opened:
        start = max(0, os.fstat(descriptor).st_size - limit_bytes)
        content = os.pread(opened.fileno(), limit_bytes, start)
    return content.partition(b"\n")[2] if start else content


async def pause(call: Call, params: WorkerPauseParams) -> Answer:
    hub = call.hub
    entry = entry_of(hub, params.name)
    if not entry.paused:
        paused = WorkerPaused(worker=entry.name, reason=params.reason)
        await hub.log.commit(hub.log.append(Draft(by=call.caller.by(), events=(paused,))).seq)
    if params.drain:
        await until_idle(hub, entry)
        refuse_dead(hub, entry)
    return Answer(result=worker_view(hub.state, entry), seq=hub.log.written)


def resume(call: Call, params: WorkerNameParams) -> Answer:
    hub = call.hub
    entry = entry_of(hub, params.name)
    if entry.paused:
        hub.log.append(Draft(by=call.caller.by(), events=(WorkerResumed(worker=entry.name),)))
    return Answer(result=worker_view(hub.state, entry), seq=hub.log.written)


async def restart(call: Call, params: WorkerRestartParams) -> Answer:
    """Its old host has ended when this is answered; what it ran is interrupted, unless it drained. A dead one is
    started at once: it drains no more.
    """
    hub = call.hub
    refuse_drain_and_force(drain=params.drain, force=params.force)
    entry = own_entry(hub, params.name, "restarted: omkd did not start it")
    if entry.runner is None:
        text = f"worker {entry.name} has no command, another program plays it: restart that"
        raise ApiError(ErrorKind.REFUSED, text, worker=entry.name)
    if params.drain:
        with nothing_handed_out(hub, entry.name):
            await until_idle(hub, entry)
            entry_of(hub, entry.name)  # it may be removed by now
            await call.desk.supervisor.restart(entry.name, force=False)
    else:
        await call.desk.supervisor.restart(entry.name, force=params.force)
    return Answer(result=worker_view(hub.state, entry), seq=hub.log.written)


def own_entry(hub: Hub, name: WorkerName, cannot_be: str) -> WorkerEntry:
    """Raises ApiError for a foreign worker, and for one that is not there."""
    entry = entry_of(hub, name)
    if entry.foreign:
        raise ApiError(ErrorKind.REFUSED, f"worker {name} is foreign and cannot be {cannot_be}", worker=name)
    return entry
