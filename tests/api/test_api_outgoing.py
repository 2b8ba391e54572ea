"""What a connection has to send: whole lines, in order, bounded; over a real socket pair."""

import pytest
import trio
import trio.testing

from omkd.api.outgoing import Outgoing
from omkd.protocol.limits import UNREAD_OUTPUT_BYTES

DEADLINE_S = 20
LINE = b"x" * 99_999 + b"\n"


def pair() -> tuple[trio.SocketStream, trio.SocketStream]:
    ours, theirs = trio.socket.socketpair()
    return trio.SocketStream(ours), trio.SocketStream(theirs)


async def received(stream: trio.SocketStream, size: int) -> bytes:
    data = bytearray()
    while len(data) < size:
        data += await stream.receive_some(1 << 20)
    return bytes(data)


async def test_everyone_who_waits_for_room_goes_on_when_there_is_some() -> None:
    """A waiter that was forgotten when a second one came stayed for ever."""
    ours, theirs = pair()
    out, went_on = Outgoing(ours), []

    async def wait(name: str) -> None:
        await out.room()
        went_on.append(name)

    with trio.fail_after(DEADLINE_S):
        async with ours, theirs, trio.open_nursery() as nursery:
            out.put(b"x" * (2 * UNREAD_OUTPUT_BYTES))
            async with trio.open_nursery() as waiters:
                nursery.start_soon(out.run)
                for name in ("first", "second", "third"):
                    waiters.start_soon(wait, name)
                await trio.testing.wait_all_tasks_blocked()
                assert went_on == []
                await received(theirs, 2 * UNREAD_OUTPUT_BYTES)
            assert sorted(went_on) == ["first", "second", "third"]
            nursery.cancel_scope.cancel()


async def test_a_last_word_does_not_come_between_what_is_being_sent() -> None:
    ours, theirs = pair()
    out = Outgoing(ours)
    with trio.fail_after(DEADLINE_S):
        async with ours, theirs, trio.open_nursery() as nursery:
            out.put(LINE * 20)
            nursery.start_soon(out.run)
            await trio.testing.wait_all_tasks_blocked()
            out.put(b"last\n")
            nursery.start_soon(out.flush, DEADLINE_S)
            await trio.testing.wait_all_tasks_blocked()
            assert await received(theirs, len(LINE) * 20 + 5) == LINE * 20 + b"last\n"
            nursery.cancel_scope.cancel()


async def test_what_a_cancelled_sender_had_left_is_flushed() -> None:
    ours, theirs = pair()
    out = Outgoing(ours)
    with trio.fail_after(DEADLINE_S):
        async with ours, theirs, trio.open_nursery() as nursery:
            async with trio.open_nursery() as sender:
                out.put(LINE * 20)
                sender.start_soon(out.run)
                await trio.testing.wait_all_tasks_blocked()
                sender.cancel_scope.cancel()
            out.put(b"last\n")
            nursery.start_soon(out.flush, DEADLINE_S)
            assert await received(theirs, len(LINE) * 20 + 5) == LINE * 20 + b"last\n"


async def test_a_flush_gives_up_on_a_peer_that_reads_nothing() -> None:
    ours, theirs = pair()
    out = Outgoing(ours)
    out.put(LINE * 20)
    with trio.fail_after(DEADLINE_S):
        async with ours, theirs:
            await out.flush(0.05)


async def test_a_peer_that_is_gone_ends_the_connection_and_is_no_fault_of_ours() -> None:
    ours, theirs = pair()
    out = Outgoing(ours)
    await theirs.aclose()
    out.put(LINE)
    with trio.fail_after(DEADLINE_S), pytest.raises(trio.BrokenResourceError):
        async with ours:
            await out.run()
