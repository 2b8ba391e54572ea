"""Bytes <-> typed values: the one strict codec of everything that crosses a process or a restart.

`loads` and `dumps` for a line; `parse` and `encode` for plain JSON, `structure` and `unstructure` between the two.
Hooks of the records and events are built on import; those of other classes (the API's methods) when first asked for.
"""

from types import UnionType
from typing import Any, Final, TypeVar, overload

from .escalation import EscalationLogEntry
from .events import Event, Unit
from .json_text import CodecError, FaultKind, encode, parse, to_utf8, write_pretty
from .records import (
    ControlLine,
    Heartbeat,
    InboxLine,
    LockHolder,
    OutboxLine,
    Runner,
    RunRecord,
    WorkerResult,
    WorkerSpec,
    WorkerTask,
)
from .scalars import Json
from .structuring import strict_converter
from .unstructuring import register_unstructure_hooks
from .writing import writer_for

__all__ = [
    "CodecError",
    "FaultKind",
    "dumps",
    "dumps_pretty",
    "encode",
    "loads",
    "parse",
    "structure",
    "unstructure",
]

T = TypeVar("T")

_TOLERANT: Final = strict_converter(forbid_unknown=False)
_FORBIDDING: Final = strict_converter(forbid_unknown=True)
register_unstructure_hooks(_TOLERANT)


@overload
def loads(data: bytes | str, cls: type[T]) -> T: ...
@overload
def loads(data: bytes | str, cls: UnionType) -> Any: ...
def loads(data: bytes | str, cls: Any) -> Any:
    """A JSON text as a value of a class, or of a tagged union (`event: Event = loads(line, Event)`).

    Unknown fields are ignored. Raises CodecError.
    """
    return _TOLERANT.get_structure_hook(cls)(parse(data), cls)


def dumps(value: Any) -> bytes:
    """One line of JSON without its newline. Raises CodecError for what has no JSON form (a lone surrogate)."""
    cls: Any = type(value)
    return to_utf8(writer_for(cls)(value))


def dumps_pretty(value: Any) -> bytes:
    """The form of `worker-spec.json`: two spaces a level, no final newline."""
    return to_utf8(write_pretty(parse(dumps(value))))


@overload
def structure(value: Json, cls: type[T], *, forbid_unknown: bool = False) -> T: ...
@overload
def structure(value: Json, cls: UnionType, *, forbid_unknown: bool = False) -> Any: ...
def structure(value: Json, cls: Any, *, forbid_unknown: bool = False) -> Any:
    """A plain value, as `parse` makes it, as a value of a class. Raises CodecError."""
    converter = _FORBIDDING if forbid_unknown else _TOLERANT
    return converter.get_structure_hook(cls)(value, cls)


def unstructure(value: Any) -> Any:
    """The plain value of a typed one (or of a list of them), for `encode`: times are text, classes are dicts."""
    return _TOLERANT.unstructure(value)


def _build_hooks() -> None:
    for cls in (
        ControlLine,
        EscalationLogEntry,
        Event,
        Heartbeat,
        InboxLine,
        LockHolder,
        OutboxLine,
        Runner,
        RunRecord,
        Unit,
        WorkerResult,
        WorkerSpec,
        WorkerTask,
    ):
        _TOLERANT.get_structure_hook(cls)
        writer_for(cls)


_build_hooks()
