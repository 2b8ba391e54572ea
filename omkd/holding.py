"""Takes hold of a session before it is served: its directories, its locks, what killed runs left in it."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import trio

from omkd.config import Config
from omkd.store.files import make_dir, make_private, remove_temporaries
from omkd.store.locks import FileLock, LockHeld, is_gone, take_lock
from omkd.store.session import SessionDir

logger = logging.getLogger(__name__)

SOCKETS: Final = "omk"
"""In the runtime directory: where sockets are that nobody put elsewhere."""

HEIR_S: Final = 5.0
"""For the lock of a daemon that was killed while it started a process, which has all that is open until its exec."""

HEIR_LOOK_S: Final = 0.05


def make_own_directories(config: Config) -> None:
    """Raises OSError."""
    make_dir(config.session.path)
    for directory in own_directories(config):
        if make_private(directory):
            logger.warning("%s was open to others, and is no more: mode 0700", directory)


def own_directories(config: Config) -> list[Path]:
    """Those that are omkd's alone, of those that are there: with `--socket` the socket may be in anybody's."""
    of_sockets = config.socket.parent
    found = [config.session.path, *([of_sockets] if of_sockets.name == SOCKETS else [])]
    return [each for each in found if each.is_dir()]


@asynccontextmanager
async def held(path: Path) -> AsyncIterator[FileLock]:
    """Raises LockHeld, OSError."""
    lock = await lock_or_heritage(path)
    try:
        yield lock
    finally:
        lock.release()


async def lock_or_heritage(path: Path) -> FileLock:
    """One whose holder has ended is waited for. Raises LockHeld, OSError."""
    for look in range(round(HEIR_S / HEIR_LOOK_S)):
        try:
            return take_lock(path)
        except LockHeld as held_by:
            if held_by.holder is None or not is_gone(held_by.holder):
                raise
            if look == 0:
                logger.info("%s, which has ended: waiting for the process it was starting", held_by)
        await trio.sleep(HEIR_LOOK_S)
    return take_lock(path)


def tidy_up(session: SessionDir) -> None:
    """What killed runs left half-written, where only who holds the lock writes: a snapshot may have 240 MB."""
    for directory in (session.path, session.events, session.older):
        try:
            removed = remove_temporaries(directory)
        except OSError as error:
            logger.warning("%s: what a killed run left cannot be removed: %s", directory, error)
        else:
            for path in removed:
                logger.info("%s was left by a run that was killed: removed", path)


def settle_copy(lock: FileLock) -> None:
    """The places in its files are in the log now. What is not said is found out by the next start once more."""
    if lock.was_copied:
        try:
            lock.settle()
        except OSError as error:
            logger.warning("%s: the next start takes the session for a copy still: %s", lock.path, error)
