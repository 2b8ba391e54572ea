"""What is handed out next, and to whom: single rules, then a plain model of the queue."""

from typing import Any

import pytest
from attrs import Factory, define
from core_kit import ANY, CODER, DOCS, SECOND_NS, World, decided, finished, queued, to, to_role
from hypothesis import given, settings
from hypothesis import strategies as st

from omkd.core.ledger import TaskEntry
from omkd.core.schedule import Doomed, Handout
from omkd.protocol.events import (
    Target,
    TaskCancelled,
    TaskDispatched,
    TaskFinished,
    TaskHeld,
    TaskLost,
    TaskReleased,
    TaskRequeued,
    TaskUpdated,
    ToRole,
    ToWorker,
    WorkerPaused,
    WorkerResumed,
)
from omkd.protocol.methods import TaskState
from omkd.protocol.records import Outcome, ResultStatus
from omkd.protocol.scalars import I32, U32, Ns, TaskId, WorkerName


def ids(*task_ids: str) -> list[TaskId]:
    return [TaskId(each) for each in task_ids]


# --- order


def test_priority_goes_before_age():
    world = World()
    world.worker(window=0)
    for task_id, priority in (("low", -1), ("old", 0), ("young", 0), ("high", 5)):
        world.send(task_id, priority=priority)
    assert world.hand_out() == ["high", "old", "young", "low"]


def test_the_order_holds_across_targets():
    world = World()
    world.worker(window=0)
    world.worker(DOCS, role="writer", window=0)
    for task_id, target in (("a", to(CODER)), ("b", ANY), ("c", to_role("writer")), ("d", to(DOCS))):
        world.send(task_id, target)
    assert world.hand_out() == ["a", "b", "c", "d"]


def test_a_task_that_cannot_go_holds_up_no_other_target():
    world = World()
    world.worker(window=1)
    world.worker(DOCS)
    for task_id, target in (("a", to(CODER)), ("b", to(CODER)), ("c", to("nobody")), ("d", to(DOCS))):
        world.send(task_id, target, priority=0 if task_id == "d" else 9)
    assert world.hand_out() == ["a", "d"]


def test_a_new_priority_counts():
    world = World()
    for task_id in ("a", "b"):
        world.send(task_id)
    world.tell(TaskUpdated(task_id=TaskId("b"), priority=I32(1)))
    world.tell(TaskUpdated(task_id=TaskId("b"), priority=I32(2)))
    world.worker(window=0)
    assert world.hand_out() == ["b", "a"]


def test_none_of_many_tasks_waits_for_ever():
    """Equal priorities, three kinds of target: each is handed out once, and no target's oldest is passed over."""
    world = World()
    world.worker()
    targets = [to(CODER), to_role("coder"), ANY]
    for number in range(60):
        world.send(f"x{number}", targets[number % 3])
    order = []
    for _ in range(60):
        [task_id] = world.hand_out()
        order.append(task_id)
        world.tell(finished(task_id))
    assert order == [f"x{number}" for number in range(60)]


# --- not before, after, hold


def test_not_before_is_kept_to_the_nanosecond():
    world = World()
    world.worker()
    world.send("a", not_before=Ns(10))
    assert (world.hand_out(), world.state.ledger.next_due()) == ([], 10)
    world.now = 9
    assert world.hand_out() == []
    world.now = 10
    assert (world.hand_out(), world.state.ledger.next_due()) == (["a"], None)


def test_a_later_time_takes_the_place_of_an_earlier_one():
    world = World()
    world.worker()
    world.send("a", not_before=Ns(10))
    world.tell(TaskUpdated(task_id=TaskId("a"), not_before=Ns(20)))
    assert world.state.ledger.next_due() == 20
    world.now = 15
    assert world.hand_out() == []
    world.now = 20
    assert world.hand_out() == ["a"]


def test_a_time_given_to_a_ready_task_counts():
    world = World()
    world.send("a")
    world.tell(TaskUpdated(task_id=TaskId("a"), not_before=Ns(5)))
    world.worker()
    assert world.hand_out() == []
    world.now = 5
    assert world.hand_out() == ["a"]


def test_after_waits_for_the_success_of_all():
    world = World()
    world.worker(window=0)
    for task_id in ("a", "b"):
        world.send(task_id)
    world.send("c", after=ids("a", "b"))
    assert world.hand_out() == ["a", "b"]
    for task_id in ("a", "b"):
        assert world.step() is None
        world.tell(finished(task_id))
    assert world.hand_out() == ["c"]


