"""worker.remove: the host ends, the worker is gone from the record, its directory is kept under `removed/`."""

import trio

from omkd.api.calls import Answer, Call
from omkd.core.reports import withdrawn_of_worker
from omkd.core.roster import WorkerEntry
from omkd.protocol.errors import ApiError, ErrorKind
from omkd.protocol.events import TaskLost, WorkerPaused, WorkerRemoved
from omkd.protocol.methods import WorkerRemoveParams, WorkerRemoveResult
from omkd.services.hub import Hub
from omkd.services.removal import finish_removal, mark_removal, unmark_removal
from omkd.store.event_log import Draft, LogWriteFailed
from omkd.store.locks import LockHeld, take_lock
from omkd.store.tail import CHUNK_BYTES

from .workers import entry_of, refuse_dead, refuse_drain_and_force, until_idle


async def remove(call: Call, params: WorkerRemoveParams) -> Answer:
    return Answer(result=await remove_worker(call, params), seq=call.hub.log.written)


async def remove_worker(call: Call, params: WorkerRemoveParams) -> WorkerRemoveResult:
    """Its host has ended and its directory has its new name when this returns."""
    hub = call.hub
    refuse_drain_and_force(drain=params.drain, force=params.force)
    entry = entry_of(hub, params.name)
    if params.drain:
        refuse_dead(hub, entry)
        hub.log.append(Draft(by=call.caller.by(), events=(WorkerPaused(worker=entry.name, reason="is removed"),)))
        await until_idle(hub, entry)
    refuse_in_hand(hub, entry, params)
    await call.desk.supervisor.stop(entry.name)
    try:
        return await remove_stopped(call, entry, params)
    except ApiError:
        call.desk.supervisor.look_again()
        raise


async def remove_stopped(call: Call, entry: WorkerEntry, params: WorkerRemoveParams) -> WorkerRemoveResult:
    """What the host wrote last is read, and nothing happens between that and the fact that the worker is gone."""
    hub = call.hub
    directory = hub.session.worker(entry.name)
    try:
        lock = take_lock(directory.lock)
    except LockHeld as held:
        raise ApiError(ErrorKind.REFUSED, f"worker {entry.name} is at work: {held}", worker=entry.name) from held
    except OSError as error:
        raise ApiError(ErrorKind.WRITE_FAILED, f"{directory.lock}: {error}", path=str(directory.lock)) from error
    try:
        await read_last(call, entry)
        refuse_in_hand(hub, entry, params)
        return await move_away(hub, entry, call)
    finally:
        lock.release()


async def read_last(call: Call, entry: WorkerEntry) -> None:
    """Of a worker of ours in one turn of the loop, so that no host is started meanwhile. Another program may write on
    without end: what it had written when it was to be removed is read, and others have their turns.
    """
    directory = call.hub.session.worker(entry.name)
    size = sum(path.stat().st_size for path in (directory.outbox, directory.events) if path.exists())
    for _ in range(2 + 2 * size // CHUNK_BYTES):
        if not call.desk.reader.read(entry):
            return
        if entry.runner is None or entry.foreign:
            await trio.lowlevel.checkpoint()


def refuse_in_hand(hub: Hub, entry: WorkerEntry, params: WorkerRemoveParams) -> None:
    if params.force:
        return
    refuse_dead(hub, entry)
    in_hand = list(hub.state.ledger.in_hand(entry.name))
    if in_hand:
        text = f"worker {entry.name} has {', '.join(in_hand)} in hand: wait for it, or force it (they become lost)"
        raise ApiError(ErrorKind.REFUSED, text, worker=entry.name, in_hand=in_hand)


async def move_away(hub: Hub, entry: WorkerEntry, call: Call) -> WorkerRemoveResult:
    """The mark first, then the facts, then the rename: a start of the daemon finishes what a crash cut off."""
    directory = hub.session.worker(entry.name)
    moved_to = f"removed/{entry.name}.{hub.log.next_seq}"
    lost = [
        TaskLost(task_id=task_id, worker=entry.name, reason=f"worker {entry.name} was removed")
        for task_id in hub.state.ledger.in_hand(entry.name)
    ]
    withdrawn = withdrawn_of_worker(hub.state, entry.name)
    removed = WorkerRemoved(worker=entry.name, moved_to=moved_to)
    try:
        mark_removal(directory, moved_to)
        unit = hub.log.append(Draft(by=call.caller.by(), events=(*lost, removed, *withdrawn)))
    except OSError as error:
        raise ApiError(ErrorKind.WRITE_FAILED, f"{directory.path}: {error}", path=str(directory.path)) from error
    except LogWriteFailed:
        unmark_removal(directory)
        raise
    await hub.log.commit(unit.seq)
    call.desk.reader.forget(entry.name)
    hub.invalid_specs.pop(entry.name, None)
    try:
        finish_removal(directory)
    except OSError as error:
        text = f"worker {entry.name} is removed, its directory could not be moved yet (it is tried again): {error}"
        raise ApiError(ErrorKind.WRITE_FAILED, text, path=str(directory.path)) from error
    target = hub.session.path / moved_to
    return WorkerRemoveResult(name=entry.name, moved_to=str(target) if target.is_dir() else "")
