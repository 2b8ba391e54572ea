"""A worker's files, moved whole into `archive/` and gzipped there.

Moved, a file keeps its inode, so that no new file can be taken for it; it is gzipped only when nothing speaks of its
inode any more.
"""

import gzip
import os
import shutil
from pathlib import Path
from typing import BinaryIO, Final, cast

from .files import FILE_MODE, OPEN_FLAGS, make_dir, open_regular, sync_dir

COPY_BYTES: Final = 1024 * 1024
LEVEL: Final = 6
"""JSON lines become a tenth; higher levels take longer for nothing."""


def move_to_archive(path: Path, archive: Path, seq: int) -> Path | None:
    """`archive/<name>-<seq>.jsonl`; None when there is no such file. Durability: both names. Raises OSError."""
    target = archive / f"{path.stem}-{seq}{path.suffix}"
    make_dir(archive)
    try:
        path.rename(target)
    except FileNotFoundError:
        return None
    sync_dir(archive)
    sync_dir(path.parent)
    return target


def raw_files(archive: Path) -> list[Path]:
    """Those that are not gzipped yet."""
    return sorted(archive.glob("*.jsonl")) if archive.is_dir() else []


def compress(path: Path) -> Path:
    """The gzipped file in its place. Durability: it is on disk before the other goes. Raises OSError."""
    target, temporary = path.with_name(path.name + ".gz"), path.with_name(f".{path.name}.gz.tmp")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | OPEN_FLAGS, FILE_MODE)
    try:
        with open(descriptor, "wb") as packed:
            os.fchmod(packed.fileno(), FILE_MODE)
            with open(open_regular(path), "rb") as plain, gzip.GzipFile("", "wb", LEVEL, packed, mtime=0) as packing:
                shutil.copyfileobj(plain, packing, COPY_BYTES)
            packed.flush()
            os.fsync(packed.fileno())
        temporary.rename(target)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync_dir(path.parent)
    path.unlink()
    sync_dir(path.parent)
    return target


def archived(archive: Path, stem: str) -> list[Path]:
    """The archives of one file, oldest first: gzipped or not yet."""
    if not archive.is_dir():
        return []
    found = {path.name.removesuffix(".gz"): path for path in [*archive.glob(f"{stem}-*.jsonl.gz")]}
    found |= {path.name: path for path in archive.glob(f"{stem}-*.jsonl")}
    return [found[name] for name in sorted(found, key=lambda name: int(name.partition("-")[2].partition(".")[0]))]


def open_archived(path: Path) -> BinaryIO:
    """For reading, whatever form it has. Raises OSError."""
    return cast(BinaryIO, gzip.open(path, "rb")) if path.suffix == ".gz" else path.open("rb")
