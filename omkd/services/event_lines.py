"""Log -> the daemon's own log lines: one for each unit that came from outside, and each that a person may look for.

A reader of committed units like any other: the hot path does not know it. Texts of tasks are not in the lines.
"""

import logging

from omkd.core.about import workers_of
from omkd.protocol.escalation import entry_from_event, needs_person
from omkd.protocol.events import By, ByClient, ByOmkd, ByUnknown, ByWorker, Event, Unit
from omkd.protocol.scalars import Seq

from .hub import Hub
from .log_following import units_after

logger = logging.getLogger(__name__)


async def run_event_lines(hub: Hub) -> None:
    """Runs until cancelled, from what is on disk now on."""
    seen = Seq(hub.log.committed)
    while True:
        await hub.log.wait_beyond(seen)
        for stored in await units_after(hub, seen):
            seen = stored.seq
            asks = [event for event in stored.unit.events if needs_person(event)]
            level = level_of(stored.unit.by, asks)
            if logger.isEnabledFor(level):
                logger.log(level, "%s", line_of(stored.unit, asks))


def level_of(by: By, asks: list[Event]) -> int:
    """WARNING: it needs a person; INFO: it came from outside; DEBUG: it is omkd's own doing."""
    if asks:
        return logging.WARNING
    return logging.DEBUG if isinstance(by, ByOmkd) else logging.INFO


def line_of(unit: Unit, asks: list[Event]) -> str:
    """`unit 12 by pid 4711: TaskQueued t12`; of an event in `asks` also what it says."""
    words = [event_words(event, unit, asks=event in asks) for event in unit.events]
    return f"unit {unit.seq} by {by_words(unit.by)}: {'; '.join(words)}"


def event_words(event: Event, unit: Unit, *, asks: bool) -> str:
    task = getattr(event, "task_id", None)
    words = [type(event).__name__, *([str(task)] if task else []), *sorted(workers_of(event, unit.by))]
    entry = entry_from_event(event, unit.ts) if asks else None
    return " ".join(words) + (f" ({entry.summary})" if entry else "")


def by_words(by: By) -> str:
    match by:
        case ByOmkd():
            return "omkd"
        case ByWorker(worker=worker):
            return f"worker {worker}"
        case ByClient(pid=pid):
            return f"pid {pid}"
        case ByUnknown(pid=pid):
            return f"unknown pid {pid}"
