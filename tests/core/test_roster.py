"""The workers as facts make them, and the state in which each is."""

import pytest
from attrs import evolve
from core_kit import CODER, World, finished, queued, registered, source, spec, to

from omkd.core.roster import Sighting, WorkerEntry
from omkd.core.state import MAX_UNACKED
from omkd.protocol.events import (
    DaemonStarted,
    DaemonStopped,
    EscalationAcked,
    Event,
    LineFault,
    LineRejected,
    PersonNeeded,
    WorkerExited,
    WorkerPaused,
    WorkerRecovered,
    WorkerRemoved,
    WorkerResumed,
    WorkerStalled,
    WorkerUpdated,
)
from omkd.protocol.methods import WorkerState
from omkd.protocol.records import Runner
from omkd.protocol.scalars import U32, U64, Seq

RUNNER = Runner(command=["x"])


@pytest.mark.parametrize("busy", [False, True])
@pytest.mark.parametrize(
    ("runner", "seen", "state"),
    [
        (None, Sighting(), WorkerState.UNKNOWN),
        (None, Sighting(heartbeat="ready"), None),
        (None, Sighting(heartbeat="stopped"), WorkerState.STOPPED),
        (None, Sighting(heartbeat="ready", gave_up=True), WorkerState.DEAD),
        (RUNNER, Sighting(), WorkerState.STARTING),
        (RUNNER, Sighting(host_pid=1), WorkerState.STARTING),
        (RUNNER, Sighting(host_pid=1, heartbeat="busy"), None),
        (RUNNER, Sighting(gave_up=True), WorkerState.DEAD),
    ],
)
def test_the_state_of_a_worker(runner: Runner | None, seen: Sighting, state: WorkerState | None, busy: bool):
    world = World()
    entry = world.worker(runner=runner)
    entry.seen = seen
    assert entry.state(busy=busy) is (state or (WorkerState.BUSY if busy else WorkerState.READY))
    world.tell(WorkerStalled(worker=CODER, silent_secs=U64(1)))
    assert entry.state(busy=busy) is (state if state is WorkerState.DEAD else WorkerState.STALLED)
    world.tell(WorkerPaused(worker=CODER))
    assert entry.state(busy=busy) is WorkerState.PAUSED


@pytest.mark.parametrize("end", [WorkerRecovered(worker=CODER), WorkerExited(worker=CODER, status=None, failure=True)])
def test_a_stall_ends_with_a_sign_of_life_or_the_host(end: Event):
    world = World()
    entry = world.worker()
    world.tell(WorkerStalled(worker=CODER, silent_secs=U64(1)))
    world.tell(end)
    assert entry.state(busy=False) is WorkerState.READY


def test_a_pause_ends_when_it_is_told_to():
    world = World()
    entry = world.worker()
    world.tell(WorkerPaused(worker=CODER))
    world.tell(WorkerResumed(worker=CODER))
    assert entry.state(busy=False) is WorkerState.READY


def test_settings_are_replaced_whole():
    world = World()
    entry = world.worker()
    new = WorkerUpdated(worker=CODER, spec=spec(CODER, "other"), foreign=False, window=U32(9), runner=RUNNER)
    world.tell(new)
    assert (entry.spec.role, entry.foreign, entry.window, entry.runner) == ("other", False, 9, RUNNER)


def test_what_is_said_of_a_worker_that_is_not_there_is_passed_over():
    world = World()
    for event in (
        WorkerPaused(worker=CODER),
        WorkerRemoved(worker=CODER, moved_to="x"),
        WorkerExited(worker=CODER, status=None, failure=False),
    ):
        world.tell(event)
    world.tell(src=source())
    assert world.state.roster.workers == {}


# --- where reading goes on


def sources(entry: WorkerEntry) -> dict[str, tuple[int, int]]:
    return {file: (each.gen, each.end) for file, each in entry.sources.items()}


def test_the_last_source_of_each_file_is_where_reading_goes_on():
    world = World()
    entry = world.worker()
    for src in (source(end=5), source("events.jsonl", end=7), source(end=9, gen=2)):
        world.tell(src=src)
    assert (sources(entry), entry.gen) == ({"outbox.jsonl": (2, 9), "events.jsonl": (1, 7)}, 2)


def test_a_worker_that_comes_back_under_its_name_has_new_generations():
    world = World()
    world.worker()
    world.tell(src=source(gen=3))
    world.tell(WorkerRemoved(worker=CODER, moved_to="x"))
    entry = world.worker()
    assert (entry.gen, sources(entry)) == (4, {})


# --- the rest of the state


def test_a_worker_is_idle_since_its_last_task_ended():
    world = World()
    entry = world.worker(window=2)
    for task_id in "ab":
        world.tell(queued(task_id, to(CODER)))
    world.hand_out()
    world.tell(finished("a"))
    assert entry.idle_since == 0
    assert world.state.worker_state(entry) is WorkerState.BUSY
    world.tell(finished("b"))
    assert entry.idle_since == Seq(world.seq)


def test_the_end_of_the_run_before_is_known():
    world = World()
    assert world.state.ended_cleanly
    started = DaemonStarted(version="1", format=U32(1), boot_id="b", clean=True)
    rejected = LineRejected(
        worker=CODER, file="outbox.jsonl", offset=U64(0), end=U64(1), reason=LineFault.MANY, count=U32(3)
    )
    world.tell(started)
    world.tell(rejected)
    world.tell(evolve(rejected, count=U32(1)))
    assert (world.state.ended_cleanly, world.state.rejected_lines) == (False, 4)
    world.tell(DaemonStopped(reason="x"))
    assert world.state.ended_cleanly
    world.tell(started)
    assert world.state.rejected_lines == 0


def test_what_needs_a_person_is_kept_until_it_is_acknowledged():
    world = World()
    for text in "xyz":
        world.tell(PersonNeeded(text=text))
    world.tell(registered("w"))
    world.tell(EscalationAcked(seqs=[Seq(2), Seq(77)]))
    assert list(world.state.unacked) == [1, 3]


def test_of_very_many_that_need_a_person_the_oldest_count_as_seen():
    world = World()
    for _ in range(MAX_UNACKED + 2):
        world.tell(PersonNeeded(text="x"))
    assert (len(world.state.unacked), next(iter(world.state.unacked))) == (MAX_UNACKED, 3)
