"""The event log: the daemon's only memory. What was answered is on disk.

Appending is one write(2) inline, and the fold: what runs next in the same turn of the loop decides on a state that has
it. Committing is one fdatasync, in a thread, for all that was written since the last one. Only committed units are
shown to anybody.

    async with open_event_log(session.events, fold=state.apply, clock_ns=time.time_ns) as log:
        nursery.start(log.run)
        unit = log.append(Draft(by=ByOmkd(), events=(event,)))
        await log.commit(unit.seq)
"""

import itertools
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import trio

from omkd.protocol.events import Unit
from omkd.protocol.scalars import Ns, Seq

from .draft import Draft, read_back
from .files import make_dir
from .log_errors import LogBroken, LogDamaged, LogLost, LogTooNew, LogWriteFailed, UnitRefused, UnitsUnreadable
from .log_scan import Base
from .recent_units import RecentUnits
from .recovery import Recovered, TornTail, recover
from .segment_writer import Disk, SegmentWriter
from .segments import FIRST_SEQ, Segment, StoredUnit, segment_name
from .unit_reading import PastReader

__all__ = [
    "Base",
    "Disk",
    "Draft",
    "EventLog",
    "LogBroken",
    "LogDamaged",
    "LogLost",
    "LogTooNew",
    "LogWriteFailed",
    "StoredUnit",
    "TornTail",
    "UnitRefused",
    "UnitsUnreadable",
    "open_event_log",
]

logger = logging.getLogger(__name__)

SEGMENT_BYTES: Final = 64 * 1024 * 1024
"""From here on a new segment: what one damage can reach, what retention cuts, what a repair holds in memory."""

ROLL_RETRY_BYTES: Final = 1024 * 1024
"""A segment that could not be ended is tried again after so much more: a full disk is not asked at each commit."""

READ_UNITS: Final = 1000
READ_BYTES: Final = 1024 * 1024
"""Of one reading: about 10 ms of decoding, so that the loop does not stall."""


@asynccontextmanager
async def open_event_log(
    events_dir: Path,
    *,
    fold: Callable[[Unit], None],
    clock_ns: Callable[[], int],
    segment_bytes: int = SEGMENT_BYTES,
    first_seq: Seq = FIRST_SEQ,
    base: Base | None = None,
    disk: Disk | None = None,
) -> AsyncIterator["EventLog"]:
    """The log in `events_dir` (made if missing), every unit of it (above the snapshot `base`) folded.

    Start its `run`: without it nothing commits.

    Raises LogDamaged, LogTooNew (nothing touched), LogWriteFailed, OSError. At exit it is closed; what was appended and
    not committed may or may not be on disk, as after a crash.
    """
    await trio.lowlevel.checkpoint()
    make_dir(events_dir)
    recovered = recover(events_dir, fold, first_seq=first_seq, base=base)
    log = EventLog(recovered, fold=fold, clock_ns=clock_ns, segment_bytes=segment_bytes, disk=disk or Disk())
    try:
        yield log
    finally:
        log.close()


