"""What may happen when: the table, walked."""

from typing import Any, get_args

import pytest
from core_kit import CODER, DOCS, World, finished, queued, registered, spec, to

from omkd.core.transitions import TRANSITIONS, TaskEvent, landing_fault, pairing_fault, task_fault, worker_fault
from omkd.protocol.events import (
    Event,
    PersonNeeded,
    TaskCancelled,
    TaskCancelRequested,
    TaskDispatched,
    TaskFinished,
    TaskHeld,
    TaskLost,
    TaskReleased,
    TaskRequeued,
    TaskStarted,
    TaskUpdated,
    WorkerCompleted,
    WorkerExited,
    WorkerPaused,
    WorkerRecovered,
    WorkerRemoved,
    WorkerResumed,
    WorkerStalled,
    WorkerStarted,
    WorkerUpdated,
)
from omkd.protocol.methods import TaskState
from omkd.protocol.records import Outcome, ResultStatus
from omkd.protocol.scalars import U32, U64, TaskId, WorkerName

A = TaskId("a")
STARTED = TaskStarted(task_id=A)
BEGUN = WorkerStarted(worker_id=CODER, kind="coder", task="x")
COMPLETED = WorkerCompleted(worker_id=CODER, files_touched=U32(0), ok=True)


def requeued(handout: int = 1, **more: Any) -> TaskRequeued:
    fields: dict[str, Any] = {"outcome": Outcome.LATER, "worker": CODER, "why": "", **more}
    return TaskRequeued(task_id=A, handout=U32(handout), **fields)


def task_in(state: TaskState) -> World:
    world = World()
    world.worker()
    world.send("a", hold=state is TaskState.HELD)
    if state in (TaskState.QUEUED, TaskState.HELD):
        return world
    world.hand_out()
    match state:
        case TaskState.RUNNING:
            world.run("a")
        case TaskState.SUCCESS | TaskState.PARTIAL | TaskState.FAILED:
            world.tell(finished("a", ResultStatus(state.value)))
        case TaskState.CANCELLED:
            world.tell(TaskCancelled(task_id=A, worker=CODER))
        case TaskState.LOST:
            world.tell(TaskLost(task_id=A, worker=CODER, reason=""))
        case _:
            pass
    assert world.task("a").state is state
    return world


def events_in(state: TaskState) -> list[Any]:
    """One of each kind, as it would be in this state if it could."""
    waiting = state in (TaskState.QUEUED, TaskState.HELD)
    worker = None if waiting else CODER
    result = finished("a", ResultStatus.FAILED).result
    end = TaskFinished(task_id=A, handout=U32(0 if waiting else 1), worker=worker, result=result)
    return [
        TaskUpdated(task_id=A),
        TaskHeld(task_id=A),
        TaskReleased(task_id=A),
        TaskDispatched(task_id=A, worker=CODER, handout=U32(1)),
        STARTED,
        requeued(),
        TaskCancelRequested(task_id=A),
        end,
        TaskCancelled(task_id=A, worker=worker),
        TaskLost(task_id=A, worker=CODER, reason=""),
    ]


@pytest.mark.parametrize("state", TaskState)
def test_the_table_says_what_may_happen_in_a_state(state: TaskState):
    world = task_in(state)
    found = {type(event): task_fault(world.state, event) for event in events_in(state)}
    assert set(found) == set(get_args(TaskEvent))
    legal = {} if state.is_final else TRANSITIONS[state]
    for kind, fault in found.items():
        expected = None if kind in legal else f"{kind.__name__} of a, which is {state.value}"
        assert fault == expected


@pytest.mark.parametrize("state", TaskState)
def test_what_may_happen_leads_where_the_table_says(state: TaskState):
    """Of the three results of a run one alone is tried here; none of them leads elsewhere."""
    events = [requeued(by_hand=True)] if state.is_final else events_in(state)
    for event in events:
        if type(event) in TRANSITIONS[state]:
            world = task_in(state)
            world.tell(event)
            assert landing_fault(state, event, world.task("a").state) is None


def test_a_task_that_comes_elsewhere_is_a_fault():
    assert landing_fault(TaskState.QUEUED, TaskHeld(task_id=A), TaskState.LOST) == "TaskHeld of a made queued lost"
    assert landing_fault(TaskState.QUEUED, PersonNeeded(text="x"), TaskState.LOST) is None


def test_every_state_is_in_the_table_and_has_a_way_out():
    assert set(TRANSITIONS) == set(TaskState)
    for state, legal in TRANSITIONS.items():
        assert set().union(*legal.values()) - {state}


@pytest.mark.parametrize("state", TaskState)
def test_a_task_is_asked_for_again_only_when_it_has_ended(state: TaskState):
    fault = task_fault(task_in(state).state, requeued(by_hand=True))
    assert (fault is None) is state.is_final


