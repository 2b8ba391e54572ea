"""JSON text <-> plain values, as strict as serde_json and in its forms.

Read: no NaN, no key twice, no lone surrogate, nesting below `JSON_DEPTH`; whole numbers that fit i64 or u64 are ints,
all others floats (`-0` too). Written: raw UTF-8 but for the quote, the backslash and what is below 0x20; floats with
the fewest digits that read back the same, in the notation of Rust's ryu; null for what is not finite.
"""

import json
import math
import struct
from collections import Counter
from json.encoder import encode_basestring
from typing import Any, Final, Literal, cast

from .limits import JSON_DEPTH
from .scalars import Json

I64_MIN: Final = -(2**63)
U64_MAX: Final = 2**64 - 1
F32_MIN_NORMAL: Final = 2.0**-126
F32_SURE_DIGITS: Final = 6
"""Decimals of so many digits survive a normal binary32, so none with fewer needs looking for; 9 always suffice."""
F32_UNEVEN: Final = {2.0**-96: "1.2621775e-29", 2.0**87: "1.5474251e+26", 2.0**90: "1.2379401e+27"}
"""Below a power of two the neighbour is half as far as above. Only for these (a test tries all) the shortest decimal
that reads back the same is therefore not the nearest of its length."""
KEPT_CHARS: Final = 60
"""Of a value that an error shows."""

FaultKind = Literal["not_utf8", "not_json", "wrong_type"]

quote = encode_basestring
"""A JSON string, raw UTF-8."""


class CodecError(ValueError):
    """What came is not what it should be; or what shall go has no JSON form. `path` is empty at the root."""

    def __init__(self, reason: str, kind: FaultKind = "wrong_type") -> None:
        super().__init__(reason)
        self.reason = reason
        self.kind: FaultKind = kind
        self.path = ""

    def __str__(self) -> str:
        return f"{self.path}: {self.reason}" if self.path else self.reason

    def within(self, step: str | int) -> None:
        """On the way out of the field `step`, or of that index."""
        joint = "." if self.path and not self.path.startswith("[") else ""
        self.path = (f"[{step}]" if isinstance(step, int) else step) + joint + self.path


def too_deep() -> CodecError:
    return CodecError(f"nested {JSON_DEPTH} levels or deeper", "not_json")


def shown(value: object) -> str:
    """A plain value in an error: short, on one line."""
    match value:
        case str():
            text = value if len(value) <= KEPT_CHARS else value[:KEPT_CHARS] + "…"
            return quote(text) if text.isprintable() else json.dumps(text)
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case list():
            return "an array"
        case dict():
            return "an object"
        case _:
            return repr(value)


def as_text(name: str) -> str:
    """The name of a file as text that JSON can hold: a byte that is not UTF-8 becomes `\\xff`."""
    try:
        return name.encode(errors="surrogateescape").decode(errors="backslashreplace")
    except UnicodeEncodeError:
        return name.encode(errors="backslashreplace").decode()


def one_line(text: str) -> str:
    """What others wrote, as a part of our words: it ends no line and commands no terminal."""
    return text if text.isprintable() else json.dumps(text)[1:-1]


# --- text -> plain -----------------------------------------------------------------------------------------------


def parse(data: bytes | str) -> Json:
    """The plain value of a JSON text. Raises CodecError (`not_utf8`, `not_json`)."""
    text = _decoded(data)
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        raise CodecError(f"not JSON: {error.msg} (line {error.lineno}, column {error.colno})", "not_json") from error
    except RecursionError as error:
        raise too_deep() from error
    if text.count("[") + text.count("{") >= JSON_DEPTH and depth_reaches(value, JSON_DEPTH):
        raise too_deep()
    if "\\u" in text:
        _refuse_lone_surrogates(value)
    return cast(Json, value)


def _decoded(data: bytes | str) -> str:
    try:
        if isinstance(data, bytes):
            return data.decode()
        data.encode()
    except (UnicodeDecodeError, UnicodeEncodeError) as error:
        raise CodecError(f"not UTF-8: {error.reason} at {error.start}", "not_utf8") from error
    return data


def _refuse_lone_surrogates(value: object) -> None:
    try:
        json.dumps(value, ensure_ascii=False, check_circular=False).encode()
    except UnicodeEncodeError as error:
        raise CodecError("a lone surrogate in a string", "not_json") from error


def depth_reaches(value: object, depth: int) -> bool:
    """Whether arrays and objects are nested so deep; level by level, so that no depth is a recursion."""
    level = [value]
    for _ in range(depth):
        containers = [node for node in level if isinstance(node, list | dict)]
        if not containers:
            return False
        level = [child for node in containers for child in (node.values() if isinstance(node, dict) else node)]
    return True


