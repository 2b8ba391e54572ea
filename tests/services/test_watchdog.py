"""Signs of life, from real files and a clock that the test turns: each said once, never of a worker that is well."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing
from attrs import define, field

from omkd.core.state import State
from omkd.core.vitals import STALLED_AFTER_S
from omkd.protocol import codec
from omkd.protocol.events import (
    ByOmkd,
    Event,
    PersonNeeded,
    TaskDispatched,
    TaskQueued,
    TaskStarted,
    ToWorker,
    Unit,
    WorkerExited,
    WorkerRecovered,
    WorkerRegistered,
    WorkerRemoved,
    WorkerStalled,
)
from omkd.protocol.methods import WorkerState
from omkd.protocol.records import Heartbeat, Runner, WorkerSpec, WorkerTask
from omkd.protocol.scalars import I32, U32, U64, HandoutId, HeartbeatNs, Ns, TaskId, WorkerName
from omkd.services.heartbeats import read_heartbeat
from omkd.services.hub import Hub
from omkd.services.watchdog import Patience, Watchdog
from omkd.store.event_log import Draft, open_event_log
from omkd.store.session import SessionDir

W = WorkerName("w")
T = TaskId("t")
NS = 10**9
PATIENCE = Patience(look_s=10, stalled_after_s=STALLED_AFTER_S, queued_warn_s=15 * 60)

OURS = Runner(command=["sh"], budget_secs=U64(60), grace_secs=U64(10))


@define
class Scene:
    """`clock_s` is the wall clock; the monotonic one is what `look` is told. `said` is what the watchdog recorded."""

    hub: Hub
    watchdog: Watchdog
    said: list[Event] = field(factory=list)
    clock_s: int = 1_000_000_000
    beats: int = 0

    def record(self, *events: Event) -> None:
        self.hub.log.append(Draft(by=ByOmkd(), events=events))
        self.said.clear()

    def add(self, runner: Runner | None = OURS) -> None:
        directory = self.hub.session.worker(W)
        directory.path.mkdir(parents=True)
        spec = WorkerSpec(name=W, role="r", inbox="i", outbox="o", heartbeat="h")
        self.record(WorkerRegistered(worker=W, spec=spec, foreign=runner is None, runner=runner))
        if runner is not None:
            self.hub.state.roster.workers[W].seen.host_pid = 1

    def queue(self, budget_secs: int | None = None, not_before: Ns | None = None) -> None:
        task = WorkerTask(id=T, task="x", budget_secs=None if budget_secs is None else U64(budget_secs))
        self.record(TaskQueued(task_id=T, target=ToWorker(value=W), task=task, not_before=not_before))

    def run_task(self, budget_secs: int | None = None) -> Path:
        """The directory of its run, which the host has begun."""
        self.queue(budget_secs)
        self.record(TaskDispatched(task_id=T, worker=W, handout=U32(1)), TaskStarted(task_id=T))
        run = self.hub.session.worker(W).run(T, HandoutId(T))
        run.mkdir(parents=True)
        (run / "stdout.log").write_bytes(b"")
        return run

    def beat(self) -> None:
        self.beats += 1
        ns = HeartbeatNs(self.beats * NS)
        path = self.hub.session.worker(W).heartbeat
        fresh = path.with_suffix(".new")
        fresh.write_bytes(codec.dumps(Heartbeat(status="ready", name=W, ts=ns)))
        fresh.rename(path)
        read_heartbeat(self.hub, self.hub.state.roster.workers[W])

    def look(self, *times: float) -> list[Event]:
        """What was said at these looks."""
        self.said.clear()
        for now in times:
            self.watchdog.look(now)
        return list(self.said)

    def state(self) -> WorkerState:
        return self.hub.state.worker_state(self.hub.state.roster.workers[W])


@asynccontextmanager
async def open_scene(root: Path) -> AsyncIterator[Scene]:
    state, said = State(), list[Event]()
    session = SessionDir(root / "s")
    session.path.mkdir()

    def fold(unit: Unit) -> None:
        state.fold(unit)
        said.extend(unit.events)

    async with open_event_log(session.events, fold=fold, clock_ns=lambda: scene.clock_s * NS) as log:
        hub = Hub(session=session, log=log, state=state, clock_ns=lambda: scene.clock_s * NS)
        scene = Scene(hub=hub, watchdog=Watchdog(hub, lambda: PATIENCE), said=said)
        yield scene


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    async with open_scene(tmp_path) as opened:
        yield opened


def stalled(seconds: int, task_id: TaskId | None = None) -> WorkerStalled:
    return WorkerStalled(worker=W, silent_secs=U64(seconds), task_id=task_id)


RECOVERED = WorkerRecovered(worker=W)


async def test_a_silent_host_is_stalled_once_and_recovers_once(scene: Scene) -> None:
    scene.add()
    scene.beat()
    assert scene.look(0, 10, 20, 29) == []
    assert scene.look(30, 40, 50) == [stalled(30)]
    assert scene.state() is WorkerState.STALLED
    scene.beat()
    assert scene.look(60, 70) == [RECOVERED]
    assert scene.state() is WorkerState.READY


async def test_a_host_that_beats_is_well_however_long(scene: Scene) -> None:
    scene.add()
    for now in range(0, 1000, 10):
        scene.beat()
        assert scene.look(now) == []


@pytest.mark.parametrize(("budget_secs", "allowed"), [(None, 70), (400, 410), (0, 70)])
async def test_a_worker_within_the_budget_of_its_task_is_never_stalled(
    scene: Scene, budget_secs: int | None, allowed: int
) -> None:
    scene.add()
    scene.beat()
    scene.run_task(budget_secs)
    assert scene.look(*range(0, allowed + 1, 10)) == []
    assert scene.look(allowed + 1, allowed + 10) == [stalled(allowed + 1, T)]


async def test_a_busy_foreign_worker_is_not_dead_before_its_budget_ran_out(scene: Scene) -> None:
    """The thresholds of upstream, missing 30 s and stale 60 s, call any task over 30 s dead."""
    scene.add(None)
    scene.beat()
    scene.run_task(1000)
    assert scene.look(*range(0, 1000, 10)) == []
    assert scene.state() is WorkerState.BUSY


async def test_an_agent_that_says_nothing_is_stalled_where_that_was_asked_for(scene: Scene) -> None:
    scene.add(Runner(command=["sh"], stall_secs=U64(20)))
    run = scene.run_task(1000)
    scene.beat()
    assert scene.look(0, 10) == []
    with (run / "stdout.log").open("ab") as output:
        output.write(b"talk")
    scene.beat()
    assert scene.look(20, 30) == []
    scene.beat()
    assert scene.look(40, 50) == [stalled(20, T)]
    with (run / "stdout.log").open("ab") as output:
        output.write(b"talk")
    assert scene.look(60) == [RECOVERED]


async def test_a_restart_of_the_daemon_ages_nobody(scene: Scene) -> None:
    scene.add()
    scene.beat()
    assert scene.look(0, 25) == []
    scene.watchdog = Watchdog(scene.hub, lambda: PATIENCE)
    assert scene.look(26, 50) == []


async def test_a_stalled_worker_is_neither_stalled_nor_recovered_by_a_restart_of_the_daemon(scene: Scene) -> None:
    scene.add()
    scene.beat()
    assert scene.look(0, 31) == [stalled(31)]
    scene.watchdog = Watchdog(scene.hub, lambda: PATIENCE)
    assert scene.look(100, 110, 200) == []
    scene.beat()
    assert scene.look(210) == [RECOVERED]


async def test_a_clock_that_stood_still_ages_nobody(scene: Scene) -> None:
    """CLOCK_MONOTONIC while the machine sleeps: the wall clock went on for a day."""
    scene.add()
    scene.beat()
    scene.look(0)
    scene.clock_s += 86_400
    assert scene.look(10) == []


async def test_a_host_that_ended_is_not_stalled_it_exited(scene: Scene) -> None:
    scene.add()
    scene.beat()
    assert scene.look(0, 31) == [stalled(31)]
    scene.hub.state.roster.workers[W].seen.host_pid = None
    scene.record(WorkerExited(worker=W, status=I32(137), failure=True))
    assert scene.look(40, 100) == []
    assert scene.state() is WorkerState.STARTING


async def test_a_foreign_worker_without_heartbeat_is_unknown_and_never_judged(scene: Scene) -> None:
    scene.add(None)
    assert scene.look(0, 100, 10_000) == []
    assert scene.state() is WorkerState.UNKNOWN


async def test_a_foreign_worker_that_beat_once_is_dead_after_a_while_and_back_when_it_beats(scene: Scene) -> None:
    scene.add(None)
    scene.beat()
    assert scene.look(0, 31) == [stalled(31)]
    assert scene.look(119) == []
    assert scene.state() is WorkerState.STALLED
    assert scene.look(121) == []
    assert scene.state() is WorkerState.DEAD
    scene.beat()
    assert scene.look(130) == [RECOVERED]
    assert scene.state() is WorkerState.READY
    assert scene.look(251) == []
    assert scene.state() is WorkerState.DEAD


async def test_a_worker_that_was_removed_is_forgotten(scene: Scene) -> None:
    scene.add()
    scene.look(0)
    scene.record(WorkerRemoved(worker=W, moved_to="removed/w.1"))
    assert scene.look(1000) == []


async def test_what_waits_too_long_is_said_once_with_the_reason(scene: Scene) -> None:
    scene.queue()
    scene.clock_s += 14 * 60
    assert scene.look(0) == []
    scene.clock_s += 60
    text = "t has waited for 15 min: there is no worker w"
    assert scene.look(10, 20) == [PersonNeeded(text=text, task_id=T)]


async def test_a_task_that_waits_for_a_time_does_not_wait_too_long(scene: Scene) -> None:
    scene.queue(not_before=Ns((scene.clock_s + 3600) * NS))
    scene.clock_s += 3599
    assert scene.look(0) == []


async def test_it_looks_when_it_is_started(scene: Scene) -> None:
    scene.queue()
    scene.clock_s += 3600
    scene.said.clear()
    async with trio.open_nursery() as nursery:
        with trio.fail_after(10):
            await nursery.start(scene.watchdog.run)
            await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert len(scene.said) == 1
