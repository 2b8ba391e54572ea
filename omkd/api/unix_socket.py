"""The control socket: 0600 in a directory 0700, one daemon on it, left clean behind."""

import errno
import os
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import trio

from omkd.protocol.address import AddressError, checked_socket_path
from omkd.protocol.limits import MAX_CONNECTIONS
from omkd.store.files import FILE_MODE, make_dir

BACKLOG: Final = MAX_CONNECTIONS
"""Not accepted yet; past that a connect with a timeout fails at once with EAGAIN (unix(7)), so not fewer than that."""


ALIVE_LOOKS: Final = 10
ALIVE_LOOK_S: Final = 0.05


@asynccontextmanager
async def open_unix_listener(path: Path, passed: int | None = None) -> AsyncIterator[trio.SocketListener]:
    """Listens on `path`. Hold its `socket_lock`: a socket that was left behind is unlinked, nothing else ever is.

    `passed` is the descriptor of a socket that listens there already (systemd's). At exit only our own socket is
    unlinked. Raises AddressError, OSError.
    """
    checked_socket_path(path)
    make_dir(path.parent)
    if passed is not None:
        async with trio.SocketListener(trio.socket.from_stdlib_socket(socket.socket(fileno=passed))) as listener:
            yield listener
        return
    await unlink_dead(path)
    listening = bound_socket(path)
    inode = os.lstat(path).st_ino
    try:
        async with trio.SocketListener(listening) as listener:
            yield listener
    finally:
        unlink_own(path, inode)


def socket_lock(path: Path) -> Path:
    """The file whose lock says which daemon serves the socket `path`."""
    return path.with_name(path.name + ".lock")


def bound_socket(path: Path) -> trio.socket.SocketType:
    listening = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    plain = socket.socket(fileno=os.dup(listening.fileno()))
    with plain:
        plain.bind(str(path))
        path.chmod(FILE_MODE)
        plain.listen(BACKLOG)
    return listening


async def unlink_dead(path: Path) -> None:
    """A socket that nobody listens on is gone. Raises AddressError for anything else in its place, OSError.

    What a killed daemon was starting listens until its exec, so one that does is asked for a moment.
    """
    try:
        mode = os.lstat(path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise AddressError(f"{path} is no socket: it is left alone; name another path (--socket), or move it away")
    for _ in range(ALIVE_LOOKS):
        if not listens(path):
            unlink_own(path, os.lstat(path).st_ino)
            return
        await trio.sleep(ALIVE_LOOK_S)
    raise AddressError(f"another program listens on {path}: name another path (--socket), or end it")


def listens(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as asking:
        asking.setblocking(False)
        return asking.connect_ex(str(path)) in (0, errno.EAGAIN)


def unlink_own(path: Path, inode: int) -> None:
    try:
        if os.lstat(path).st_ino == inode:
            path.unlink()
    except FileNotFoundError:
        return
