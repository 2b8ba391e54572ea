"""Finished tasks that are no longer in memory, read from the log by `older/` (design, §2)."""

import logging
from collections.abc import Iterable

from attrs import frozen

from omkd.core.image import task_from
from omkd.core.task_entry import TaskEntry
from omkd.protocol.events import Unit
from omkd.protocol.scalars import Seq, TaskId
from omkd.store.older_index import find_older, older_before

from .hub import Hub

logger = logging.getLogger(__name__)


@frozen(kw_only=True)
class OlderTask:
    """Where a task is read from; `units[0]` queued it."""

    id: TaskId
    units: list[Seq]

    @property
    def seq(self) -> Seq:
        return self.units[0]


def older_task(hub: Hub, task_id: TaskId) -> TaskEntry | None:
    """None when there never was one, or retention took it. It does not change; to be asked for again it is queued anew.

    Costs a search of the index (5 ms for a million tasks) and four reads of the log. Raises UnitsUnreadable.
    """
    units = units_of(hub, task_id)
    return None if units is None else read_task(hub, task_id, units)


def is_older(hub: Hub, task_id: TaskId) -> bool:
    """Whether a task of this id has left memory. Costs a search of the index, and no read of the log."""
    return units_of(hub, task_id) is not None


def units_of(hub: Hub, task_id: TaskId) -> list[Seq] | None:
    """What an older task is read from; None when there is none."""
    passed = hub.state.ledger.passed.get(task_id)
    if passed is not None:
        return passed.units
    try:
        row = find_older(hub.session.older, task_id)
    except (OSError, ValueError) as fault:
        logger.warning("%s cannot be read, older tasks are not found: %s", hub.session.older, fault)
        return None
    return None if row is None else row.units


def older_tasks(hub: Hub, bound: Seq, count: int) -> list[OlderTask]:
    """The `count` older tasks queued last below unit `bound`, newest first."""
    found = {each.id: each.units for each in hub.state.ledger.passed.values() if each.units[0] < bound}
    try:
        for row in older_before(hub.session.older, bound, count):
            found.setdefault(row.id, row.units)
    except (OSError, ValueError) as fault:
        logger.warning("%s cannot be read, older tasks are not listed: %s", hub.session.older, fault)
    older = [OlderTask(id=each, units=units) for each, units in found.items() if each not in hub.state.ledger.tasks]
    return sorted(older, key=lambda task: task.seq, reverse=True)[:count]


def read_task(hub: Hub, task_id: TaskId, seqs: Iterable[Seq]) -> TaskEntry | None:
    """The task that these units make; None when the log no longer has them all: it would seem not to have ended.

    Raises UnitsUnreadable.
    """
    units: list[Unit] = []
    for seq in seqs:
        found = hub.log.unit_at(seq)
        if found is None:
            return None
        units.append(found.unit)
    return task_from(task_id, units)
