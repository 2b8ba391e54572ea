"""A subscription: a position in the log. It costs no memory, holds nobody up, and loses nothing."""

from collections.abc import Callable
from typing import Final

import trio

from omkd.protocol import codec
from omkd.protocol.jsonrpc import Connection
from omkd.protocol.methods import GapNotification
from omkd.protocol.scalars import U64, Seq
from omkd.store.event_log import EventLog, StoredUnit, UnitsUnreadable

from .calls import Call

UNITS_A_STEP: Final = 500
BYTES_A_STEP: Final = 512 * 1024
"""Of the past in one step: then others have their turn, and the peer must have read most of it."""


async def follow_units(call: Call, subscription: U64, after: Seq, lines: Callable[[StoredUnit], bytes]) -> None:
    """Sends the lines of each unit above `after`, first of the past, then live, until cancelled.

    Units that are gone are told by a `gap` notification: those that retention cut, also when it overtakes a reader
    that is slow; those that cannot be read, or could not and were taken out by a repair.
    """
    log = call.hub.log
    while True:
        units, readable_from = read_on(log, after)
        if readable_from is not None and readable_from > after + 1:
            gap = GapNotification(subscription=subscription, first=Seq(after + 1), last=Seq(readable_from - 1))
            await call.caller.send(Connection.encode_notification_raw("gap", codec.dumps(gap)))
            after = gap.last
        if not units:
            await log.wait_beyond(after)
            continue
        after = units[-1].seq
        wanted = b"".join([lines(stored) for stored in units])
        if wanted:
            await call.caller.send(wanted)
        await trio.lowlevel.checkpoint()


def read_on(log: EventLog, after: Seq) -> tuple[list[StoredUnit], Seq | None]:
    """What follows up to the next gap, and which unit that begins with; None: there is nothing yet."""
    try:
        units = log.read_after(after, max_units=UNITS_A_STEP, max_bytes=BYTES_A_STEP)
    except UnitsUnreadable as damage:
        return [], damage.readable_from
    if not units:
        return [], None
    first = units[0].seq
    if units[-1].seq - first >= len(units):
        units = [stored for place, stored in enumerate(units) if stored.seq - first == place]
    return units, first
