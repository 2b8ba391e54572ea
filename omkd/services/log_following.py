"""The next units of the log, for services that follow it: what keeps a segment from being read ends none of them."""

import logging
from typing import Final

import trio

from omkd.protocol.scalars import Seq
from omkd.store.event_log import READ_BYTES, READ_UNITS, StoredUnit

from .hub import Hub

logger = logging.getLogger(__name__)

RETRY_S: Final = 1.0
"""A look for a free descriptor costs next to nothing."""


async def units_after(
    hub: Hub, after: Seq, *, max_units: int = READ_UNITS, max_bytes: int = READ_BYTES
) -> list[StoredUnit]:
    """As the log's `read_after`; where the segment cannot be opened (EMFILE and the like), once it can be.

    Raises UnitsUnreadable.
    """
    failed = False
    while True:
        try:
            found = hub.log.read_after(after, max_units=max_units, max_bytes=max_bytes)
        except OSError as error:
            failed = True
            if hub.retried.note(hub.session.events, str(error), hub.now()):
                logger.warning("the log cannot be read, tried again: %s", error)
            await trio.sleep(RETRY_S)
        else:
            if failed:
                hub.retried.clear(hub.session.events)
            return found
