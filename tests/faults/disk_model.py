"""What a disk may hold after the power went: a trace is replayed, and what was not synced happened or did not.

What is believed of file systems (docs/reliability.md says it for people):

* fsync and fdatasync of a file: every write and truncate of it that was done before the call began is on disk, its size
  with it. The name it was made under is not.
* fsync of a directory: every entry made, renamed or removed in it before the call began is on disk.
* A rename is whole or it is not; so is every other change of a directory. Changes that were not synced happened in any
  subset, but each in its order.
* A file that was not synced: each block (4096 bytes, or 512) holds what it held at any moment since the last sync, or
  zeros where it is beyond the synced size; its size is any that it had since.
"""

import base64
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

BLOCKS = (512, 4096)

Survived = dict[str, tuple[int, bytes | None]]
"""By path: the inode's number and the content; None: a directory."""


@dataclass(eq=False)
class Inode:
    """A file: what is on disk for certain, and the contents it had since, oldest first. `forgotten`: how many before.

    `number` is what stat(2) told of it: positions in the session's files speak of it.
    """

    number: int
    is_dir: bool = False
    durable: bytes = b""
    versions: list[bytes] = field(default_factory=list)
    forgotten: int = 0

    @property
    def content(self) -> bytes:
        return self.versions[-1] if self.versions else self.durable


@dataclass(frozen=True, eq=False)
class Change:
    """A change of names, whole or not at all: `source` (None: it is new) becomes `target` (None: it is gone)."""

    source: str | None
    target: str | None
    inode: Inode

    def is_in(self, directory: str) -> bool:
        return any(path is not None and os.path.dirname(path) == directory for path in (self.source, self.target))

    def apply(self, names: dict[str, Inode]) -> None:
        """A directory takes along what is in it."""
        moved = {self.source: self.inode} if self.source is not None else {}
        moved |= {path: names.pop(path) for path in list(names) if self.source and is_at_or_below(path, self.source)}
        if self.target is not None:
            names.pop(self.target, None)
            for path, inode in (moved or {"": self.inode}).items():
                names[self.target + path[len(self.source or "") :]] = inode


def is_at_or_below(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory + "/")


class Disk:
    """The files under `root` as the trace goes on. `names` is what programs see, `durable_names` what is on disk."""

    def __init__(self, root: str) -> None:
        self.root = root
        top = Inode(0, is_dir=True)
        self.names: dict[str, Inode] = {root: top}
        self.durable_names: dict[str, Inode] = {root: top}
        self.pending: list[Change] = []
        self._begun: dict[str, tuple[Inode, int, list[Change]]] = {}

    def take(self, record: dict[str, Any]) -> None:
        """One line of the trace; points of faults are passed over."""
        path = record.get("path", "")
        match record.get("op"):
            case "create" | "mkdir" as kind:
                self._change(Change(None, path, Inode(record["inode"], is_dir=kind == "mkdir")))
            case "unlink" | "rmdir":
                self._change(Change(path, None, self.names[path]))
            case "rename":
                self._change(Change(path, record["to"], self.names[path]))
            case "link":
                self._change(Change(None, record["to"], self.names[path]))
            case "write":
                self._write(self.names[path], record["at"], base64.b64decode(record["content"]))
            case "truncate":
                inode = self.names[path]
                inode.versions.append(inode.content[: record["size"]].ljust(record["size"], b"\0"))
            case "sync_begins":
                inode = self.names[path]
                self._begun[record["sync"]] = (inode, inode.forgotten + len(inode.versions), list(self.pending))
            case "sync":
                self._sync(path, record["sync"])
            case None:
                pass
            case other:
                raise AssertionError(f"the model knows no {other}")

    def _change(self, change: Change) -> None:
        change.apply(self.names)
        self.pending.append(change)

    def _write(self, inode: Inode, at: int, content: bytes) -> None:
        before = inode.content.ljust(at, b"\0")
        inode.versions.append(before[:at] + content + before[at + len(content) :])

    def _sync(self, path: str, number: str) -> None:
        inode, written, pending = self._begun.pop(number)
        if inode.is_dir:
            for change in [each for each in self.pending if each in pending and each.is_in(path)]:
                change.apply(self.durable_names)
                self.pending.remove(change)
        elif (count := written - inode.forgotten) > 0:
            inode.durable = inode.versions[count - 1]
            inode.forgotten += count
            del inode.versions[:count]

    # --- what may be there afterwards ---

    def seen(self) -> dict[str, bytes | None]:
        """What programs see, by path; None: a directory."""
        return {path: None if inode.is_dir else inode.content for path, inode in self.names.items()}

    def after_power_loss(self, rng: Random) -> Survived:
        """One of the states that the disk may have."""
        names = dict(self.durable_names)
        for change in chosen(self.pending, rng):
            change.apply(names)
        share = rng.choice((0.0, 0.3, 0.7, 1.0))
        return {
            path: (inode.number, None if inode.is_dir else survived(inode, rng, share))
            for path, inode in names.items()
            if has_parents(path, names, self.root)
        }


def chosen(pending: list[Change], rng: Random) -> list[Change]:
    """All, none, those up to some moment, or any."""
    match rng.randrange(4):
        case 0:
            return pending
        case 1:
            return []
        case 2:
            return pending[: rng.randint(0, len(pending))]
        case _:
            return [change for change in pending if rng.random() < 0.5]


def has_parents(path: str, names: dict[str, Inode], root: str) -> bool:
    while path != root:
        path = os.path.dirname(path)
        if path not in names:
            return False
    return True


def survived(inode: Inode, rng: Random, share: float) -> bytes:
    """One content of a file: each block of any moment since the last sync. `share`: how many blocks are the newest."""
    if not inode.versions:
        return inode.durable
    moments = [inode.durable, *inode.versions]
    size = len(rng.choice(moments)) if rng.random() < 0.5 else len(moments[-1])
    block = rng.choice(BLOCKS)
    content = bytearray(size)
    for start in range(0, size, block):
        content[start : start + block] = survived_block(
            inode, moments, slice(start, min(start + block, size)), rng, share
        )
    return bytes(content)


def survived_block(inode: Inode, moments: list[bytes], place: slice, rng: Random, share: float) -> bytes:
    length = place.stop - place.start
    if rng.random() < share:
        return moments[-1][place].ljust(length, b"\0")
    if place.start >= len(inode.durable) and rng.random() < 0.5:
        return bytes(length)
    return rng.choice(moments)[place].ljust(length, b"\0")


# --- files and traces ---


def load_trace(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def replay(root: str, records: Iterable[dict[str, Any]]) -> Disk:
    disk = Disk(root)
    for record in records:
        disk.take(record)
    return disk


def files_under(root: Path) -> dict[str, bytes | None]:
    """What is there, in the form of `Disk.seen`."""
    found: dict[str, bytes | None] = {str(root): None}
    for path in root.rglob("*"):
        found[str(path)] = None if path.is_dir() else path.read_bytes()
    return found


def put(files: Survived, old_root: str, new_root: Path) -> dict[int, int]:
    """Makes the files of a disk under another root, which is there and empty; what the real inode numbers stand for."""
    numbers: dict[int, int] = {}
    for path, (number, content) in sorted(files.items()):
        target = new_root / os.path.relpath(path, old_root)
        if content is None:
            target.mkdir(mode=0o700, exist_ok=True)
        else:
            target.write_bytes(content)
            target.chmod(0o600)
            numbers[target.stat().st_ino] = number
    return numbers
