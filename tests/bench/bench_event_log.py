"""How fast the event log is, beside the machine's floor. `python -m tests.bench.bench_event_log`

The floor is a bare loop of write(2) and fdatasync(2) of the same bytes: what one sender without group commit could get.
"""

import os
import tempfile
import time
from pathlib import Path

import trio

from omkd.protocol.events import ByClient, TaskQueued, ToWorker, Unit
from omkd.protocol.records import WorkerTask
from omkd.protocol.scalars import U32, Seq, TaskId, WorkerName
from omkd.store.event_log import Draft, EventLog, open_event_log
from omkd.store.log_scan import scan_log

SECONDS = 2.0
APPENDERS = (1, 32, 256)
READ_UNITS = 1000


def task_draft(number: int) -> Draft:
    task = WorkerTask(id=f"t{number}", task="Make the tests of the parser pass, and say what was wrong")
    queued = TaskQueued(task_id=TaskId(task.id), target=ToWorker(value=WorkerName("coder")), task=task)
    return Draft(by=ByClient(uid=U32(1000), pid=U32(4711)), events=(queued,))


def ignore(unit: Unit) -> None:
    """A fold that costs nothing: the log alone is measured."""


def floor_per_second(directory: Path, line: bytes, *, sync: bool = True) -> float:
    descriptor = os.open(directory / "floor", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < SECONDS:
        os.write(descriptor, line)
        if sync:
            os.fdatasync(descriptor)
        count += 1
    os.close(descriptor)
    return count / (time.perf_counter() - start)


async def appends_per_second(events_dir: Path, appenders: int) -> float:
    async with open_event_log(events_dir, fold=ignore, clock_ns=time.time_ns) as log:
        start = time.perf_counter()
        end = start + SECONDS
        async with trio.open_nursery() as committer:
            await committer.start(log.run)
            async with trio.open_nursery() as nursery:
                for _ in range(appenders):
                    nursery.start_soon(append_until, log, end)
            committer.cancel_scope.cancel()
        return log.committed / (time.perf_counter() - start)


async def append_until(log: EventLog, end: float) -> None:
    while time.perf_counter() < end:
        await log.commit(log.append(task_draft(log.next_seq)).seq)


async def written_per_second(events_dir: Path) -> float:
    """Without waiting for the disk: what encoding, reading back and write(2) allow."""
    async with open_event_log(events_dir, fold=ignore, clock_ns=time.time_ns) as log:
        draft, count, start = task_draft(1), 20_000, time.perf_counter()
        for _ in range(count):
            log.append(draft)
        return count / (time.perf_counter() - start)


def scanned_per_second(events_dir: Path) -> float:
    start = time.perf_counter()
    scan = scan_log(events_dir, ignore)
    return scan.last / (time.perf_counter() - start)


async def read_per_second(events_dir: Path) -> float:
    async with open_event_log(events_dir, fold=ignore, clock_ns=time.time_ns) as log:
        start, position = time.perf_counter(), Seq(0)
        while found := log.read_after(position, max_units=READ_UNITS):
            position = found[-1].seq
        return position / (time.perf_counter() - start)


def show(what: str, per_second: float, note: str = "") -> None:
    print(f"{what:<44} {per_second:>12,.0f} /s  {note}")


def main() -> None:
    # Beside the checkout, not in /tmp: that is often a tmpfs, where a sync costs nothing.
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as name:
        directory = Path(name)
        floor = floor_per_second(directory, b"x" * 330 + b"\n")
        show("floor: write + fdatasync, one after the other", floor)
        for appenders in APPENDERS:
            rate = trio.run(appends_per_second, directory / f"log-{appenders}", appenders)
            show(f"durable appends, {appenders} at once", rate, f"{rate / floor:.1f} x the floor")
        written = directory / "written"
        show("appends, not waited for", trio.run(written_per_second, written))
        show("start: units scanned and decoded", scanned_per_second(written))
        show("units read from disk", trio.run(read_per_second, written))


if __name__ == "__main__":
    main()