def test_a_task_is_queued_once():
    world = task_in(TaskState.SUCCESS)
    assert task_fault(world.state, queued("a", to(CODER))) == "a is queued a second time"
    assert task_fault(world.state, queued("b", to(CODER))) is None
    assert task_fault(world.state, TaskHeld(task_id=TaskId("b"))) == "TaskHeld of b, which was never queued"
    assert task_fault(world.state, PersonNeeded(text="x", task_id=TaskId("b"))) is None


@pytest.mark.parametrize(
    ("state", "event", "fault"),
    [
        (TaskState.QUEUED, TaskDispatched(task_id=A, worker=CODER, handout=U32(2)), "hand-out 2 instead of 1"),
        (TaskState.QUEUED, TaskDispatched(task_id=A, worker=DOCS, handout=U32(1)), "to docs, which is no worker"),
        (TaskState.QUEUED, finished("a"), "hand-out 1 instead of 0"),
        (TaskState.DISPATCHED, TaskStarted(task_id=A, handout=U32(2)), "hand-out 2 instead of 1"),
        (TaskState.RUNNING, requeued(2), "hand-out 2 instead of 1"),
        (TaskState.RUNNING, requeued(worker=DOCS), "at docs, which is at coder"),
        (TaskState.SUCCESS, requeued(2, by_hand=True), "hand-out 2 instead of 1"),
    ],
)
def test_an_event_speaks_of_the_hand_out_in_hand(state: TaskState, event: Event, fault: str):
    assert str(task_fault(task_in(state).state, event)).endswith(fault)


def test_a_worker_is_registered_once_and_then_changed():
    world = World()
    changes: list[Any] = [
        WorkerUpdated(worker=CODER, spec=spec(CODER), foreign=True, window=U32(1)),
        WorkerRemoved(worker=CODER, moved_to="x"),
        WorkerPaused(worker=CODER),
        WorkerResumed(worker=CODER),
        WorkerStalled(worker=CODER, silent_secs=U64(1)),
        WorkerRecovered(worker=CODER),
        WorkerExited(worker=CODER, status=None, failure=True),
    ]
    assert worker_fault(world.state, registered(CODER)) is None
    for event in changes:
        assert worker_fault(world.state, event) == f"{type(event).__name__} of coder, which is no worker"
    world.worker()
    assert worker_fault(world.state, registered(CODER)) == "coder is registered a second time"
    assert [worker_fault(world.state, event) for event in changes] == [None] * len(changes)
    assert worker_fault(world.state, PersonNeeded(text="x")) is None


def test_a_worker_is_removed_with_nothing_in_hand():
    world = task_in(TaskState.RUNNING)
    assert worker_fault(world.state, WorkerRemoved(worker=CODER, moved_to="x")) == "coder is removed with a in hand"


@pytest.mark.parametrize(
    ("events", "fault"),
    [
        ([STARTED, BEGUN], None),
        ([STARTED], "1 TaskStarted at coder, 0 WorkerStarted"),
        ([STARTED, BEGUN, BEGUN], "1 TaskStarted at coder, 2 WorkerStarted"),
        ([STARTED, WorkerStarted(worker_id="docs", kind="", task="")], "1 TaskStarted at coder, 0 WorkerStarted"),
        ([BEGUN], None),
        ([COMPLETED], None),
        ([STARTED, BEGUN, finished("a"), COMPLETED], None),
        ([finished("a")], "1 hand-outs ended at coder, 0 WorkerCompleted"),
        ([finished("a"), COMPLETED, COMPLETED], "1 hand-outs ended at coder, 2 WorkerCompleted"),
        ([requeued(result=finished("a").result)], "1 hand-outs ended at coder, 0 WorkerCompleted"),
        ([requeued()], None),
        ([TaskCancelled(task_id=A, worker=CODER)], None),
        ([TaskLost(task_id=A, worker=CODER, reason="")], None),
        ([TaskStarted(task_id=TaskId("nobody's"))], None),
    ],
)
def test_a_hand_out_begins_and_ends_with_the_seeds_events(events: list[Event], fault: str | None):
    world = task_in(TaskState.DISPATCHED)
    assert pairing_fault(world.state, world.tell(*events)) == fault


def test_a_task_asked_for_again_ends_no_hand_out():
    world = task_in(TaskState.SUCCESS)
    unit = world.tell(requeued(by_hand=True, result=finished("a").result))
    assert pairing_fault(world.state, unit) is None


def test_a_start_of_a_task_that_was_never_handed_out_has_no_worker():
    world = World()
    world.tell(registered(WorkerName("x")))
    world.send("a")
    assert pairing_fault(world.state, world.tell(STARTED)) is None
