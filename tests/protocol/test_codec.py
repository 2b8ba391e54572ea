"""Plain values -> typed: nothing is coerced, and an error names the place."""

from pathlib import Path

import pytest
from attrs import frozen

from omkd.protocol import codec
from omkd.protocol.events import (
    By,
    ByOmkd,
    ByWorker,
    CostDelta,
    DisclosureLine,
    Event,
    PreflightAnswer,
    PreflightResponse,
    PublishedEvent,
    Target,
    TaskHeld,
    TaskQueued,
    ToAny,
    ToRole,
    ToWorker,
    Unit,
    WorkerProgress,
)
from omkd.protocol.methods import EscalationListParams, EventListParams, TaskListParams, TaskSendParams
from omkd.protocol.records import (
    ApprovalPolicy,
    HandoutDone,
    Never,
    OutboxLine,
    Pattern,
    Runner,
    WorkerSpec,
    WorkerTask,
)
from omkd.protocol.scalars import F32, U32, HandoutId, TaskId, WorkerName

TASK = {"id": "t1", "task": "fix it"}
UNIT = {"seq": 1, "ts": "2026-11-20T15:15:00Z", "by": {"kind": "omkd"}, "synced": 0, "events": []}


@frozen(kw_only=True)
class Sizes:
    """What no record has, and a method might."""

    whole: int = 0
    ratio: float = 0.0


def refusal(value, cls, *, forbid_unknown=False) -> str:
    with pytest.raises(codec.CodecError) as caught:
        codec.structure(value, cls, forbid_unknown=forbid_unknown)
    assert caught.value.kind == "wrong_type"
    return str(caught.value)


@pytest.mark.parametrize("cls", [TaskListParams, EventListParams, EscalationListParams])
def test_a_page_holds_at_least_one(cls: type) -> None:
    assert refusal({"limit": 0}, cls) == "limit: 0 is too few: at least 1"


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"budget_secs": "3"}, 'budget_secs: expected a whole number, got "3"'),
        ({"budget_secs": True}, "budget_secs: expected a whole number, got true"),
        ({"budget_secs": 1.0}, "budget_secs: expected a whole number, got 1.0"),
        ({"budget_secs": -1}, "budget_secs: expected a whole number from 0 to 18446744073709551615, got -1"),
        ({"task": None}, "task: expected text, got null"),
        ({"task": 3}, "task: expected text, got 3"),
        ({"acceptance_criteria": None}, "acceptance_criteria: expected an array, got null"),
        ({"acceptance_criteria": ["a", 1]}, "acceptance_criteria[1]: expected text, got 1"),
    ],
)
def test_a_field_is_not_coerced(changes, error):
    assert refusal(TASK | changes, WorkerTask) == error


def test_an_error_carries_its_parts():
    with pytest.raises(codec.CodecError) as caught:
        codec.loads(b'{"id":"t1","task":[]}', WorkerTask)
    assert (caught.value.path, caught.value.reason) == ("task", "expected text, got an array")


def test_a_missing_field_is_named():
    assert refusal({"id": "t1"}, WorkerTask) == 'missing field "task"'
    assert refusal({"id": "t1", "target": "any", "task": {}}, TaskSendParams) == 'task: missing field "task"'


def test_a_path_goes_through_arrays_variants_and_maps():
    bad_task = {"task_id": "t1", "target": "any", "task": TASK | {"id": 3}}
    assert refusal(UNIT | {"events": ["x", 1]}, Unit).startswith('events[0]: unknown variant "x"')
    unit = UNIT | {"events": [{"TaskHeld": {"task_id": "t1"}}, {"TaskQueued": bad_task}]}
    assert refusal(unit, Unit) == "events[1].TaskQueued.task.id: expected text, got 3"
    assert refusal({"command": [], "env": {"A": 1}}, Runner) == "env.A: expected text, got 1"
    assert refusal([[TASK, 1]], list[list[WorkerTask]]) == "[0][1]: expected an object, got 1"


@pytest.mark.parametrize(
    ("value", "cls", "error"),
    [
        ([], WorkerTask, "expected an object, got an array"),
        ({"command": [], "env": []}, Runner, "env: expected an object, got an array"),
        ({"task_id": "t1", "status": 1}, OutboxLine, "status: expected one of success, partial, failed, got 1"),
        ({"task_id": "t1", "status": "sucess"}, OutboxLine, 'status: unknown value "sucess" (did you mean "success"?)'),
        ({"task_id": "t1", "status": "success", "not_before": 7}, OutboxLine, "not_before: expected a time like"),
        ({"task_id": "t1", "status": "success", "not_before": "soon"}, OutboxLine, "not_before: expected a time like"),
        (
            {"DaemonStarted": {"clean": 1, "version": "", "format": 1, "boot_id": ""}},
            Event,
            "DaemonStarted.clean: expected",
        ),
        (
            {"CostDelta": {"source": "", "tokens_in": 2**32}},
            Event,
            "CostDelta.tokens_in: expected a whole number from 0",
        ),
        ({"DisclosureLine": 1}, Event, "DisclosureLine: expected text, got 1"),
    ],
)
def test_each_type_says_what_it_expects(value, cls, error):
    assert refusal(value, cls).startswith(error)


