"""Snapshots: `snapshot-<seq>.json`, what a start begins with in place of the log's beginning (design, §2).

Knows lines and files, not what stands in the lines. A line of JSON each: the header, the records, and at the end
`{"records":3,"sum":"…"}`: a hash of all before it. A file that is not whole is no snapshot; the log has everything.
"""

import errno
import hashlib
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from attrs import frozen

from omkd.protocol import codec
from omkd.protocol.scalars import U32, Ns, Seq

from .files import atomic_write, open_regular, sync_dir

NAME: Final = re.compile(r"snapshot-([1-9][0-9]*)\.json")
KEPT: Final = 2
"""The newest, and the one before it for when that cannot be read."""

NO_FILE: Final = frozenset({errno.EINVAL, errno.ELOOP})
"""Something else stands in its place."""

SNAPSHOT_FORMAT: Final = 1
"""Of this file and of what the fold makes: to be raised when the same events become another state."""


@frozen(kw_only=True)
class Header:
    """`shape` tells the records of one omkd from those of another: a start reads its own only.

    `log` is the format of the log that its writer knew: a start that begins here does not see the units that say so.

    `{"format":1,"shape":"5f3a…","omkd":"0.1.0","seq":90,"ts":"2026-11-20T15:15:00Z","log":1}`
    """

    format: U32
    shape: str
    omkd: str
    seq: Seq
    ts: Ns
    log: U32 = U32(1)


@frozen(kw_only=True)
class End:
    records: U32
    sum: str


@frozen(kw_only=True)
class Snapshot:
    """A whole one."""

    path: Path
    header: Header
    records: list[bytes]


class SnapshotUnusable(Exception):
    """Not whole, or not ours."""


class SnapshotNotOurs(SnapshotUnusable):
    """Whole, and another omkd wrote it."""


def snapshot_path(session_dir: Path, seq: int) -> Path:
    return session_dir / f"snapshot-{seq}.json"


def list_snapshots(session_dir: Path) -> list[Path]:
    """The newest first. Raises OSError."""
    found = [(int(match[1]), path) for path in session_dir.iterdir() if (match := NAME.fullmatch(path.name))]
    return [path for _, path in sorted(found, reverse=True)]


def seq_of_snapshot(path: Path) -> Seq:
    return Seq(int(path.stem.partition("-")[2]))


def write_snapshot(session_dir: Path, header: Header, records: Iterable[bytes]) -> Path:
    """Durability: on disk under its name when it returns. Raises OSError: there is nothing of it then."""
    lines = [codec.dumps(header), *records]
    content = b"\n".join(lines) + b"\n"
    path = snapshot_path(session_dir, header.seq)
    atomic_write(path, content + end_of(content))
    return path


def read_snapshot(path: Path) -> Snapshot:
    """Raises SnapshotUnusable, OSError."""
    try:
        with open(open_regular(path), "rb") as opened:
            content = opened.read()
    except OSError as fault:
        if fault.errno in NO_FILE:
            raise SnapshotUnusable(f"{path}: {fault.strerror}") from fault
        raise
    begin = content.rfind(b"\n", 0, -1) + 1
    if content[begin:] != end_of(content[:begin]):
        raise SnapshotUnusable(f"{path} is not whole")
    first, *records = content[: begin - 1].split(b"\n")
    try:
        header = codec.loads(first, Header)
    except ValueError as fault:
        raise SnapshotNotOurs(f"{path} cannot be read: {fault}") from fault
    if header.seq != seq_of_snapshot(path):
        raise SnapshotUnusable(f"{path} says that it is of unit {header.seq}")
    return Snapshot(path=path, header=header, records=records)


def newest_known(session_dir: Path) -> Seq:
    """The unit of the newest whole snapshot: all up to it was on disk. 0: there is none. Raises OSError."""
    for path in list_snapshots(session_dir):
        try:
            return read_snapshot(path).header.seq
        except SnapshotUnusable:
            continue
    return Seq(0)


def remove_old_snapshots(session_dir: Path) -> None:
    """Keeps two. Raises OSError."""
    old = list_snapshots(session_dir)[KEPT:]
    for path in old:
        path.unlink(missing_ok=True)
    if old:
        sync_dir(session_dir)


def end_of(content: bytes) -> bytes:
    """The last line: what a torn or changed file does not have."""
    records = content.count(b"\n") - 1
    digest = hashlib.blake2b(content, digest_size=16).hexdigest()
    return codec.dumps(End(records=U32(max(0, records)), sum=digest)) + b"\n"
