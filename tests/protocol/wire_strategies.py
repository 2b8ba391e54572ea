"""hypothesis strategies for everything that has a wire form, built from the classes' own fields."""

from functools import cache
from typing import Any, NewType, get_args

import attrs
from hypothesis import strategies as st

from omkd.protocol.json_text import I64_MIN, U64_MAX
from omkd.protocol.methods import EVENT_NAMES, at_least_one, names_of_events
from omkd.protocol.scalars import F32, I32, U32, U64, HeartbeatNs, Json, Ns, Seq
from omkd.protocol.timestamps import FIRST_SECOND, LAST_SECOND, NS_PER_SECOND
from omkd.protocol.wire_forms import is_dict, is_enum, is_list, is_union

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NANOSECONDS = st.integers(FIRST_SECOND * NS_PER_SECOND, (LAST_SECOND + 1) * NS_PER_SECOND - 1)
JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(I64_MIN, U64_MAX)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
SCALARS: dict[Any, st.SearchStrategy[Any]] = {
    str: TEXTS,
    bool: st.booleans(),
    int: st.integers(I64_MIN, U64_MAX),
    float: st.floats(allow_nan=False, allow_infinity=False),
    type(None): st.none(),
    U32: st.integers(0, 2**32 - 1),
    U64: st.integers(0, U64_MAX),
    Seq: st.integers(0, U64_MAX),
    I32: st.integers(-(2**31), 2**31 - 1),
    F32: st.floats(width=32, allow_nan=False, allow_infinity=False),
    Ns: NANOSECONDS,
    HeartbeatNs: NANOSECONDS,
    Json: JSON_VALUES,
}


@cache
def values_of(type_: Any) -> st.SearchStrategy[Any]:
    if type_ in SCALARS:
        return SCALARS[type_]
    if isinstance(type_, NewType):
        return values_of(type_.__supertype__)
    if is_union(type_):
        return st.one_of([values_of(member) for member in get_args(type_)])
    if is_list(type_):
        return st.lists(values_of(get_args(type_)[0]), max_size=3)
    if is_dict(type_):
        return st.dictionaries(TEXTS, values_of(get_args(type_)[1]), max_size=3)
    if is_enum(type_):
        return st.sampled_from(type_)
    return st.builds(type_, **{field.name: values_for(field) for field in attrs.fields(type_)})


def values_for(field: "attrs.Attribute[Any]") -> st.SearchStrategy[Any]:
    """Of which its validator takes all."""
    if field.validator is names_of_events:
        return st.lists(st.sampled_from(sorted(EVENT_NAMES)), max_size=3)
    values = values_of(field.type)
    return values.filter(bool) if field.validator is at_least_one else values
