"""Appending and committing: what was answered is on disk, what failed was never there."""

import errno
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import trio
import trio.testing
from event_log_kit import DEADLINE_S, append_committed, draft, open_log, running

from omkd.protocol.events import ByOmkd, CostDelta, Unit, WorkerCompleted, WorkerRegistered
from omkd.protocol.records import WorkerSpec
from omkd.protocol.scalars import F32, U32, Seq, WorkerName
from omkd.store.event_log import Disk, Draft, LogBroken, LogWriteFailed, UnitRefused
from omkd.store.segments import segment_name

FIRST = segment_name(1)


class Clock:
    """Says one time after the other, then the last for ever."""

    def __init__(self, *times: int) -> None:
        self._times = list(times)

    def __call__(self) -> int:
        return self._times.pop(0) if len(self._times) > 1 else self._times[0]


class GatedSync:
    """A sync that waits until it is let through, counts, and says when one is under way."""

    def __init__(self, open_for: int = 0) -> None:
        self.count = 0
        self.gate = threading.Semaphore(open_for)
        self._under_way = threading.Semaphore(0)

    def __call__(self, descriptor: int) -> None:
        self._under_way.release()
        assert self.gate.acquire(timeout=DEADLINE_S)
        os.fdatasync(descriptor)
        self.count += 1

    async def wait_under_way(self) -> None:
        assert await trio.to_thread.run_sync(lambda: self._under_way.acquire(timeout=DEADLINE_S))


class FailingWrite:
    """Write number `fails_at` takes `takes` bytes, then raises, or says how many it took."""

    def __init__(self, fails_at: int, takes: int, error: int | None) -> None:
        self.calls = 0
        self.fails_at = fails_at
        self.takes = takes
        self.error = error

    def __call__(self, descriptor: int, data: bytes) -> int:
        self.calls += 1
        if self.calls != self.fails_at:
            return os.write(descriptor, data)
        count = os.write(descriptor, data[: self.takes])
        if self.error is not None:
            raise OSError(self.error, os.strerror(self.error))
        return count


def modes(events_dir: Path) -> list[int]:
    return [path.stat().st_mode & 0o777 for path in events_dir.iterdir()]


def failing_sync(_descriptor: int) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


def failing_truncate(_descriptor: int, _size: int) -> None:
    raise OSError(errno.EIO, os.strerror(errno.EIO))


async def test_units_are_numbered_from_one_and_folded_at_once(tmp_path: Path) -> None:
    folded: list[Unit] = []
    async with open_log(tmp_path, fold=folded.append) as log:
        assert (log.next_seq, log.written, log.committed, log.first_seq) == (1, 0, 0, 1)
        first, second = log.append(draft("a")), log.append(draft("b"))
    assert folded == [first, second]
    assert (first.seq, second.seq, log.next_seq, log.written) == (1, 2, 3, 2)


async def test_a_unit_is_one_line_of_json(tmp_path: Path) -> None:
    events_dir = tmp_path / "new" / "events"
    async with open_log(events_dir, clock_ns=Clock(1_000_000_000)) as log:
        log.append(draft("a\nb"))
    content = (events_dir / FIRST).read_bytes()
    assert content.count(b"\n") == 1
    assert content.startswith(b'{"seq":1,"ts":"1970-01-01T00:00:01Z","by":{"kind":"omkd"},"synced":0,"events":[{')
    assert json.loads(content)["events"][0]["PersonNeeded"]["text"] == "a\nb"


async def test_files_are_for_their_owner_alone_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o277)
    try:
        async with open_log(tmp_path, segment_bytes=1) as log, running(log):
            await append_committed(log, 3)
    finally:
        os.umask(before)
    assert len(modes(tmp_path)) > 2
    assert set(modes(tmp_path)) == {0o600}


async def test_time_never_goes_back_nor_does_it_over_a_restart(tmp_path: Path) -> None:
    async with open_log(tmp_path, clock_ns=Clock(50, 40, 60)) as log:
        assert [log.append(draft()).ts for _ in range(3)] == [50, 50, 60]
    async with open_log(tmp_path, clock_ns=Clock(10)) as log:
        assert log.append(draft()).ts == 60


