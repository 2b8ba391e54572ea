"""What was read is written as it was."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omkctl import json_text
from omkctl.events_text import escalation_object

CASES = Path(__file__).parent.parent / "conformance" / "escalations.jsonl"

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
)


@given(json_values)
def test_a_value_comes_back(value: object) -> None:
    assert json.loads(json_text.encode(value)) == value


@given(st.from_regex(r"-?(0|[1-9][0-9]{0,8})(\.[0-9]{1,12})([eE][+-]?[0-9]{1,3})?", fullmatch=True))
def test_a_number_keeps_its_digits(digits: str) -> None:
    assert json_text.to_text(json_text.parse(f"[{digits}]")) == f"[{digits}]"


def test_a_printed_escalation_is_its_line_and_then_seq() -> None:
    lines = [case["line"] for case in map(json.loads, CASES.read_text().splitlines()) if case["line"] is not None]
    assert len(lines) > 20
    for line in lines:
        note = json_text.parse('{"subscription":1,"seq":12,"entry":' + line + "}")
        assert isinstance(note, dict)
        assert json_text.to_text(escalation_object(note)) == line[:-1] + ',"seq":12}'


@pytest.mark.parametrize("text", ["NaN", "[Infinity]", "{", b"\xff"])
def test_what_is_not_json_is_refused(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        json_text.parse(text)
