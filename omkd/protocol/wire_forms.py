"""What a class looks like on the wire: its fields' names and order, its tag. Read off the class, in one place.

Three forms. A class of one of the tagged unions is always written with its tag, wherever it stands: `"Variant"` without
fields, `{"Variant":value}` if its only field is called `value`, else `{"Variant":{…}}`. A class with a `KIND` is an
object that begins with `"kind"`. Every other class is an object.
"""

from collections.abc import Mapping
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Final, Union, get_args, get_origin

import attrs
from attrs import frozen

from .events import Event, GoalEvent, Target
from .records import ApprovalPolicy, ControlLine

TAGGED_CLASSES: Final[frozenset[type]] = frozenset(
    cls for union in (Event, GoalEvent, Target, ApprovalPolicy, ControlLine) for cls in get_args(union)
)
KIND_KEY: Final = "kind"


@frozen(kw_only=True)
class WireField:
    attribute: str
    key: str
    type: Any
    required: bool
    omit_none: bool
    """Left out when None; else written always."""


def wire_fields(cls: type) -> list[WireField]:
    """In wire order. (attrs gives a class's own fields in the order they are written down.)"""
    renamed: Mapping[str, str] = getattr(cls, "RENAMED", {})
    omitted: frozenset[str] = getattr(cls, "OMIT_NONE", frozenset())
    return [
        WireField(
            attribute=attribute.name,
            key=renamed.get(attribute.name, attribute.name),
            type=attribute.type,
            required=attribute.default is attrs.NOTHING,
            omit_none=attribute.name in omitted,
        )
        for attribute in attrs.fields(cls)
    ]


def tag_of(cls: type) -> str:
    return str(getattr(cls, "TAG", cls.__name__))


def kind_of(cls: type) -> str | None:
    kind: str | None = getattr(cls, "KIND", None)
    return kind


def is_newtype_variant(cls: type) -> bool:
    """`{"Variant":value}`"""
    return [field.attribute for field in wire_fields(cls)] == ["value"]


def is_list(type_: Any) -> bool:
    return _origin(type_) is list


def is_dict(type_: Any) -> bool:
    return _origin(type_) is dict


def is_enum(type_: Any) -> bool:
    return isinstance(type_, type) and issubclass(type_, Enum)


def is_union(type_: Any) -> bool:
    return _origin(type_) in (Union, UnionType)


def members_of(union: Any) -> tuple[tuple[Any, ...], bool]:
    """A union's members without None, and whether None is one."""
    members = tuple(member for member in get_args(union) if member is not NoneType)
    return members, NoneType in get_args(union)


def _origin(type_: Any) -> Any:
    return get_origin(type_)