def test_an_error_is_one_line_without_commands_for_a_terminal():
    with pytest.raises(codec.CodecError) as caught:
        codec.loads('{"command":["a"],"env":{"a\\nb\\u001b[31m\\u2028":1}}', Runner)
    assert str(caught.value) == r"env.a\nb\u001b[31m\u2028: expected text, got 1"
    with pytest.raises(codec.CodecError) as caught:
        codec.loads('{"command":"\x7f\u009b\u2028\u00e9"}', Runner)
    assert str(caught.value) == r'command: expected an array, got "\u007f\u009b\u2028\u00e9"'


def test_an_error_stays_short_whatever_came():
    long = "x" * 1_000_000
    assert len(refusal({long: 1}, Event)) < 2000
    assert len(refusal(TASK | {long: 1}, WorkerTask, forbid_unknown=True)) < 200
    assert len(refusal(TASK | {"task": 1, "id": long}, WorkerTask)) < 200
    assert len(refusal({"command": [], "env": {long: 1}}, Runner)) < 200


def test_unknown_fields_are_ignored_unless_forbidden():
    value = {"target": {"worker": "coder"}, "task": {"task": "x", "budget_sec": 3}}
    assert codec.structure(value, TaskSendParams).task.budget_secs is None
    error = refusal(value, TaskSendParams, forbid_unknown=True)
    assert error == 'task: unknown field "budget_sec" (did you mean "budget_secs"?)'


def test_an_unknown_field_unlike_any_other_gets_the_known_ones():
    error = refusal(TASK | {"zzzz": 1}, WorkerTask, forbid_unknown=True)
    assert error == 'unknown field "zzzz" (known: acceptance_criteria, budget_secs, context, id, task)'


def test_the_kind_is_no_unknown_field():
    by = {"kind": "worker", "worker": "coder"}
    assert codec.structure(by, By, forbid_unknown=True) == ByWorker(worker=WorkerName("coder"))


# --- variants ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "line"),
    [
        (ToWorker(value=WorkerName("coder")), b'{"worker":"coder"}'),
        (ToRole(value="reviewer"), b'{"role":"reviewer"}'),
        (ToAny(), b'"any"'),
        (Never(), b'"never"'),
        (Pattern(patterns=["^ls"]), b'{"pattern":{"patterns":["^ls"]}}'),
        (HandoutDone(id=HandoutId("t12")), b'{"done":{"id":"t12"}}'),
        (TaskHeld(task_id=TaskId("t1")), b'{"TaskHeld":{"task_id":"t1"}}'),
        (PreflightResponse(value=PreflightAnswer.ACCEPT), b'{"PreflightResponse":"accept"}'),
        (DisclosureLine(value="x"), b'{"DisclosureLine":"x"}'),
        (ByOmkd(), b'{"kind":"omkd"}'),
        (ByWorker(worker=WorkerName("coder")), b'{"kind":"worker","worker":"coder"}'),
    ],
)
def test_a_variant_is_written_with_its_tag_wherever_it_stands(value, line):
    assert codec.dumps(value) == line
    assert codec.encode(codec.unstructure(value)) == line
    assert codec.loads(line, type(value)) == value


@pytest.mark.parametrize(
    ("value", "union", "error"),
    [
        (
            "TaskHeld",
            Event,
            'variant "TaskHeld" came without its fields: expected an object, its name the only key',
        ),
        ({"any": {}}, Target, 'variant "any" has no fields: expected its name alone'),
        ({"TaskHold": {}}, Event, 'unknown variant "TaskHold" (did you mean "TaskHeld"?)'),
        ("allways", ApprovalPolicy, 'unknown variant "allways" (known: never, pattern, safe, yolo)'),
        (
            {"worker": "a", "role": "b"},
            Target,
            "expected a variant: its name, or an object with its name as the only key",
        ),
        (7, Target, "expected a variant: its name, or an object with its name as the only key, got 7"),
        ({"TaskHeld": {"task_id": "t1"}}, PublishedEvent, 'unknown variant "TaskHeld"'),
        ("omkd", By, 'expected an object, got "omkd"'),
        ({}, By, 'missing field "kind"'),
        ({"kind": "daemon"}, By, 'kind: expected one of omkd, worker, client, unknown, got "daemon"'),
        ({"kind": 1}, By, "kind: expected one of omkd, worker, client, unknown, got 1"),
        ({"kind": "worker"}, By, 'missing field "worker"'),
    ],
)
def test_a_wrong_variant_is_refused(value, union, error):
    assert refusal(value, union).startswith(error)


