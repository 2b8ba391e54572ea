"""What of the event log is kept: everything, or so many bytes, or so many days (design, §2).

Only whole segments go, the oldest first, and only those below the older snapshot and below what the escalation writer
would read again at a start. Nobody else is waited for: a subscriber that asks for what is gone is told a gap.
"""

import logging
from typing import Final

from attrs import frozen

from omkd.protocol.scalars import Seq
from omkd.store.files import sync_dir
from omkd.store.older_index import drop_older

from .hub import Hub

logger = logging.getLogger(__name__)

NS_PER_DAY: Final = 24 * 3600 * 1_000_000_000


@frozen(kw_only=True)
class Retention:
    """None: no limit. `keep_bytes` counts all segments, `keep_days` from a segment's last unit."""

    keep_bytes: int | None = None
    keep_days: int | None = None


def cut(hub: Hub, retention: Retention, *, below: Seq, saved: Seq) -> int:
    """How many segments went. `below`: the older snapshot's unit, `saved`: the escalation writer's. Raises OSError."""
    if (retention.keep_bytes is None and retention.keep_days is None) or hub.readers_of_files:
        return 0
    number = 0
    closed = hub.log.closed_segments
    sizes = [path.stat().st_size for path, _ in closed]
    total = sum(sizes) + hub.log.active_bytes
    for (path, last), size in zip(closed, sizes, strict=True):
        if last > min(below, saved) or not is_too_much(hub, retention, total, last):
            break
        hub.log.drop_oldest_segment()
        logger.info("retention: %s is removed, units up to %d are gone", path, last)
        total -= size
        number += 1
    if number:
        sync_dir(hub.session.events)
        drop_older(hub.session.older, below=hub.log.first_seq)
        forget_unacked(hub)
    return number


def forget_unacked(hub: Hub) -> None:
    """What needs a person and is gone can no longer be shown to one: it is not counted as waiting either.

    To be called at a start, too: its snapshot may be older than the cut.
    """
    for seq in [seq for seq in hub.state.unacked if seq < hub.log.first_seq]:
        del hub.state.unacked[seq]


def is_too_much(hub: Hub, retention: Retention, total: int, last: Seq) -> bool:
    if retention.keep_bytes is not None and total > retention.keep_bytes:
        return True
    if retention.keep_days is None:
        return False
    following = hub.log.first_readable(last)  # damage below a snapshot is nobody's end: a later unit keeps longer
    return following is not None and following.unit.ts < hub.now() - retention.keep_days * NS_PER_DAY
