"""RFC 3339 <-> nanoseconds."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_strategies import NANOSECONDS

from omkd.protocol.timestamps import (
    FIRST_SECOND,
    LAST_SECOND,
    NS_PER_SECOND,
    format_heartbeat_ns,
    format_ns,
    parse_timestamp,
)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
NOON = 1_779_703_872_000_000_000


@pytest.mark.parametrize(
    ("nanos", "fraction"), [(0, ""), (1, ".000000001"), (1000, ".000001"), (1_000_000, ".001"), (120_000_000, ".120")]
)
def test_the_fewest_digits_of_three_that_lose_nothing_are_written(nanos, fraction):
    assert format_ns(NOON + nanos) == f"2026-05-25T10:11:12{fraction}Z"
    assert format_heartbeat_ns(NOON + nanos) == f"2026-05-25T10:11:12{fraction}+00:00"


@pytest.mark.parametrize(
    "text",
    [
        "2026-05-25T12:11:12+02:00",
        "2026-05-25T04:41:12-05:30",
        "2026-05-24T10:12:12-23:59",
        "2026-05-25T10:11:12.0Z",
        "2026-05-25T10:11:12-00:00",
    ],
)
def test_any_offset_and_empty_fraction_are_read(text):
    assert parse_timestamp(text) == NOON


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("2026-05-25 10:11:12Z", "a time like"),
        ("2026-05-25T10:11:12", "a time like"),
        ("2026-05-25T10:11:12.Z", "a time like"),
        ("2026-05-25T10:11:12.1234567890Z", "a time like"),
        ("２０２６-05-25T10:11:12Z", "a time like"),
        ("2026-05-25T10:11:12Z\n", "a time like"),
        ("2026-02-29T00:00:00Z", "a date of the calendar"),
        ("1900-02-29T00:00:00Z", "a date of the calendar"),
        ("2026-13-01T00:00:00Z", "a date of the calendar"),
        ("2026-00-01T00:00:00Z", "a date of the calendar"),
        ("2026-01-00T00:00:00Z", "a date of the calendar"),
        ("2026-05-25T24:00:00Z", "hours to 23"),
        ("2026-05-25T10:60:00Z", "hours to 23"),
        ("2026-05-25T23:59:60Z", "no leap second"),
        ("2026-05-25T10:11:12+24:00", "hours to 23"),
        ("0000-01-01T00:00:00+00:01", "the years 0000 to 9999"),
        ("9999-12-31T23:59:59-00:01", "the years 0000 to 9999"),
    ],
)
def test_what_is_no_time_is_refused(text, error):
    with pytest.raises(ValueError, match=error):
        parse_timestamp(text)


@pytest.mark.parametrize("seconds", [FIRST_SECOND - 1, LAST_SECOND + 1])
def test_a_time_outside_of_four_digit_years_is_not_written(seconds):
    with pytest.raises(ValueError, match="outside of the years 0000 to 9999"):
        format_ns(seconds * NS_PER_SECOND)


def test_the_first_and_the_last_nanosecond_have_their_text():
    first, last = FIRST_SECOND * NS_PER_SECOND, (LAST_SECOND + 1) * NS_PER_SECOND - 1
    assert (format_ns(first), format_ns(last)) == ("0000-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999Z")
    assert (parse_timestamp(format_ns(first)), parse_timestamp(format_ns(last))) == (first, last)


@settings(max_examples=500, deadline=None, derandomize=True)
@given(ns=NANOSECONDS)
def test_what_is_written_is_read_back(ns):
    assert parse_timestamp(format_ns(ns)) == ns
    assert parse_timestamp(format_heartbeat_ns(ns)) == ns


@settings(max_examples=500, deadline=None, derandomize=True)
@given(moment=st.datetimes(timezones=st.just(UTC)))
def test_the_calendar_is_datetimes(moment):
    micros = (moment - EPOCH) // timedelta(microseconds=1)
    assert parse_timestamp(moment.isoformat()) == micros * 1000
    assert format_ns(micros * 1000)[:19] == moment.isoformat()[:19]