def _read_int(text: str) -> int | float:
    if len(text) < 19:
        return int(text) if text != "-0" else -0.0
    if len(text) <= 20 and I64_MIN <= (value := int(text)) <= U64_MAX:
        return value
    return _read_float(text)


def _read_float(text: str) -> float:
    value = float(text)
    if math.isinf(value):
        raise CodecError(f"number out of range: {text[:KEPT_CHARS]}", "not_json")
    return value


def _refuse_constant(name: str) -> float:
    raise CodecError(f"not JSON: {name}", "not_json")


def _read_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        counts = Counter(key for key, _ in pairs)
        twice = next(key for key, count in counts.items() if count > 1)
        raise CodecError(f"key {shown(twice)} twice in an object", "not_json")
    return value


_DECODER: Final = json.JSONDecoder(
    parse_int=_read_int, parse_float=_read_float, parse_constant=_refuse_constant, object_pairs_hook=_read_object
)

# --- plain -> text -----------------------------------------------------------------------------------------------


def encode(value: Any) -> bytes:
    """Compact JSON. Raises CodecError (too deep, a lone surrogate)."""
    try:
        # The C encoder's floats differ from ryu's below 1e-4 only (1e-05); those and NaN (ValueError) go the slow way.
        text = _ENCODER.encode(value)
        if "e-0" in text:
            text = write(value)
    except RecursionError as error:
        raise too_deep() from error
    except ValueError:
        text = write(value)
    return to_utf8(text)


_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, check_circular=False, allow_nan=False, separators=(",", ":"))


def to_utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise CodecError("a lone surrogate in a string") from error


def write(value: Json, levels: int = JSON_DEPTH - 1) -> str:
    """Compact, of at most so many levels."""
    match value:
        case str():
            return quote(value)
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int():
            return repr(value)
        case float():
            return format_f64(value)
    if levels == 0:
        raise too_deep()
    if isinstance(value, list):
        return "[" + ",".join([write(item, levels - 1) for item in value]) + "]"
    return "{" + ",".join([f"{quote(key)}:{write(item, levels - 1)}" for key, item in value.items()]) + "}"


def write_pretty(value: Json, newline: str = "\n") -> str:
    """serde_json's `to_string_pretty`: two spaces a level, `[]` and `{}` for what is empty, no final newline."""
    inner = newline + "  "
    match value:
        case [_, *_]:
            return f"[{inner}" + f",{inner}".join([write_pretty(item, inner) for item in value]) + f"{newline}]"
        case dict() if value:
            lines = [f"{quote(key)}: {write_pretty(item, inner)}" for key, item in value.items()]
            return f"{{{inner}" + f",{inner}".join(lines) + f"{newline}}}"
        case _:
            return write(value)


def format_f64(value: float) -> str:
    """Fixed notation for decimal exponents -5 to 15."""
    text = repr(value)
    if "e" not in text:
        return text if math.isfinite(value) else "null"
    return _notation(text, -5, 15)


def format_f32(value: float) -> str:
    """Of the nearest binary32; fixed notation for decimal exponents -6 to 12."""
    nearest = round_to_f32(value)
    if not math.isfinite(nearest):
        return "null"
    if abs(nearest) in F32_UNEVEN:
        return ("-" if nearest < 0 else "") + F32_UNEVEN[abs(nearest)]
    digits = F32_SURE_DIGITS if abs(nearest) >= F32_MIN_NORMAL else 1
    text = f"{nearest:.{digits - 1}e}"
    while round_to_f32(float(text)) != nearest:
        digits += 1
        text = f"{nearest:.{digits - 1}e}"
    return _notation(text, -6, 12)


def round_to_f32(value: float) -> float:
    """The nearest binary32; infinity beyond its range, as Rust's `as f32`."""
    try:
        nearest: float = _F32.unpack(_F32.pack(value))[0]
    except OverflowError:
        return math.copysign(math.inf, value)
    return nearest


_F32: Final = struct.Struct("<f")


def _notation(scientific: str, lowest: int, highest: int) -> str:
    """The digits of `-1.25e-07`, fixed between these decimal exponents, else `-1.25e-7`."""
    mantissa, _, exponent_text = scientific.partition("e")
    sign = "-" if mantissa.startswith("-") else ""
    digits = mantissa.lstrip("-").replace(".", "").rstrip("0") or "0"
    exponent = int(exponent_text)
    if not lowest <= exponent <= highest:
        return f"{sign}{digits[0]}{'.' if len(digits) > 1 else ''}{digits[1:]}e{exponent:+d}"
    if exponent < 0:
        return f"{sign}0.{'0' * (-exponent - 1)}{digits}"
    return f"{sign}{digits[: exponent + 1].ljust(exponent + 1, '0')}.{digits[exponent + 1 :] or '0'}"
