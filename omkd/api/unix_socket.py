"""The control socket: 0600 in a directory 0700, one daemon on it, left clean behind."""

import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import trio

from omkd.protocol.address import checked_socket_path
from omkd.protocol.limits import MAX_CONNECTIONS
from omkd.store.files import FILE_MODE, make_dir

BACKLOG: Final = MAX_CONNECTIONS
"""Not accepted yet; past that a connect with a timeout fails at once with EAGAIN (unix(7)), so not fewer than that."""


@asynccontextmanager
async def open_unix_listener(path: Path, passed: int | None = None) -> AsyncIterator[trio.SocketListener]:
    """Listens on `path`. Hold its `socket_lock`: a socket that was left behind is unlinked.

    `passed` is the descriptor of a socket that listens there already (systemd's). At exit only our own socket is
    unlinked. Raises AddressError, OSError.
    """
    checked_socket_path(path)
    make_dir(path.parent)
    if passed is not None:
        async with trio.SocketListener(trio.socket.from_stdlib_socket(socket.socket(fileno=passed))) as listener:
            yield listener
        return
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
    path.unlink(missing_ok=True)
    listening = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    plain = socket.socket(fileno=os.dup(listening.fileno()))
    with plain:
        plain.bind(str(path))
        path.chmod(FILE_MODE)
        plain.listen(BACKLOG)
    return listening


def unlink_own(path: Path, inode: int) -> None:
    try:
        if os.lstat(path).st_ino == inode:
            path.unlink()
    except FileNotFoundError:
        return
