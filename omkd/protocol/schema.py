"""JSON Schema of the wire types, derived from the classes that `codec` reads and writes.

One rule: what stands in a class (type, default, `says`) is said there only; OpenRPC document and docs follow from it.
"""

import inspect
from enum import Enum
from functools import reduce
from operator import or_
from typing import Any, Final, NewType, get_args, get_origin

import attrs

from . import events, records
from .scalars import F32, I32, U32, U64, HandoutId, HeartbeatNs, Json, Ns, Seq, TaskId, WorkerName
from .wire_forms import (
    KIND_KEY,
    TAGGED_CLASSES,
    is_newtype_variant,
    is_union,
    kind_of,
    members_of,
    tag_of,
    wire_fields,
)

Schema = dict[str, Any]
WireType = Any
"""A class, a NewType, a union, or `list[…]` and `dict[str, …]` of those: what may stand in an annotation."""

NAME_PATTERN: Final = "^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$"
TIME: Final[Schema] = {"type": "string", "format": "date-time"}
U64_SCHEMA: Final[Schema] = {"type": "integer", "format": "uint64", "minimum": 0, "maximum": 2**64 - 1}

SCALARS: Final[dict[WireType, Schema]] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    U32: {"type": "integer", "format": "uint32", "minimum": 0, "maximum": 2**32 - 1},
    I32: {"type": "integer", "format": "int32", "minimum": -(2**31), "maximum": 2**31 - 1},
    U64: U64_SCHEMA,
    Seq: U64_SCHEMA,
    F32: {"type": "number", "format": "float"},
    Ns: TIME,
    HeartbeatNs: TIME,
    WorkerName: {"type": "string", "pattern": NAME_PATTERN},
    TaskId: {"type": "string", "pattern": NAME_PATTERN},
    HandoutId: {"type": "string"},
    Json: {},
}

UNION_NAMES: Final = {
    frozenset(get_args(alias)): name
    for module in (records, events)
    for name, alias in vars(module).items()
    if is_union(alias)
}
"""The unions that have a name, by their members."""


class Schemas:
    """Collects the schemas of named types, as they are referred to, under `components`."""

    def __init__(self) -> None:
        self.components: dict[str, Schema] = {}

    def schema_for(self, wire_type: WireType) -> Schema:
        """The schema of a value of this type; a named type's is a reference, the type is in `components` then."""
        if isinstance(wire_type, NewType) or wire_type in SCALARS:
            return dict(SCALARS[wire_type])
        origin: object = get_origin(wire_type)
        arguments = get_args(wire_type)
        if origin is list:
            return {"type": "array", "items": self.schema_for(arguments[0])}
        if origin is dict:
            return {"type": "object", "additionalProperties": self.schema_for(arguments[1])}
        if is_union(wire_type):
            return self._union(wire_type)
        if wire_type in TAGGED_CLASSES:
            return self.variant_of(wire_type)
        return self._named(wire_type.__name__, wire_type)

    def properties_of(self, cls: type) -> dict[str, Schema]:
        """A class's fields by their name on the wire, each with its description and default."""
        return {wire.key: self._field(at) for wire, at in zip(wire_fields(cls), attrs.fields(cls), strict=True)}

    def _union(self, union: WireType) -> Schema:
        members, optional = members_of(union)
        if not optional:
            return self._named(UNION_NAMES[frozenset(members)], union)
        schema = self.schema_for(reduce(or_, members))
        if "type" in schema:
            return {**schema, "type": [schema["type"], "null"]}
        return {"oneOf": [schema, {"type": "null"}]}

    def _named(self, name: str, meant: WireType) -> Schema:
        if name not in self.components:
            self.components[name] = {}  # so that a type that holds itself ends
            self.components[name] = self._definition(meant)
        return {"$ref": f"#/components/schemas/{name}"}

    def _definition(self, meant: WireType) -> Schema:
        if is_union(meant):
            return {"oneOf": [self.variant_of(member) for member in members_of(meant)[0]]}
        if issubclass(meant, Enum):
            return {**described(meant), "type": "string", "enum": [member.value for member in meant]}
        return self._object(meant)

    def _object(self, cls: type) -> Schema:
        kind = kind_of(cls)
        tagged: Schema = {} if kind is None else {KIND_KEY: {"const": kind}}
        properties, required = tagged | self.properties_of(cls), [*tagged, *required_of(cls)]
        schema = {**described(cls), "type": "object", "properties": properties}
        return {**schema, "required": required} if required else schema

    def variant_of(self, cls: type) -> Schema:
        """A class of a union, with what tells it from the others."""
        if cls not in TAGGED_CLASSES:
            return self._object(cls)
        if not attrs.fields(cls):
            return {**described(cls), "const": tag_of(cls)}
        content = self._field(attrs.fields(cls)[0]) if is_newtype_variant(cls) else self._named(cls.__name__, cls)
        return {
            **described(cls),
            "type": "object",
            "properties": {tag_of(cls): content},
            "required": [tag_of(cls)],
            "additionalProperties": False,
        }

    def _field(self, at: "attrs.Attribute[Any]") -> Schema:
        schema = self.schema_for(at.type)
        if "says" in at.metadata:
            schema["description"] = at.metadata["says"]
        if at.default is not attrs.NOTHING:
            schema["default"] = wire_default(at.default)
        return schema


def required_of(cls: type) -> list[str]:
    return [at.key for at in wire_fields(cls) if at.required]


def described(cls: type) -> Schema:
    """The first paragraph of a class's own docstring, on one line."""
    text = inspect.cleandoc(cls.__dict__.get("__doc__") or "")
    first = " ".join(text.partition("\n\n")[0].split())
    return {"description": first} if first else {}


def wire_default(default: Any) -> Any:
    """A default as it stands on the wire."""
    match default:
        case Enum():
            return default.value
        case None | bool() | int() | float() | str() | list() | dict():
            return default
        case _ if hasattr(default, "factory"):
            return wire_default(default.factory())
        case _ if not attrs.fields(type(default)):
            return tag_of(type(default))
        case _:
            return attrs.asdict(default)
