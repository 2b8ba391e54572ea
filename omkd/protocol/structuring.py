"""Plain values -> typed: the one strict cattrs converter. Nothing is coerced.

cattrs' own hooks coerce ("3" -> 3, None -> "None"), and its class hooks are source code compiled on import; so every
type has a hook of ours, in which an error also learns its path on the way out. A type without one fails when asked
for, which for records and events is on import.
"""

from collections.abc import Mapping
from enum import Enum
from functools import partial, reduce
from operator import or_
from pathlib import Path
from typing import Any, NewType, get_args

import attrs
from cattrs import Converter

from .json_text import KEPT_CHARS, CodecError, one_line, shown
from .scalars import F32
from .strict_scalars import SCALAR_HOOKS, Hook, f32_or_infinite, nearest, wrong
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


def strict_converter(*, forbid_unknown: bool) -> Converter:
    """Later hooks come first."""
    converter = Converter(detailed_validation=False)
    converter.register_structure_hook_factory(lambda _: True, _refuse_type)
    converter.register_structure_hook_factory(attrs.has, partial(_class_hook, converter, forbid_unknown))
    converter.register_structure_hook_factory(is_enum, _enum_hook)
    converter.register_structure_hook_factory(is_list, partial(_list_hook, converter))
    converter.register_structure_hook_factory(is_dict, partial(_dict_hook, converter))
    converter.register_structure_hook_factory(is_union, partial(_union_hook, converter, forbid_unknown))
    converter.register_structure_hook_factory(
        lambda type_: isinstance(type_, NewType), lambda type_: converter.get_structure_hook(type_.__supertype__)
    )
    for type_, hook in SCALAR_HOOKS.items():
        converter.register_structure_hook(type_, hook)
    for type_ in (bytes, Path):  # these cattrs would make of anything
        converter.register_structure_hook(type_, _refuse_value)
    return converter


def _refuse_type(type_: Any) -> Hook:
    raise TypeError(f"{type_!r} has no wire form")


def _refuse_value(_: Any, type_: Any) -> Any:
    raise TypeError(f"{type_!r} has no wire form")


# --- arrays, objects, null ---------------------------------------------------------------------------------------


def _enum_hook(cls: type[Enum]) -> Hook:
    by_value = {member.value: member for member in cls}

    def hook(value: Any, _: Any) -> Enum:
        if type(value) is not str:
            raise wrong(f"one of {', '.join(by_value)}", value)
        try:
            return by_value[value]
        except KeyError:
            raise CodecError(f"unknown value {shown(value)}{nearest(value, by_value)}") from None

    return hook


def _list_hook(converter: Converter, type_: Any) -> Hook:
    item_hook = converter.get_structure_hook(get_args(type_)[0])

    def hook(value: Any, _: Any) -> list[Any]:
        if type(value) is not list:
            raise wrong("an array", value)
        items: list[Any] = []  # no comprehension: its length is the index in an error
        try:
            for item in value:
                items.append(item_hook(item, None))
        except CodecError as error:
            error.within(len(items))
            raise
        return items

    return hook


def _dict_hook(converter: Converter, type_: Any) -> Hook:
    item_hook = converter.get_structure_hook(get_args(type_)[1])

    def hook(value: Any, _: Any) -> dict[str, Any]:
        if type(value) is not dict:
            raise wrong("an object", value)
        items: dict[str, Any] = {}
        key = ""
        try:
            for key, item in value.items():
                items[key] = item_hook(item, None)
        except CodecError as error:
            error.within(one_line(key[:KEPT_CHARS]))
            raise
        return items

    return hook


def _optional_hook(converter: Converter, members: tuple[Any, ...]) -> Hook:
    inner = reduce(or_, members)
    present = f32_or_infinite if inner is F32 else converter.get_structure_hook(inner)

    def hook(value: Any, _: Any) -> Any:
        return None if value is None else present(value, None)

    return hook


# --- classes -----------------------------------------------------------------------------------------------------


def _class_hook(converter: Converter, forbid_unknown: bool, cls: type) -> Hook:
    if cls in TAGGED_CLASSES or kind_of(cls) is not None:
        return _variants_hook(converter, forbid_unknown, (cls,))
    return _object_hook(converter, forbid_unknown, cls)