@pytest.mark.parametrize(
    "end",
    [
        finished("a", ResultStatus.PARTIAL),
        finished("a", ResultStatus.FAILED),
        TaskCancelled(task_id=TaskId("a")),
        TaskLost(task_id=TaskId("a"), worker=CODER, reason=""),
    ],
    ids=lambda event: type(event).__name__,
)
def test_what_waits_for_one_that_does_not_succeed_is_doomed_and_so_is_what_waits_for_it(end: Any):
    world = World()
    world.send("a")
    world.send("b", after=ids("a"))
    world.send("c", after=ids("b"))
    world.send("d", after=ids("a"), hold=True)
    world.tell(end)
    assert world.step() == Doomed(task_id=TaskId("b"), cause=TaskId("a"))
    world.hand_out()
    assert [world.task(each).state for each in "bcd"] == [TaskState.FAILED, TaskState.FAILED, TaskState.HELD]
    world.tell(TaskReleased(task_id=TaskId("d")))
    assert world.step() == Doomed(task_id=TaskId("d"), cause=TaskId("a"))


def test_one_failure_is_enough_though_others_are_not_over():
    """Noticed late once: only when the first that was waited for had ended."""
    world = World()
    for task_id in "ab":
        world.send(task_id)
    world.send("c", after=ids("a", "b"))
    world.tell(TaskCancelled(task_id=TaskId("b")))
    assert world.step() == Doomed(task_id=TaskId("c"), cause=TaskId("b"))


def test_what_waits_for_one_that_is_not_there_is_doomed():
    world = World()
    world.send("b", after=ids("never"))
    assert world.step() == Doomed(task_id=TaskId("b"), cause=TaskId("never"))


def test_new_dependencies_save_a_doomed_task():
    world = World()
    world.worker()
    world.send("b", after=ids("never"))
    world.tell(TaskUpdated(task_id=TaskId("b"), after=[]))
    assert world.hand_out() == ["b"]


def test_a_doomed_task_that_is_held_is_not_ended():
    world = World()
    world.send("b", after=ids("never"))
    world.tell(TaskHeld(task_id=TaskId("b")))
    assert world.step() is None


def again(task_id: str) -> TaskRequeued:
    """Asked for again, after its end."""
    return TaskRequeued(
        task_id=TaskId(task_id), handout=U32(1), worker=CODER, outcome=Outcome.DONE, why="", by_hand=True
    )


def test_a_doomed_task_is_saved_when_the_other_is_asked_for_again():
    world = World()
    world.worker()
    world.send("a")
    world.send("b", after=ids("a"))
    world.hand_out()
    world.tell(finished("a", ResultStatus.FAILED))
    world.tell(again("a"))
    assert world.hand_out() == ["a"]
    world.tell(finished("a", handout=2))
    assert world.hand_out() == ["b"]


@pytest.mark.parametrize("not_before", [None, Ns(5)])
def test_a_ready_task_waits_again_when_the_other_is_asked_for_again(not_before: Ns | None):
    """Lost once: it fell out of every index, and was never handed out though it was ready."""
    world = World()
    world.worker()
    world.send("a")
    world.hand_out()
    world.send("b", after=ids("a"), not_before=not_before)
    world.tell(finished("a"))
    world.tell(again("a"))
    world.now = 5
    assert world.hand_out() == ["a"]
    world.tell(finished("a", handout=2))
    assert world.hand_out() == ["b"]


def test_a_held_task_waits_until_it_is_released():
    world = World()
    world.worker(window=0)
    world.send("a", hold=True)
    world.send("b")
    world.tell(TaskHeld(task_id=TaskId("b")))
    assert world.hand_out() == []
    for task_id in "ab":
        world.tell(TaskReleased(task_id=TaskId(task_id)))
    assert world.hand_out() == ["a", "b"]


# --- who gets it


def test_the_window_bounds_what_is_in_hand():
    world = World()
    world.worker(window=2)
    for task_id in "abc":
        world.send(task_id)
    assert world.hand_out() == ["a", "b"]
    world.tell(finished("a"))
    assert world.hand_out() == ["c"]


