"""Units of the event log and lines of the escalation log in words."""

from collections.abc import Mapping

from .json_text import Object, to_text
from .render import Output, one_line
from .shapes import Escalation, Unit

VALUE_CHARS = 60
KIND_CHARS = 17
"""Of the longest kind, router_escalation."""


def unit_line(unit: Unit, out: Output) -> str:
    """`12  10:11:12  coder  TaskStarted task_id=t1 handout=1; WorkerStarted worker_id=coder …`"""
    events = "; ".join(map(event_text, unit["events"]))
    return f"{unit['seq']:>6}  {out.time(unit['ts'])}  {one_line(speaker(unit['by']))}  {events}"


def speaker(by: dict[str, object]) -> str:
    """Who brought it, short: `coder`, `pid 4711 (client)`, `omkd`."""
    match by:
        case {"kind": "worker", "worker": name}:
            return str(name)
        case {"kind": kind, "pid": pid}:
            return f"pid {pid} ({kind})"
        case _:
            return str(by.get("kind"))


def event_text(event: object) -> str:
    """The name and the fields, short."""
    match event:
        case {**items} if len(items) == 1:
            name, value = next(iter(items.items()))
            fields = value if isinstance(value, Mapping) else {"value": value}
            pairs = [f"{key}={short(item)}" for key, item in fields.items() if item is not None]
            return " ".join([one_line(str(name)), *pairs])
        case _:
            return short(event)


def short(value: object) -> str:
    return one_line(value if isinstance(value, str) else to_text(value), VALUE_CHARS)


def escalation_line(escalation: Escalation, out: Output) -> str:
    """`    12  10:11:12  failed             coder stalled: no sign of life for 61s`"""
    entry = escalation["entry"]
    goal = f" [{one_line(entry['goal_id'])}]" if entry["goal_id"] else ""
    kind = out.styled(entry["kind"], KIND_CHARS)
    return f"{escalation['seq']:>6}  {out.time(entry['ts'])}  {kind}  {one_line(entry['summary'])}{goal}"


def escalation_object(escalation: Object) -> Object:
    """The entry's own fields in their order, then `seq`: the log's line but for the last key."""
    entry = escalation["entry"]
    fields = entry if isinstance(entry, dict) else {}
    return {**fields, "seq": escalation["seq"]}
