"""Which units and escalations a caller asked for."""

from collections.abc import Container

from omkd.core.about import is_about
from omkd.protocol.escalation import entry_from_event, needs_person
from omkd.protocol.events import Unit
from omkd.protocol.methods import Escalation, EscalationListParams, EscalationTailParams, EventFilter
from omkd.protocol.scalars import Seq
from omkd.store.event_log import StoredUnit


def unit_matches(wanted: EventFilter, unit: Unit) -> bool:
    """A unit passes whole when one of its events has a wanted type, and it is about a wanted worker."""
    if wanted.types and not any(type(event).__name__ in wanted.types for event in unit.events):
        return False
    return not wanted.workers or any(is_about(event, unit.by, wanted.workers) for event in unit.events)


def escalations_in(
    wanted: EscalationListParams | EscalationTailParams, stored: StoredUnit, unacked: Container[Seq]
) -> list[Escalation]:
    """The wanted lines of the escalation log that a unit is."""
    if wanted.unacked and stored.seq not in unacked:
        return []
    found: list[Escalation] = []
    for event in stored.unit.events:
        entry = entry_from_event(event, stored.unit.ts)
        if entry is None or (wanted.kinds and entry.kind not in wanted.kinds):
            continue
        if wanted.unacked and not needs_person(event):
            continue
        if not wanted.workers or is_about(event, stored.unit.by, wanted.workers):
            found.append(Escalation(seq=stored.seq, entry=entry))
    return found
