"""Text of agents is shown, not obeyed; a pipe gets plain lines."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omkctl.render import CONTROL, Output, aligned, clock, one_line, shown


def plain() -> tuple[Output, io.StringIO]:
    stream = io.StringIO()
    return Output(as_json=False, color="auto", stream=stream), stream


@pytest.mark.parametrize(
    ("text", "visible"),
    [
        ("\x1b]0;title\x07", "␛]0;title␇"),
        ("\x1b[2Jgone", "␛[2Jgone"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("a\rb", "a␍b"),
        ("a\r\nb", "a\nb"),
        ("\x9b2J\x7f", "\ufffd2J␡"),
        ("\u202edrawkcab", "\ufffddrawkcab"),
        ("tab\tand grün", "tab\tand grün"),
    ],
)
def test_control_characters_become_visible(text: str, visible: str) -> None:
    assert shown(text) == visible


@given(st.text())
def test_nothing_that_is_shown_controls_a_terminal(text: str) -> None:
    assert not CONTROL.search(shown(text))
    assert "\n" not in one_line(text)


def test_a_long_text_is_cut_with_a_sign() -> None:
    assert one_line("abc def", 5) == "abc …"
    assert one_line(" a\n b ", 5) == "a b"


def test_columns_stand_below_each_other() -> None:
    assert aligned([["ID", "STATE"], ["t1", "queued"], ["t100", ""]]) == ["ID    STATE", "t1    queued", "t100"]


def test_a_pipe_gets_a_plain_table_with_a_line_for_each_row() -> None:
    out, stream = plain()
    out.table(("id", "task"), [["t1", "two\nlines \x1b[2J"]])
    assert stream.getvalue() == "ID  TASK\nt1  two lines ␛[2J\n"


def test_a_pipe_gets_an_agents_words_as_they_are() -> None:
    out, stream = plain()
    out.text("\x1b[31mred\r")
    assert stream.getvalue() == "\x1b[31mred\r\n"


def test_colour_always_colours_a_pipe_too() -> None:
    stream = io.StringIO()
    out = Output(as_json=False, color="always", stream=stream)
    out.table(("id", "state"), [["t1", "failed"]])
    assert "\x1b[31mfailed" in stream.getvalue()
    assert out.styled("failed", 8) == "\x1b[31mfailed  \x1b[0m"


def test_a_time_of_another_day_has_its_date() -> None:
    assert clock(None) == ""
    assert clock("2001-02-03T12:00:00.123456789Z").startswith("2001-02-0")
    out, _ = plain()
    assert out.time("2001-02-03T12:00:00.5Z") == "2001-02-03T12:00:00.5Z"
