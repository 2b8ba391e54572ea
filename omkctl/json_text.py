"""JSON as it crosses the socket and goes to stdout: UTF-8, compact, numbers with the digits they came with.

The daemon writes an f32 as `0.1`; a float that went through Python's repr could come out with other digits, and a
printed escalation would differ from its line in the log.
"""

import json
from collections.abc import Mapping
from json.encoder import encode_basestring
from typing import TypeAlias

Object: TypeAlias = Mapping[str, object]
"""A JSON object as it was parsed."""


class Digits(float):
    """A float that is written again as it was read."""

    text: str

    def __new__(cls, text: str) -> "Digits":
        made = super().__new__(cls, text)
        made.text = text
        return made


def parse(text: bytes | str) -> object:
    """Raises ValueError for what is not JSON (NaN and Infinity are not)."""
    value: object = json.loads(text, parse_float=Digits, parse_constant=refuse)
    return value


def refuse(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def encode(value: object) -> bytes:
    """One line without its newline. Raises UnicodeEncodeError for a text that has no UTF-8 form."""
    return to_text(value).encode()


def to_text(value: object) -> str:
    """Compact JSON, as the daemon writes it."""
    match value:
        case str():
            return encode_basestring(value)
        case Digits():
            return value.text
        case dict():
            return "{" + ",".join(f"{encode_basestring(key)}:{to_text(item)}" for key, item in value.items()) + "}"
        case list() | tuple():
            return "[" + ",".join(map(to_text, value)) + "]"
        case _:
            return json.dumps(value)
