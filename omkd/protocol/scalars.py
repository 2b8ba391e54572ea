"""The scalar types of the wire. Each has a strict hook in `codec`: nothing is coerced."""

from typing import TYPE_CHECKING, NewType, TypeAlias

U32 = NewType("U32", int)
U64 = NewType("U64", int)
I32 = NewType("I32", int)
F32 = NewType("F32", float)
"""Rounded to the nearest binary32 when read; written with the fewest digits that read back the same."""

Ns = NewType("Ns", int)
"""Nanoseconds since the Unix epoch. On the wire: RFC 3339, UTC, `Z`, 0/3/6/9 fraction digits."""

HeartbeatNs = NewType("HeartbeatNs", int)
"""As `Ns`, written with `+00:00` in place of `Z`, as upstream's heartbeat has it."""

Seq = NewType("Seq", int)
"""A unit's number in the event log, from 1. On the wire a u64."""

WorkerName = NewType("WorkerName", str)
TaskId = NewType("TaskId", str)
HandoutId = NewType("HandoutId", str)
"""What stands in an inbox line's `id`: the task's id, from the second hand-out on `<task id>.<n>`."""

if TYPE_CHECKING:
    Json: TypeAlias = bool | int | float | str | list["Json"] | dict[str, "Json"] | None
else:
    Json = NewType("Json", object)
"""A JSON value that is kept as it came (serde_json's `Value`)."""
