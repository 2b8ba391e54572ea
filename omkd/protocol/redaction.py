"""What must not be shown: values that belong to names like *_TOKEN, *_KEY, *SECRET*, *PASSWORD*.

A guard against showing by mistake, not a filter that finds every secret: one under an innocent name passes.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Final

REDACTED: Final = "[redacted]"

SHORTEST_SECRET: Final = 8
"""Of values looked for in texts by themselves: a shorter one would tear holes into ordinary words."""

SECRET_NAME: Final = r"(?:[\w.-]*(?:SECRET|PASSWORD|PASSWD)[\w.-]*|(?:[\w.-]*[_.-])?TOKEN|[\w.-]+[_.-]KEY)"
NAME: Final = re.compile(SECRET_NAME, re.IGNORECASE)
NAMED_VALUE: Final = re.compile(
    rf"(?<![\w.-])({SECRET_NAME})([\"']?\s*[=:]\s*)(\"[^\"]*\"|'[^']*'|[^\s\"',;&}}\])]+)", re.IGNORECASE
)
HINTS: Final = ("secret", "passw", "token", "key", "bearer", "basic")
"""Every text with a match has one of them; most texts have none, and searching for these is cheap."""

BEARER: Final = re.compile(r"\b(Bearer|Basic)\s+[\w.~+/=-]{8,}", re.IGNORECASE)


def is_secret_name(name: str) -> bool:
    return NAME.fullmatch(name) is not None


def redacted(env: Mapping[str, str]) -> dict[str, str]:
    """An environment as it may be shown."""
    return {name: REDACTED if is_secret_name(name) else text for name, text in env.items()}


def secrets_in(env: Mapping[str, str]) -> tuple[str, ...]:
    """The values in an environment that no text may hold, the longest first."""
    found = {text for name, text in env.items() if is_secret_name(name) and len(text) >= SHORTEST_SECRET}
    return tuple(sorted(found, key=lambda text: (-len(text), text)))


def redacted_text(text: str, secrets: Iterable[str] = ()) -> str:
    """`text` without the values of secret names that stand in it (`NAME=value`, `"name": "value"`), nor `secrets`."""
    for secret in secrets:
        text = text.replace(secret, REDACTED)
    lower = text.lower()
    if not any(hint in lower for hint in HINTS):
        return text
    return BEARER.sub(rf"\1 {REDACTED}", NAMED_VALUE.sub(rf"\1\2{REDACTED}", text))