async def test_a_restart_folds_the_same_units_and_goes_on(tmp_path: Path) -> None:
    first_run: list[Unit] = []
    second_run: list[Unit] = []
    async with open_log(tmp_path, fold=first_run.append) as log, running(log):
        log.append(
            Draft(by=ByOmkd(), events=(CostDelta(source="s", tokens_in=U32(1), tokens_out=U32(2), usd=F32(0.1)),))
        )
        await append_committed(log, 300)
    async with open_log(tmp_path, fold=second_run.append) as log:
        assert (log.written, log.committed, log.next_seq, log.torn) == (301, 301, 302, ())
        assert [stored.unit for stored in log.read_after(Seq(0))] == first_run
    assert second_run == first_run


async def test_a_commit_waits_for_a_sync_that_began_after_its_unit_was_written(tmp_path: Path) -> None:
    sync = GatedSync()
    syncs_at_return: dict[int, int] = {}
    async with open_log(tmp_path, disk=Disk(sync=sync)) as log:

        async def commit(seq: Seq) -> None:
            await log.commit(seq)
            syncs_at_return[seq] = sync.count

        async with running(log) as nursery:
            nursery.start_soon(commit, log.append(draft()).seq)
            await sync.wait_under_way()
            late = log.append(draft())
            nursery.start_soon(commit, late.seq)
            sync.gate.release()
            await sync.wait_under_way()
            assert syncs_at_return == {1: 1}
            sync.gate.release()
            await log.commit(late.seq)
            await trio.testing.wait_all_tasks_blocked()
    assert syncs_at_return == {1: 1, 2: 2}


async def test_only_committed_units_are_shown_and_synced_says_which_those_are(tmp_path: Path) -> None:
    sync = GatedSync(open_for=1)
    async with open_log(tmp_path, disk=Disk(sync=sync)) as log, running(log):
        assert log.append(draft()).synced == 0
        assert (log.committed, log.read_after(Seq(0)), log.read_before(Seq(9))) == (0, [], [])
        await log.commit(Seq(1))
        assert log.append(draft()).synced == 1
        assert [stored.seq for stored in log.read_after(Seq(0))] == [1]
        assert [stored.seq for stored in log.read_before(Seq(9))] == [1]
        sync.gate.release(2)


async def test_many_appenders_share_a_sync(tmp_path: Path) -> None:
    sync = GatedSync(open_for=1000)
    async with open_log(tmp_path, disk=Disk(sync=sync)) as log, running(log):
        async with trio.open_nursery() as appenders:
            for _ in range(32):
                appenders.start_soon(append_committed, log, 10)
        assert log.committed == 320
    assert sync.count <= 320 / 8


async def test_a_cancelled_commit_leaves_its_unit(tmp_path: Path) -> None:
    async with open_log(tmp_path) as log:
        unit = log.append(draft())
        with trio.move_on_after(0):
            await log.commit(unit.seq)
        async with running(log):
            await log.commit(unit.seq)
        assert log.committed == 1


async def test_what_was_never_appended_cannot_be_committed(tmp_path: Path) -> None:
    async with open_log(tmp_path) as log:
        with pytest.raises(ValueError, match="unit 1 was never appended, the newest is 0"):
            await log.commit(Seq(1))


async def test_a_reader_is_woken_by_what_is_committed_beyond_its_position(tmp_path: Path) -> None:
    seen: list[int] = []
    async with open_log(tmp_path) as log, running(log) as nursery:

        async def reader() -> None:
            position = Seq(0)
            while position < 5:
                committed = await log.wait_beyond(position)
                seen.extend(stored.seq for stored in log.read_after(position))
                position = committed

        nursery.start_soon(reader)
        await append_committed(log, 5)
        await trio.testing.wait_all_tasks_blocked()
    assert seen == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("takes", [0, 1, 40])
@pytest.mark.parametrize("error", [None, errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EFBIG])
async def test_a_failed_write_leaves_nothing_and_the_log_goes_on(tmp_path: Path, takes: int, error: int | None) -> None:
    folded: list[Unit] = []
    write = FailingWrite(2, takes, error)
    async with open_log(tmp_path, fold=folded.append, disk=Disk(write=write)) as log, running(log):
        log.append(draft("first"))
        before = (tmp_path / FIRST).read_bytes()
        with pytest.raises(LogWriteFailed, match="nothing was recorded") as caught:
            log.append(draft("refused"))
        assert (tmp_path / FIRST).read_bytes() == before
        assert caught.value.path == tmp_path / FIRST
        assert log.next_seq == 2
        await log.commit(log.append(draft("second")).seq)
        assert [stored.seq for stored in log.read_after(Seq(0))] == [1, 2]
    assert [unit.seq for unit in folded] == [1, 2]
    async with open_log(tmp_path) as log:
        assert (log.written, log.torn) == (2, ())


