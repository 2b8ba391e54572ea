"""What holds for every value of every class, and for every input."""

from contextlib import suppress
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_strategies import JSON_VALUES, values_of

from omkd.protocol import codec, events, methods, records
from omkd.protocol.escalation import EscalationLogEntry

EVENTS = [*get_args(events.Event), *get_args(events.GoalEvent)]
RECORDS = [
    *get_args(events.Target),
    *get_args(events.By),
    *get_args(records.ApprovalPolicy),
    *get_args(records.ControlLine),
    events.Unit,
    EscalationLogEntry,
    records.Heartbeat,
    records.LockHolder,
    records.OutboxLine,
    records.Runner,
    records.RunRecord,
    records.WorkerResult,
    records.WorkerSpec,
    records.WorkerTask,
]
METHOD_CLASSES = {method.params for method in methods.METHODS.values()} | {
    method.result for method in methods.METHODS.values() if method.result
}
CLASSES = [*EVENTS, *RECORDS, *sorted(METHOD_CLASSES, key=lambda cls: cls.__name__)]
UNIONS = [events.Event, events.PublishedEvent, events.WorkerFileEvent, events.Target, events.By, records.ControlLine]
QUICK = settings(max_examples=15, deadline=None, derandomize=True)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
@QUICK
@given(data=st.data())
def test_what_is_written_is_read_back(cls, data):
    value = data.draw(values_of(cls))
    line = codec.dumps(value)
    assert b"\n" not in line
    assert codec.loads(line, cls) == value
    assert codec.dumps(codec.loads(line, cls)) == line


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
@QUICK
@given(data=st.data())
def test_the_plain_value_is_what_the_line_says(cls, data):
    value = data.draw(values_of(cls))
    assert codec.unstructure(value) == codec.parse(codec.dumps(value))
    assert codec.structure(codec.unstructure(value), cls, forbid_unknown=True) == value


@pytest.mark.parametrize("union", UNIONS, ids=lambda union: get_args(union)[-1].__name__)
@QUICK
@given(data=st.data())
def test_a_union_finds_its_member_by_the_tag(union, data):
    value = data.draw(values_of(union))
    assert codec.loads(codec.dumps(value), union) == value


@settings(max_examples=300, deadline=None, derandomize=True)
@given(value=JSON_VALUES)
def test_plain_json_is_read_back(value):
    text = codec.encode(value)
    assert codec.parse(text) == value
    assert codec.encode(codec.parse(text)) == text


@settings(max_examples=100, deadline=None, derandomize=True)
@given(spec=values_of(records.WorkerSpec))
def test_a_pretty_spec_is_read_back(spec):
    assert codec.loads(codec.dumps_pretty(spec), records.WorkerSpec) == spec


def refuses_or_reads(data: bytes | str, cls: Any) -> None:
    with suppress(codec.CodecError):
        codec.loads(data, cls)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(data=st.binary(max_size=60) | st.text(st.characters(), max_size=60))
def test_no_input_raises_anything_else(data):
    refuses_or_reads(data, events.Unit)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(value=JSON_VALUES, cls=st.sampled_from([*RECORDS, events.Event]))
def test_no_json_value_raises_anything_else(value, cls):
    refuses_or_reads(codec.encode(value), cls)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(unit=values_of(events.Unit), at=st.integers(0, 10_000), put=st.binary(max_size=4))
def test_no_damaged_line_raises_anything_else(unit, at, put):
    line = codec.dumps(unit)
    at %= len(line)
    refuses_or_reads(line[:at] + put + line[at + 1 :], events.Unit)
