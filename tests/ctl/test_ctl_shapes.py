"""What the client takes for granted is what the daemon's contract says."""

from typing import Any, get_type_hints

import attrs
import pytest

from omkctl import shapes, team
from omkctl.commands.publish import OWN_EVENTS
from omkctl.commands.results import ENDS
from omkctl.commands.tail_escalations import KINDS
from omkctl.worker_options import ACP_SESSION, ON_INTERRUPT, RUNNER_FIELDS
from omkd.protocol import escalation, events, methods, records

PAIRS = [
    (shapes.Progress, methods.Progress),
    (shapes.Task, methods.Task),
    (shapes.TaskList, methods.TaskListResult),
    (shapes.Tasks, methods.TasksResult),
    (shapes.WorkerTask, records.WorkerTask),
    (shapes.WorkerResult, records.WorkerResult),
    (shapes.Runner, records.Runner),
    (shapes.WorkerSpec, records.WorkerSpec),
    (shapes.Worker, methods.Worker),
    (shapes.WorkerList, methods.WorkerListResult),
    (shapes.WorkerRemoved, methods.WorkerRemoveResult),
    (shapes.WorkerCompacted, methods.WorkerCompactResult),
    (shapes.Rotated, methods.RotateResult),
    (shapes.Applied, methods.WorkerApplyResult),
    (shapes.HostLog, methods.WorkerLogResult),
    (shapes.Ending, methods.ShutdownResult),
    (shapes.Hello, methods.HelloResult),
    (shapes.InvalidSpec, methods.InvalidSpec),
    (shapes.RetriedWrite, methods.RetriedWrite),
    (shapes.Notice, methods.NoticeStatus),
    (shapes.Status, methods.StatusResult),
    (shapes.ConfigOption, methods.ConfigOption),
    (shapes.Config, methods.ConfigResult),
    (shapes.ChangedOption, methods.ChangedOption),
    (shapes.Reloaded, methods.ReloadResult),
    (shapes.Finding, methods.Finding),
    (shapes.Verified, methods.VerifyResult),
    (shapes.LogChunk, methods.TaskLogResult),
    (shapes.Published, methods.SeqResult),
    (shapes.Unit, events.Unit),
    (shapes.Units, methods.EventListResult),
    (shapes.Entry, escalation.EscalationLogEntry),
    (shapes.Escalation, methods.Escalation),
    (shapes.Escalations, methods.EscalationListResult),
    (shapes.Choice, events.Choice),
    (shapes.Decision, methods.Decision),
    (shapes.Decisions, methods.DecisionListResult),
    (shapes.Subscribed, methods.SubscribeResult),
]


@pytest.mark.parametrize(("shape", "contract"), PAIRS, ids=[shape.__name__ for shape, _ in PAIRS])
def test_a_shape_is_part_of_the_contract(shape: Any, contract: type) -> None:
    """And what may be left out on the wire is not relied on."""
    assert set(get_type_hints(shape)) <= {field.name for field in attrs.fields(contract)}
    assert not shape.__required_keys__ & getattr(contract, "OMIT_NONE", frozenset())


def test_each_shape_is_compared() -> None:
    own = {value for value in vars(shapes).values() if hasattr(value, "__required_keys__")}
    assert own == {shape for shape, _ in PAIRS}


def test_the_options_of_a_worker_are_the_contracts() -> None:
    assert set(ON_INTERRUPT) == {word.value for word in records.OnInterrupt}
    assert set(ACP_SESSION) == {word.value for word in records.AcpSession}
    runner = {field.name for field in attrs.fields(records.Runner)}
    assert {*RUNNER_FIELDS.values(), "command", "env"} == runner
    declared = {field.name for field in attrs.fields(methods.WorkerAddParams)} - {"runner"}
    assert {name for name, _ in team.KEYS.values()} == declared | runner


def test_the_words_are_the_contracts() -> None:
    assert set(shapes.STATES) == {state.value for state in methods.TaskState}
    assert set(shapes.FINAL_STATES) == {state.value for state in methods.FINAL_STATES}
    assert set(KINDS) == {kind.value for kind in escalation.EscalationKind}
    assert all("task_id" in {field.name for field in attrs.fields(getattr(events, name))} for name in ENDS)
    assert all("worker_id" in {field.name for field in attrs.fields(getattr(events, name))} for name in OWN_EVENTS)
