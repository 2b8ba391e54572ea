"""What is kept of the past, and the image of a state: a later fold goes on from it as if it had folded everything."""

from random import Random
from typing import Any

import attrs
import pytest
from attrs import evolve
from core_kit import ANY, CODER, DOCS, World, decided, finished, queued, registered, source, to, to_role
from hypothesis import given, settings
from hypothesis import strategies as st

from omkd.core.decisions import Decisions
from omkd.core.image import image_of, key_block, state_from, task_from, uses_in
from omkd.core.kept import Bounds, Finished, KeyUse, SentKeys
from omkd.core.ledger import Ledger
from omkd.core.roster import Roster
from omkd.core.schedule import next_step
from omkd.core.state import State
from omkd.core.transitions import task_fault, worker_fault
from omkd.protocol.events import (
    ByOmkd,
    DaemonStarted,
    DaemonStopped,
    DecisionExpired,
    DecisionRequested,
    EscalationAcked,
    Event,
    PersonNeeded,
    TaskCancelled,
    TaskCancelRequested,
    TaskHeld,
    TaskLost,
    TaskReleased,
    TaskRequeued,
    TaskStarted,
    TaskUpdated,
    Unit,
    WorkerPaused,
    WorkerProgress,
    WorkerRemoved,
    WorkerResumed,
    WorkerStalled,
)
from omkd.protocol.methods import TaskState
from omkd.protocol.records import Outcome, ResultStatus, WorkerTask
from omkd.protocol.scalars import F32, I32, U32, U64, Ns, Seq, TaskId

SMALL = Bounds(finished=2, finished_chars=200, keys=3, keys_ns=40)
IDS = [TaskId(text) for text in "abcdef"]
WORKERS = [CODER, DOCS]


def small_state() -> State:
    return State(ledger=Ledger.bounded(SMALL))


def told(state: State) -> dict[str, Any]:
    """All that can be asked of a state, and all that it decides from there on. Changes it: times are released."""
    state.ledger.end_image()
    facts = {
        "tasks": {task_id: attrs.asdict(entry, recurse=False) for task_id, entry in state.ledger.tasks.items()},
        "order": list(state.ledger.tasks),
        "keys": dict(state.ledger.keys.uses),
        "counts": dict(state.ledger.counts),
        "chars": state.ledger.waiting_chars,
        "waiting": {str(target): state.ledger.queued_for(target) for target in (ANY, to(CODER), to(DOCS))},
        "in_hand": {name: list(state.ledger.in_hand(name)) for name in WORKERS},
        "finished": dict(state.ledger._finished.chars),
        "workers": {name: attrs.asdict(entry, recurse=False) for name, entry in state.roster.workers.items()},
        "gens": state.roster.gens,
        "unacked": list(state.unacked),
        "clean": (state.ended_cleanly, state.rejected_lines),
        "decisions": state.decisions,
    }
    facts["decides"] = decisions(state)
    return facts


def decisions(state: State) -> list[str]:
    """All that follows from here on, each decision folded."""
    found: list[str] = []
    while (step := next_step(state, Ns(10_000))) is not None:
        found.append(str(step))
        unit = Unit(seq=Seq(10_000 + len(found)), ts=Ns(10_000), by=ByOmkd(), synced=Seq(0), events=[decided(step)])
        state.fold(unit)
    return sorted(found)


def history(rng: Random) -> list[Unit]:
    """What may happen, in any order; times sometimes stand still."""
    state, units, now = small_state(), list[Unit](), 0
    for seq in range(1, rng.randint(5, 120)):
        if seq <= len(WORKERS):
            event: Event = registered(WORKERS[seq - 1], window=2)
        elif (likely := what_follows(state, now)) and rng.random() < 0.4:
            event = rng.choice(likely)
        else:
            event = rng.choice(task_events(state, rng) if rng.random() < 0.8 else other_events(rng))
        if task_fault(state, event) is None and worker_fault(state, event) is None:
            now += rng.choice([0, 1, 1, 30])
            src = source(gen=rng.randint(1, 3), end=seq) if rng.random() < 0.3 else None
            unit = Unit(seq=Seq(seq), ts=Ns(now), by=ByOmkd(), src=src, synced=Seq(0), events=[event])
            state.fold(unit)
            units.append(unit)
    return units


def what_follows(state: State, now: int) -> list[Event]:
    """What a daemon and its workers would do now."""
    step = next_step(state, Ns(now))
    found: list[Event] = [] if step is None else [decided(step)]
    for worker in WORKERS:
        for entry in state.ledger.in_hand(worker).values():
            number = U32(entry.handout)
            if entry.state is TaskState.RUNNING:
                found.append(evolve(finished(entry.id, handout=number), worker=worker))
            else:
                found.append(TaskStarted(task_id=entry.id, handout=number))
    return found


