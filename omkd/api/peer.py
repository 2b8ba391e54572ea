"""Who speaks: resolved from the kernel and /proc, never from what the peer says (design, §6).

A guard against mistakes, not a wall against code of the same user: such code can do all that the user can.
"""

import os
import socket
import struct
from pathlib import Path
from typing import Final

import trio
from attrs import frozen

from omkd.core.state import State
from omkd.protocol.events import By, ByClient, ByUnknown, ByWorker
from omkd.protocol.scalars import U32, WorkerName
from omkd.store.procfs import stat_of

MAX_ANCESTORS: Final = 64
"""Of a process; real ones have fewer than ten."""


@frozen(kw_only=True)
class Peer:
    """The other end as the kernel saw it at connect (SO_PEERCRED, unix(7))."""

    pid: int
    uid: int


def peer_of(connected: trio.socket.SocketType) -> Peer:
    """Raises OSError."""
    credentials = connected.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid, uid, _ = struct.unpack("3i", credentials)
    return Peer(pid=pid, uid=uid)


def by_of(peer: Peer, state: State, session: str) -> By:
    """A process below a worker's host, or with this session's OMK_WORKER, is that worker; one gone is unknown."""
    try:
        environment = environment_of(peer.pid)
        ancestors = ancestors_of(peer.pid)
    except OSError:
        return ByUnknown(uid=U32(peer.uid), pid=U32(peer.pid))
    hosts = {entry.seen.host_pid: entry.name for entry in state.roster.workers.values() if entry.seen.host_pid}
    for pid in ancestors:
        if pid in hosts:
            return ByWorker(worker=hosts[pid])
    named = WorkerName(environment.get("OMK_WORKER", ""))
    if named in state.roster.workers and environment.get("OMK_SESSION") == session:
        return ByWorker(worker=named)
    return ByClient(uid=U32(peer.uid), pid=U32(peer.pid))


def environment_of(pid: int) -> dict[str, str]:
    """As it was when the program began. Raises OSError."""
    entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    pairs = (os.fsdecode(entry).partition("=") for entry in entries if b"=" in entry)
    return {name: text for name, _, text in pairs}


def ancestors_of(pid: int) -> list[int]:
    """The process itself, its parent, and so on. Raises OSError when the process is gone."""
    found = [pid]
    while found[-1] > 1 and len(found) < MAX_ANCESTORS:
        found.append(int(stat_of(found[-1])[1]))
    return found
