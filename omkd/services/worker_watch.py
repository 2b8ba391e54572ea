"""The workers' directories, watched: what changes there is read; foreign workers are found (design, §3.6).

Wakes `mailbox_reader`; itself reads specs and heartbeats.
"""

import logging
import os
import stat
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final, TypeVar

import trio

from omkd.protocol import codec
from omkd.protocol.events import ByWorker, WorkerRegistered, WorkerUpdated
from omkd.protocol.json_text import as_text
from omkd.protocol.methods import InvalidSpec
from omkd.protocol.names import role_fault, worker_name_fault
from omkd.protocol.records import WorkerSpec
from omkd.protocol.scalars import U32, WorkerName
from omkd.store.event_log import Draft, LogWriteFailed, UnitRefused
from omkd.store.files import make_dir, read_regular
from omkd.store.session import EVENTS, HEARTBEAT, INBOX, OUTBOX, SPEC, WorkerDir
from omkd.store.watch import ITSELF, Watcher

from .heartbeats import read_heartbeat
from .hub import Hub
from .mailbox_reader import MailboxReader
from .mailbox_writer import MailboxWriter
from .removal import finish_removal, is_marked, mark_removal, unmark_removal
from .worker_files import write_settings

logger = logging.getLogger(__name__)

T = TypeVar("T")

RESCAN_S: Final = 60
"""Everything is looked at again so often, whatever inotify said (a network file system says nothing)."""

RETRY_S: Final = 1
BACKLOG_S: Final = 10.0
"""For what workers wrote while no daemon ran; what is more is read beside all else."""

SPEC_LIMIT_BYTES: Final = 1024 * 1024