def task_events(state: State, rng: Random) -> list[Event]:
    task_id, worker = rng.choice(IDS), rng.choice(WORKERS)
    entry = state.ledger.tasks.get(task_id)
    holder = None if entry is None or not entry.in_hand else entry.worker
    handout = 0 if entry is None else entry.handout
    number = U32(handout if holder else 0)
    sent = queued(
        task_id,
        rng.choice([ANY, to(CODER), to(DOCS), to_role("coder")]),
        key=rng.choice([None, "k1", "k2", f"k{task_id}"]),
        priority=I32(rng.randint(0, 1)),
        not_before=rng.choice([None, None, Ns(50)]),
        after=rng.sample(IDS, rng.choice([0, 0, 1, 2])),
        hold=rng.random() < 0.2,
        handouts=rng.choice([None, U32(3)]),
    )
    requeued = TaskRequeued(
        task_id=task_id,
        handout=number if holder else U32(handout),
        worker=holder,
        outcome=rng.choice(list(Outcome)),
        why="w",
        not_before=rng.choice([None, Ns(70)]),
        by_hand=holder is None,
    )
    return [
        *[sent] * 6,
        requeued,
        evolve(finished(task_id, rng.choice(list(ResultStatus)), handout=number), worker=holder),
        TaskUpdated(task_id=task_id, target=to(DOCS), after=[rng.choice(IDS)]),
        TaskUpdated(task_id=task_id, task=WorkerTask(id=task_id, task="longer " * 20)),
        TaskHeld(task_id=task_id),
        TaskReleased(task_id=task_id),
        TaskCancelRequested(task_id=task_id, reason="r"),
        TaskCancelled(task_id=task_id, worker=holder),
        TaskLost(task_id=task_id, worker=holder or worker, reason="gone"),
    ]


def other_events(rng: Random) -> list[Event]:
    worker = rng.choice(WORKERS)
    asked = rng.choice("xy")
    return [
        registered(worker, window=2),
        WorkerProgress(worker_id=worker, percent=F32(0.5)),
        WorkerPaused(worker=worker),
        WorkerResumed(worker=worker),
        WorkerStalled(worker=worker, silent_secs=U64(3)),
        WorkerRemoved(worker=worker, moved_to=""),
        PersonNeeded(text="x"),
        EscalationAcked(seqs=[Seq(rng.randint(1, 20))]),
        DaemonStarted(version="1", format=U32(1), boot_id="b", clean=True),
        DaemonStopped(reason=""),
        DecisionRequested(decision_id=asked, summary="?", choices=[], expires=Ns(99), worker=worker),
        DecisionExpired(decision_id=asked, reason="late", summary="?"),
    ]


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**32))
def test_a_fold_goes_on_from_an_image_as_if_it_had_folded_everything(seed: int):
    rng = Random(seed)
    units = history(rng)
    place = rng.randint(0, len(units))
    whole = small_state()
    for unit in units[:place]:
        whole.fold(unit)
    image = image_of(whole)
    for unit in units[place:]:
        whole.fold(unit)
    tasks = [evolve(whole.ledger.as_imaged(entry)) for entry in image.tasks]
    again = state_from(evolve(image, tasks=tasks), SMALL)
    for unit in units[place:]:
        again.fold(unit)
    assert again.ledger.passed == whole.ledger.passed
    assert told(again) == told(whole)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32))
def test_a_task_that_passed_is_made_again_from_its_units(seed: int):
    units = history(Random(seed))
    everything = State(ledger=Ledger.bounded(Bounds()))
    bounded = small_state()
    for unit in units:
        bounded.fold(unit)
    for passed in bounded.ledger.passed.values():
        by_seq = {unit.seq: unit for unit in units}
        entry = task_from(passed.id, [by_seq[seq] for seq in passed.units])
        assert entry is not None
        assert entry.state.is_final
    for unit in units:
        everything.fold(unit)
        for task_id, entry in everything.ledger.tasks.items():
            if entry.state.is_final:
                again = task_from(task_id, [each for each in units if each.seq in entry.units])
                assert again is not None
                shown = ("id", "state", "worker", "handout", "dispatched", "started", "finished", "result", "why")
                assert [getattr(again, name) for name in shown] == [getattr(entry, name) for name in shown]
                assert (again.task, again.target, again.priority) == (entry.task, entry.target, entry.priority)


def test_the_finished_tasks_that_are_too_many_pass_the_oldest_first():
    world = World(small_state())
    world.worker()
    for task_id in "abcd":
        world.send(task_id)
        world.hand_out()
        world.run(task_id)
        world.tell(finished(task_id))
    assert list(world.state.ledger.tasks) == ["c", "d"]
    assert [(each.id, each.units) for each in world.state.ledger.passed.values()] == [
        ("a", [2, 3, 4, 5]),
        ("b", [6, 7, 8, 9]),
    ]
    assert world.state.ledger.counts[TaskState.SUCCESS] == 4
    world.state.ledger.forget_passed(list(world.state.ledger.passed.values()))
    assert not world.state.ledger.passed


