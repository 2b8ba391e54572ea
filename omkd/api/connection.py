"""One client: stream <-> JSON-RPC <-> dispatch. Whatever goes wrong here ends this connection only.

One wake is one read, every complete line handled inline, and one joined write after one shared commit. A call that must
wait, and a subscription, is a task of its own that ends with the connection.
"""

import logging
import math
import select
from collections.abc import Awaitable, Mapping
from typing import Final

import trio

from omkd.protocol import codec
from omkd.protocol.errors import ApiError, ErrorKind
from omkd.protocol.events import By
from omkd.protocol.jsonrpc import Connection, LineTooLong
from omkd.protocol.limits import FIRST_LINE_SECS, MAX_IN_FLIGHT, REQUEST_LINE_BYTES
from omkd.protocol.scalars import U64, Seq

from .calls import Call, Desk, Follow, Handler
from .dispatch import Dispatcher, Done, encode_error
from .outgoing import Outgoing, PeerStalled
from .peer import Peer, by_of

logger = logging.getLogger(__name__)

RECEIVE_BYTES: Final = 64 * 1024
"""Of one read: some hundred requests, which share a commit."""

TURN_BYTES: Final = 1024 * 1024
"""Of answers to one read; then others have their turn, and the peer must have read enough. Short questions may have
long answers."""

TURN_S: Final = 0.0005
"""Of work for one connection between two looks at everything else: nobody waits longer for one that floods."""

LAST_WORD_S: Final = 1.0
"""To send a last error to a peer whose connection ends."""

LISTENS_LOOK_S: Final = 1.0
"""A peer that sends no more is asked so often whether it still listens."""


async def serve_client(desk: Desk, handlers: Mapping[str, Handler], stream: trio.SocketStream, peer: Peer) -> None:
    """Until the peer closes, or does what ends its connection."""
    try:
        async with trio.open_nursery() as nursery:
            connection = ClientConnection(desk, handlers, stream, peer, nursery)
            try:
                await connection.serve()
            finally:
                with trio.move_on_after(LAST_WORD_S, shield=True):
                    await connection.flush()
            nursery.cancel_scope.cancel()
    except* (trio.BrokenResourceError, trio.ClosedResourceError, PeerStalled) as group:
        logger.info("connection of pid %d ended: %s", peer.pid, group.exceptions[0])


