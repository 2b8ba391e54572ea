"""Which directories changed, through one inotify descriptor. Wake-ups may be lost, facts may not: who wakes, reads."""

import os
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import trio
from inotify_simple import INotify, flags

WATCHED: Final = (
    flags.CREATE
    | flags.MODIFY
    | flags.MOVED_TO
    | flags.MOVED_FROM
    | flags.DELETE
    | flags.DELETE_SELF
    | flags.MOVE_SELF
    | flags.ONLYDIR
)

ITSELF: Final = ""
"""For a name: the directory was removed or renamed. One that is renamed is still watched, by the name it had."""

Changes = dict[Path, set[str]]
"""Names that changed, by directory."""


class Watcher:
    """Directories that are watched; `changes` waits for the next changes in any of them."""

    def __init__(self, inotify: INotify) -> None:
        self._inotify = inotify
        self._paths: dict[int, Path] = {}

    def add(self, path: Path) -> None:
        """Watches a directory; again is no harm, and right after it was made anew. Raises OSError (ENOSPC: the user's
        limit of watches, fs.inotify.max_user_watches)."""
        self._paths[self._inotify.add_watch(path, WATCHED)] = path

    async def changes(self, timeout_s: float) -> Changes:
        """What changed since the last call, at once or as soon as there is something; empty after `timeout_s`.

        After an overflow of the kernel's queue every directory counts as changed, with no names.
        """
        with trio.move_on_after(timeout_s):
            await trio.lowlevel.wait_readable(self._inotify.fd)
        changed: Changes = {}
        for event in self._inotify.read(timeout=0):
            if event.mask & flags.Q_OVERFLOW:
                return {path: set() for path in self._paths.values()}
            if event.mask & flags.IGNORED:
                self._paths.pop(event.wd, None)
            elif (path := self._paths.get(event.wd)) is not None:
                changed.setdefault(path, set()).add(os.fsdecode(event.name))
        return changed


@asynccontextmanager
async def open_watcher(paths: Iterable[Path] = ()) -> AsyncIterator[Watcher]:
    """A watcher of `paths`. Raises OSError."""
    inotify = INotify(nonblocking=True)
    try:
        watcher = Watcher(inotify)
        for path in paths:
            watcher.add(path)
        yield watcher
    finally:
        inotify.close()
