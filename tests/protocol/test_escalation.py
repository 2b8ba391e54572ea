"""Which of omkd's own events a person sees, and in which words. (The seeds' events: `tests/conformance`.)"""

from typing import Any, cast

import pytest
from attrs import evolve
from hypothesis import given, settings
from wire_strategies import values_of

from omkd.protocol import codec
from omkd.protocol.escalation import EscalationKind, EscalationLogEntry, entry_from_event, needs_person
from omkd.protocol.events import (
    ActiveMode,
    ChildGoalEvent,
    Event,
    GoalCancelled,
    GoalFailed,
    Intent,
    LineFault,
    LineRejected,
    PersonNeeded,
    Refused,
    RouterEscalating,
    TaskCancelled,
    TaskLost,
    ToAny,
    WorkerCompleted,
    WorkerExited,
    WorkerStalled,
    WorkerStarted,
)
from omkd.protocol.scalars import I32, U32, U64, Ns, TaskId, WorkerName

CODER = WorkerName("coder")
T12 = TaskId("t12")
EXITED = WorkerExited(worker=CODER, status=I32(137), failure=True, restart=U32(2), restarts=U32(5))
REJECTED = LineRejected(
    worker=CODER,
    file="outbox.jsonl",
    offset=U64(0),
    end=U64(9),
    reason=LineFault.WRONG_TYPE,
    detail="status: expected text",
    task_id="t12",
    in_hand=True,
)
FAILED = EscalationKind.FAILED


@pytest.mark.parametrize(
    ("event", "kind", "summary"),
    [
        (WorkerStalled(worker=CODER, silent_secs=U64(61)), FAILED, "coder stalled: no sign of life for 61s"),
        (EXITED, FAILED, "coder exited: status 137 (restart 2 of 5)"),
        (evolve(EXITED, status=None, restart=0), FAILED, "coder exited: status unknown (no restart left)"),
        (evolve(EXITED, status=1, restart=0, restarts=0), FAILED, "coder exited: status 1"),
        (TaskCancelled(task_id=T12, worker=CODER), EscalationKind.CANCELLED, "t12 cancelled (coder)"),
        (TaskCancelled(task_id=T12), EscalationKind.CANCELLED, "t12 cancelled"),
        (TaskLost(task_id=T12, worker=CODER, reason="disk gone"), FAILED, "t12 lost (coder): disk gone"),
        (REJECTED, FAILED, "coder: result of t12 rejected: status: expected text"),
        (evolve(REJECTED, detail=""), FAILED, "coder: result of t12 rejected: wrong_type"),
        (PersonNeeded(text="which branch?"), EscalationKind.ROUTER_ESCALATION, "which branch?"),
    ],
)
def test_an_event_of_omkds_own_becomes_a_line_of_the_seeds_kinds(event, kind, summary):
    entry = entry_from_event(event, 12)
    assert entry == EscalationLogEntry(ts=Ns(12), kind=kind, summary=summary, auto_proceed=False)


@pytest.mark.parametrize(
    "event",
    [
        evolve(EXITED, failure=False),
        evolve(REJECTED, in_hand=False),
        evolve(REJECTED, file="events.jsonl"),
        evolve(REJECTED, task_id=None),
    ],
)
def test_what_nobody_need_see_is_no_line(event):
    assert entry_from_event(event, 0) is None
    assert not needs_person(event)


@pytest.mark.parametrize(
    ("event", "needed"),
    [
        (EXITED, True),
        (REJECTED, True),
        (PersonNeeded(text="x"), True),
        (TaskLost(task_id=T12, worker=CODER, reason=""), True),
        (TaskCancelled(task_id=T12), False),
        (Refused(reason="cost cap", intent=Intent.LARGE), True),
        (ChildGoalEvent(goal_id="g1", event=GoalFailed(reason="oom")), True),
        (ChildGoalEvent(goal_id="g1", event=GoalCancelled()), False),
        (WorkerStarted(worker_id="w", kind="k", task="t failed"), False),
        (WorkerCompleted(worker_id="w failed", files_touched=U32(0), ok=True), False),
        (WorkerCompleted(worker_id="w", files_touched=U32(0), ok=False), True),
        (RouterEscalating(intent=Intent.LARGE, target_mode=ActiveMode.IDLE, preflight=True), True),
        (RouterEscalating(intent=Intent.LARGE, target_mode=ActiveMode.IDLE, preflight=False), False),
        (RouterEscalating(intent=Intent.TRIVIAL, target_mode=ActiveMode.IDLE, preflight=True), False),
    ],
)
def test_a_person_is_needed_for_failures_refusals_and_questions(event, needed):
    assert needs_person(event) is needed


@pytest.mark.parametrize("event", [ToAny(), ChildGoalEvent(goal_id="g1", event=cast(Any, ToAny()))])
def test_what_is_no_event_is_a_fault_of_ours(event):
    with pytest.raises(AssertionError):
        entry_from_event(cast(Any, event), 0)


@settings(max_examples=300, deadline=None, derandomize=True)
@given(event=values_of(Event))
def test_every_event_is_decided_and_every_line_can_be_read(event: Any):
    entry = entry_from_event(event, 0)
    if entry is None:
        assert not needs_person(event)
    else:
        assert codec.loads(codec.dumps(entry), EscalationLogEntry) == entry
