"""The only module, beside `event_log`, that writes files of a session: atomic replacement, append of a line.

Modes are explicit (0600 and 0700 whatever the umask); a symlink in place of a session's file is refused (O_NOFOLLOW).
"""

import errno
import os
import re
import secrets
import stat
from pathlib import Path
from typing import Final

FILE_MODE: Final = 0o600
DIR_MODE: Final = 0o700

OPEN_FLAGS: Final = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
"""O_NONBLOCK: regular files do not know it; what another put in a file's place must not hold us up (fifo(7))."""

SMALL_FILE_BYTES: Final = 1024 * 1024
"""At most, of a position, a lock's text, a record: some 200 bytes each."""

TAIL_BLOCK_BYTES: Final = 4096

TEMPORARY: Final = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")
"""As `atomic_write` names them."""


def make_dir(path: Path) -> None:
    """A directory 0700, made with its missing parents, entries synced. One that is there stays as it is.

    Raises OSError, NotADirectoryError for a symlink or file in place of the last part.
    """
    if path.is_symlink():
        raise NotADirectoryError(f"{path} is a symlink; a session's directories must be real")
    if path.is_dir():
        return
    make_parents(path.parent)
    try:
        path.mkdir(mode=DIR_MODE)
        path.chmod(DIR_MODE)
    except FileExistsError:
        if not path.is_dir():  # else another process was quicker
            raise NotADirectoryError(f"{path} is a file; a directory belongs there") from None
    sync_dir(path.parent)


def make_private(path: Path) -> bool:
    """A directory of ours that others may enter is closed to them. False: it was. Raises OSError."""
    if stat.S_IMODE(path.stat().st_mode) & ~DIR_MODE == 0:
        return False
    path.chmod(DIR_MODE)
    return True


def make_parents(path: Path) -> None:
    if not path.is_dir():
        make_dir(path)


def sync_dir(path: Path) -> None:
    """Directory entries of `path` are on disk when this returns."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_way_to(path: Path) -> None:
    """The names that lead to `path` are on disk: who made them may have been killed before it synced them.

    As far up as this file system goes, and as we may read. Raises OSError.
    """
    device = path.stat().st_dev
    for directory in path.parents:
        try:
            if directory.stat().st_dev != device:
                return
            sync_dir(directory)
        except PermissionError:
            return


def atomic_write(path: Path, content: bytes, *, sync: bool = True) -> None:
    """`path` holds either what it held or `content`, whatever happens.

    Durability: with `sync`, content and name are on disk. Raises OSError; the temporary file is gone then.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | OPEN_FLAGS, FILE_MODE)
        try:
            os.fchmod(descriptor, FILE_MODE)
            write_all(descriptor, content)
            if sync:
                os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    if sync:
        sync_dir(path.parent)


def remove_temporaries(directory: Path) -> list[Path]:
    """Of atomic writes that were killed; which they were. None but the caller may write in the directory meanwhile.

    Raises OSError; a directory that is missing has none.
    """
    found = [path for path in directory.glob(".*.tmp") if TEMPORARY.fullmatch(path.name)]
    for path in found:
        path.unlink()
    return found


def write_all(descriptor: int, content: bytes) -> None:
    """All of `content`; after a short write the remainder. Raises OSError, a part may be written then."""
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]


def open_append(path: Path, *, create: bool = True) -> int:
    """A descriptor for `append_lines`, the file made 0600 if it is missing. Raises OSError, see `open_regular`."""
    descriptor = open_regular(path, os.O_RDWR | os.O_APPEND | (os.O_CREAT if create else 0))
    try:
        if os.fstat(descriptor).st_size == 0:
            os.fchmod(descriptor, FILE_MODE)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def open_regular(path: Path, flags: int = os.O_RDONLY) -> int:
    """A descriptor of a regular file. Raises OSError (ELOOP: a symlink, EINVAL: a FIFO, a directory, a device)."""
    descriptor = os.open(path, flags | OPEN_FLAGS, FILE_MODE)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise OSError(errno.EINVAL, "it is no regular file", str(path))


def append_lines(descriptor: int, lines: bytes) -> None:
    """Appends whole lines (each with its newline) with one write, after dealing with a torn line a crash left.

    What follows the last newline is completed if it is the beginning of `lines`, else ended with a newline first.
    Raises OSError; what was written then is dealt with by the next call.
    """
    torn = torn_tail(descriptor)
    if torn and lines.startswith(torn):
        write_all(descriptor, lines[len(torn) :])
    elif torn:
        write_all(descriptor, b"\n" + lines)
    else:
        write_all(descriptor, lines)


def torn_tail(descriptor: int) -> bytes:
    """What follows the last newline; empty for a file that ends with one."""
    end = os.fstat(descriptor).st_size
    tail = b""
    while end > 0:
        start = max(0, end - TAIL_BLOCK_BYTES)
        block = os.pread(descriptor, end - start, start)
        cut = block.rfind(b"\n")
        if cut >= 0:
            return block[cut + 1 :] + tail
        tail = block + tail
        end = start
    return tail


def append_line(path: Path, line: bytes, *, sync: bool = False) -> None:
    """Appends `line` (without its newline) to `path`. Durability: with `sync`, the line is on disk. Raises OSError."""
    descriptor = open_append(path)
    try:
        append_lines(descriptor, line + b"\n")
        if sync:
            os.fdatasync(descriptor)
    finally:
        os.close(descriptor)


def read_regular(path: Path, limit_bytes: int) -> bytes:
    """All of a regular file. Raises OSError (ELOOP for a symlink), ValueError if it is no file or over the limit."""
    descriptor = os.open(path, os.O_RDONLY | OPEN_FLAGS)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise ValueError(f"{path} is no regular file")
    with open(descriptor, "rb") as opened:
        content = opened.read(limit_bytes + 1)
    if len(content) > limit_bytes:
        raise ValueError(f"{path} has more than {limit_bytes} bytes")
    return content
