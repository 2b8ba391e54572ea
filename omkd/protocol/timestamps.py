"""Nanoseconds since the epoch <-> RFC 3339 text, in integers: a float would lose nanoseconds.

Years 0000 to 9999 (proleptic Gregorian), no leap second: `23:59:60` is refused. Days are converted with the well-known
arithmetic on a year that begins in March, so that the leap day is its last.
"""

import re
from functools import lru_cache
from typing import Final

from .json_text import CodecError
from .scalars import Ns

NS_PER_SECOND: Final = 1_000_000_000
SECONDS_PER_DAY: Final = 86_400
FIRST_SECOND: Final = -62_167_219_200
"""0000-01-01T00:00:00Z"""
LAST_SECOND: Final = 253_402_300_799
"""9999-12-31T23:59:59Z"""

DAYS_PER_ERA: Final = 146_097
"""In 400 years, after which the calendar repeats."""
DAYS_BEFORE_EPOCH: Final = 719_468
"""From 0000-03-01 to 1970-01-01."""

TIMESTAMP: Final = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,9}))?(?:Z|([+-])([0-9]{2}):([0-9]{2}))"
)


def later(now: int, ns: int) -> Ns:
    """`ns` after `now`, or the last time that can be written: "never" is asked for as a very long time."""
    return Ns(min(now + ns, LAST_SECOND * NS_PER_SECOND))


def format_ns(ns: int) -> str:
    """`2026-05-25T10:11:12.120Z`: 0, 3, 6 or 9 fraction digits, the fewest that lose nothing.

    Raises CodecError outside of the years 0000 to 9999.
    """
    return _format_utc(ns) + "Z"


def format_heartbeat_ns(ns: int) -> str:
    """As `format_ns`, with upstream's `+00:00` in place of `Z`."""
    return _format_utc(ns) + "+00:00"


def parse_timestamp(text: str) -> Ns:
    """Any offset up to 23:59, 0 to 9 fraction digits. Raises ValueError; its text ends a sentence that names `text`."""
    found = TIMESTAMP.fullmatch(text)
    if found is None:
        raise ValueError("expected a time like 2026-05-25T10:11:12Z")
    date, hour, minute, second, fraction, sign, offset_hours, offset_minutes = found.groups()
    seconds = _days_of(date) * SECONDS_PER_DAY + _seconds_of(int(hour), int(minute), int(second))
    if sign:
        offset = _seconds_of(int(offset_hours), int(offset_minutes), 0)
        seconds += offset if sign == "-" else -offset
    if not FIRST_SECOND <= seconds <= LAST_SECOND:
        raise ValueError("expected a time in the years 0000 to 9999")
    return Ns(seconds * NS_PER_SECOND + int(fraction.ljust(9, "0")) if fraction else seconds * NS_PER_SECOND)


def _format_utc(ns: int) -> str:
    seconds, nanos = divmod(ns, NS_PER_SECOND)
    if not FIRST_SECOND <= seconds <= LAST_SECOND:
        raise CodecError(f"{ns} ns is outside of the years 0000 to 9999")
    days, second = divmod(seconds, SECONDS_PER_DAY)
    minute, second = divmod(second, 60)
    hour, minute = divmod(minute, 60)
    return f"{_date_of(days)}T{hour:02}:{minute:02}:{second:02}{_fraction(nanos)}"


def _fraction(nanos: int) -> str:
    if nanos == 0:
        return ""
    if nanos % 1000:
        return f".{nanos:09}"
    if nanos % 1_000_000:
        return f".{nanos // 1000:06}"
    return f".{nanos // 1_000_000:03}"


def _seconds_of(hour: int, minute: int, second: int) -> int:
    if hour > 23 or minute > 59 or second > 59:
        raise ValueError("expected hours to 23, minutes and seconds to 59 (no leap second)")
    return hour * 3600 + minute * 60 + second


@lru_cache(maxsize=64)
def _days_of(date: str) -> int:
    """Days since the epoch of `YYYY-MM-DD`."""
    year, month, day = int(date[:4]), int(date[5:7]), int(date[8:])
    shifted = year - (month <= 2)
    era, year_of_era = divmod(shifted, 400)
    day_of_year = (153 * ((month - 3) % 12) + 2) // 5 + day - 1
    day_of_era = year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year
    days = era * DAYS_PER_ERA + day_of_era - DAYS_BEFORE_EPOCH
    if _date_of(days) != date:
        raise ValueError("expected a date of the calendar")
    return days


@lru_cache(maxsize=64)
def _date_of(days: int) -> str:
    era, day_of_era = divmod(days + DAYS_BEFORE_EPOCH, DAYS_PER_ERA)
    year_of_era = (day_of_era - day_of_era // 1460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    shifted_month = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * shifted_month + 2) // 5 + 1
    month = shifted_month + 3 if shifted_month < 10 else shifted_month - 9
    year = era * 400 + year_of_era + (month <= 2)
    return f"{year:04}-{month:02}-{day:02}"
