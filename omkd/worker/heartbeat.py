"""`heartbeat.json`: that the host lives, and what it does. Replaced every 10 s and at each change; not synced."""

import logging
import os
import time
from typing import Final

from omkd.protocol import codec
from omkd.protocol.records import Heartbeat
from omkd.protocol.scalars import U64, HandoutId, HeartbeatNs
from omkd.protocol.version import __version__
from omkd.store.files import atomic_write
from omkd.store.session import WorkerDir

log = logging.getLogger(__name__)

PERIOD_S: Final = 10.0

READY: Final = "ready"
BUSY: Final = "busy"
STOPPED: Final = "stopped"


def write_heartbeat(worker: WorkerDir, status: str, handout: HandoutId | None) -> None:
    """A full disk costs the heartbeat, not the run: it is logged."""
    beat = Heartbeat(
        status=status,
        name=worker.name,
        ts=HeartbeatNs(time.time_ns()),
        pid=U64(os.getpid()),
        version=__version__,
        handout=handout,
    )
    try:
        atomic_write(worker.heartbeat, codec.dumps(beat), sync=False)
    except OSError as error:
        log.warning("%s not written: %s", worker.heartbeat.name, error)
