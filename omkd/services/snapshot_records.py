"""State <-> the records of a snapshot: what stands in its lines, in which order."""

import hashlib
import logging
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Final, TypeVar

import attrs
from attrs import frozen

from omkd.core.decisions import Question
from omkd.core.image import Basics, KeyBlock, StateImage, key_block, state_from, uses_in
from omkd.core.kept import KeyUse
from omkd.core.roster import WorkerEntry
from omkd.core.state import State
from omkd.core.task_entry import TaskEntry
from omkd.protocol import codec
from omkd.protocol.scalars import U32, Ns, Seq
from omkd.protocol.version import LOG_FORMAT, __version__
from omkd.protocol.wire_forms import wire_fields
from omkd.store.log_errors import LogTooNew
from omkd.store.log_scan import Base
from omkd.store.segments import FIRST_SEQ, first_seq_of, list_segments
from omkd.store.session import SessionDir
from omkd.store.snapshot import (
    SNAPSHOT_FORMAT,
    Header,
    Snapshot,
    SnapshotNotOurs,
    SnapshotUnusable,
    list_snapshots,
    read_snapshot,
)

logger = logging.getLogger(__name__)

T = TypeVar("T")

KEYS_A_LINE: Final = 1000


@frozen(kw_only=True)
class Beginning:
    """What a start begins with: the state that a snapshot holds, and which units it stands for (None: no snapshot)."""

    state: State
    base: Base | None = None


def load_newest(session: SessionDir) -> Beginning | None:
    """From the newest snapshot that can be used; None: there is none, the whole log is folded.

    One of another shape is passed over as long as the log has everything. Where retention has cut the log it is read
    as far as it goes: fields it does not have are at their defaults.

    Raises OSError, LogTooNew: a newer omkd wrote it; or the log was cut, and what stands for its beginning is whole and
    of another omkd.
    """
    is_whole = has_beginning(session.events)
    foreign: Path | None = None
    for path in list_snapshots(session.path):
        try:
            snapshot = read_snapshot(path)
            if snapshot.header.log > LOG_FORMAT:
                raise LogTooNew(
                    path, 0, f"format {snapshot.header.log} of omkd {snapshot.header.omkd}, we know {LOG_FORMAT}"
                )
            if snapshot.header.shape != SHAPE and is_whole:
                raise SnapshotUnusable(f"{path} is of omkd {snapshot.header.omkd}, which has other records")
            return Beginning(state=decoded(snapshot), base=Base(seq=snapshot.header.seq, ts=snapshot.header.ts))
        except SnapshotUnusable as fault:
            logger.warning("%s: passed over, the start folds more of the log", fault)
            foreign = foreign or (path if isinstance(fault, SnapshotNotOurs) else None)
    if foreign is not None and not is_whole:
        reason = "this snapshot, of another form, stands for what retention cut from the log"
        raise LogTooNew(foreign, 0, reason)
    return None


def has_beginning(events_dir: Path) -> bool:
    """Whether the log begins with its first unit (or has not begun)."""
    segments = list_segments(events_dir) if events_dir.is_dir() else []
    return not segments or first_seq_of(segments[0]) == FIRST_SEQ


def header_for(seq: Seq, ts: Ns) -> Header:
    return Header(format=U32(SNAPSHOT_FORMAT), shape=SHAPE, omkd=__version__, seq=seq, ts=ts, log=U32(LOG_FORMAT))


def encoded(image: StateImage, as_imaged: Callable[[TaskEntry], TaskEntry]) -> Iterator[bytes]:
    """One record after the other, so that others may have their turn in between."""
    yield codec.dumps(image.basics)
    for worker in image.workers:
        yield codec.dumps(worker)
    for question in (*image.open, *image.decided):
        yield codec.dumps(question)
    uses = iter(image.keys.items())
    while some := list(islice(uses, KEYS_A_LINE)):
        yield codec.dumps(key_block(some))
    for task in image.tasks:
        yield codec.dumps(as_imaged(task))


def decoded(snapshot: Snapshot) -> State:
    """Raises SnapshotNotOurs."""
    header = snapshot.header
    if header.format != SNAPSHOT_FORMAT:
        raise SnapshotNotOurs(f"{snapshot.path} is of omkd {header.omkd}, which has another form of it")
    lines = iter(snapshot.records)
    try:
        basics = codec.loads(next(lines), Basics)
        image = StateImage(
            basics=basics,
            workers=records(lines, basics.workers, WorkerEntry),
            open=records(lines, basics.open, Question),
            decided=records(lines, basics.decided, Question),
            keys=key_uses(records(lines, -(-basics.keys // KEYS_A_LINE), KeyBlock)),
            tasks=records(lines, basics.tasks, TaskEntry),
            passed=[],
        )
        return state_from(image)
    except (ValueError, KeyError, StopIteration) as fault:
        raise SnapshotNotOurs(f"{snapshot.path} cannot be read: {fault!r}") from fault


def records(lines: Iterator[bytes], count: int, cls: type[T]) -> list[T]:
    found = [codec.loads(line, cls) for line in islice(lines, count)]
    if len(found) != count:
        raise ValueError(f"{len(found)} of {count} records of {cls.__name__}")
    return found


def key_uses(blocks: list[KeyBlock]) -> dict[str, KeyUse]:
    uses: dict[str, KeyUse] = {}
    for block in blocks:
        uses |= uses_in(block)
    return uses


def shape_of(*classes: Any) -> str:
    """A hash of all fields that these classes have, and those in them: a changed record needs no number raised."""
    seen: dict[str, list[tuple[str, str, bool]]] = {}
    ahead = list(classes)
    while ahead:
        each = ahead.pop()
        if isinstance(each, type) and attrs.has(each):
            if each.__qualname__ not in seen:
                fields = wire_fields(each)
                seen[each.__qualname__] = [(field.key, str(field.type), field.required) for field in fields]
                ahead += [field.type for field in fields]
        else:
            ahead += getattr(each, "__args__", ())
    return hashlib.blake2b(repr(sorted(seen.items())).encode(), digest_size=8).hexdigest()


SHAPE: Final = shape_of(Basics, WorkerEntry, Question, KeyBlock, TaskEntry)
