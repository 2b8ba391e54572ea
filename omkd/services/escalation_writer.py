"""Log -> `pending_escalations.jsonl`: each line once, as long as omkd alone writes the file (design, §2).

Writing compares first: what follows the known position must be the beginning of what the log says stands there. So a
start, a torn line, a write that failed half-way and the ordinary case are one and the same step.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import trio
from attrs import evolve

from omkd.protocol import codec
from omkd.protocol.escalation import entry_from_event
from omkd.protocol.events import Unit
from omkd.protocol.scalars import U64, Ns, Seq
from omkd.protocol.timestamps import format_ns
from omkd.store.event_log import StoredUnit
from omkd.store.files import open_append, sync_dir, write_all

from .escalation_pos import load_pos, write_pos
from .hub import Hub

logger = logging.getLogger(__name__)

NS_PER_S: Final = 1_000_000_000
UNITS_PER_TURN: Final = 500
BYTES_PER_TURN: Final = 1024 * 1024
SAVE_EVERY_BYTES: Final = 1024 * 1024
"""Of new lines between two saves of the position: what a start compares at most."""

RETRY_FIRST_S: Final = 0.5
RETRY_MAX_S: Final = 30.0


class EscalationWriter:
    """`position` is the last unit whose lines are in the file; `saved` the last that a start would not write again."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._path = hub.session.escalations
        self._descriptor: int | None = None
        self._pos = load_pos(hub.session.escalations_pos)
        self._saved = self._pos
        self._was_copied = hub.was_copied
        self._busy = trio.Lock()

    @property
    def position(self) -> Seq:
        return self._pos.seq

    @property
    def saved(self) -> Seq:
        return self._saved.seq

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Follows the log until cancelled, then saves its position. Ready once the file is whole, or cannot be."""
        self._look_at_end()
        await self._try()
        task_status.started()
        try:
            while True:
                await self._catch_up()
                await self._hub.log.wait_beyond(self.position)
        finally:
            self._end()

    async def save(self) -> None:
        """Durability: all lines that were written, and the position behind them. Raises OSError."""
        async with self._busy:
            await self._save_in_thread()

    async def rotate(self) -> Path | None:
        """Begins a new file; the old one's name, None when there was none. Raises OSError.

        `escalations.pos` speaks of the new file before it has its name, so that each line is once in the one or the
        other, whenever the daemon is killed: `_finish_rotation` is then what is left to do.
        """
        async with self._busy:
            if not self._path.exists():
                return None
            await self._save_in_thread()
            os.close(self._make_nameless())
            return self._finish_rotation()

    async def _save_in_thread(self) -> None:
        pos, descriptor = self._pos, self._descriptor
        await trio.to_thread.run_sync(write_pos, self._hub.session.escalations_pos, pos, descriptor)
        self._saved = pos

    async def _catch_up(self) -> None:
        pause_s = RETRY_FIRST_S
        while not await self._try():
            await trio.sleep(pause_s)
            pause_s = min(pause_s * 2, RETRY_MAX_S)

    async def _try(self) -> bool:
        """Writes all there is to write; False: the disk is in the way, which is noted."""
        while self.position < self._hub.log.committed:
            try:
                async with self._busy:
                    self._step()
            except OSError as error:
                if self._hub.retried.note(self._path, str(error), self._hub.now()):
                    logger.warning("the escalation log cannot be written, tried again: %s", error)
                self._close()
                return False
            self._hub.retried.clear(self._path)
            await self._save_now_and_then()
        return True

    async def _save_now_and_then(self) -> None:
        if self._pos.offset - self._saved.offset < SAVE_EVERY_BYTES:
            await trio.lowlevel.checkpoint()
            return
        try:
            await self.save()
        except OSError as error:
            logger.warning("position in the escalation log not saved: %s", error)

    def _look_at_end(self) -> None:
        """What a file lost while nobody served is written again, also if nothing new is to be written."""
        with suppress(OSError):
            if self._path.exists():
                self._open_file()

    def _step(self) -> None:
        """Writes the lines of the next units. Raises OSError; the next step finds out what was written."""
        units = self._hub.log.read_after(self.position, max_units=UNITS_PER_TURN, max_bytes=BYTES_PER_TURN)
        lines = b"".join([lines_of(each.unit) for each in units])
        if lines:
            before, descriptor = self.position, self._open_file()
            if self.position != before:
                return  # the file lost its end: what stood there comes first
            self._write(descriptor, units, lines)
        self._pos = evolve(self._pos, seq=units[-1].seq)

    def _write(self, descriptor: int, units: list[StoredUnit], lines: bytes) -> None:
        there = os.pread(descriptor, len(lines), self._pos.offset)
        if not lines.startswith(there):
            lines = self._set_aside(descriptor, units)
            descriptor, there = self._open_file(), b""
        write_all(descriptor, lines[len(there) :])
        self._pos = evolve(self._pos, offset=U64(self._pos.offset + len(lines)))

    def _set_aside(self, descriptor: int, units: list[StoredUnit]) -> bytes:
        """The file holds what is not ours: it keeps it, under another name. Lines still to be written to a new one."""
        at: int = self._pos.offset
        remaining = [(each.seq, lines_of(each.unit)) for each in units]
        while remaining and os.pread(descriptor, len(remaining[0][1]), at) == remaining[0][1]:
            seq, lines = remaining.pop(0)
            at += len(lines)
            self._pos = evolve(self._pos, seq=seq)  # the new file begins behind it, also for a start in between
        aside = free_name(self._path, f".aside-{units[0].seq}")
        logger.warning(
            "%s differs from the event log at byte %d: kept as %s, a new one is begun", self._path, at, aside
        )
        self._path.rename(aside)
        self._close()
        return b"".join(lines for _, lines in remaining)

    def _open_file(self) -> int:
        """The file that the path names, made if there is none; the position is that of this file, and in it."""
        if self._descriptor is not None and self._is_named(self._descriptor):
            self._stay_within(self._descriptor)
            return self._descriptor
        self._close()
        if self._is_half_rotated():
            self._finish_rotation()
        try:
            descriptor = open_append(self._path, create=False)
        except FileNotFoundError:
            descriptor = self._new_file()
        self._descriptor = descriptor
        status = os.fstat(descriptor)
        if self._was_copied:
            self._pos = evolve(self._pos, inode=U64(status.st_ino))
            self._save()
            self._was_copied = False
        if status.st_ino != self._pos.inode:
            logger.info("%s is another file than before: lines go on in it", self._path)
            self._pos = evolve(self._pos, inode=U64(status.st_ino), offset=U64(0))
        else:
            self._stay_within(descriptor)
        return descriptor

    def _stay_within(self, descriptor: int) -> None:
        """Of a file that lost its end the position goes back to the last lines that are whole; the rest comes again.

        One that was emptied is begun anew: so do those who rotate it by a copy.
        """
        offset, seq, size = int(self._pos.offset), self._pos.seq, os.fstat(descriptor).st_size
        if offset <= size:
            return
        if size == 0:
            logger.info("%s was emptied: lines go on in it", self._path)
            self._pos = evolve(self._pos, offset=U64(0))
            return
        logger.warning("%s lost its end (%d of %d bytes are left): it is written again", self._path, size, offset)
        while offset > size:
            units = self._hub.log.read_before(Seq(seq + 1), max_units=UNITS_PER_TURN, max_bytes=BYTES_PER_TURN)
            if not units:
                logger.warning("%s: what it lost is no longer in the event log", self._path)
                offset, seq = end_torn_line(descriptor, size), self._pos.seq
                break
            while units and offset > size:
                gone = units.pop()
                offset, seq = offset - len(lines_of(gone.unit)), Seq(gone.seq - 1)
        self._pos = evolve(self._pos, offset=U64(max(0, offset)), seq=seq)

    def _new_file(self) -> int:
        """An empty file under its name, `escalations.pos` speaking of it before it has the name."""
        descriptor = self._make_nameless()
        with closed_by_failure(descriptor):
            self._nameless.rename(self._path)
            sync_dir(self._path.parent)
        return descriptor

    @property
    def _nameless(self) -> Path:
        return self._path.with_name(f".{self._path.name}.new")

    def _make_nameless(self) -> int:
        """An empty file that the position speaks of already."""
        self._nameless.unlink(missing_ok=True)
        descriptor = open_append(self._nameless)
        with closed_by_failure(descriptor):
            self._close()
            self._pos = evolve(self._pos, inode=U64(os.fstat(descriptor).st_ino), offset=U64(0))
            self._save()
        return descriptor

    def _is_half_rotated(self) -> bool:
        """The position speaks of the nameless file, and the old one still has the name: a rotation was cut short."""
        try:
            return os.lstat(self._nameless).st_ino == self._pos.inode and self._path.exists()
        except FileNotFoundError:
            return False

    def _finish_rotation(self) -> Path:
        """The old file gets its last name, then the new one its own."""
        stamp = format_ns(Ns(self._hub.now() // NS_PER_S * NS_PER_S)).replace(":", "")
        kept = free_name(self._path, f".{stamp}")
        self._path.rename(kept)
        self._nameless.rename(self._path)
        sync_dir(self._path.parent)
        logger.info("a new escalation log is begun, the old one is %s", kept)
        return kept

    def _is_named(self, descriptor: int) -> bool:
        try:
            return os.stat(self._path, follow_symlinks=False).st_ino == os.fstat(descriptor).st_ino
        except FileNotFoundError:
            return False

    def _save(self) -> None:
        write_pos(self._hub.session.escalations_pos, self._pos, self._descriptor)
        self._saved = self._pos

    def _end(self) -> None:
        try:
            self._save()
        except OSError as error:
            logger.warning("position in the escalation log not saved, the next start compares more: %s", error)
        self._close()

    def _close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def end_torn_line(descriptor: int, size: int) -> int:
    """A line whose rest is gone ends here, so that it spoils no other; the file's size. Raises OSError."""
    if os.pread(descriptor, 1, size - 1) == b"\n":
        return size
    write_all(descriptor, b"\n")
    return size + 1


@contextmanager
def closed_by_failure(descriptor: int) -> Iterator[None]:
    """What fails is tried again for as long as the disk is in the way: each try opens another."""
    try:
        yield
    except OSError:
        os.close(descriptor)
        raise


def lines_of(unit: Unit) -> bytes:
    """The lines that a unit is in the escalation log, with their newlines; mostly none."""
    entries = (entry_from_event(event, unit.ts) for event in unit.events)
    return b"".join(codec.dumps(entry) + b"\n" for entry in entries if entry is not None)


def free_name(path: Path, suffix: str) -> Path:
    """`path` with `suffix`, and a number if that is taken."""
    wanted = path.with_name(path.name + suffix)
    number = 1
    while wanted.exists():
        number += 1
        wanted = path.with_name(f"{path.name}{suffix}.{number}")
    return wanted
