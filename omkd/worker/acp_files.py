"""The files that an agent asks its client for, though they are not offered: confined to the project's directory.

A path is resolved first, then walked from the project's directory one directory at a time without following symlinks:
what is put in its way meanwhile is not followed out of it.
"""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from omkd.store.files import write_all

FILE_BYTES: Final = 16 * 1024 * 1024
"""Of a file that is read: it goes into one JSON line."""

NEW_FILE_MODE: Final = 0o666
"""A file of the project, not of a session: the umask decides."""

DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class FileRefused(Exception):
    """Not there, or not within the project's directory: to the agent the same."""


def read_text(project: Path, path: str, line: int | None, limit: int | None) -> str:
    """From line `line` (the first is 1) on, `limit` lines. Raises FileRefused."""
    with refused_unless_done(path), opened(project, path, os.O_RDONLY) as descriptor:
        if os.fstat(descriptor).st_size > FILE_BYTES:
            raise FileRefused(f"{path} has more than {FILE_BYTES} bytes")
        with os.fdopen(os.dup(descriptor), encoding="utf-8", newline="") as file:
            text = file.read()
    if line is None and limit is None:
        return text
    start = max(0, (line or 1) - 1)
    lines = text.splitlines(keepends=True)
    return "".join(lines[start:] if limit is None else lines[start : start + max(0, limit)])


def write_text(project: Path, path: str, content: str) -> None:
    """The whole content, in place: owner, mode and links stay. Missing directories are made. Raises FileRefused."""
    flags = os.O_WRONLY | os.O_CREAT
    with refused_unless_done(path), opened(project, path, flags, makes_dirs=True) as descriptor:
        os.ftruncate(descriptor, 0)
        write_all(descriptor, content.encode())


@contextlib.contextmanager
def refused_unless_done(path: str) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        raise FileRefused(f"{path}: {why}") from error


@contextlib.contextmanager
def opened(project: Path, path: str, flags: int, *, makes_dirs: bool = False) -> Iterator[int]:
    """A regular file in the project's directory. Raises FileRefused, OSError, ValueError."""
    root = os.path.realpath(project)
    target = os.path.realpath(os.path.join(root, path))
    if os.path.commonpath([root, target]) != root or target == root:
        raise FileRefused(f"{path} is not in the project's directory")
    *directories, name = os.path.relpath(target, root).split(os.sep)
    with contextlib.ExitStack() as kept:
        at = kept.enter_context(descriptor(os.open(root, DIRECTORY)))
        for directory in directories:
            if makes_dirs:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(directory, dir_fd=at)
            at = kept.enter_context(descriptor(os.open(directory, DIRECTORY, dir_fd=at)))
        common = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        found = kept.enter_context(descriptor(os.open(name, flags | common, NEW_FILE_MODE, dir_fd=at)))
        if not stat.S_ISREG(os.fstat(found).st_mode):
            raise FileRefused(f"{path} is no regular file")
        yield found


@contextlib.contextmanager
def descriptor(number: int) -> Iterator[int]:
    try:
        yield number
    finally:
        os.close(number)
