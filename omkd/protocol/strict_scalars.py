"""Plain values -> scalars: the hooks that coerce nothing, and how a refusal is worded."""

import difflib
import math
from collections.abc import Callable, Collection
from typing import Any, Final

from .json_text import I64_MIN, KEPT_CHARS, U64_MAX, CodecError, depth_reaches, round_to_f32, shown
from .limits import JSON_DEPTH
from .scalars import F32, I32, U32, U64, HeartbeatNs, Json, Ns, Seq
from .timestamps import parse_timestamp

Hook = Callable[[Any, Any], Any]
"""cattrs': (plain value, type) -> typed value. The type is the hook's own already; it is not looked at."""

FREE_JSON_DEPTH: Final = JSON_DEPTH - 32
"""Of a `Json` value: whatever carries it (a unit, a reply) stays below `JSON_DEPTH`, so that it can be read again."""


def wrong(expected: str, value: object) -> CodecError:
    return CodecError(f"expected {expected}, got {shown(value)}")


def nearest(name: str, known: Collection[str]) -> str:
    """` (did you mean "window"?)`, or which are known."""
    close = difflib.get_close_matches(name[:KEPT_CHARS], known, n=1)
    if close:
        return f" (did you mean {shown(close[0])}?)"
    return f" (known: {', '.join(sorted(known))})" if known else ""


def _text(value: Any, _: Any) -> str:
    if type(value) is str:
        return value
    raise wrong("text", value)


def _bool(value: Any, _: Any) -> bool:
    if type(value) is bool:
        return value
    raise wrong("true or false", value)


def _whole_number(lowest: int, highest: int) -> Hook:
    def hook(value: Any, _: Any) -> int:
        if type(value) is not int:
            raise wrong("a whole number", value)
        if lowest <= value <= highest:
            return value
        raise wrong(f"a whole number from {lowest} to {highest}", value)

    return hook


def _float(value: Any, _: Any) -> float:
    if type(value) is float or type(value) is int:
        return float(value)
    raise wrong("a number", value)


def f32_or_infinite(value: Any, _: Any) -> float:
    return round_to_f32(_float(value, None))


def _f32(value: Any, _: Any) -> float:
    """Where null is no value, a number that would be written as null is refused: it could not be read again."""
    number = f32_or_infinite(value, None)
    if math.isfinite(number):
        return number
    raise wrong("a number that fits binary32", value)


def _timestamp(value: Any, _: Any) -> int:
    if type(value) is not str:
        raise wrong("a time like 2026-05-25T10:11:12Z", value)
    try:
        return parse_timestamp(value)
    except ValueError as error:
        raise CodecError(f"{error}, got {shown(value)}") from error


def _json(value: Any, _: Any) -> Any:
    if type(value) in (list, dict) and depth_reaches(value, FREE_JSON_DEPTH):
        raise CodecError(f"nested {FREE_JSON_DEPTH} levels or deeper")
    return value


SCALAR_HOOKS: Final[dict[Any, Hook]] = {
    str: _text,
    bool: _bool,
    int: _whole_number(I64_MIN, U64_MAX),
    float: _float,
    U32: _whole_number(0, 2**32 - 1),
    U64: _whole_number(0, U64_MAX),
    Seq: _whole_number(0, U64_MAX),
    I32: _whole_number(-(2**31), 2**31 - 1),
    F32: _f32,
    Ns: _timestamp,
    HeartbeatNs: _timestamp,
    Json: _json,
}
