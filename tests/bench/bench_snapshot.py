"""How long a start takes with a million units behind a snapshot, and what a snapshot costs who runs meanwhile.

`python -m tests.bench.bench_snapshot`; goal: a start in under 2 s.
"""

import itertools
import tempfile
import time
from pathlib import Path

import trio

from omkd.core.state import State
from omkd.protocol.events import (
    ByOmkd,
    ByWorker,
    Event,
    TaskDispatched,
    TaskFinished,
    TaskQueued,
    TaskStarted,
    ToWorker,
    WorkerCompleted,
    WorkerStarted,
)
from omkd.protocol.records import ResultStatus, WorkerResult, WorkerTask
from omkd.protocol.scalars import U32, TaskId, WorkerName
from omkd.services.escalation_writer import EscalationWriter
from omkd.services.hub import Hub
from omkd.services.retention import Retention
from omkd.services.snapshot_records import Beginning, load_newest
from omkd.services.snapshots import snapshots_for
from omkd.store.event_log import Draft, open_event_log
from omkd.store.session import SessionDir

TASKS = 250_000
"""Four units each."""

SNAPSHOT_TASKS = 12_500
"""As many units as the daemon lets pass between two snapshots."""

TEXT = "Make the tests of the parser pass, and say what was wrong"
W = WorkerName("coder")


def life_of(task_id: TaskId) -> list[tuple[Event, ...]]:
    task = WorkerTask(id=task_id, task=TEXT)
    result = WorkerResult(task_id=task_id, status=ResultStatus.SUCCESS, summary=TEXT)
    return [
        (TaskQueued(task_id=task_id, target=ToWorker(value=W), task=task, key=f"{task_id}-key"),),
        (TaskDispatched(task_id=task_id, worker=W, handout=U32(1)),),
        (TaskStarted(task_id=task_id), WorkerStarted(worker_id=W, kind="coder", task=TEXT)),
        (
            TaskFinished(task_id=task_id, handout=U32(1), worker=W, result=result),
            WorkerCompleted(worker_id=W, files_touched=U32(0), ok=True),
        ),
    ]


async def fill(session: SessionDir) -> tuple[float, float]:
    """How long the last snapshot took, and how long the loop stood still for it at most, in seconds."""
    state = State()
    async with (
        open_event_log(session.events, fold=state.fold, clock_ns=time.time_ns) as log,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(log.run)
        hub = Hub(session=session, log=log, state=state, clock_ns=time.time_ns)
        snapshots = snapshots_for(hub, EscalationWriter(hub), Retention(), None)
        took, stood_still = 0.0, 0.0
        for number in range(TASKS):
            for events in life_of(TaskId(f"t{log.next_seq}")):
                log.append(Draft(by=ByWorker(worker=W), events=events))
            if number % SNAPSHOT_TASKS == SNAPSHOT_TASKS - 1:
                ticks: list[float] = []
                begun = time.perf_counter()
                async with trio.open_nursery() as ticking:
                    ticking.start_soon(tick, ticks)
                    await snapshots.take()
                    ticking.cancel_scope.cancel()
                took = time.perf_counter() - begun
                stood_still = max((b - a for a, b in itertools.pairwise(ticks)), default=0.0)
        log.append(Draft(by=ByOmkd(), events=()))
        await log.commit(log.written)
        nursery.cancel_scope.cancel()
    return took, stood_still


async def tick(ticks: list[float]) -> None:
    while True:
        ticks.append(time.perf_counter())
        await trio.sleep(0.001)


async def start(session: SessionDir) -> float:
    begun = time.perf_counter()
    beginning = load_newest(session) or Beginning(state=State())
    async with open_event_log(
        session.events, fold=beginning.state.fold, clock_ns=time.time_ns, base=beginning.base
    ) as log:
        assert log.written > 4 * TASKS
        return time.perf_counter() - begun


def main() -> None:
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as name:
        session = SessionDir(Path(name))
        took, stood_still = trio.run(fill, session)
        still = f"the loop stood still {stood_still * 1e3:.0f} ms at most"
        print(f"snapshot of 10,000 finished tasks and {TASKS:,} keys: {took:.2f} s, {still}")
        print(f"start with {4 * TASKS:,} units behind a snapshot: {trio.run(start, session):.2f} s")


if __name__ == "__main__":
    main()
