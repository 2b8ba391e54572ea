"""`worker compact`: the files of a worker that has nothing in hand are moved into `archive/` and gzipped (design, §5).

What is safe at every moment, whenever the daemon or the machine is killed:

* The inbox goes first, and durably: an inbox without its outbox lines would be worked through again. An outbox without
  its inbox is nothing: a worker does what stands in the inbox, and that is empty.
* A file that was moved keeps its inode until the log says (a unit with a `src` of inode 0) that reading begins anew.
  Until then a new outbox has another inode, and is read from its beginning as a new generation; from then on nothing
  speaks of the old inode, so it may be given up: the file is gzipped.
* A move cut short leaves the files that were not moved where they are, in use as before; the next start gzips what was.
"""

import logging
from contextlib import suppress

import trio

from omkd.core.roster import WorkerEntry
from omkd.protocol.events import By, ByOmkd, Source
from omkd.protocol.scalars import U32, U64
from omkd.store.archive import compress, move_to_archive, raw_files
from omkd.store.event_log import Draft, LogWriteFailed
from omkd.store.session import WorkerDir
from omkd.store.tail import mark

from .hub import Hub
from .mailbox_reader import MailboxReader

logger = logging.getLogger(__name__)


def move_files(hub: Hub, reader: MailboxReader, entry: WorkerEntry, by: By) -> list[str]:
    """The names that the files have now. Call it with the worker's lock held, all read, and nothing in hand.

    Raises OSError, LogWriteFailed: what was moved stays moved, and nothing is lost.
    """
    directory = hub.session.worker(entry.name)
    seq = hub.log.next_seq
    moved = []
    for path in (directory.inbox, directory.control, directory.outbox, directory.events):
        target = move_to_archive(path, directory.archive, seq)
        if target is not None:
            moved.append(target.name)
    begin_anew(hub, reader, entry, by)
    return moved


def begin_anew(hub: Hub, reader: MailboxReader, entry: WorkerEntry, by: By) -> None:
    """Records that reading the moved files is over. Raises LogWriteFailed."""
    directory = hub.session.worker(entry.name)
    moved = {path.stat().st_ino for path in raw_files(directory.archive)}
    reader.forget(entry.name)
    for source in list(entry.sources.values()):
        if source.inode in moved:
            anew = Source(
                worker=entry.name,
                gen=U32(source.gen),
                file=source.file,
                end=U64(0),
                tail=mark(b""),
                inode=U64(0),
                head="",
            )
            hub.log.append(Draft(by=by, events=(), src=anew))


async def compress_moved(hub: Hub, entry: WorkerEntry) -> None:
    """Once what `move_files` recorded is on disk. Raises OSError: they stay as they are until the next start."""
    await hub.log.commit(hub.log.written)
    for path in raw_files(hub.session.worker(entry.name).archive):
        with suppress(FileNotFoundError):  # another was faster
            await trio.to_thread.run_sync(compress, path)


async def finish_compactions(hub: Hub, reader: MailboxReader) -> None:
    """What a daemon that was killed has left to do."""
    for entry in list(hub.state.roster.workers.values()):
        directory: WorkerDir = hub.session.worker(entry.name)
        try:
            if raw_files(directory.archive):
                begin_anew(hub, reader, entry, ByOmkd())
                await compress_moved(hub, entry)
        except (OSError, LogWriteFailed) as error:
            logger.warning("archive of worker %s: %s; tried again at the next start", entry.name, error)