class WorkerWatch:
    """Watches first, then looks: what appears in between is seen twice, never missed."""

    def __init__(self, hub: Hub, watcher: Watcher, reader: MailboxReader, writer: MailboxWriter) -> None:
        self._hub = hub
        self._watcher = watcher
        self._reader = reader
        self._writer = writer
        self._unread: dict[WorkerName, None] = {}
        self._unfinished: dict[WorkerName, None] = {}
        self._next_scan = 0.0

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Runs until cancelled. Ready once everything that was there is recorded, or BACKLOG_S have passed."""
        self._watch_all()
        if self._hub.was_copied:
            self._mark_removed()
        self._scan()
        late = trio.current_time() + BACKLOG_S
        await self._read_round()
        while self._unfinished and trio.current_time() < late:
            await self._read_round()
        task_status.started()
        while True:
            changes = await self._watcher.changes(self._pause_s())
            if trio.current_time() >= self._next_scan:
                self._scan()
            for path, names in changes.items():
                self._notice(path, names)
            await self._read_round()

    def _pause_s(self) -> float:
        if self._unfinished:
            return 0.0
        until_scan_s = max(0.0, self._next_scan - trio.current_time())
        return min(RETRY_S, until_scan_s) if self._unread else until_scan_s

    def _mark_removed(self) -> None:
        """In a copy: directories of workers that were removed while it was made. They are nobody's, and foreign to us
        else: with what is left of a heartbeat they would be handed tasks.
        """
        roster = self._hub.state.roster
        for name in roster.gens.keys() - roster.workers.keys():
            directory, moved_to = self._hub.session.worker(name), f"removed/{name}.{self._hub.log.next_seq}"
            self._guard(directory.path, partial(mark_removal, directory, moved_to))

    def _scan(self) -> None:
        names = self._guard(self._hub.session.workers, self._watch_all)
        self._next_scan = trio.current_time() + (RETRY_S if names is None else RESCAN_S)
        if names is not None:
            for each in names:
                self._look_at(each)
            self._guard(self._hub.session.events, self._reader.say_unsaid)

    def _watch_all(self) -> list[str]:
        """What is in the workers' directory, which may have been taken away. Raises OSError."""
        workers = self._hub.session.workers
        make_dir(workers)
        self._watcher.add(workers)
        return sorted(os.listdir(workers))

    def _notice(self, path: Path, names: set[str]) -> None:
        if path == self._hub.session.workers:
            if ITSELF in names:
                logger.warning("%s was removed or renamed under omkd: it is made again", path)
            if not names or ITSELF in names:
                self._scan()
            for name in sorted(names - {ITSELF}):
                self._look_at(name)
        elif not names or SPEC in names:
            self._look_at(path.name)
        else:
            entry = self._hub.state.roster.workers.get(WorkerName(path.name))
            if entry is not None and HEARTBEAT in names:
                read_heartbeat(self._hub, entry)
            if entry is not None and names & {EVENTS, OUTBOX}:
                self._unread[entry.name] = None
            if entry is not None and INBOX in names:
                self._writer.keep_inbox(entry)

    def _look_at(self, text: str) -> None:
        """A directory entry under workers/: watched, its spec checked, its files to be read."""
        name, directory = WorkerName(text), self._hub.session.worker(text)
        if text.startswith("."):
            return
        try:
            if not stat.S_ISDIR(os.lstat(directory.path).st_mode):
                raise ValueError(f"{directory.path} is no directory of its own (a symlink is refused)")
            if is_marked(directory):
                self._settle_removal(name, directory)
                return
            self._watcher.add(directory.path)
            self._check_spec(name, directory)
        except FileNotFoundError as missing:
            self._forget_or_complain(name, directory, missing)
            return
        except (OSError, ValueError) as fault:
            self._complain(name, str(fault))
            return
        self._hub.invalid_specs.pop(name, None)
        entry = self._hub.state.roster.workers.get(name)
        if entry is not None:
            self._unread[name] = None
            if entry.runner is None or entry.seen.host_pid is not None:
                read_heartbeat(self._hub, entry)

    def _settle_removal(self, name: WorkerName, directory: WorkerDir) -> None:
        """What a crash cut off; while the fact is not on disk yet, `worker.remove` itself is about to do it."""
        if name in self._hub.state.roster.workers:
            unmark_removal(directory)
            self._look_at(name)
        elif self._hub.log.committed == self._hub.log.written:
            logger.info("directory of removed worker %s moved to %s", name, finish_removal(directory))

    def _forget_or_complain(self, name: WorkerName, directory: WorkerDir, missing: FileNotFoundError) -> None:
        """A directory without a spec is not a worker yet; one without a directory is none, or lost it."""
        if not directory.path.exists() and name not in self._hub.state.roster.workers:
            self._hub.invalid_specs.pop(name, None)
            self._reader.forget(name)
        elif name in self._hub.state.roster.workers:
            self._complain(name, str(missing))

    def _complain(self, name: WorkerName, fault: str) -> None:
        known, fault = self._hub.invalid_specs.get(name), as_text(fault)
        if known is None or known.error != fault:
            logger.warning("directory of worker %s: %s", as_text(name), fault)
        self._hub.invalid_specs[name] = InvalidSpec(worker=WorkerName(as_text(name)), error=fault)

    def _check_spec(self, name: WorkerName, directory: WorkerDir) -> None:
        """Of omkd's own workers the log wins; of foreign ones the file. Raises OSError, ValueError."""
        entry = self._hub.state.roster.workers.get(name)
        if entry is not None and not entry.foreign:
            write_settings(directory, entry)
            return
        spec = codec.loads(read_regular(directory.spec, SPEC_LIMIT_BYTES), WorkerSpec)
        if (fault := spec_fault(spec, directory)) is not None:
            raise ValueError(f"{directory.spec}: {fault}")
        if entry is None:
            registered = WorkerRegistered(worker=name, spec=spec, foreign=True)
            self._guard(directory.spec, lambda: self._record(name, registered))
            logger.info("foreign worker %s found, role %s", name, spec.role)
        elif entry.spec != spec:
            updated = WorkerUpdated(worker=name, spec=spec, foreign=True, window=U32(entry.window))
            self._guard(directory.spec, lambda: self._record(name, updated))
            logger.info("foreign worker %s changed its spec", name)

    def _record(self, name: WorkerName, event: WorkerRegistered | WorkerUpdated) -> None:
        self._hub.log.append(Draft(by=ByWorker(worker=name), events=(event,)))

    async def _read_round(self) -> None:
        """A piece of each worker whose files changed, or of which there is more; it is on disk when this returns."""
        names = self._unread | self._unfinished
        self._unfinished = {}
        for name in names:
            if self._read_one(name):
                self._unfinished[name] = None
            await trio.lowlevel.checkpoint()
        await self._hub.log.commit(self._hub.log.written)

    def _read_one(self, name: WorkerName) -> bool:
        """True when there is more to read at once; what cannot be read or recorded now stays in `_unread`."""
        entry = self._hub.state.roster.workers.get(name)
        if entry is None:
            self._unread.pop(name, None)
            return False
        path = self._hub.session.worker(name).outbox
        more = self._guard(path, lambda: self._reader.read(entry))
        if more is None:
            self._unread[name] = None  # also where an earlier piece of the same turn had been read
            return False
        self._unread.pop(name, None)
        entry.seen.last_sign = self._hub.now()
        return more

    def _guard(self, path: Path, act: Callable[[], T]) -> T | None:
        """What `act` returns; None when the disk is in the way: that is noted, and tried again."""
        try:
            done = act()
        except (OSError, LogWriteFailed, UnitRefused) as error:
            if self._hub.retried.note(path, str(error), self._hub.now()):
                logger.warning("%s: tried again: %s", path, error)
            return None
        self._hub.retried.clear(path)
        return done


def spec_fault(spec: WorkerSpec, directory: WorkerDir) -> str | None:
    """Why a foreign spec is refused; None: it is good. Paths count from the session's or the worker's directory."""
    if spec.name != directory.name:
        return f"name is {spec.name!r}, the directory's is {directory.name!r}"
    if (fault := worker_name_fault(spec.name) or role_fault(spec.role)) is not None:
        return fault
    for field, text, fixed in (
        ("inbox", spec.inbox, directory.inbox),
        ("outbox", spec.outbox, directory.outbox),
        ("heartbeat", spec.heartbeat, directory.heartbeat),
    ):
        bases = (directory.session_dir, directory.path)
        if all(os.path.realpath(base / text) != os.path.realpath(fixed) for base in bases):
            return f"{field} is {text!r}, it must be {fixed}"
    return None