def _union_hook(converter: Converter, forbid_unknown: bool, union: Any) -> Hook:
    members, optional = members_of(union)
    if optional:
        return _optional_hook(converter, members)
    return _variants_hook(converter, forbid_unknown, members)


def _variants_hook(converter: Converter, forbid_unknown: bool, members: tuple[Any, ...]) -> Hook:
    if TAGGED_CLASSES.issuperset(members):
        return _tagged_hook(converter, forbid_unknown, members)
    hooks = {}
    for cls in members:
        kind = kind_of(cls)
        if kind is None:
            raise TypeError(f"{cls!r} has no tag in the union of {members!r}")
        hooks[kind] = _object_hook(converter, forbid_unknown, cls)
    return _kind_hook(hooks)


def _object_hook(converter: Converter, forbid_unknown: bool, cls: type) -> Hook:
    fields = wire_fields(cls)
    steps = [(field.key, field.attribute, converter.get_structure_hook(field.type)) for field in fields]
    required = [field.key for field in fields if field.required]
    known = {field.key for field in fields} | ({KIND_KEY} if kind_of(cls) is not None else set())

    def hook(value: Any, _: Any) -> Any:
        if type(value) is not dict:
            raise wrong("an object", value)
        if forbid_unknown and not known.issuperset(value):
            unknown = next(key for key in value if key not in known)
            raise CodecError(f"unknown field {shown(unknown)}{nearest(unknown, known)}")
        arguments = {}
        key = ""
        try:
            for key, attribute, field_hook in steps:
                if key in value:
                    arguments[attribute] = field_hook(value[key], None)
        except CodecError as error:
            error.within(key)
            raise
        if len(arguments) < len(steps):
            _refuse_missing(value, required)
        return cls(**arguments)

    return hook


def _refuse_missing(value: Mapping[str, Any], required: list[str]) -> None:
    for key in required:
        if key not in value:
            raise CodecError(f"missing field {shown(key)}")


def _kind_hook(hooks: Mapping[str, Hook]) -> Hook:
    def hook(value: Any, _: Any) -> Any:
        if type(value) is not dict:
            raise wrong("an object", value)
        if KIND_KEY not in value:
            _refuse_missing(value, [KIND_KEY])
        kind = value[KIND_KEY]
        if type(kind) is not str or kind not in hooks:
            error = wrong(f"one of {', '.join(hooks)}", kind)
            error.within(KIND_KEY)
            raise error
        return hooks[kind](value, None)

    return hook


def _tagged_hook(converter: Converter, forbid_unknown: bool, members: tuple[type, ...]) -> Hook:
    bare = {tag_of(cls): cls() for cls in members if not wire_fields(cls)}
    hooks = {tag_of(cls): _payload_hook(converter, forbid_unknown, cls) for cls in members if wire_fields(cls)}

    def hook(value: Any, _: Any) -> Any:
        if type(value) is dict and len(value) == 1:
            [(tag, payload)] = value.items()
            if tag in hooks:
                try:
                    return hooks[tag](payload, None)
                except CodecError as error:
                    error.within(tag)
                    raise
        elif type(value) is str:
            tag = value
            if tag in bare:
                return bare[tag]
        else:
            raise wrong("a variant: its name, or an object with its name as the only key", value)
        raise _wrong_variant(tag, bare, hooks)

    return hook


def _wrong_variant(tag: str, bare: Mapping[str, Any], hooks: Mapping[str, Hook]) -> CodecError:
    if tag in bare:
        return CodecError(f"variant {shown(tag)} has no fields: expected its name alone")
    if tag in hooks:
        return CodecError(f"variant {shown(tag)} came without its fields: expected an object, its name the only key")
    return CodecError(f"unknown variant {shown(tag)}{nearest(tag, [*bare, *hooks])}")


def _payload_hook(converter: Converter, forbid_unknown: bool, cls: type) -> Hook:
    if not is_newtype_variant(cls):
        return _object_hook(converter, forbid_unknown, cls)
    value_hook = converter.get_structure_hook(wire_fields(cls)[0].type)
    return lambda value, _: cls(value=value_hook(value, None))
