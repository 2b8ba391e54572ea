"""A removed worker's directory goes to `removed/`, whatever crashes in between.

A mark in the directory says where to, before the fact is recorded; the rename comes after the fact is on disk. A marked
directory of a worker that is still there lost its fact to a crash: the mark goes. Else the rename is finished.
"""

import os
from pathlib import Path
from typing import Final

from omkd.store.files import atomic_write, make_dir, read_regular, sync_dir
from omkd.store.session import WorkerDir

MARK: Final = "moved-to"
MARK_BYTES: Final = 4096


def mark_removal(directory: WorkerDir, moved_to: str) -> None:
    """`moved_to` counts from the session. Durability: on disk. Raises OSError; without a directory it does nothing."""
    if directory.path.is_dir():
        atomic_write(directory.path / MARK, moved_to.encode())


def is_marked(directory: WorkerDir) -> bool:
    return (directory.path / MARK).exists()


def unmark_removal(directory: WorkerDir) -> None:
    (directory.path / MARK).unlink(missing_ok=True)


def finish_removal(directory: WorkerDir) -> Path | None:
    """Renames a marked directory; where it is now, None when there is none to rename. Raises OSError."""
    try:
        moved_to = os.fsdecode(read_regular(directory.path / MARK, MARK_BYTES))
    except FileNotFoundError:
        return None
    target = directory.session_dir / "removed" / Path(moved_to).name
    make_dir(target.parent)
    directory.path.rename(target)
    sync_dir(target.parent)
    sync_dir(directory.path.parent)
    (target / MARK).unlink(missing_ok=True)
    return target
