"""What a person types becomes what is meant, or a refusal that says what would be right."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omkctl import values

NOW = datetime(2026, 5, 25, 10, 11, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "secs"),
    [
        ("90", 90),
        ("90s", 90),
        ("10m", 600),
        ("2h", 7200),
        ("1h30m", 5400),
        ("1d", 86400),
        ("0.5", 0.5),
        ("1m1.5s", 61.5),
    ],
)
def test_durations(text: str, secs: float) -> None:
    assert values.duration_secs(text) == secs


@pytest.mark.parametrize("text", ["", "x", "1x", "-1", "1h-2m", "30m1h", "s", "1 h", "1e3", "٣"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no duration"):
        values.duration_secs(text)


@given(st.integers(0, 10**6), st.integers(0, 59), st.integers(0, 59))
def test_any_hours_minutes_seconds_add_up(hours: int, minutes: int, secs: int) -> None:
    assert values.duration_secs(f"{hours}h{minutes}m{secs}s") == hours * 3600 + minutes * 60 + secs


@pytest.mark.parametrize("text", ["0", "0.5", "1m0.5s"])
def test_a_budget_is_whole_seconds(text: str) -> None:
    with pytest.raises(ValueError, match="whole seconds"):
        values.whole_secs(text)


@pytest.mark.parametrize(
    ("text", "ts"),
    [
        ("2026-05-25T10:11:12Z", "2026-05-25T10:11:12Z"),
        ("2026-05-25T12:11:12+02:00", "2026-05-25T10:11:12Z"),
        ("2026-05-25 10:11:12.5z", "2026-05-25T10:11:12.500Z"),
        ("2026-05-25T10:11:12.123456789Z", "2026-05-25T10:11:12.123456789Z"),
        ("2026-05-25T10:11:12.000Z", "2026-05-25T10:11:12Z"),
        ("2h", "2026-05-25T08:11:12Z"),
        ("90", "2026-05-25T10:09:42Z"),
    ],
)
def test_times(text: str, ts: str) -> None:
    assert values.moment(text, NOW) == ts


def test_days_begin_at_local_midnight() -> None:
    now = datetime.now().astimezone()
    midnight = datetime(now.year, now.month, now.day).astimezone(UTC)
    assert values.moment("today", now) == midnight.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert values.moment("yesterday", now) < values.moment("today", now)
    assert values.moment(now.strftime("%Y-%m-%d"), now) == values.moment("today", now)


@pytest.mark.parametrize("text", ["", "tomorrow", "2026-05-25T10:11", "2026-13-01", "2026-05-25T25:00:00Z"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"time|month|hour"):
        values.moment(text, NOW)


@pytest.mark.parametrize(
    ("text", "wire"), [("coder", {"worker": "coder"}), ("role:reviewer", {"role": "reviewer"}), ("any", "any")]
)
def test_targets_come_back_as_they_were_typed(text: str, wire: object) -> None:
    assert values.target(text) == wire
    assert values.target_text(wire) == text


@pytest.mark.parametrize("text", ["", "role:"])
def test_an_empty_target_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"empty|needs a role"):
        values.target(text)


def test_approvals() -> None:
    assert values.approval_policy(("safe",)) == "safe"
    assert values.approval_policy(("pattern:^ls", "pattern:^cat")) == {"pattern": {"patterns": ["^ls", "^cat"]}}
    for wrong in [("safe", "yolo"), ("pattern:x", "safe"), ("maybe",), ()]:
        with pytest.raises(ValueError, match="an approval policy is"):
            values.approval_policy(wrong)


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("percent=40", ("percent", 40)),
        ("ok=true", ("ok", True)),
        ("message=null", ("message", None)),
        ("message=half way", ("message", "half way")),
        ("message=a=b", ("message", "a=b")),
        ("message=", ("message", "")),
        ("message= 4", ("message", " 4")),
        ('message="x"', ("message", '"x"')),
        ("message=[1]", ("message", "[1]")),
        ("message=NaN", ("message", "NaN")),
        ("message=007", ("message", "007")),
        ('plan:=["a"]', ("plan", ["a"])),
        ('message:="404"', ("message", "404")),
    ],
)
def test_fields_of_an_event(text: str, field: tuple[str, object]) -> None:
    assert values.event_field(text) == field


@pytest.mark.parametrize("text", ["percent", "=4", ":=4", "plan:=[", "x:=NaN"])
def test_what_is_no_field_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"FIELD=VALUE|not JSON"):
        values.event_field(text)


def test_text_that_no_command_line_can_carry_is_refused() -> None:
    assert values.checked_text("grün\n", "the text") == "grün\n"
    with pytest.raises(ValueError, match="the text holds a NUL"):
        values.checked_text("a\0b", "the text")
    with pytest.raises(ValueError, match="not UTF-8"):
        values.checked_text("\udcff", "the text")


def test_environment_pairs() -> None:
    assert values.env_pair("A=b=c") == ("A", "b=c")
    for wrong in ("A", "=b"):
        with pytest.raises(ValueError, match="NAME=VALUE"):
            values.env_pair(wrong)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("now", "2026-05-25T10:00:00Z"),
        ("90s", "2026-05-25T10:01:30Z"),
        ("2h", "2026-05-25T12:00:00Z"),
        ("2026-06-01T08:00:00+02:00", "2026-06-01T06:00:00Z"),
    ],
)
def test_a_moment_to_come(text: str, moment: str) -> None:
    assert values.later_moment(text, datetime(2026, 5, 25, 10, tzinfo=UTC)) == moment


def test_tomorrow_and_a_date_begin_at_local_midnight() -> None:
    now = datetime(2026, 5, 25, 10, tzinfo=UTC)
    tomorrow = datetime(2026, 5, 26).astimezone()
    assert values.later_moment("tomorrow", now) == values.rfc3339(tomorrow)
    assert values.later_moment("2026-05-26", now) == values.rfc3339(tomorrow)
    with pytest.raises(ValueError, match="is no time"):
        values.later_moment("yesterday", now)


@pytest.mark.parametrize(
    ("secs", "text"),
    [(0, "0s"), (12.9, "12s"), (62, "1m02s"), (300, "5m"), (3900, "1h05m"), (97_200, "1d03h"), (86_460, "1d")],
)
def test_a_duration_is_its_two_largest_units(secs: float, text: str) -> None:
    assert values.duration_text(secs) == text


def test_a_clock_that_was_set_back_makes_no_negative_time() -> None:
    assert values.seconds_since("2026-05-25T10:00:05.5Z", datetime(2026, 5, 25, 10, tzinfo=UTC)) == 0


@pytest.mark.parametrize("text", ["36501d", "90000000h", "99999999999999999999", "9" * 400])
def test_a_duration_past_all_calendars_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is too long: at most 36500d"):
        values.duration_secs(text)
