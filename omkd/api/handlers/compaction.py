"""worker.compact and escalation.rotate: files that only grow are begun anew, the old ones kept."""

from omkd.api.calls import Answer, Call
from omkd.core.roster import WorkerEntry
from omkd.protocol.errors import ApiError, ErrorKind
from omkd.protocol.methods import (
    NoParams,
    RotateResult,
    WorkerCompactParams,
    WorkerCompactResult,
)
from omkd.services.compaction import compress_moved, move_files
from omkd.store.locks import LockHeld, take_lock

from .tending import own_entry
from .workers import entry_of, nothing_handed_out, refuse_dead, until_idle


async def compact(call: Call, params: WorkerCompactParams) -> Answer:
    """Its host has ended and is started again; the files are gzipped when this is answered."""
    entry = own_entry(call.hub, params.name, "compacted: omkd cannot know that its program has closed its files")
    if entry.runner is None:
        text = (
            f"worker {entry.name} has no command: omkd cannot know that the program that plays it has closed its files"
        )
        raise ApiError(ErrorKind.REFUSED, text, worker=entry.name)
    with nothing_handed_out(call.hub, entry.name):
        if params.drain:
            await until_idle(call.hub, entry)
            entry_of(call.hub, entry.name)  # it may be removed by now
        refuse_in_hand(call, entry)
        try:
            await call.desk.supervisor.stop(entry.name)
            moved = locked_and_moved(call, entry)
        finally:  # also when who asked went away
            call.desk.supervisor.look_again()
    try:
        await compress_moved(call.hub, entry)
    except OSError as error:
        text = f"the files of {entry.name} are moved, not gzipped (the next start of omkd tries again): {error}"
        raise ApiError(ErrorKind.WRITE_FAILED, text, worker=entry.name) from error
    archive = call.hub.session.worker(entry.name).archive
    result = WorkerCompactResult(name=entry.name, archived=[str(archive / f"{name}.gz") for name in moved])
    return Answer(result=result, seq=call.hub.log.written)


def locked_and_moved(call: Call, entry: WorkerEntry) -> list[str]:
    """All in one turn of the loop: nothing is handed out, and no host is started, before the files are moved."""
    lock_path = call.hub.session.worker(entry.name).lock
    try:
        lock = take_lock(lock_path)
    except LockHeld as held:
        raise ApiError(ErrorKind.REFUSED, f"worker {entry.name} is at work: {held}", worker=entry.name) from held
    except OSError as error:
        raise ApiError(ErrorKind.WRITE_FAILED, f"{lock_path}: {error}", path=str(lock_path)) from error
    try:
        while call.desk.reader.read(entry):
            pass
        refuse_in_hand(call, entry)
        return move_files(call.hub, call.desk.reader, entry, call.caller.by())
    except OSError as error:
        raise ApiError(ErrorKind.WRITE_FAILED, f"files of worker {entry.name}: {error}", worker=entry.name) from error
    finally:
        lock.release()


def refuse_in_hand(call: Call, entry: WorkerEntry) -> None:
    refuse_dead(call.hub, entry)
    in_hand = list(call.hub.state.ledger.in_hand(entry.name))
    if in_hand:
        text = f"worker {entry.name} has {', '.join(in_hand)} in hand: wait for it, or let it drain (--drain)"
        raise ApiError(ErrorKind.REFUSED, text, worker=entry.name, in_hand=in_hand)


async def rotate(call: Call, _: NoParams) -> Answer:
    """Lines that follow go to a new file; those before are in the one that is named."""
    try:
        kept = await call.desk.escalation_writer.rotate()
    except OSError as error:
        path = str(call.hub.session.escalations)
        raise ApiError(ErrorKind.WRITE_FAILED, f"{path}: {error}; tried again", path=path) from error
    return Answer(result=RotateResult(kept=None if kept is None else str(kept)))
