"""State -> `snapshot-<seq>.json`: when a segment is closed, after so many units, and at a clean stop (design, §2).

The loop does not stall: what there is is noted at once, encoded in small steps while the fold goes on (a task that
changes meanwhile is copied first), and written in a thread. Then retention takes what no start needs any more.
"""

import gc
import logging
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

import trio
from attrs import define, field

from omkd.core.image import StateImage, image_of
from omkd.protocol.scalars import Ns, Seq
from omkd.store.files import OPEN_FLAGS, sync_dir
from omkd.store.log_scan import Base
from omkd.store.older_index import OlderRow, drop_older, write_older
from omkd.store.session import SessionDir
from omkd.store.snapshot import list_snapshots, remove_old_snapshots, seq_of_snapshot, write_snapshot

from .escalation_writer import EscalationWriter
from .hub import Hub
from .retention import Retention, cut, forget_unacked
from .snapshot_records import encoded, header_for

logger = logging.getLogger(__name__)

SNAPSHOT_UNITS: Final = 50_000
"""After so many units another is due, though the segment goes on: what a start after a crash folds at most, 2 s."""

RECORDS_A_STEP: Final = 100
"""Encoded between two looks at everything else: 2 ms."""

RETRY_S: Final = 60.0
"""After a failed write: a full disk is not filled further at each commit."""


@define(kw_only=True)
class Snapshots:
    """`newest` is the unit of the newest snapshot, `older` that of the one before it; 0: there is none."""

    hub: Hub
    escalation_writer: EscalationWriter
    retention: Retention = field(factory=Retention)
    newest: Seq = Seq(0)
    older: Seq = Seq(0)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Runs until cancelled. A snapshot that cannot be written is tried again; nothing else waits for it."""
        task_status.started()
        while True:
            await self._until_due()
            if not await self.take():
                await trio.sleep(RETRY_S)

    async def take(self) -> bool:
        """Whether there is a snapshot of what is now. Durability: it is on disk, and the projections were before it."""
        hub = self.hub
        seq, ts = hub.log.written, hub.log.last_ts
        if seq == self.newest:
            return True
        image = image_of(hub.state)
        try:
            records = await self._encoded(image)
        finally:
            hub.state.ledger.end_image()
        await hub.log.commit(seq)
        try:
            await self.escalation_writer.save()
            await trio.to_thread.run_sync(write, hub.session, seq, ts, records, image)
        except OSError as error:
            if hub.retried.note(hub.session.path / f"snapshot-{seq}.json", str(error), hub.now()):
                logger.warning("no snapshot: %s; the next start takes longer", error)
            return False
        self._written(seq, image)
        return True

    def _written(self, seq: Seq, image: StateImage) -> None:
        hub = self.hub
        for path in [path for path in hub.retried.by_path if path.name.startswith("snapshot-")]:
            hub.retried.clear(path)
        hub.state.ledger.forget_passed(image.passed)
        self.newest, self.older = seq, self.newest
        logger.info("snapshot of unit %d, %d tasks", seq, len(image.tasks))
        gc.collect(1)
        gc.freeze()  # what is kept has no cycles: walked again and again, it stops the loop for up to a second
        try:
            cut(hub, self.retention, below=self.older, saved=self.escalation_writer.saved)
        except OSError as error:
            logger.warning("retention: %s; tried again after the next snapshot", error)

    async def _until_due(self) -> None:
        log = self.hub.log
        while log.committed - self.newest < SNAPSHOT_UNITS:
            closed = log.closed_segments
            if closed and closed[-1][1] > self.newest:
                return
            await log.wait_beyond(log.committed)

    async def _encoded(self, image: StateImage) -> list[bytes]:
        found = []
        for record in encoded(image, self.hub.state.ledger.as_imaged):
            found.append(record)
            if len(found) % RECORDS_A_STEP == 0:
                await trio.lowlevel.checkpoint()
        return found


def snapshots_for(hub: Hub, escalation_writer: EscalationWriter, retention: Retention, base: Base | None) -> Snapshots:
    """`base`: of the snapshot that this run began with. Files of newer ones, which could not be used, go.

    Raises OSError.
    """
    newest = Seq(0) if base is None else base.seq
    seqs = [seq_of_snapshot(path) for path in list_snapshots(hub.session.path)]
    for seq in seqs:
        if seq > newest:
            (hub.session.path / f"snapshot-{seq}.json").unlink()
    drop_older(hub.session.older, above=newest)
    forget_unacked(hub)
    older = max((seq for seq in seqs if seq < newest), default=Seq(0))
    return Snapshots(hub=hub, escalation_writer=escalation_writer, retention=retention, newest=newest, older=older)


def write(session: SessionDir, seq: Seq, ts: Ns, records: Iterable[bytes], image: StateImage) -> None:
    """Raises OSError."""
    for entry in image.workers:
        directory = session.worker(entry.name)
        for path in (directory.inbox, directory.control):
            with suppress(FileNotFoundError):
                sync_file(path)
        with suppress(FileNotFoundError):
            sync_dir(directory.path)
    write_older(session.older, seq, [OlderRow(id=each.id, units=each.units) for each in image.passed])
    write_snapshot(session.path, header_for(seq, ts), records)
    remove_old_snapshots(session.path)


def sync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | OPEN_FLAGS)
    try:
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)
