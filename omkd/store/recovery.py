"""Start: the log is read, a crash's tail is moved aside, and what survives is on disk before anything is built on it.

Nothing is removed before its copy is on disk. A crash in here leaves a log that the next start treats the same way, and
at worst a second copy of the tail.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from attrs import frozen

from omkd.protocol.events import Unit
from omkd.protocol.scalars import Ns, Seq

from .files import FILE_MODE, OPEN_FLAGS, sync_dir, write_all
from .log_errors import LogWriteFailed
from .log_scan import BadSpot, Base, Scan, scan_log
from .segments import FIRST_SEQ, Segment, create_segment, list_segments, segment_name, segments_from

COPY_BYTES: Final = 1024 * 1024
"""Of one read and write when bytes are copied: memory stays small whatever a segment holds."""


@frozen(kw_only=True)
class TornTail:
    """Bytes behind the last good unit, the work of a crash: no unit in them was ever answered."""

    segment: Path
    offset: int
    bytes: int
    moved_to: Path
    reason: str


@frozen(kw_only=True)
class Recovered:
    """A log that is on disk up to `last`, and whose last segment is the one to append to."""

    segments: list[Segment]
    last: Seq
    last_ts: Ns
    torn: tuple[TornTail, ...]


def recover(
    events_dir: Path, fold: Callable[[Unit], None], *, first_seq: Seq = FIRST_SEQ, base: Base | None = None
) -> Recovered:
    """Folds every unit of the log (above `base`) in order; makes the first segment of a new log.

    Raises LogDamaged, LogTooNew (nothing was touched), LogWriteFailed (what was touched is as good as before), OSError.
    Durability: all that was folded is on disk.
    """
    scan = scan_log(events_dir, fold, first_seq=first_seq, base=base)
    try:
        torn = move_tail_aside(events_dir, scan.bad) if scan.bad else ()
        segments = segments_left(scan) or [first_segment(events_dir, first_seq)]
        for segment in segments_from(segments, scan.synced + 1):
            rewrite(segment.path, segment.offset_for(scan.synced + 1))
        sync_dir(events_dir)
    except OSError as exc:
        raise LogWriteFailed(events_dir, exc.strerror or str(exc)) from exc
    return Recovered(segments=segments, last=scan.last, last_ts=scan.last_ts, torn=torn)


def segments_left(scan: Scan) -> list[Segment]:
    """A segment that was bad from its first byte on was moved aside whole."""
    gone = scan.bad.segment if scan.bad and scan.bad.offset == 0 else None
    return [segment for segment in scan.segments if segment.path != gone]


def first_segment(events_dir: Path, first_seq: Seq) -> Segment:
    path = events_dir / segment_name(first_seq)
    os.close(create_segment(path))
    return Segment(path)


def rewrite(path: Path, offset: int = 0) -> None:
    """The bytes from `offset` on are written over themselves and synced.

    Where an fdatasync failed, the kernel may keep pages that it never wrote and calls clean: they read well, and a new
    fdatasync passes them over. Written again they are dirty again. In place, and not cut off and appended: so there is
    no moment at which the bytes are not in the file, and a crash in the middle needs no recovery of its own.
    """
    descriptor = os.open(path, os.O_RDWR | OPEN_FLAGS)  # not O_APPEND: Linux would append what pwrite writes
    try:
        while chunk := os.pread(descriptor, COPY_BYTES, offset):
            offset += os.pwrite(descriptor, chunk, offset)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def move_tail_aside(events_dir: Path, bad: BadSpot) -> tuple[TornTail, ...]:
    """The last segment first: the log only ever gets shorter, and its bad spot stays the same until it is gone."""
    later = [path for path in list_segments(events_dir) if path > bad.segment]
    tails = [move_file_aside(path, bad.reason) for path in reversed(later)]
    if bad.offset == 0:
        tails.append(move_file_aside(bad.segment, bad.reason))
    else:
        tails.append(move_end_aside(bad))
    sync_dir(events_dir)
    return tuple(reversed(tails))


def move_file_aside(path: Path, reason: str) -> TornTail:
    size = path.stat().st_size
    target = unused_name(path, "torn")
    path.rename(target)
    sync_dir(path.parent)
    return TornTail(segment=path, offset=0, bytes=size, moved_to=target, reason=reason)


def move_end_aside(bad: BadSpot) -> TornTail:
    size = bad.segment.stat().st_size
    target = unused_name(bad.segment, "torn")
    copy_end(bad.segment, bad.offset, target)
    sync_dir(target.parent)
    descriptor = os.open(bad.segment, os.O_RDWR | OPEN_FLAGS)
    try:
        os.ftruncate(descriptor, bad.offset)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return TornTail(segment=bad.segment, offset=bad.offset, bytes=size - bad.offset, moved_to=target, reason=bad.reason)


def copy_end(source: Path, offset: int, target: Path) -> None:
    """`target`, new, gets what `source` holds from `offset` on, and is synced; on failure it is gone again."""
    reading = os.open(source, os.O_RDONLY | OPEN_FLAGS)
    try:
        writing = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | OPEN_FLAGS, FILE_MODE)
        try:
            while chunk := os.pread(reading, COPY_BYTES, offset):
                write_all(writing, chunk)
                offset += len(chunk)
            os.fsync(writing)
        except OSError:
            target.unlink()
            raise
        finally:
            os.close(writing)
    finally:
        os.close(reading)


def unused_name(path: Path, suffix: str) -> Path:
    """`<segment>.torn`, or `<segment>.torn.2` and so on: what an earlier crash left is never written over."""
    target, number = path.with_name(f"{path.name}.{suffix}"), 1
    while target.exists():
        number += 1
        target = path.with_name(f"{path.name}.{suffix}.{number}")
    return target