def test_null_is_a_value_only_where_the_field_may_be_none():
    event = codec.loads(b'{"TaskUpdated":{"task_id":"t1","target":null}}', Event)
    assert event.target is None
    error = refusal({"TaskQueued": {"task_id": "t1", "target": None, "task": TASK}}, Event)
    assert error.startswith("TaskQueued.target: expected a variant")


# --- what could not be read again --------------------------------------------------------------------------------


def test_an_f32_that_would_be_written_as_null_is_refused_where_null_is():
    cost = {"source": "llm", "tokens_in": 0, "tokens_out": 0, "usd": 1e308}
    assert refusal({"CostDelta": cost}, Event) == "CostDelta.usd: expected a number that fits binary32, got 1e+308"
    progress = codec.structure({"WorkerProgress": {"worker_id": "w", "percent": 1e308}}, Event)
    assert codec.dumps(progress) == b'{"WorkerProgress":{"worker_id":"w","percent":null,"message":null}}'
    assert codec.unstructure(progress) == {"WorkerProgress": {"worker_id": "w", "percent": None, "message": None}}


def test_an_f32_is_rounded_when_read():
    cost = codec.structure({"CostDelta": {"source": "", "tokens_in": 0, "tokens_out": 0, "usd": 0.1}}, Event)
    assert cost == CostDelta(source="", tokens_in=U32(0), tokens_out=U32(0), usd=F32(0.10000000149011612))
    assert codec.unstructure(cost)["CostDelta"]["usd"] == 0.1


def nested(levels: int) -> object:
    value: object = 1
    for _ in range(levels):
        value = [value]
    return value


def test_a_kept_json_value_leaves_room_for_what_carries_it():
    spec = {"name": "n", "role": "r", "inbox": "i", "outbox": "o", "heartbeat": "h"}
    kept = codec.structure(spec | {"external_tools": [1, nested(95)]}, WorkerSpec)
    assert codec.loads(codec.dumps(kept), WorkerSpec) == kept
    error = refusal(spec | {"external_tools": [1, nested(96)]}, WorkerSpec)
    assert error == "external_tools[1]: nested 96 levels or deeper"
    with pytest.raises(codec.CodecError, match="nested"):
        codec.dumps(WorkerSpec(**spec, external_tools=[nested(100_000)]))


def test_a_lone_surrogate_is_not_written():
    with pytest.raises(codec.CodecError, match="lone surrogate"):
        codec.dumps(WorkerTask(id="t1", task="\udcff"))


# --- the converter -----------------------------------------------------------------------------------------------


def test_plain_numbers_have_a_form_too():
    sizes = Sizes(whole=-3, ratio=1e-5)
    assert codec.dumps(sizes) == b'{"whole":-3,"ratio":0.00001}'
    assert codec.loads(codec.dumps(sizes), Sizes) == sizes
    assert codec.loads(b'{"ratio":1}', Sizes) == Sizes(ratio=1.0)
    assert refusal({"ratio": "1"}, Sizes) == 'ratio: expected a number, got "1"'


def test_a_list_is_unstructured_too():
    assert codec.unstructure([ToAny(), ByOmkd()]) == ["any", {"kind": "omkd"}]


@pytest.mark.parametrize("type_", [object, bytes, Path, set[str], str | WorkerTask, ByOmkd | WorkerTask])
def test_a_type_without_a_wire_form_is_a_fault_of_ours(type_):
    with pytest.raises(TypeError):
        codec.loads(b"1", type_)


def test_a_value_without_a_wire_form_is_a_fault_of_ours():
    with pytest.raises(TypeError, match="has no wire form"):
        codec.dumps(object())


def test_defaults_are_fresh_for_each_value():
    first, second = codec.structure(TASK, WorkerTask), codec.structure(TASK, WorkerTask)
    assert first.acceptance_criteria is not second.acceptance_criteria


def test_a_field_without_value_is_left_out_only_where_its_class_says_so():
    assert codec.dumps(WorkerTask(id="t1", task="x")) == b'{"id":"t1","task":"x","acceptance_criteria":[]}'
    queued = TaskQueued(task_id=TaskId("t1"), target=ToAny(), task=WorkerTask(id="t1", task="x"))
    assert b'"key":null,"priority":0,"not_before":null,"after":[],"hold":false' in codec.dumps(queued)
    assert codec.dumps(WorkerProgress(worker_id="w")).endswith(b'"percent":null,"message":null}}')