class EventLog:
    """See the module. `written` is the newest folded unit, `committed` the newest known to be on disk."""

    def __init__(
        self,
        recovered: Recovered,
        *,
        fold: Callable[[Unit], None],
        clock_ns: Callable[[], int],
        segment_bytes: int,
        disk: Disk,
    ) -> None:
        self.torn = recovered.torn
        self.put_back = 0
        self.written = recovered.last
        self.committed = recovered.last
        self._fold = fold
        self._clock_ns = clock_ns
        self._segment_bytes = segment_bytes
        self._last_ts = recovered.last_ts
        self._segments = recovered.segments
        self._writer = SegmentWriter(recovered.segments[-1].path, disk)
        self._past = PastReader(self._segments)
        self._recent = RecentUnits()
        self._roll_at = segment_bytes
        self._roll_failed = False
        self._broken: LogBroken | None = None
        self._sync_began: float | None = None
        self._to_commit = trio.lowlevel.ParkingLot()
        self._committed_or_broken = trio.lowlevel.ParkingLot()
        self._disk_thread = trio.CapacityLimiter(1)

    @property
    def next_seq(self) -> Seq:
        """The number that the next unit gets."""
        return Seq(self.written + 1)

    @property
    def first_seq(self) -> Seq:
        """The oldest unit that is still there."""
        return self._segments[0].first

    @property
    def last_ts(self) -> Ns:
        """The time of the newest unit."""
        return self._last_ts

    @property
    def closed_segments(self) -> list[tuple[Path, Seq]]:
        """Those that are no longer written to, oldest first, each with the last unit that it can hold."""
        return [(each.path, Seq(after.first - 1)) for each, after in itertools.pairwise(self._segments)]

    @property
    def is_in_place(self) -> bool:
        """Whether the segment that is written to has its name; if not, the next commit puts it back."""
        return self._writer.is_in_place()

    @property
    def active_bytes(self) -> int:
        """Of the segment that is written to."""
        return self._writer.end

    def drop_oldest_segment(self) -> None:
        """Retention: its units are gone for good. Durability: none; a segment that comes back is dropped again.

        Raises OSError: then it is still there.
        """
        self._segments[0].path.unlink()
        del self._segments[0]

    def close(self) -> None:
        self._writer.close()

    # --- append

    def append(self, draft: Draft) -> Unit:
        """Written and folded when it returns, not yet on disk: `commit` is.

        Raises LogWriteFailed, UnitRefused (nothing was recorded or folded), LogBroken.
        """
        self._refuse_if_broken()
        ts = Ns(max(self._last_ts, self._clock_ns()))
        unit, line = read_back(draft.unit(self.next_seq, ts, self.committed))
        self._write_and_fold(unit, line)
        self.written, self._last_ts = unit.seq, unit.ts
        self._recent.add(StoredUnit(seq=unit.seq, line=line, unit=unit))
        self._to_commit.unpark()
        return unit

    def _write_and_fold(self, unit: Unit, line: bytes) -> None:
        try:
            offset = self._writer.append(line + b"\n")
            self._fold_or_cut_back(unit, offset)
        except LogBroken as exc:
            self._break(exc)
            raise
        self._segments[-1].note(unit.seq, offset)

    def _fold_or_cut_back(self, unit: Unit, offset: int) -> None:
        """A unit that cannot be folded must not stay: each start would fail on it. The state is lost, not the log."""
        try:
            self._fold(unit)
        except Exception as exc:
            self._writer.cut_back(offset)
            raise LogBroken(self._writer.path, f"unit {unit.seq} cannot be folded, a fault in omkd: {exc!r}") from exc

    def _break(self, why: LogBroken) -> None:
        self._broken = why
        self._to_commit.unpark_all()
        self._committed_or_broken.unpark_all()

    def _refuse_if_broken(self) -> None:
        if self._broken:
            raise LogBroken(self._broken.path, self._broken.reason)

    # --- commit

    async def commit(self, seq: Seq) -> None:
        """Durability: unit `seq`, and all before it, are on disk when this returns. Cancelled, the unit stays.

        Raises LogBroken; ValueError for a unit that was never appended.
        """
        if seq > self.written:
            raise ValueError(f"unit {seq} was never appended, the newest is {self.written}")
        await self.wait_beyond(Seq(seq - 1))

    async def wait_beyond(self, seq: Seq) -> Seq:
        """The newest unit on disk, once that is above `seq`. Raises LogBroken."""
        await trio.lowlevel.checkpoint()
        while self.committed <= seq:
            self._refuse_if_broken()
            await self._committed_or_broken.park()
        return self.committed

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Commits what is appended, until cancelled. Raises LogBroken: then nothing more is committed, the daemon ends.

        Cancellation: a sync under way is waited for. Commit what must be on disk before.
        """
        task_status.started()
        while True:
            while self.written == self.committed and self._broken is None:
                await self._to_commit.park()
            self._refuse_if_broken()
            await self._commit_written()
            if self._writer.end >= self._roll_at:
                await self._roll()

    def syncing_s(self) -> float | None:
        """How long the sync under way has taken; None: none is."""
        return None if self._sync_began is None else time.monotonic() - self._sync_began

    async def _commit_written(self) -> None:
        self._keep_in_place()
        target, self._sync_began = self.written, time.monotonic()
        try:
            await trio.to_thread.run_sync(self._writer.sync, limiter=self._disk_thread)
        except OSError as exc:
            why = LogBroken(self._writer.path, f"fdatasync failed: {exc.strerror or exc}")
            self._break(why)
            raise why from exc
        finally:
            self._sync_began = None
        self.committed = target
        self._committed_or_broken.unpark_all()

    def _keep_in_place(self) -> None:
        """What is synced under no name would be lost with us. Raises LogBroken."""
        if self._writer.is_in_place():
            return
        try:
            self._writer.put_back()
        except OSError as exc:
            why = LogBroken(self._writer.path, f"it was taken away and cannot be put back: {exc.strerror or exc}")
            self._break(why)
            raise why from exc
        self.put_back += 1
        logger.error("%s was removed or renamed under omkd: what it held was put back", self._writer.path)

    async def _roll(self) -> None:
        """The next segment is made and synced in a thread, then takes its name and place between two appends.

        It can be named only then, appends go on meanwhile. Units in it are committed only when the segment before it
        and the directory are synced (`SegmentWriter.sync`). A failure leaves all as it was and is tried again later.
        """
        try:
            prepared = await trio.to_thread.run_sync(self._writer.prepare_next, limiter=self._disk_thread)
            self._writer.go_on_in(segment_name(self.next_seq), prepared)
        except OSError as exc:
            self._note_roll_failure(exc)
            return
        self._segments.append(Segment(self._writer.path))
        self._roll_at, self._roll_failed = self._segment_bytes, False
        logger.info("new segment %s", self._writer.path)

    def _note_roll_failure(self, error: OSError) -> None:
        self._roll_at = self._writer.end + ROLL_RETRY_BYTES
        if not self._roll_failed:
            logger.warning("no new segment: %s; going on in %s", error, self._writer.path)
        self._roll_failed = True

    # --- read

    def read_after(self, after: Seq, *, max_units: int = READ_UNITS, max_bytes: int = READ_BYTES) -> list[StoredUnit]:
        """Committed units above `after`, ascending; at least one if there is one, whatever the limits.

        Raises UnitsUnreadable: what was on disk cannot be read (said once in the daemon's log); OSError: EMFILE and
        the like.
        """
        after = Seq(max(after, self.first_seq - 1))
        if after >= self.committed:
            return []
        if self._recent.hold(after + 1):
            return self._recent.after(after, self.committed, max_units=max_units, max_bytes=max_bytes)
        return self._past.after(after, self.committed, max_units=max_units, max_bytes=max_bytes)

    def read_before(self, before: Seq, *, max_units: int = READ_UNITS, max_bytes: int = READ_BYTES) -> list[StoredUnit]:
        """The newest committed units below `before`, ascending; otherwise as `read_after`."""
        bound = Seq(min(before, self.committed + 1))
        return self._past.before(bound, max_units=max_units, max_bytes=max_bytes)

    def unit_at(self, seq: Seq) -> StoredUnit | None:
        """One unit, also if it is only written: for an answer that waits until that is on disk. None: it is gone.

        Raises as `read_after`.
        """
        if self.committed < seq <= self.written and self._recent.hold(seq):
            found = self._recent.after(Seq(seq - 1), seq, max_units=1, max_bytes=1)
        else:
            found = self.read_after(Seq(seq - 1), max_units=1)
        return found[0] if found and found[0].seq == seq else None

    def first_readable(self, after: Seq) -> StoredUnit | None:
        """The next unit above `after` that is not damaged: for who wants a time, not each unit. None: there is none.

        Raises OSError as `read_after`.
        """
        while after < self.committed:
            try:
                return self.read_after(after, max_units=1, max_bytes=1)[0]
            except UnitsUnreadable as damage:
                after = Seq(damage.readable_from - 1)
        return None
