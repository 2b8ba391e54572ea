"""Typed -> JSON text, and typed -> plain values: two trees of small functions, built from the types once.

Text is written straight from the object: the C encoder of `json` has no f32 and writes floats in another notation.
"""

from collections.abc import Callable
from functools import cache, reduce
from operator import or_
from typing import Any, Final, NewType, get_args

import attrs

from .json_text import I64_MIN, U64_MAX, CodecError, format_f32, format_f64, quote, write
from .scalars import F32, I32, U32, U64, HeartbeatNs, Json, Ns, Seq
from .strict_scalars import FREE_JSON_DEPTH
from .timestamps import format_heartbeat_ns, format_ns
from .wire_forms import (
    KIND_KEY,
    TAGGED_CLASSES,
    is_dict,
    is_enum,
    is_list,
    is_newtype_variant,
    is_union,
    kind_of,
    members_of,
    tag_of,
    wire_fields,
)

Writer = Callable[[Any], str]


@cache
def writer_for(type_: Any) -> Writer:
    """Compact JSON text of a value of this type."""
    if type_ in SCALAR_WRITERS:
        return SCALAR_WRITERS[type_]
    if isinstance(type_, NewType):
        return writer_for(type_.__supertype__)
    if is_union(type_):
        return _union_writer(type_)
    if is_list(type_):
        return _list_writer(writer_for(get_args(type_)[0]))
    if is_dict(type_):
        return _dict_writer(writer_for(get_args(type_)[1]))
    if is_enum(type_):
        return lambda member: quote(member.value)
    if attrs.has(type_):
        return _class_writer(type_)
    raise TypeError(f"{type_!r} has no wire form")


def _whole_number_writer(lowest: int, highest: int) -> Writer:
    """A number that could not be read again has no form."""

    def write_number(value: int) -> str:
        if lowest <= value <= highest:
            return int.__repr__(value)
        raise CodecError(f"expected a whole number from {lowest} to {highest}, got {value}")

    return write_number


SCALAR_WRITERS: Final[dict[Any, Writer]] = {
    str: quote,
    bool: lambda value: "true" if value else "false",
    int: _whole_number_writer(I64_MIN, U64_MAX),
    U32: _whole_number_writer(0, 2**32 - 1),
    U64: _whole_number_writer(0, U64_MAX),
    Seq: _whole_number_writer(0, U64_MAX),
    I32: _whole_number_writer(-(2**31), 2**31 - 1),
    float: format_f64,
    F32: format_f32,
    Ns: lambda ns: f'"{format_ns(ns)}"',
    HeartbeatNs: lambda ns: f'"{format_heartbeat_ns(ns)}"',
    Json: lambda value: write(value, FREE_JSON_DEPTH - 1),
}


def _list_writer(item: Writer) -> Writer:
    return lambda values: "[" + ",".join([item(value) for value in values]) + "]"


def _dict_writer(item: Writer) -> Writer:
    return lambda values: "{" + ",".join([f"{quote(key)}:{item(value)}" for key, value in values.items()]) + "}"


def _union_writer(union: Any) -> Writer:
    members, optional = members_of(union)
    if optional:
        present = writer_for(reduce(or_, members))
        return lambda value: "null" if value is None else present(value)
    writers = {cls: writer_for(cls) for cls in members}
    return lambda value: writers[type(value)](value)


def _class_writer(cls: type) -> Writer:
    if cls not in TAGGED_CLASSES:
        return _object_writer(cls)
    fields, tag = wire_fields(cls), quote(tag_of(cls))
    if not fields:
        return lambda _: tag
    opening = f"{{{tag}:"
    if is_newtype_variant(cls):
        value_writer = writer_for(fields[0].type)
        return lambda value: f"{opening}{value_writer(value.value)}}}"
    payload = _object_writer(cls)
    return lambda value: f"{opening}{payload(value)}}}"


def _object_writer(cls: type) -> Writer:
    kind = kind_of(cls)
    opening = "{" if kind is None else f"{{{quote(KIND_KEY)}:{quote(kind)}"
    steps = [
        (field.attribute, f"{quote(field.key)}:", writer_for(field.type), field.omit_none) for field in wire_fields(cls)
    ]
    if kind is not None and steps:
        opening += ","

    def write_object(value: Any) -> str:
        texts = [
            key + writer(field)
            for attribute, key, writer, omit_none in steps
            if (field := getattr(value, attribute)) is not None or not omit_none
        ]
        return opening + ",".join(texts) + "}"

    return write_object