def test_the_least_loaded_gets_it_then_the_longest_idle():
    world = World()
    for name in ("x", "y", "z"):
        world.worker(name, window=0)
    for task_id in "abcd":
        world.send(task_id, ANY)
    world.hand_out()
    assert [world.task(each).worker for each in "abcd"] == ["x", "y", "z", "x"]
    for task_id in "cba":
        world.tell(finished(task_id))
    for task_id in "ef":
        world.send(task_id, ANY)
    world.hand_out()
    assert [world.task(each).worker for each in "ef"] == ["z", "y"]


def test_a_role_is_kept():
    world = World()
    world.worker("x", role="writer")
    world.worker("y", role="reviewer")
    world.send("a", to_role("reviewer"))
    world.send("b", to_role("nobody's"))
    assert world.hand_out() == ["a"]
    assert world.task("a").worker == "y"


@pytest.mark.parametrize(
    ("change", "by_name", "by_any"),
    [
        ({}, True, True),
        ({"heartbeat": None}, True, True),
        ({"heartbeat": "stopped"}, True, False),
        ({"stalled": True}, True, False),
        ({"paused": True}, False, False),
    ],
    ids=["ready", "unknown", "stopped", "stalled", "paused"],
)
def test_by_name_a_task_goes_to_a_worker_in_any_state_but_paused(change: dict[str, Any], by_name: bool, by_any: bool):
    for target, takes in ((to(CODER), by_name), (to_role("coder"), by_any), (ANY, by_any)):
        world = World()
        entry = world.worker()
        for name, value in change.items():
            setattr(entry.seen if name == "heartbeat" else entry, name, value)
        world.send("a", target)
        assert (world.hand_out() == ["a"]) is takes


def test_a_changed_target_counts():
    world = World()
    world.send("a", to("nobody"))
    world.tell(TaskUpdated(task_id=TaskId("a"), target=to(CODER)))
    world.worker()
    assert world.hand_out() == ["a"]


# --- cost


class Counting(dict[TaskId, TaskEntry]):
    """Counts how often a task is looked at."""

    looks = 0

    def __getitem__(self, key: TaskId) -> TaskEntry:
        self.looks += 1
        return super().__getitem__(key)

    def get(self, key: TaskId, default: Any = None) -> Any:
        self.looks += 1
        return super().get(key, default)


def looks_for_a_decision(waiting: int) -> int:
    world = World()
    world.worker()
    for number in range(waiting):
        target = (to(CODER), to_role("coder"), ANY)[number % 3]
        world.send(f"x{number}", target, not_before=Ns(SECOND_NS) if number % 5 == 1 else None)
    world.hand_out()
    counting = Counting(world.state.ledger.tasks)
    world.state.ledger.tasks = counting
    world.tell(finished("x0"))
    [_] = world.hand_out()
    return counting.looks


def test_a_decision_costs_no_more_with_a_hundred_thousand_waiting():
    assert looks_for_a_decision(100_000) <= looks_for_a_decision(30) < 50


# --- a model

WORKERS = ("coder", "docs", "late")
ROLES = {"coder": "coder", "docs": "writer", "late": "coder"}
TARGETS: list[Target] = [to(CODER), to(DOCS), to("late"), to_role("coder"), to_role("writer"), ANY]


@define
class ModelTask:
    number: int
    target: Target
    priority: int
    after: list[int]
    not_before: int | None
    state: str
    worker: str | None = None
    handouts: int = 0


@define
class Model:
    """The queue as the design says it: a list that is searched from end to end."""

    windows: dict[str, int]
    tasks: list[ModelTask] = Factory(list)
    paused: set[str] = Factory(set)
    idle_since: dict[str, int] = Factory(lambda: dict.fromkeys(WORKERS, 0))
    now: int = 0

    def in_hand(self, worker: str) -> int:
        return sum(task.state == "in hand" and task.worker == worker for task in self.tasks)

    def doomed(self) -> set[int]:
        bad = {"failed", "gone"}
        return {
            task.number
            for task in self.tasks
            if task.state == "queued" and any(self.tasks[each].state in bad for each in task.after)
        }

    def next(self) -> tuple[int, str] | None:
        for task in sorted(self.tasks, key=lambda each: (-each.priority, each.number)):
            if task.state != "queued" or (task.not_before is not None and task.not_before > self.now):
                continue
            if any(self.tasks[each].state != "success" for each in task.after):
                continue
            free = [
                worker
                for worker in WORKERS
                if worker not in self.paused
                and self.takes(worker, task.target)
                and (not self.windows[worker] or self.in_hand(worker) < self.windows[worker])
            ]
            if free:
                return task.number, min(
                    free, key=lambda each: (self.in_hand(each), self.idle_since[each], WORKERS.index(each))
                )
        return None

    def takes(self, worker: str, target: Target) -> bool:
        match target:
            case ToWorker(value=name):
                return worker == name
            case ToRole(value=role):
                return ROLES[worker] == role
            case _:
                return True


