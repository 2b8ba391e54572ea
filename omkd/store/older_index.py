"""`older/<seq>.jsonl`: from which units a task is read that is no longer in memory.

`{"id":"t12","units":[12,15,16,19]}`, in the order the tasks were queued. A file is written once, before the snapshot of
its number, and has the tasks that passed since the snapshot before: with a snapshot at S those up to S count. So no
memory is needed however many tasks there were, and nothing has to be reconciled; what is lost here is only no longer
found, and made again by a start without snapshots.
"""

import mmap
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from attrs import frozen

from omkd.protocol import codec
from omkd.protocol.scalars import Seq, TaskId

from .files import OPEN_FLAGS, atomic_write, make_dir, sync_dir
from .segments import NAME, segment_name

ROW_START: Final = b'{"id":"%b",'


@frozen(kw_only=True)
class OlderRow:
    """`units[0]` is the one that queued it."""

    id: TaskId
    units: list[Seq]

    @property
    def seq(self) -> Seq:
        return self.units[0]


def write_older(directory: Path, seq: int, rows: Iterable[OlderRow]) -> None:
    """Durability: on disk. Raises OSError."""
    lines = [codec.dumps(row) + b"\n" for row in sorted(rows, key=lambda row: row.seq)]
    if lines:
        make_dir(directory)
        atomic_write(directory / segment_name(seq), b"".join(lines))


def find_older(directory: Path, task_id: TaskId) -> OlderRow | None:
    """The newest row of a task. Raises OSError."""
    wanted = ROW_START % task_id.encode()
    for path in reversed(older_files(directory)):
        with mapped(path) as content:
            place = content.rfind(wanted)
            if place >= 0:
                return row_at(content, place)
    return None


def older_before(directory: Path, bound: int, count: int) -> list[OlderRow]:
    """The `count` tasks queued last below unit `bound`, newest first, each once. Raises OSError."""
    found: dict[TaskId, OlderRow] = {}
    for path in reversed(older_files(directory)):
        with mapped(path) as content:
            for row in rows_before(content, bound, count):
                found.setdefault(row.id, row)
    return sorted(found.values(), key=lambda row: row.seq, reverse=True)[:count]


def drop_older(directory: Path, *, above: int | None = None, below: int | None = None) -> None:
    """Files that no snapshot stands for any more (`above`), or whose tasks the log no longer has. Raises OSError."""
    gone = [
        path
        for path in older_files(directory)
        if (above is not None and int(path.stem) > above) or (below is not None and int(path.stem) < below)
    ]
    for path in gone:
        path.unlink()
    if gone:
        sync_dir(directory)


def older_files(directory: Path) -> list[Path]:
    try:
        return sorted(path for path in directory.iterdir() if NAME.fullmatch(path.name))
    except FileNotFoundError:
        return []


@contextmanager
def mapped(path: Path) -> Iterator[mmap.mmap]:
    descriptor = os.open(path, os.O_RDONLY | OPEN_FLAGS)
    with open(descriptor, "rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as content:
        yield content


def rows_before(content: mmap.mmap, bound: int, count: int) -> list[OlderRow]:
    """Newest first: the place is found by halves, the rows in front of it are read."""
    low, high = 0, len(content)
    while low < high:
        start = content.rfind(b"\n", 0, (low + high) // 2) + 1
        if row_at(content, start).seq < bound:
            low = line_end(content, start)
        else:
            high = start
    rows: list[OlderRow] = []
    while low > 0 and len(rows) < count:
        low = content.rfind(b"\n", 0, low - 1) + 1
        rows.append(row_at(content, low))
    return rows


def row_at(content: mmap.mmap, start: int) -> OlderRow:
    return codec.loads(content[start : line_end(content, start)], OlderRow)


def line_end(content: mmap.mmap, start: int) -> int:
    """Behind the newline."""
    return content.find(b"\n", start) + 1