async def test_half_a_unit_that_cannot_be_cut_off_breaks_the_log(tmp_path: Path) -> None:
    disk = Disk(write=FailingWrite(2, 10, errno.EIO), truncate=failing_truncate)
    async with open_log(tmp_path, disk=disk) as log:
        log.append(draft())
        with pytest.raises(LogBroken, match="half a line cannot be cut off"):
            log.append(draft())
        with pytest.raises(LogBroken):
            log.append(draft())
        with pytest.raises(LogBroken), trio.fail_after(DEADLINE_S):
            await log.run()
    async with open_log(tmp_path) as log:
        assert (log.written, [tail.bytes for tail in log.torn]) == (1, [10])


async def test_after_a_failed_sync_nothing_is_ever_committed(tmp_path: Path) -> None:
    outcomes: list[str] = []
    async with open_log(tmp_path, disk=Disk(sync=failing_sync)) as log:

        async def waiter(seq: Seq) -> None:
            try:
                await log.commit(seq)
            except LogBroken as exc:
                outcomes.append(exc.reason)

        with trio.fail_after(DEADLINE_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(waiter, log.append(draft()).seq)
                nursery.start_soon(waiter, log.append(draft()).seq)
                with pytest.raises(LogBroken, match="fdatasync failed: Input/output error"):
                    await log.run()
            with pytest.raises(LogBroken):
                await log.run()
        with pytest.raises(LogBroken, match="omkd must end"):
            log.append(draft())
        assert (log.committed, log.read_after(Seq(0))) == (0, [])
    assert outcomes == ["fdatasync failed: Input/output error"] * 2


async def test_a_unit_that_cannot_be_folded_does_not_stay(tmp_path: Path) -> None:
    def fold(unit: Unit) -> None:
        if unit.seq == 2:
            raise KeyError("t7")

    async with open_log(tmp_path, fold=fold) as log:
        log.append(draft())
        with pytest.raises(LogBroken, match=r"unit 2 cannot be folded, a fault in omkd: KeyError\('t7'\)"):
            log.append(draft())
    async with open_log(tmp_path) as log:
        assert (log.written, log.torn) == (1, ())


def deep_spec() -> WorkerSpec:
    """Of a depth that a worker's file may have, and a unit around it may not."""
    nested: list[object] = []
    for _ in range(123):
        nested = [nested]
    return WorkerSpec(name="a", role="r", inbox="i", outbox="o", heartbeat="h", external_tools=[nested])  # type: ignore[list-item]


@pytest.mark.parametrize(
    "event",
    [
        WorkerRegistered(worker=WorkerName("a"), spec=deep_spec(), foreign=True),
        WorkerCompleted(worker_id="\ud800", files_touched=U32(0), ok=True),
        WorkerCompleted(worker_id="a", files_touched=U32(-1), ok=True),
    ],
    ids=["nested too deep", "lone surrogate", "number out of range"],
)
async def test_what_could_not_be_read_again_is_refused(
    tmp_path: Path, event: WorkerRegistered | WorkerCompleted
) -> None:
    folded: list[Unit] = []
    async with open_log(tmp_path, fold=folded.append) as log:
        with pytest.raises(UnitRefused, match="this cannot be recorded"):
            log.append(Draft(by=ByOmkd(), events=(event,)))
        assert (log.append(draft()).seq, len(folded)) == (1, 1)


LIMITED = """
import resource, sys, trio
from pathlib import Path
from event_log_kit import append_committed, draft, open_log, running
from omkd.store.event_log import LogWriteFailed

async def main(events_dir):
    async with open_log(events_dir) as log, running(log):
        await append_committed(log, 5)
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
        for refused in range(3):
            try:
                log.append(draft("y" * 3000))
            except LogWriteFailed as exc:
                print("refused", exc)
        await append_committed(log, 1)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        await log.commit(log.append(draft("z" * 3000)).seq)
        print("committed", log.committed)

trio.run(main, Path(sys.argv[1]))
"""


def test_a_file_size_limit_refuses_units_and_the_log_goes_on(tmp_path: Path) -> None:
    """A real short write, then EFBIG, from the kernel."""
    result = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
    )
    out = result.stdout.splitlines()
    assert [text.split()[0] for text in out] == ["refused"] * 3 + ["committed"]
    assert out[-1] == "committed 7"
    assert len((tmp_path / FIRST).read_bytes().splitlines()) == 7
