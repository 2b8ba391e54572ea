"""Typed values -> plain ones: the unstructure hooks of the cattrs converter. What stands here mirrors `structuring`."""

from collections.abc import Callable
from enum import Enum
from functools import partial, reduce
from operator import attrgetter, or_
from typing import Any, NewType, get_args

import attrs
from cattrs import Converter

from .json_text import format_f32
from .scalars import F32, HeartbeatNs, Json, Ns
from .timestamps import format_heartbeat_ns, format_ns
from .wire_forms import (
    KIND_KEY,
    TAGGED_CLASSES,
    is_dict,
    is_list,
    is_newtype_variant,
    is_union,
    kind_of,
    members_of,
    tag_of,
    wire_fields,
)

Hook = Callable[[Any], Any]


def register_unstructure_hooks(converter: Converter) -> None:
    """Later hooks come first."""
    converter.register_unstructure_hook_factory(attrs.has, partial(_class_hook, converter))
    converter.register_unstructure_hook(Enum, attrgetter("value"))
    converter.register_unstructure_hook_factory(is_list, partial(_list_hook, converter))
    converter.register_unstructure_hook_factory(is_dict, partial(_dict_hook, converter))
    converter.register_unstructure_hook_factory(is_union, partial(_union_hook, converter))
    converter.register_unstructure_hook_factory(
        lambda type_: isinstance(type_, NewType), lambda type_: converter.get_unstructure_hook(type_.__supertype__)
    )
    converter.register_unstructure_hook(F32, _shortest_f32)
    converter.register_unstructure_hook(Ns, format_ns)
    converter.register_unstructure_hook(HeartbeatNs, format_heartbeat_ns)
    converter.register_unstructure_hook(Json, _as_it_is)


def _as_it_is(value: Any) -> Any:
    return value


def _shortest_f32(value: float) -> float | None:
    """The double that is written with the digits of the binary32."""
    text = format_f32(value)
    return None if text == "null" else float(text)


def _list_hook(converter: Converter, type_: Any) -> Hook:
    item = converter.get_unstructure_hook(get_args(type_)[0])
    return lambda values: [item(value) for value in values]


def _dict_hook(converter: Converter, type_: Any) -> Hook:
    item = converter.get_unstructure_hook(get_args(type_)[1])
    return lambda values: {key: item(value) for key, value in values.items()}


def _union_hook(converter: Converter, union: Any) -> Hook:
    members, optional = members_of(union)
    if not optional:
        return converter.unstructure
    present = converter.get_unstructure_hook(reduce(or_, members))
    return lambda value: None if value is None else present(value)


def _class_hook(converter: Converter, cls: type) -> Hook:
    if cls not in TAGGED_CLASSES:
        return _object_hook(converter, cls)
    fields, tag = wire_fields(cls), tag_of(cls)
    if not fields:
        return lambda _: tag
    if is_newtype_variant(cls):
        value_hook = converter.get_unstructure_hook(fields[0].type)
        return lambda value: {tag: value_hook(value.value)}
    payload = _object_hook(converter, cls)
    return lambda value: {tag: payload(value)}


def _object_hook(converter: Converter, cls: type) -> Hook:
    kind = kind_of(cls)
    head = {} if kind is None else {KIND_KEY: kind}
    steps = [
        (field.attribute, field.key, converter.get_unstructure_hook(field.type), field.omit_none)
        for field in wire_fields(cls)
    ]

    def unstructure(value: Any) -> dict[str, Any]:
        return head | {
            key: hook(field)
            for attribute, key, hook, omit_none in steps
            if (field := getattr(value, attribute)) is not None or not omit_none
        }

    return unstructure