class ClientConnection:
    """The state of one connection; it lives in the nursery of `serve_client`."""

    def __init__(
        self, desk: Desk, handlers: Mapping[str, Handler], stream: trio.SocketStream, peer: Peer, nursery: trio.Nursery
    ) -> None:
        self._desk = desk
        self._stream = stream
        self._peer = peer
        self._nursery = nursery
        self._dispatcher = Dispatcher(handlers, Call(desk=desk, caller=self))
        self._rpc = Connection(codec.parse, codec.encode, line_limit_bytes=REQUEST_LINE_BYTES)
        self._out = Outgoing(stream)
        self._by: By | None = None
        self.reading = trio.Lock()
        self._subscriptions: dict[int, trio.CancelScope] = {}
        self._last_subscription = 0
        self._waiting = 0
        self._ended = trio.lowlevel.ParkingLot()

    # --- as a handler sees it ---

    def by(self) -> By:
        if self._by is None:
            self._by = by_of(self._peer, self._desk.hub.state, self._desk.hub.session.name)
        return self._by

    def new_subscription(self) -> U64:
        self.refuse_too_many()
        self._last_subscription += 1
        self._subscriptions[self._last_subscription] = trio.CancelScope()
        return U64(self._last_subscription)

    def refuse_too_many(self) -> None:
        if self._waiting + len(self._subscriptions) >= MAX_IN_FLIGHT:
            text = f"{MAX_IN_FLIGHT} requests and subscriptions of this connection wait already: let one end first"
            raise ApiError(ErrorKind.TOO_MANY, text, limit=MAX_IN_FLIGHT)

    def cancel_subscription(self, subscription: U64) -> bool:
        scope = self._subscriptions.pop(subscription, None)
        if scope is not None:
            scope.cancel()
        return scope is not None

    async def send(self, lines: bytes) -> None:
        await self._out.room()
        self._out.put(lines)

    # --- its life ---

    async def serve(self) -> None:
        """Until the peer closes, or sends what ends its connection."""
        self._nursery.start_soon(self._out.run)
        first_line_by = trio.current_time() + FIRST_LINE_SECS
        while True:
            with trio.move_on_at(first_line_by) as patience:
                data = await self._stream.receive_some(RECEIVE_BYTES)
            if patience.cancelled_caught:
                error = ApiError(ErrorKind.REFUSED, f"no complete line within {FIRST_LINE_SECS} s of connecting")
                await self._last_word(encode_error(None, error))
                return
            self._rpc.receive_data(data)
            handled, goes_on = await self._handle_received()
            first_line_by = math.inf if handled else first_line_by
            if not data:
                await self._finish_for_listener()
            if not goes_on or not data:
                return
            await self._out.room()

    async def _finish_for_listener(self) -> None:
        """A peer that sends no more may read on (`printf … | socat - UNIX-CONNECT:…`): what waits is still answered."""
        while (self._waiting or self._subscriptions) and not has_hung_up(self._stream):
            with trio.move_on_after(LISTENS_LOOK_S):
                await self._ended.park()

    async def _handle_received(self) -> tuple[bool, bool]:
        """Answers the complete lines. Whether there were any, and whether the connection goes on."""
        finished: list[Done] = []
        handled, goes_on, size = False, True, 0
        turn_ends = trio.current_time() + TURN_S
        while goes_on and (event := self._rpc.next_event()) is not None:
            handled = True
            if trio.current_time() >= turn_ends:
                await trio.lowlevel.checkpoint()
                turn_ends = trio.current_time() + TURN_S
            if isinstance(event, LineTooLong):
                finished.append(Done(line=encode_error(None, event.error), fatal=True))
            elif isinstance(begun := self._dispatcher.begin(event), Done):
                finished.append(begun)
                size += len(begun.line)
            else:
                self._wait_for(begun)
            goes_on = not (finished and finished[-1].fatal)
            if goes_on and size >= TURN_BYTES:
                await self._reply(finished)
                finished, size = [], 0
                await trio.lowlevel.checkpoint()
                await self._out.room()
        await self._reply(finished)
        return handled, goes_on

    def _wait_for(self, later: Awaitable[Done]) -> None:
        self._waiting += 1
        self._nursery.start_soon(self._reply_later, later)

    async def _reply_later(self, later: Awaitable[Done]) -> None:
        try:
            await self._reply([await later])
        finally:
            self._waiting -= 1
            self._ended.unpark_all()

    async def _reply(self, finished: list[Done]) -> None:
        """Sends what is to be answered once it is on disk, then starts what follows."""
        seq = max((each.seq for each in finished), default=Seq(0))
        if seq > self._desk.hub.log.committed:
            await self._desk.hub.log.commit(seq)
        self._out.put(b"".join([each.line for each in finished]))
        for each in finished:
            for follow in each.follows:
                self._nursery.start_soon(self._follow, follow)
        if any(each.fatal for each in finished):
            await self._last_word(b"")
            self._nursery.cancel_scope.cancel()

    async def _follow(self, follow: Follow) -> None:
        scope = self._subscriptions.get(follow.subscription)
        if scope is None:
            return
        with scope:
            await follow.run()
        self._subscriptions.pop(follow.subscription, None)
        self._ended.unpark_all()

    async def flush(self) -> None:
        """Sends what is answered already, also when the daemon ends."""
        await self._out.flush(LAST_WORD_S)

    async def _last_word(self, line: bytes) -> None:
        self._out.put(line)
        await self._out.flush(LAST_WORD_S)


def has_hung_up(stream: trio.SocketStream) -> bool:
    """Whether the peer neither sends nor reads any more (POLLHUP; a half close is POLLRDHUP alone)."""
    poll = select.poll()
    poll.register(stream.socket.fileno(), 0)
    return any(seen & (select.POLLHUP | select.POLLERR) for _, seen in poll.poll(0))
