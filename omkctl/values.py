"""What a person types, as values: durations, times, targets, approvals, fields of an event. Pure.

Each raises ValueError, whose text says what would be right.
"""

import re
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Final

from . import json_text

UNIT_SECS: Final = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}
MAX_SECS: Final = 36500 * 86400
"""A century: what is longer is a slip, and dates and the system's clocks end somewhere."""

DURATION: Final = re.compile(r"(\d+d)?(\d+h)?(\d+m)?(\d+(\.\d+)?s?)?")
RFC3339: Final = re.compile(r"\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d{1,9})?([Zz]|[+-]\d{2}:\d{2})")


def duration_secs(text: str) -> float:
    """`90`, `90s`, `0.5`, `10m`, `2h`, `1h30m`, `1d` in seconds."""
    if not text or not DURATION.fullmatch(text) or not text.isascii():
        raise ValueError(f"{text!r} is no duration: write 90, 90s, 10m, 2h or 1h30m")
    parts = re.findall(r"(\d+(?:\.\d+)?)([dhms]?)", text)
    secs = sum(float(number) * UNIT_SECS[unit] for number, unit in parts)
    if secs > MAX_SECS:
        raise ValueError(f"{text!r} is too long: at most {MAX_SECS // UNIT_SECS['d']}d")
    return secs


def whole_secs(text: str) -> int:
    """A duration of at least one second, without a fraction: a budget."""
    secs = duration_secs(text)
    if secs < 1 or secs != int(secs):
        raise ValueError(f"{text!r}: this needs whole seconds, at least 1")
    return int(secs)


def moment(text: str, now: datetime) -> str:
    """RFC 3339 for `2026-05-25T10:11:12Z`, `2026-05-25`, `2h` (ago), `today`, `yesterday` (local midnight).

    `now` has a time zone: the one that days are counted in.
    """
    if RFC3339.fullmatch(text):
        return utc(text)
    if DURATION.fullmatch(text) and text:
        return rfc3339(now - timedelta(seconds=duration_secs(text)))
    days = {"today": 0, "yesterday": 1}
    if text in days:
        return rfc3339(midnight(now - timedelta(days=days[text])))
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
        return rfc3339(midnight(datetime.fromisoformat(text)))
    raise ValueError(f"{text!r} is no time: write 2026-05-25T10:11:12Z, 2026-05-25, 2h (ago), today or yesterday")


def later_moment(text: str, now: datetime) -> str:
    """As `moment`, but of the time to come: `10m` from now, `tomorrow` (local midnight), `now`."""
    if RFC3339.fullmatch(text):
        return utc(text)
    if DURATION.fullmatch(text) and text:
        return rfc3339(now + timedelta(seconds=duration_secs(text)))
    days = {"now": None, "tomorrow": 1}
    if text in days:
        ahead = days[text]
        return rfc3339(now) if ahead is None else rfc3339(midnight(now + timedelta(days=ahead)))
    if re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
        return rfc3339(midnight(datetime.fromisoformat(text)))
    raise ValueError(f"{text!r} is no time: write 2026-05-25T10:11:12Z, 2026-05-25, 10m (from now), tomorrow or now")


def duration_text(secs: float) -> str:
    """`12s`, `1m02s`, `5m`, `1h05m`, `2d03h`: the two largest units."""
    minutes, rest = divmod(max(0, int(secs)), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    units = ((days, "d"), (hours, "h"), (minutes, "m"), (rest, "s"))
    first = next((place for place, (count, _) in enumerate(units) if count), 3)
    (count, unit), *below = units[first : first + 2]
    return f"{count}{unit}" + "".join(f"{less:02}{name}" for less, name in below if less)


def seconds_since(ts: str, now: datetime) -> float:
    """From a time of the wire; never below 0."""
    return max(0.0, (now - datetime.fromisoformat(ts[:19] + "+00:00")).total_seconds())


def utc(text: str) -> str:
    """An RFC 3339 time in UTC; the digits of its fraction stay as they are."""
    fraction = re.search(r"\.\d+", text)
    whole = text.upper().replace(fraction[0], "") if fraction else text.upper()
    seconds = rfc3339(datetime.fromisoformat(whole))
    return seconds[:-1] + shortest(fraction[0]) + "Z" if fraction else seconds


def shortest(fraction: str) -> str:
    """`.1` as `.100`: 0, 3, 6 or 9 digits, the fewest that lose nothing."""
    digits = fraction[1:].rstrip("0")
    return "." + digits.ljust(-(-len(digits) // 3) * 3, "0") if digits else ""


def midnight(moment: datetime) -> datetime:
    """The beginning of that day in local time, whatever the clocks did since."""
    return datetime(moment.year, moment.month, moment.day).astimezone()


def rfc3339(moment: datetime) -> str:
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"


def target(text: str) -> object:
    """The wire form of `coder`, `role:reviewer` or `any`."""
    if text == "any":
        return "any"
    role = text.removeprefix("role:")
    if role != text:
        if not role:
            raise ValueError("'role:' needs a role, as in role:reviewer")
        return {"role": role}
    if not text:
        raise ValueError("the target is empty: write a worker's name, role:ROLE or any")
    return {"worker": text}


def target_text(value: object) -> str:
    """What a person would type for a target."""
    match value:
        case {"worker": name}:
            return str(name)
        case {"role": role}:
            return f"role:{role}"
        case _:
            return str(value)


def approval_policy(choices: tuple[str, ...]) -> object:
    """The wire form of `--approval` options: one of never, safe, yolo, or any number of pattern:RE."""
    patterns = [choice.removeprefix("pattern:") for choice in choices if choice.startswith("pattern:")]
    if patterns and len(patterns) == len(choices):
        return {"pattern": {"patterns": patterns}}
    if len(choices) == 1 and choices[0] in ("never", "safe", "yolo"):
        return choices[0]
    raise ValueError(
        "an approval policy is never, safe, yolo, or pattern:REGEX (several patterns, nothing beside them)"
    )


def env_pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ValueError(f"{text!r}: write NAME=VALUE")
    return name, value


def event_field(text: str, texts: Collection[str] = ()) -> tuple[str, object]:
    """`percent=40`, `message=half way`, `plan:=["a","b"]`. A bare number, true, false or null is what it says.

    In the fields `texts` it is text.
    """
    name, equals, value = text.partition("=")
    if not equals or not name or name == ":":
        raise ValueError(f"{text!r}: write FIELD=VALUE, or FIELD:=JSON")
    if name.endswith(":"):
        return name[:-1], json_value(value, name[:-1])
    return name, value if name in texts else scalar(value)


def scalar(text: str) -> object:
    """A JSON number, true, false or null; all else is text."""
    try:
        value = json_text.parse(text)
    except ValueError:
        return text
    return value if text == text.strip() and (value is None or isinstance(value, bool | int | float)) else text


def json_value(text: str, where: str) -> object:
    try:
        return json_text.parse(text)
    except ValueError as fault:
        raise ValueError(f"{where}: not JSON: {fault}") from fault


def checked_text(text: str, what: str) -> str:
    """`text`, if it may cross the socket and become an argument of a command."""
    if "\0" in text:
        raise ValueError(f"{what} holds a NUL byte, which no command line can carry")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError(f"{what} is not UTF-8")
    return text
