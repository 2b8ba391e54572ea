"""What a connection has to send: queued whole lines, sent joined, bounded."""

import trio

from omkd.protocol.limits import UNREAD_OUTPUT_BYTES, WRITE_STALL_SECS


class PeerStalled(Exception):
    """The peer read nothing for too long while output waited."""


class Outgoing:
    """`put` never waits; `room` waits until the peer has read enough. `run` sends until the connection ends."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._lines: list[bytes] = []
        self._queued_bytes = 0
        self._something = trio.Event()
        self._room = trio.lowlevel.ParkingLot()
        self._sending = trio.Lock()

    def put(self, lines: bytes) -> None:
        if lines:
            self._lines.append(lines)
            self._queued_bytes += len(lines)
            self._something.set()

    async def room(self) -> None:
        """Returns once less than 4 MiB wait to be read."""
        while self._queued_bytes >= UNREAD_OUTPUT_BYTES:
            await self._room.park()

    async def run(self) -> None:
        """Raises PeerStalled, trio.BrokenResourceError, trio.ClosedResourceError."""
        while True:
            await self._something.wait()
            await self._send_queued()

    async def flush(self, timeout_s: float) -> None:
        """Sends what is queued, as far as the peer takes it in that time."""
        with trio.move_on_after(timeout_s):
            await self._send_queued()

    async def _send_queued(self) -> None:
        """Cancelled, what was not sent stays queued: a line is never left half sent by us."""
        async with self._sending:  # `flush` may come while `run` is in the middle of a line
            await self._send_all_queued()

    async def _send_all_queued(self) -> None:
        remaining, self._lines = memoryview(b"".join(self._lines)), []
        self._something = trio.Event()
        try:
            while remaining:
                sent = await self._send_some(remaining)
                remaining = remaining[sent:]
                self._queued_bytes -= sent
                if self._queued_bytes < UNREAD_OUTPUT_BYTES:
                    self._room.unpark_all()
        finally:
            if remaining:
                self._lines.insert(0, bytes(remaining))

    async def _send_some(self, data: memoryview) -> int:
        with trio.move_on_after(WRITE_STALL_SECS):
            try:
                return await self._stream.socket.send(data)
            except OSError as error:
                raise trio.BrokenResourceError(str(error)) from error
        raise PeerStalled(f"read nothing for {WRITE_STALL_SECS} s, {self._queued_bytes} bytes wait")
