"""What becomes of what a worker says in its files."""

from typing import Any

import pytest
from core_kit import CODER, DOCS, SECOND_NS, World, finished
from hypothesis import given
from hypothesis import strategies as st

from omkd.core.reports import (
    BACKOFF_FIRST_S,
    BACKOFF_MAX_S,
    MAX_INTERRUPTIONS,
    Rejected,
    backoff_s,
    headline,
    judge_event,
    judge_result,
)
from omkd.core.roster import WorkerEntry
from omkd.protocol.events import (
    Event,
    LineFault,
    PersonNeeded,
    TaskCancelled,
    TaskCancelRequested,
    TaskDispatched,
    TaskFinished,
    TaskHeld,
    TaskLost,
    TaskRequeued,
    TaskStarted,
    WorkerCompleted,
    WorkerProgress,
    WorkerStarted,
)
from omkd.protocol.methods import TaskState
from omkd.protocol.records import OnInterrupt, OutboxLine, Outcome, ResultStatus, Runner
from omkd.protocol.scalars import U32, Ns, Seq, TaskId

SUCCESS, PARTIAL, FAILED = ResultStatus.SUCCESS, ResultStatus.PARTIAL, ResultStatus.FAILED
NOW = Ns(100 * SECOND_NS)


def line(task_id: str, status: ResultStatus = SUCCESS, outcome: Outcome | None = None, **more: Any) -> OutboxLine:
    return OutboxLine(task_id=task_id, status=status, outcome=outcome, **more)


def at_work(*, runner: Runner | None = None, **task: Any) -> tuple[World, WorkerEntry]:
    """A worker with task `a` in hand."""
    world = World()
    entry = world.worker(runner=runner)
    world.send("a", **task)
    world.hand_out()
    return world, entry


def events_of(world: World, worker: WorkerEntry, said: OutboxLine) -> tuple[Event, ...]:
    verdict = judge_result(world.state, worker, said, NOW)
    assert not isinstance(verdict, Rejected), verdict
    return verdict


def ending(world: World, worker: WorkerEntry, said: OutboxLine) -> Any:
    """The one event that ends the hand-out, or the several."""
    ends = [event for event in events_of(world, worker, said) if not isinstance(event, TaskStarted | WorkerStarted)][
        :-1
    ]
    return ends[0] if len(ends) == 1 else tuple(ends)


def fault(world: World, worker: WorkerEntry, said: OutboxLine) -> LineFault:
    verdict = judge_result(world.state, worker, said, NOW)
    assert isinstance(verdict, Rejected)
    assert (verdict.task_id, verdict.in_hand) == (said.task_id, False)
    return verdict.fault


# --- a result that counts


def test_a_result_ends_the_hand_out_with_the_seeds_event_beside_it():
    world, worker = at_work()
    world.run("a")
    assert events_of(world, worker, line("a", artifacts=["x", "y"])) == (
        TaskFinished(
            task_id=TaskId("a"), handout=U32(1), worker=CODER, result=line("a", artifacts=["x", "y"]).result()
        ),
        WorkerCompleted(worker_id=CODER, files_touched=U32(2), ok=True),
    )


def test_a_result_without_a_start_brings_both():
    world, worker = at_work()
    events = events_of(world, worker, line("a", PARTIAL))
    assert events[:2] == (
        TaskStarted(task_id=TaskId("a"), handout=U32(1)),
        WorkerStarted(worker_id=CODER, kind="coder", task="do a"),
    )
    assert events[-1] == WorkerCompleted(worker_id=CODER, files_touched=U32(0), ok=False)


@pytest.mark.parametrize(
    ("status", "state"), [(SUCCESS, TaskState.SUCCESS), (PARTIAL, TaskState.PARTIAL), (FAILED, TaskState.FAILED)]
)
def test_the_status_is_the_tasks_state(status: ResultStatus, state: TaskState):
    world, worker = at_work()
    world.tell(*events_of(world, worker, line("a", status, Outcome.DONE)))
    assert (world.task("a").state, world.task("a").result) == (state, line("a", status).result())


# --- retries


