"""Snapshots and retention: a start goes on as the run before it, and nothing that is needed goes."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio
from attrs import define

from omkd.api.handlers.task_list import seq_of
from omkd.core.kept import Bounds
from omkd.core.ledger import Ledger
from omkd.core.state import State
from omkd.protocol.errors import ApiError
from omkd.protocol.events import (
    ByOmkd,
    Event,
    PersonNeeded,
    TaskCancelled,
    TaskQueued,
    ToWorker,
    WorkerRegistered,
)
from omkd.protocol.records import WorkerSpec, WorkerTask
from omkd.protocol.scalars import U32, Seq, TaskId, WorkerName
from omkd.services.escalation_writer import EscalationWriter
from omkd.services.hub import Hub
from omkd.services.older_tasks import older_task, older_tasks
from omkd.services.retention import NS_PER_DAY, Retention
from omkd.services.snapshot_records import SHAPE, Beginning, load_newest
from omkd.services.snapshots import Snapshots, snapshots_for
from omkd.services.verify import verify_session
from omkd.store.event_log import Draft, UnitsUnreadable, open_event_log
from omkd.store.log_errors import LogTooNew
from omkd.store.repair import repair
from omkd.store.session import SessionDir
from omkd.store.snapshot import list_snapshots, newest_known, read_snapshot, seq_of_snapshot, write_snapshot
from tests.kit import wait_until

DEADLINE_S = 20
SPEC = WorkerSpec(name="w", role="r", inbox="i", outbox="o", heartbeat="h")
SMALL = Bounds(finished=3)


@define
class Run:
    """One run of what the daemon is made of here."""

    hub: Hub
    snapshots: Snapshots
    nursery: trio.Nursery
    folded: list[int]

    async def tell(self, *events: Event) -> Seq:
        seq = self.hub.log.append(Draft(by=ByOmkd(), events=events)).seq
        await self.hub.log.commit(seq)
        return seq

    async def task(self, task_id: str, text: str = "do it") -> None:
        """One that has ended."""
        task = WorkerTask(id=task_id, task=text)
        await self.tell(TaskQueued(task_id=TaskId(task_id), target=ToWorker(value=WorkerName("w")), task=task))
        await self.tell(TaskCancelled(task_id=TaskId(task_id), reason=f"no {task_id}"))

    async def fill(self, segments: int) -> None:
        """Units until so many segments more are closed."""
        wanted = len(self.hub.log.closed_segments) + segments
        while len(self.hub.log.closed_segments) < wanted:
            await self.tell(PersonNeeded(text="x" * 100))


@asynccontextmanager
async def running(
    root: Path, retention: Retention | None = None, *, clock: Callable[[], int] = lambda: 7, small: bool = False
) -> AsyncIterator[Run]:
    session = SessionDir(root)
    fresh = State(ledger=Ledger.bounded(SMALL)) if small else State()
    begun = load_newest(session) or Beginning(state=fresh)
    folded: list[int] = []

    def fold(unit: Any) -> None:
        folded.append(unit.seq)
        begun.state.fold(unit)

    with trio.fail_after(DEADLINE_S):
        async with (
            open_event_log(session.events, fold=fold, clock_ns=clock, segment_bytes=3000, base=begun.base) as log,
            trio.open_nursery() as nursery,
        ):
            await nursery.start(log.run)
            hub = Hub(session=session, log=log, state=begun.state, clock_ns=clock)
            snapshots = snapshots_for(hub, EscalationWriter(hub), retention or Retention(), begun.base)
            await nursery.start(snapshots.escalation_writer.run)
            yield Run(hub, snapshots, nursery, folded)
            nursery.cancel_scope.cancel()


def facts(state: State) -> dict[str, Any]:
    return {
        "tasks": [attrs.asdict(entry) for entry in state.ledger.tasks.values()],
        "workers": [attrs.asdict(entry) for entry in state.roster.workers.values()],
        "unacked": list(state.unacked),
        "counts": dict(state.ledger.counts),
    }


def seqs(root: Path) -> list[int]:
    return [seq_of_snapshot(path) for path in list_snapshots(root)]


async def caught_up(run: Run) -> None:
    writer, log = run.snapshots.escalation_writer, run.hub.log
    await until(lambda: writer.position >= log.committed)


async def until(condition: Callable[[], bool]) -> None:
    await trio.to_thread.run_sync(wait_until, condition, "it does not happen")


async def test_a_start_goes_on_from_the_snapshot_and_folds_only_what_follows(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        await run.tell(WorkerRegistered(worker=WorkerName("w"), spec=SPEC, foreign=False))
        await run.task("t2")
        assert await run.snapshots.take()
        last = await run.tell(PersonNeeded(text="behind it"))
        before = facts(run.hub.state)
    async with running(tmp_path) as run:
        assert run.folded == [last]
        assert facts(run.hub.state) == before
        assert run.snapshots.newest == last - 1
    assert verify_session(SessionDir(tmp_path)).findings == []


async def test_one_is_taken_when_a_segment_closes_and_two_are_kept(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        await run.nursery.start(run.snapshots.run)
        for _ in range(3):
            closed = len(run.hub.log.closed_segments)
            await run.fill(1)
            last = run.hub.log.closed_segments[closed][1]
            await until(partial(is_taken, run, last))
    assert len(seqs(tmp_path)) == 2


def is_taken(run: Run, seq: Seq) -> bool:
    return run.snapshots.newest >= seq


async def test_nothing_is_written_twice_for_the_same_unit(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        await run.tell(PersonNeeded(text="x"))
        assert await run.snapshots.take()
        inode = list_snapshots(tmp_path)[0].stat().st_ino
        assert await run.snapshots.take()
        assert list_snapshots(tmp_path)[0].stat().st_ino == inode


async def test_a_damaged_snapshot_is_passed_over_for_the_older_one(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        for _ in range(2):
            await run.task(f"t{run.hub.log.next_seq}")
            await run.snapshots.take()
        before = facts(run.hub.state)
    newest, older = list_snapshots(tmp_path)
    newest.write_bytes(newest.read_bytes().replace(b'"tasks":2', b'"tasks":1'))
    assert [finding.kind.value for finding in verify_session(SessionDir(tmp_path)).findings] == ["snapshot"]
    async with running(tmp_path) as run:
        assert run.folded == [3, 4]
        assert facts(run.hub.state) == before
        assert list_snapshots(tmp_path) == [older]


async def test_a_snapshot_with_other_records_is_passed_over_while_the_log_is_whole(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        await run.task("t1")
        await run.snapshots.take()
        [path] = list_snapshots(tmp_path)
        assert load_newest(run.hub.session) is not None
    content = path.read_bytes().replace(SHAPE.encode(), b"0" * len(SHAPE))
    path.write_bytes(content)
    assert load_newest(SessionDir(tmp_path)) is None


async def test_what_changes_while_it_is_encoded_is_not_in_it(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        for number in range(500):
            task = WorkerTask(id=f"a{number}", task="x")
            await run.tell(TaskQueued(task_id=TaskId(task.id), target=ToWorker(value=WorkerName("w")), task=task))
        before = facts(run.hub.state)

        async def change() -> None:
            await trio.lowlevel.checkpoint()
            for number in range(500):
                run.hub.log.append(Draft(by=ByOmkd(), events=(TaskCancelled(task_id=TaskId(f"a{number}")),)))

        run.nursery.start_soon(change)
        await run.snapshots.take()
        assert run.hub.state.ledger.waiting == 0
    begun = load_newest(SessionDir(tmp_path))
    assert begun is not None
    assert facts(begun.state) == before


async def test_one_that_cannot_be_written_is_said_and_nothing_else_waits(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        await run.tell(PersonNeeded(text="x"))
        place = tmp_path / "snapshot-1.json"
        place.mkdir()
        (place / "in the way").touch()
        assert not await run.snapshots.take()
        assert list(run.hub.retried.by_path) == [place]
        await run.tell(PersonNeeded(text="y"))
        assert await run.snapshots.take()
        assert not run.hub.retried.by_path


# --- older tasks


async def test_a_task_that_passed_is_found_before_and_after_the_snapshot_and_a_restart(tmp_path: Path) -> None:
    def found(run: Run) -> list[str]:
        entries = [older_task(run.hub, TaskId(f"m{number}")) for number in range(8)]
        assert all(entry.why == f"no {entry.id}" and entry.task.task == "do it" for entry in entries if entry)
        listed = [task.id for task in older_tasks(run.hub, Seq(99), 20)]
        assert listed == [entry.id for entry in reversed(entries) if entry]
        return [str(entry.id) for entry in entries if entry]

    async with running(tmp_path, small=True) as run:
        for number in range(8):
            await run.task(f"m{number}")
        assert found(run) == ["m0", "m1", "m2", "m3", "m4"]
        await run.snapshots.take()
        assert not run.hub.state.ledger.passed
        assert found(run) == ["m0", "m1", "m2", "m3", "m4"]
        assert older_task(run.hub, TaskId("m9")) is None
    async with running(tmp_path) as run:
        assert found(run) == ["m0", "m1", "m2", "m3", "m4"]
        assert [task.id for task in older_tasks(run.hub, Seq(7), 2)] == ["m2", "m1"]


async def test_an_index_that_cannot_be_read_costs_older_tasks_only(tmp_path: Path) -> None:
    async with running(tmp_path, small=True) as run:
        for number in range(5):
            await run.task(f"m{number}")
        await run.snapshots.take()
        [path] = (tmp_path / "older").iterdir()
        path.write_bytes(b'{"id":"m1",garbage\n')
        assert older_task(run.hub, TaskId("m1")) is None
        assert older_tasks(run.hub, Seq(99), 9) == []


async def test_a_task_that_passed_before_its_end_was_on_disk_is_found(tmp_path: Path) -> None:
    """Without its last unit it once seemed to wait for ever."""
    async with running(tmp_path, small=True) as run:
        for number in range(8):
            task = WorkerTask(id=f"m{number}", task="x")
            queued = TaskQueued(task_id=TaskId(task.id), target=ToWorker(value=WorkerName("w")), task=task)
            for event in (queued, TaskCancelled(task_id=TaskId(task.id), reason="enough")):
                run.hub.log.append(Draft(by=ByOmkd(), events=(event,)))
        assert run.hub.log.committed < run.hub.log.written
        found = older_task(run.hub, TaskId("m1"))
        assert found is not None
        assert found.why == "enough"


async def test_a_task_whose_units_are_damaged_is_told_as_such_and_after_a_repair_there_is_none(tmp_path: Path) -> None:
    """Of m1 the end is lost: without it, it would seem to wait for ever."""
    async with running(tmp_path, small=True) as run:
        for number in range(6):
            await run.task(f"m{number}")
        await run.snapshots.take()
    [segment] = (tmp_path / "events").iterdir()
    segment.write_bytes(segment.read_bytes().replace(b"no m1", b"\xff" * 5))
    async with running(tmp_path) as run:
        with pytest.raises(UnitsUnreadable, match=f"{segment.name}: damaged at byte"):
            older_task(run.hub, TaskId("m1"))
        found = older_task(run.hub, TaskId("m0"))
        assert found is not None
        assert found.why == "no m0"
    assert repair(tmp_path / "events", lambda: 7, known=newest_known(tmp_path)) is not None
    assert verify_session(SessionDir(tmp_path)).findings == []
    async with running(tmp_path) as run:
        assert older_task(run.hub, TaskId("m1")) is None
        assert older_task(run.hub, TaskId("m0")) == found


# --- retention


async def test_everything_is_kept_by_default(tmp_path: Path) -> None:
    async with running(tmp_path) as run:
        for _ in range(3):
            await run.fill(2)
            await run.snapshots.take()
        assert run.hub.log.first_seq == 1


async def test_whole_segments_below_the_older_snapshot_go_when_there_are_too_many_bytes(tmp_path: Path) -> None:
    async with running(tmp_path, Retention(keep_bytes=1)) as run:
        await run.fill(2)
        await caught_up(run)
        await run.snapshots.take()
        assert run.hub.log.first_seq == 1
        older = run.snapshots.newest
        await run.fill(2)
        await caught_up(run)
        await run.snapshots.take()
        first = run.hub.log.first_seq
        assert 1 < first <= older + 1
        assert len(run.hub.log.closed_segments) >= 2
        before = facts(run.hub.state)
    result = verify_session(SessionDir(tmp_path))
    assert (result.findings, result.checked["units"] > 0) == ([], True)
    async with running(tmp_path) as run:
        assert facts(run.hub.state) == before
        assert run.hub.log.first_seq == first


async def test_a_snapshot_of_another_shape_is_used_where_the_log_was_cut(tmp_path: Path) -> None:
    async with running(tmp_path, Retention(keep_bytes=1)) as run:
        for _ in range(2):
            await run.fill(2)
            await caught_up(run)
            await run.snapshots.take()
        before = facts(run.hub.state)
    for path in list_snapshots(tmp_path):
        snapshot = read_snapshot(path)
        write_snapshot(tmp_path, attrs.evolve(snapshot.header, shape="another"), snapshot.records)
    async with running(tmp_path) as run:
        assert facts(run.hub.state) == before


async def test_a_snapshot_of_another_form_is_no_damage_where_the_log_was_cut(tmp_path: Path) -> None:
    """Called damage, it would send its owner to a repair that finds nothing to mend."""
    async with running(tmp_path, Retention(keep_bytes=1)) as run:
        for _ in range(2):
            await run.fill(2)
            await caught_up(run)
            await run.snapshots.take()
    for path in list_snapshots(tmp_path):
        snapshot = read_snapshot(path)
        write_snapshot(tmp_path, attrs.evolve(snapshot.header, format=U32(9)), snapshot.records)
    with pytest.raises(LogTooNew, match=r"snapshot-.*use that omkd"):
        load_newest(SessionDir(tmp_path))
    for path in list_snapshots(tmp_path):
        path.write_bytes(path.read_bytes()[:-3])
    assert load_newest(SessionDir(tmp_path)) is None


async def test_what_is_gone_waits_for_nobody(tmp_path: Path) -> None:
    """It could neither be listed nor seen, and was counted as waiting for ever."""
    async with running(tmp_path, Retention(keep_bytes=1)) as run:
        for _ in range(2):
            await run.fill(2)
            await caught_up(run)
            await run.snapshots.take()
        first = run.hub.log.first_seq
        assert first > 1
        waiting = list(run.hub.state.unacked)
        assert waiting
        assert min(waiting) >= first
    async with running(tmp_path) as run:
        assert list(run.hub.state.unacked) == waiting


async def test_a_page_goes_on_behind_a_task_that_retention_took_meanwhile(tmp_path: Path) -> None:
    async with running(tmp_path, Retention(keep_bytes=1)) as run:
        for _ in range(2):
            await run.fill(2)
            await caught_up(run)
            await run.snapshots.take()
        assert run.hub.log.first_seq > 1
        assert seq_of(run.hub, TaskId("t1")) == 1
        with pytest.raises(ApiError, match="no task 'nobody'"):
            seq_of(run.hub, TaskId("nobody"))


async def test_segments_go_by_age(tmp_path: Path) -> None:
    now = [0]
    async with running(tmp_path, Retention(keep_days=2), clock=lambda: now[0]) as run:
        await run.fill(2)
        now[0] = NS_PER_DAY
        await run.fill(2)
        await caught_up(run)
        await run.snapshots.take()
        now[0] = int(2.5 * NS_PER_DAY)
        await run.tell(PersonNeeded(text="x"))
        await caught_up(run)
        await run.snapshots.take()
        oldest = run.hub.log.read_after(Seq(run.hub.log.closed_segments[0][1]), max_units=1)
        assert oldest[0].unit.ts >= NS_PER_DAY // 2
        assert run.hub.log.first_seq > 1


async def test_segments_go_by_age_though_the_unit_that_tells_it_is_damaged(tmp_path: Path) -> None:
    """The first unit behind a segment says how old it is; the daemon ended when it could not be read."""
    async with running(tmp_path) as run:
        await run.fill(3)
        await caught_up(run)
        await run.snapshots.take()
    second = sorted((tmp_path / "events").iterdir())[1]
    second.write_bytes(b"X" + second.read_bytes()[1:])
    async with running(tmp_path, Retention(keep_days=1), clock=lambda: 3 * NS_PER_DAY) as run:
        await run.fill(1)
        await caught_up(run)
        await run.snapshots.take()
        assert not second.exists()


async def test_what_the_escalation_writer_needs_is_kept(tmp_path: Path) -> None:
    async with running(tmp_path, Retention(keep_bytes=1)) as run:
        (tmp_path / "pending_escalations.jsonl").unlink(missing_ok=True)
        (tmp_path / "pending_escalations.jsonl").mkdir()
        for _ in range(3):
            await run.fill(2)
            await run.snapshots.take()
        assert run.hub.log.first_seq <= run.snapshots.escalation_writer.saved + 1


async def test_the_index_of_tasks_that_are_gone_goes_too(tmp_path: Path) -> None:
    async with running(tmp_path, Retention(keep_bytes=1), small=True) as run:
        for number in range(10):
            await run.task(f"m{number}")
        for _ in range(3):
            await run.fill(2)
            await caught_up(run)
            await run.snapshots.take()
        assert older_task(run.hub, TaskId("m1")) is None
        assert not list((tmp_path / "older").iterdir())
