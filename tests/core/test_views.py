"""Tasks and workers as they are shown, and why a task waits."""

from typing import Any

import pytest
from core_kit import ANY, CODER, DOCS, World, finished, to, to_role

from omkd.core.views import task_view, worker_view
from omkd.protocol.events import (
    TaskCancelled,
    TaskCancelRequested,
    TaskLost,
    TaskRequeued,
    WorkerPaused,
)
from omkd.protocol.methods import TaskState, WorkerState
from omkd.protocol.records import Outcome
from omkd.protocol.scalars import U32, Ns, TaskId


def why(world: World, task_id: str) -> str | None:
    return task_view(world.state, world.task(task_id)).why


def test_a_task_is_shown_with_what_happened_to_it():
    world = World()
    world.worker()
    world.now = 5
    entry = world.send("a", priority=3)
    view = task_view(world.state, entry)
    assert (view.state, view.worker, view.handout, view.priority, view.queued) == (TaskState.QUEUED, None, 0, 3, 5)
    world.now = 7
    world.hand_out()
    world.now = 8
    world.run("a")
    view = task_view(world.state, entry)
    assert (view.state, view.worker, view.handout) == (TaskState.RUNNING, CODER, 1)
    assert (view.dispatched, view.started, view.finished) == (7, 8, None)
    world.now = 9
    world.tell(finished("a"))
    view = task_view(world.state, entry)
    assert (view.state, view.worker, view.finished) == (TaskState.SUCCESS, CODER, 9)
    assert view.result == finished("a").result


def test_a_task_that_waits_again_is_bound_to_nobody():
    world = World()
    world.worker()
    world.send("a")
    world.hand_out()
    world.tell(
        TaskRequeued(task_id=TaskId("a"), handout=U32(1), worker=CODER, outcome=Outcome.LATER, why="later: busy")
    )
    assert task_view(world.state, world.task("a")).worker is None
    assert why(world, "a") == "later: busy; is handed out in its turn"


def test_a_worker_is_shown_with_what_it_has_and_what_waits_for_it():
    world = World()
    entry = world.worker()
    for task_id in "abc":
        world.send(task_id)
    world.send("d", ANY)
    world.hand_out()
    view = worker_view(world.state, entry)
    assert (view.state, view.in_hand, view.queued, view.pid) == (WorkerState.BUSY, ["a"], 2, 7)
    entry.seen.host_pid = None
    assert worker_view(world.state, entry).pid is None


@pytest.mark.parametrize(
    ("task", "text"),
    [
        ({"hold": True}, "held until it is released"),
        ({"after": [TaskId("x"), TaskId("y")]}, "waits for x, y"),
        ({"not_before": Ns(10**18)}, "not before 2001-09-09T01:46:40Z"),
        ({"target": to("nobody")}, "there is no worker nobody"),
        ({"target": to(DOCS)}, "worker docs is paused"),
        ({"target": to_role("writer")}, "no worker of role writer is ready"),
        ({"target": to(CODER)}, "coder: no room for more in hand"),
    ],
)
def test_why_a_task_waits(task: dict[str, Any], text: str):
    world = World()
    world.worker()
    world.worker(DOCS, role="writer")
    world.tell(WorkerPaused(worker=DOCS))
    for task_id in "xy":
        world.send(task_id)
    world.hand_out()
    world.send("a", **task)
    assert why(world, "a") == text


def test_why_nobody_takes_a_task_for_any():
    world = World()
    world.send("a", ANY)
    assert why(world, "a") == "no worker is ready"
    world.worker()
    assert why(world, "a") == "is handed out in its turn"


def test_why_nothing_comes_of_a_task_in_hand():
    world = World()
    coder = world.worker()
    world.send("a")
    world.hand_out()
    assert why(world, "a") is None
    coder.stalled = True
    assert why(world, "a") == "worker coder gives no sign of life"
    coder.seen.heartbeat, coder.stalled = "stopped", False
    assert why(world, "a") == "worker coder has stopped"
    coder.seen.gave_up = True
    assert why(world, "a") == "worker coder is dead: see omkctl worker show coder"


def test_why_a_task_ended_as_it_did():
    world = World()
    world.worker(window=0)
    for task_id in "abc":
        world.send(task_id)
    world.hand_out()
    assert why(world, "a") is None
    world.tell(TaskCancelRequested(task_id=TaskId("a"), reason="enough"))
    assert why(world, "a") == "its worker was told to end it"
    world.tell(TaskCancelled(task_id=TaskId("a"), worker=CODER, reason="enough"))
    world.tell(TaskLost(task_id=TaskId("b"), worker=CODER, reason="its worker was removed"))
    world.tell(finished("c"))
    assert [why(world, each) for each in "abc"] == ["enough", "its worker was removed", None]


def test_the_newest_task_comes_first():
    world = World()
    for task_id in "abc":
        world.send(task_id, key=f"key-{task_id}")
    assert [entry.id for entry in world.state.ledger.newest_first()] == ["c", "b", "a"]
    assert [use.task_id for use in map(world.state.ledger.keys.get, ["key-a", "key-b"]) if use] == ["a", "b"]