ACTIONS = st.one_of(
    st.tuples(
        st.just("send"),
        st.sampled_from(TARGETS),
        st.integers(-1, 1),
        st.lists(st.integers(0, 20), max_size=2),
        st.none() | st.integers(0, 10),
        st.booleans(),
    ),
    st.tuples(st.just("decide"), st.integers(1, 5)),
    st.tuples(st.sampled_from(["success", "failed", "requeue", "lost"]), st.integers(0, 20)),
    st.tuples(st.sampled_from(["hold", "release", "cancel", "again"]), st.integers(0, 20)),
    st.tuples(
        st.just("update"),
        st.integers(0, 20),
        st.none() | st.sampled_from(TARGETS),
        st.none() | st.integers(-1, 1),
        st.none() | st.lists(st.integers(0, 20), max_size=2),
        st.none() | st.integers(0, 10),
    ),
    st.tuples(st.sampled_from(["pause", "resume"]), st.sampled_from(WORKERS)),
    st.tuples(st.just("wait"), st.integers(1, 4)),
)


def name_of(number: int) -> TaskId:
    return TaskId(f"x{number}")


@define
class Pair:
    """The real state and the model, told the same."""

    world: World
    model: Model

    def ready_for(self, number: int, *states: str) -> ModelTask | None:
        if not self.model.tasks:
            return None
        task = self.model.tasks[number % len(self.model.tasks)]
        return task if task.state in states else None

    def act(self, action: tuple[Any, ...]) -> None:
        match action:
            case ("send", target, priority, after, not_before, hold):
                self.send(target, priority, after, not_before, hold)
            case ("decide", count):
                for _ in range(count):
                    self.decide()
            case ("success" | "failed" | "requeue" | "lost" as how, number):
                self.end(how, number)
            case ("hold" | "release" | "cancel" | "again" as how, number):
                self.steer(how, number)
            case ("update", number, target, priority, after, not_before):
                self.update(number, target, priority, after, not_before)
            case ("pause", worker):
                self.model.paused.add(worker)
                self.world.tell(WorkerPaused(worker=WorkerName(worker)))
            case ("resume", worker):
                self.model.paused.discard(worker)
                self.world.tell(WorkerResumed(worker=WorkerName(worker)))
            case ("wait", number):
                self.model.now += number
                self.world.now += number
            case _:
                raise AssertionError(action)

    def earlier(self, numbers: list[int], bound: int) -> list[int]:
        return sorted({number % bound for number in numbers}) if bound else []

    def send(self, target: Target, priority: int, after: list[int], not_before: int | None, hold: bool) -> None:
        number = len(self.model.tasks)
        after = self.earlier(after, number)
        state = "held" if hold else "queued"
        self.model.tasks.append(ModelTask(number, target, priority, after, not_before, state))
        self.world.tell(
            queued(
                name_of(number),
                target,
                priority=I32(priority),
                after=[name_of(each) for each in after],
                not_before=None if not_before is None else Ns(not_before),
                hold=hold,
            )
        )

    def decide(self) -> None:
        """The next decision is the model's; it is made."""
        step = self.world.step()
        doomed = self.model.doomed()
        if doomed:
            assert isinstance(step, Doomed)
            task = self.model.tasks[int(step.task_id[1:])]
            assert task.number in doomed
            task.state = "failed"
        else:
            expected = self.model.next()
            found = (int(step.task_id[1:]), step.worker) if isinstance(step, Handout) else step
            assert found == expected
            if expected is None:
                return
            task = self.model.tasks[expected[0]]
            task.state, task.worker, task.not_before = "in hand", expected[1], None
            task.handouts += 1
        assert step is not None
        self.world.tell(decided(step))

    def end(self, how: str, number: int) -> None:
        task = self.ready_for(number, "in hand")
        if task is None:
            return
        worker, task_id = WorkerName(str(task.worker)), name_of(task.number)
        task.state = {"requeue": "queued", "lost": "gone"}.get(how, how)
        if how == "requeue":
            task.not_before = self.model.now + 2
            self.world.tell(
                TaskRequeued(
                    task_id=task_id,
                    handout=U32(task.handouts),
                    worker=worker,
                    outcome=Outcome.DONE,
                    why="",
                    not_before=Ns(task.not_before),
                )
            )
        elif how == "lost":
            self.world.tell(TaskLost(task_id=task_id, worker=worker, reason=""))
        else:
            result = finished(task_id, ResultStatus(how)).result
            self.world.tell(TaskFinished(task_id=task_id, handout=U32(task.handouts), worker=worker, result=result))
        if self.model.in_hand(worker) == 0:
            self.model.idle_since[worker] = self.world.seq

    def steer(self, how: str, number: int) -> None:
        legal = {"hold": ["queued"], "release": ["held"], "cancel": ["queued", "held"]}
        task = self.ready_for(number, *legal.get(how, ["success", "failed", "gone"]))
        if task is None:
            return
        task_id = name_of(task.number)
        task.state = {"hold": "held", "cancel": "gone"}.get(how, "queued")
        match how:
            case "hold":
                self.world.tell(TaskHeld(task_id=task_id))
            case "release":
                self.world.tell(TaskReleased(task_id=task_id))
            case "cancel":
                self.world.tell(TaskCancelled(task_id=task_id))
            case _:
                task.not_before = None
                self.world.tell(
                    TaskRequeued(
                        task_id=task_id,
                        handout=U32(task.handouts),
                        worker=None,
                        outcome=Outcome.DONE,
                        why="",
                        by_hand=True,
                    )
                )
                if task.worker is not None and self.model.in_hand(task.worker) == 0:
                    self.model.idle_since[task.worker] = self.world.seq

    def update(
        self, number: int, target: Target | None, priority: int | None, after: list[int] | None, not_before: int | None
    ) -> None:
        task = self.ready_for(number, "queued", "held")
        if task is None:
            return
        after = None if after is None else self.earlier(after, task.number)
        task.target = target or task.target
        task.priority = task.priority if priority is None else priority
        task.after = task.after if after is None else after
        task.not_before = task.not_before if not_before is None else not_before
        self.world.tell(
            TaskUpdated(
                task_id=name_of(task.number),
                target=target,
                priority=None if priority is None else I32(priority),
                after=None if after is None else [name_of(each) for each in after],
                not_before=None if not_before is None else Ns(not_before),
            )
        )


