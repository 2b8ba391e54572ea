"""`heartbeat.json` of a worker -> what was last seen of it. Nothing of it goes into the log."""

import logging
from typing import Final

from omkd.core.roster import WorkerEntry
from omkd.protocol import codec
from omkd.protocol.records import Heartbeat
from omkd.store.files import read_regular

from .hub import Hub

logger = logging.getLogger(__name__)

HEARTBEAT_LIMIT_BYTES: Final = 64 * 1024


def read_heartbeat(hub: Hub, entry: WorkerEntry) -> None:
    """Takes in what the file says; one that is not there or not readable says nothing."""
    path = hub.session.worker(entry.name).heartbeat
    try:
        heartbeat = codec.loads(read_regular(path, HEARTBEAT_LIMIT_BYTES), Heartbeat)
    except (OSError, ValueError) as fault:
        logger.debug("heartbeat %s: %s", path, fault)
        return
    entry.seen.heartbeat, entry.seen.last_sign = heartbeat.status, hub.now()
    hub.work.wake()
