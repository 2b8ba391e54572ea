"""A unit on its way into the log: drafted by a caller, numbered by the log, held to what can be read again."""

from functools import cache
from typing import Any, Final, NewType, get_args

import attrs
from attrs import frozen

from omkd.protocol import codec
from omkd.protocol.events import By, Event, Source, Unit
from omkd.protocol.scalars import F32, Json, Ns, Seq
from omkd.protocol.wire_forms import wire_fields

from .log_errors import UnitRefused

CHANGED_BY_READING: Final = frozenset({F32, Json, float})
"""Types with values that are written in another form than they have: not rounded yet, not finite, nested too deep."""


@frozen(kw_only=True)
class Draft:
    """What is to be recorded as one unit; the log adds number and time."""

    by: By
    events: tuple[Event, ...]
    src: Source | None = None

    def unit(self, seq: Seq, ts: Ns, synced: Seq) -> Unit:
        return Unit(seq=seq, ts=ts, by=self.by, src=self.src, synced=synced, events=list(self.events))


def read_back(unit: Unit) -> tuple[Unit, bytes]:
    """The unit as a later start will read it, and its line. Raises UnitRefused.

    What is written and cannot be read would make the log unreadable from there on, and what is folded now must be what
    is folded then. The writer sees to that for text, whole numbers and times (it refuses what has no form); a unit with
    anything else in it is decoded again from its own bytes, which takes four times as long as to encode it.
    """
    try:
        line = codec.dumps(unit)
        kinds: list[Any] = [type(event) for event in unit.events]
        if any(map(may_change, kinds)):
            return codec.loads(line, Unit), line
    except codec.CodecError as exc:
        raise UnitRefused(str(exc)) from exc
    return unit, line


@cache
def may_change(type_: Any) -> bool:
    """Whether a value of this type, or anything in it, may come back from its own text as another one."""
    if type_ in CHANGED_BY_READING:
        return True
    if isinstance(type_, NewType):
        return may_change(type_.__supertype__)
    if isinstance(type_, type) and attrs.has(type_):
        return any(may_change(field.type) for field in wire_fields(type_))
    return any(may_change(part) for part in get_args(type_))
