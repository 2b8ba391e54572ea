"""The control socket: 0600 in a directory 0700, one daemon on it, left clean behind."""

import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import trio

from omkd.protocol.address import checked_socket_path
from omkd.store.files import FILE_MODE, make_dir
from omkd.store.locks import take_lock

BACKLOG: Final = 128


@asynccontextmanager
async def open_unix_listener(path: Path) -> AsyncIterator[trio.SocketListener]:
    """Listens on `path`. Its lock `<path>.lock` is taken before a socket that was left behind is unlinked.

    At exit only our own socket is unlinked. Raises LockHeld, AddressError, OSError.
    """
    checked_socket_path(path)
    make_dir(path.parent)
    lock = take_lock(path.with_name(path.name + ".lock"))
    try:
        listening = bound_socket(path)
        inode = os.lstat(path).st_ino
        try:
            async with trio.SocketListener(listening) as listener:
                yield listener
        finally:
            unlink_own(path, inode)
    finally:
        lock.release()


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
