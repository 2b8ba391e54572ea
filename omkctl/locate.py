"""Where the daemon of a session is, and whether one is alive there."""

import fcntl
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from omkd.protocol.address import AddressError, checked_session, socket_candidates, state_root

from .failures import usage

FLOCK = "hhqqi"  # struct flock of Linux: l_type, l_whence, l_start, l_len, l_pid
DEFAULT_SESSION = "default"


@dataclass(frozen=True, kw_only=True)
class Address:
    """`sockets` are tried in order; a daemon holds one of `locks` as long as it lives.

    `has_own_socket`: it was named, so that a daemon has to be told of it, too.
    """

    session: str
    session_dir: Path
    sockets: tuple[Path, ...]
    locks: tuple[Path, ...]
    has_own_socket: bool = False

    @property
    def start(self) -> str:
        """The command line of a daemon that is found here."""
        place = f" --socket {quote(str(self.sockets[0]))}" if self.has_own_socket else ""
        return f"omkd --session {self.session}{place} &"

    def daemon_lives(self) -> bool:
        return any(lock_is_held(lock) for lock in self.locks)


def address_for(env: Mapping[str, str], *, session: str, socket: str | None, state_dir: str | None) -> Address:
    """Raises Failure (usage) for a session name that cannot be one, and where no home is known."""
    try:
        checked_session(session)
        session_dir = (Path(os.path.abspath(state_dir)) if state_dir else state_root(env)) / session
    except AddressError as fault:
        raise usage(str(fault)) from fault
    if socket is not None:
        sockets, locks = [Path(os.path.abspath(socket))], []
    else:
        sockets, locks = socket_candidates(env, session, session_dir), [session_dir / "omkd.lock"]
    beside = [path.with_name(path.name + ".lock") for path in sockets]
    return Address(
        session=session,
        session_dir=session_dir,
        sockets=tuple(sockets),
        locks=(*locks, *beside),
        has_own_socket=socket is not None,
    )


def lock_is_held(path: Path) -> bool:
    """Asks the kernel, without taking the lock (fcntl(2), F_OFD_GETLK)."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        asked = struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
        kind = struct.unpack(FLOCK, fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, asked))[0]
    finally:
        os.close(descriptor)
    return bool(kind != fcntl.F_UNLCK)