@settings(max_examples=400, deadline=None)
@given(
    windows=st.lists(st.integers(0, 2), min_size=3, max_size=3),
    actions=st.lists(st.tuples(ACTIONS, st.integers(0, 3)), max_size=30),
)
def test_any_course_of_events_is_decided_as_the_model_does(windows: list[int], actions: list[Any]):
    """After each event some decisions are made; at the end all that can be."""
    world = World()
    for worker, window in zip(WORKERS, windows, strict=True):
        world.worker(worker, role=ROLES[worker], window=window)
    pair = Pair(world, Model(dict(zip(WORKERS, windows, strict=True))))
    for action, decisions in actions:
        pair.act(action)
        pair.act(("decide", decisions))
    pair.act(("decide", 2 * len(pair.model.tasks) + 1))
    check_counts(pair)


def check_counts(pair: Pair) -> None:
    ledger = pair.world.state.ledger
    states = [entry.state for entry in ledger.tasks.values()]
    assert ledger.counts == {state: states.count(state) for state in TaskState}
    for worker in WORKERS:
        in_hand = [each.number for each in pair.model.tasks if (each.state, each.worker) == ("in hand", worker)]
        assert set(ledger.in_hand(WorkerName(worker))) == {name_of(each) for each in in_hand}
    for target in TARGETS:
        waiting = sum(each.state in ("queued", "held") and each.target == target for each in pair.model.tasks)
        assert ledger.queued_for(target) == waiting


def test_what_a_worker_had_is_not_left_with_it_when_the_log_lost_how_it_ended():
    """A repair took out the end of the first hand-out."""
    world = World()
    world.worker()
    world.worker(DOCS)
    world.send("a")
    world.hand_out()
    world.tell(TaskDispatched(task_id=TaskId("a"), worker=DOCS, handout=U32(2)))
    assert (list(world.state.ledger.in_hand(CODER)), list(world.state.ledger.in_hand(DOCS))) == ([], ["a"])