def test_a_failure_is_tried_again_later_as_often_as_asked_then_it_stands():
    world, worker = at_work(retries=U32(2))
    pauses = []
    for handout in ("a", "a.2"):
        again = ending(world, worker, line(handout, FAILED))
        assert isinstance(again, TaskRequeued)
        pauses.append((again.not_before - NOW) // SECOND_NS)
        assert again.why == f"failed, retry {len(pauses)} of 2"
        world.tell(*events_of(world, worker, line(handout, FAILED)))
        assert world.hand_out() == []
        world.now = again.not_before
        assert world.hand_out() == ["a"]
    assert pauses == [5, 10]
    assert isinstance(ending(world, worker, line("a.3", FAILED)), TaskFinished)


def test_without_a_number_of_its_own_the_workers_counts():
    world, worker = at_work(runner=Runner(command=["x"], retries=U32(1)))
    assert isinstance(ending(world, worker, line("a", FAILED)), TaskRequeued)
    world, worker = at_work(runner=Runner(command=["x"], retries=U32(1)), retries=U32(0))
    assert isinstance(ending(world, worker, line("a", FAILED)), TaskFinished)
    world, worker = at_work()
    assert isinstance(ending(world, worker, line("a", FAILED)), TaskFinished)


def test_what_was_said_of_a_failed_try_does_not_stay_with_a_success():
    world, worker = at_work(retries=U32(1))
    world.tell(*events_of(world, worker, line("a", FAILED)))
    world.now = world.task("a").not_before or 0
    world.hand_out()
    assert (world.task("a").result, world.task("a").why) == (None, None)
    world.tell(*events_of(world, worker, line("a.2")))
    assert (world.task("a").state, world.task("a").why) == (TaskState.SUCCESS, None)


@given(st.integers(0, 10**6))
def test_the_pause_doubles_to_a_bound(failures: int):
    assert backoff_s(failures) == min(BACKOFF_FIRST_S * 2 ** min(failures, 20), BACKOFF_MAX_S)


# --- later, interrupted, cancelled


def test_later_waits_until_the_time_that_was_said():
    world, worker = at_work()
    again = ending(world, worker, line("a", FAILED, Outcome.LATER, not_before=Ns(7), summary="busy"))
    assert (again.outcome, again.why, again.not_before) == (Outcome.LATER, "later: busy", 7)
    again = ending(world, worker, line("a", FAILED, Outcome.LATER))
    assert (again.why, again.not_before) == ("later", NOW + BACKOFF_FIRST_S * SECOND_NS)


def test_later_is_no_failure_and_no_interruption():
    world, worker = at_work()
    for number in range(1, 10):
        handout = "a" if number == 1 else f"a.{number}"
        world.tell(*events_of(world, worker, line(handout, FAILED, Outcome.LATER, not_before=Ns(1))))
        world.now = 1
        assert world.hand_out() == ["a"]
    assert (world.task("a").failures, world.task("a").interruptions) == (0, 0)


def test_an_interrupted_task_is_run_again_at_once_but_not_for_ever():
    world, worker = at_work()
    for number in range(1, MAX_INTERRUPTIONS):
        handout = "a" if number == 1 else f"a.{number}"
        again = ending(world, worker, line(handout, FAILED, Outcome.INTERRUPTED))
        assert (again.not_before, again.outcome) == (None, Outcome.INTERRUPTED)
        world.tell(*events_of(world, worker, line(handout, FAILED, Outcome.INTERRUPTED)))
        assert world.hand_out() == ["a"]
    end = ending(world, worker, line(f"a.{MAX_INTERRUPTIONS}", FAILED, Outcome.INTERRUPTED))
    assert (type(end), end.outcome) == (TaskFinished, Outcome.INTERRUPTED)


def test_a_worker_may_hold_or_fail_what_was_interrupted():
    world, worker = at_work(runner=Runner(command=["x"], on_interrupt=OnInterrupt.HOLD))
    again, held = ending(world, worker, line("a", FAILED, Outcome.INTERRUPTED))
    assert (type(again), held) == (TaskRequeued, TaskHeld(task_id=TaskId("a")))
    world.tell(*events_of(world, worker, line("a", FAILED, Outcome.INTERRUPTED)))
    assert world.task("a").state is TaskState.HELD
    world, worker = at_work(runner=Runner(command=["x"], on_interrupt=OnInterrupt.FAIL))
    assert isinstance(ending(world, worker, line("a", FAILED, Outcome.INTERRUPTED)), TaskFinished)


@pytest.mark.parametrize("outcome", [Outcome.CANCELLED, Outcome.LATER, Outcome.INTERRUPTED])
def test_a_task_that_was_to_be_cancelled_is_not_run_again(outcome: Outcome):
    world, worker = at_work(retries=U32(5))
    world.tell(TaskCancelRequested(task_id=TaskId("a"), reason="enough"))
    end = ending(world, worker, line("a", FAILED, outcome, summary="stopped"))
    assert (type(end), end.reason, end.worker) == (TaskCancelled, "enough", CODER)
    world.tell(*events_of(world, worker, line("a", FAILED, outcome)))
    assert (world.task("a").state, world.task("a").why) == (TaskState.CANCELLED, "enough")


def test_a_task_that_ended_by_itself_before_it_was_cancelled_has_its_result():
    world, worker = at_work(retries=U32(5))
    world.tell(TaskCancelRequested(task_id=TaskId("a")))
    assert isinstance(ending(world, worker, line("a", FAILED)), TaskFinished)
    assert isinstance(ending(world, worker, line("a")), TaskFinished)


def test_a_worker_may_cancel_by_itself_and_says_why():
    world, worker = at_work()
    assert ending(world, worker, line("a", FAILED, Outcome.CANCELLED, summary="a person said no")).reason == (
        "a person said no"
    )


# --- a result that does not count


def test_a_task_nobody_knows_and_a_hand_out_that_never_was_are_unknown():
    world, worker = at_work()
    world.send("b")
    for named in ("stranger", "b", "a.2", "", "a.1", "a.02", "a."):
        assert fault(world, worker, line(named)) is LineFault.UNKNOWN_TASK


def test_another_workers_task_is_not_yours():
    world, _ = at_work()
    other = world.worker(DOCS)
    assert fault(world, other, line("a")) is LineFault.NOT_YOURS


def test_a_second_result_is_a_duplicate():
    world, worker = at_work(retries=U32(1))
    world.tell(*events_of(world, worker, line("a", FAILED)))
    assert fault(world, worker, line("a")) is LineFault.DUPLICATE
    world.now = world.task("a").not_before or 0
    world.hand_out()
    world.tell(*events_of(world, worker, line("a.2")))
    assert fault(world, worker, line("a.2")) is LineFault.DUPLICATE


def test_the_result_of_a_hand_out_that_ended_otherwise_is_late():
    world, worker = at_work()
    world.tell(TaskLost(task_id=TaskId("a"), worker=CODER, reason="gone"))
    assert fault(world, worker, line("a")) is LineFault.LATE


def test_the_result_of_a_lost_hand_out_is_late_though_one_before_it_had_a_result():
    """Said to be a duplicate once: the result of the first hand-out was taken for its own."""
    world, worker = at_work(retries=U32(1))
    world.tell(*events_of(world, worker, line("a", FAILED)))
    world.now = world.task("a").not_before or 0
    world.hand_out()
    world.tell(TaskLost(task_id=TaskId("a"), worker=CODER, reason="gone"))
    assert fault(world, worker, line("a.2")) is LineFault.LATE
    assert world.task("a").result is None


def test_a_result_of_an_earlier_hand_out_is_late():
    world, worker = at_work()
    world.tell(*events_of(world, worker, line("a", FAILED, Outcome.INTERRUPTED)))
    world.hand_out()
    assert fault(world, worker, line("a")) is LineFault.LATE


# --- events


def test_a_start_is_a_start_once():
    world, worker = at_work()
    started = judge_event(world.state, worker, TaskStarted(task_id=TaskId("a")), NOW)
    assert isinstance(started, tuple)
    world.tell(*started)
    assert world.task("a").state is TaskState.RUNNING
    again = judge_event(world.state, worker, TaskStarted(task_id=TaskId("a")), NOW)
    assert isinstance(again, Rejected)
    assert (again.fault, again.in_hand) == (LineFault.DUPLICATE, True)


def test_a_start_names_its_hand_out():
    world, worker = at_work()
    world.tell(*events_of(world, worker, line("a", FAILED, Outcome.INTERRUPTED)))
    world.hand_out()
    late = judge_event(world.state, worker, TaskStarted(task_id=TaskId("a")), NOW)
    assert isinstance(late, Rejected)
    assert judge_event(world.state, worker, TaskStarted(task_id=TaskId("a.2")), NOW) == (
        TaskStarted(task_id=TaskId("a"), handout=U32(2)),
        WorkerStarted(worker_id=CODER, kind="coder", task="do a"),
    )


@pytest.mark.parametrize("make", [lambda name: PersonNeeded(text="x", worker_id=name), lambda name: progress(name)])
def test_a_worker_speaks_for_itself_only(make: Any):
    world, worker = at_work()
    assert judge_event(world.state, worker, make("coder"), NOW) == (make("coder"),)
    rejected = judge_event(world.state, worker, make("docs"), NOW)
    assert isinstance(rejected, Rejected)
    assert rejected.fault is LineFault.NOT_YOURS


def progress(name: str) -> WorkerProgress:
    return WorkerProgress(worker_id=name, message="half")


def test_a_worker_that_asks_for_a_person_is_named():
    world, worker = at_work()
    assert judge_event(world.state, worker, PersonNeeded(text="x", task_id=TaskId("a")), NOW) == (
        PersonNeeded(text="x", worker_id=CODER, task_id=TaskId("a")),
    )


def test_progress_is_of_the_task_that_runs():
    world = World()
    worker = world.worker(window=0)
    for task_id in "ab":
        world.send(task_id)
    world.hand_out()
    world.tell(progress("coder"))
    assert world.task("a").progress is None
    world.run("b")
    world.tell(progress("coder"))
    world.tell(progress("nobody"))
    assert [getattr(world.task(each).progress, "message", None) for each in "ab"] == [None, "half"]
    assert [entry.id for entry in world.state.ledger.running()] == ["b"]
    world.tell(*events_of(world, worker, line("b", FAILED, Outcome.INTERRUPTED)))
    assert world.task("b").progress is None


def test_a_headline_is_the_first_line_cut():
    assert headline("one\ntwo") == "one"
    assert len(headline("x" * 1000)) == 200


# --- every line, in every state


LINES = st.builds(
    line,
    st.sampled_from(["a", "a.2", "a.3", "b", "z"]),
    st.sampled_from(ResultStatus),
    st.none() | st.sampled_from(Outcome),
    not_before=st.none() | st.just(Ns(1)),
)


@given(lines=st.lists(st.tuples(st.booleans(), LINES), max_size=12), retries=st.integers(0, 2))
def test_whatever_workers_say_each_hand_out_ends_once(lines: list[tuple[bool, OutboxLine]], retries: int):
    """And what the log then has is what could happen (`omkd.core.transitions` is asked of each unit)."""
    world = World()
    workers = (world.worker(), world.worker(DOCS))
    for task_id in "ab":
        world.send(task_id, retries=U32(retries))
    ended: list[tuple[str, int]] = []
    for is_docs, said in lines:
        world.now += 700 * SECOND_NS
        world.hand_out()
        verdict = judge_result(world.state, workers[is_docs], said, Ns(world.now))
        if isinstance(verdict, Rejected):
            continue
        assert not is_docs
        handout = world.task(said.task_id.partition(".")[0]).handout
        ended.append((said.task_id.partition(".")[0], handout))
        world.tell(*verdict)
    assert len(set(ended)) == len(ended)


def test_a_result_of_a_task_that_was_dispatched_to_nobodys_knowledge_is_unknown():
    """A repair of the log took out the task: what is said of it is passed over, its result rejected."""
    world = World()
    worker = world.worker()
    world.tell(TaskDispatched(task_id=TaskId("gone"), worker=CODER, handout=U32(1)))
    world.tell(finished("gone"))
    assert fault(world, worker, line("gone")) is LineFault.UNKNOWN_TASK
    assert worker.idle_since == Seq(0)
