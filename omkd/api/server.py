"""Accepts clients on the control socket, as many as there may be, and none of another user."""

import logging
import os
from collections.abc import Mapping
from typing import Final

import trio

from omkd.protocol.errors import ApiError, ErrorKind
from omkd.protocol.limits import MAX_CONNECTIONS

from .calls import Desk, Handler
from .connection import serve_client
from .dispatch import encode_error
from .peer import peer_of

logger = logging.getLogger(__name__)

REFUSAL_S: Final = 1.0
"""To tell a peer why it is not served."""

ACCEPT_RETRY_S: Final = 0.1
"""After accept failed (no descriptor is free)."""


async def run_server(
    listener: trio.SocketListener,
    desk: Desk,
    handlers: Mapping[str, Handler],
    *,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serves until cancelled; what its connections wait for ends then."""
    async with trio.open_nursery() as nursery:
        task_status.started()
        while True:
            try:
                stream = await listener.accept()
            except OSError as error:
                logger.warning("a client cannot be accepted, tried again: %s", error)
                await trio.sleep(ACCEPT_RETRY_S)
                continue
            nursery.start_soon(serve_stream, desk, handlers, stream)


async def serve_stream(desk: Desk, handlers: Mapping[str, Handler], stream: trio.SocketStream) -> None:
    """One connection from its first to its last byte; no fault of its own or ours goes beyond it."""
    desk.connections += 1
    try:
        async with stream:
            peer = peer_of(stream.socket)
            if peer.uid != os.geteuid():
                logger.warning("refused pid %d of uid %d: another user's", peer.pid, peer.uid)
                await refuse(stream, ErrorKind.REFUSED, f"this socket is for uid {os.geteuid()}, not {peer.uid}")
            elif desk.connections > MAX_CONNECTIONS:
                logger.warning("refused pid %d: %d connections are open", peer.pid, MAX_CONNECTIONS)
                await refuse(stream, ErrorKind.TOO_MANY, f"{MAX_CONNECTIONS} connections are open: close some")
            else:
                await serve_client(desk, handlers, stream, peer)
    except Exception:
        logger.exception("a connection ended by a fault in omkd")
    finally:
        desk.connections -= 1


async def refuse(stream: trio.SocketStream, kind: ErrorKind, text: str) -> None:
    with trio.move_on_after(REFUSAL_S):
        await stream.send_all(encode_error(None, ApiError(kind, text)))