def test_a_finished_task_that_another_waits_for_does_not_pass():
    world = World(small_state())
    world.worker()
    world.send("a")
    world.hand_out()
    world.run("a")
    world.tell(finished("a"))
    world.send("z", after=[TaskId("a")], hold=True)
    for task_id in "bcd":
        world.send(task_id)
        world.hand_out()
        world.run(task_id)
        world.tell(finished(task_id))
    assert set(world.state.ledger.tasks) == {"a", "z", "d"}
    world.tell(TaskReleased(task_id=TaskId("z")))
    assert world.hand_out() == ["z"]


def test_what_passed_is_not_stumbled_over_in_the_queue():
    world = World(small_state())
    world.worker(window=0)
    world.tell(WorkerPaused(worker=CODER))
    for task_id in "zabcd":
        world.send(task_id, not_before=Ns(5) if task_id == "b" else None, after=[TaskId("z")] if task_id == "c" else [])
    for task_id in "abcd":
        world.tell(TaskCancelled(task_id=TaskId(task_id)))
    assert set(world.state.ledger.tasks) == {"c", "d", "z"}
    assert world.state.ledger.waiting == 1
    world.now = 9
    world.send("e")
    world.tell(TaskCancelled(task_id=TaskId("e")))
    assert set(world.state.ledger.tasks) == {"d", "e", "z"}
    world.tell(WorkerResumed(worker=CODER))
    assert world.hand_out() == ["z"]
    world.run("z")
    world.tell(finished("z"))
    assert world.hand_out() == []


def test_a_task_that_passed_a_second_time_since_stays_to_be_written():
    world = World(small_state())
    world.worker()
    for task_id in "abcab":
        world.send(task_id)
        world.tell(TaskCancelled(task_id=TaskId(task_id)))
        if task_id == "c":
            first = list(world.state.ledger.passed.values())
    world.send("d")
    world.tell(TaskCancelled(task_id=TaskId("d")))
    assert [each.id for each in first] == ["a"]
    world.state.ledger.forget_passed(first)
    assert {each.id: each.units for each in world.state.ledger.passed.values()} == {
        "b": [4, 5],
        "c": [6, 7],
        "a": [8, 9],
    }


def test_keys_come_back_from_their_columns():
    uses = {f"k{number}": KeyUse(task_id=TaskId(f"t{number}"), seq=Seq(number), ts=Ns(7)) for number in range(3)}
    assert uses_in(key_block(list(uses.items()))) == uses


def test_texts_are_a_bound_of_their_own():
    kept = Finished(Bounds(finished=100, finished_chars=10))
    for number in range(3):
        kept.add(TaskId(f"t{number}"), 6)
    assert kept.let_go() == ["t0", "t1"]
    assert kept.let_go() == []


def test_a_task_queued_anew_counts_its_hand_outs_on():
    world = World()
    world.worker()
    assert world.send("a", handouts=U32(3)).handout == 3
    world.hand_out()
    assert world.task("a").handout == 4


def test_keys_are_forgotten_by_age_and_by_number():
    keys = SentKeys(SMALL)
    for number, ts in enumerate([0, 10, 20, 30]):
        keys.note(f"k{number}", KeyUse(task_id=TaskId("a"), seq=Seq(number), ts=Ns(ts)))
    assert list(keys.uses) == ["k1", "k2", "k3"]
    keys.note("k1", KeyUse(task_id=TaskId("a"), seq=Seq(9), ts=Ns(61)))
    assert list(keys.uses) == ["k3", "k1"]
    assert keys.get("k2") is None


@pytest.mark.parametrize(
    ("cls", "kept"),
    [
        (State, {"ledger", "roster", "decisions", "ended_cleanly", "rejected_lines", "unacked"}),
        (Roster, {"workers", "_gens"}),
        (Decisions, {"open", "decided"}),
        (Ledger, {"tasks", "keys", "counts", "passed", "_in_hand", "_finished"}),
    ],
)
def test_every_field_of_the_state_is_in_the_image_or_made_anew(cls: type, kept: set[str]):
    """Who adds a field decides whether a start from a snapshot needs it: then it belongs into `image.py`."""
    made_anew = {
        "_ready",
        "_timed",
        "_waiters",
        "_queued_for",
        "_failed_dependents",
        "waiting_chars",
        "_copies",
        "drains",
    }
    assert {field.name for field in attrs.fields(cls)} - made_anew == kept
