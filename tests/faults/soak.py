"""Mixed load for a while: the daemon's memory and descriptors, and its hosts', stay flat, and `verify` is clean.

    python -m tests.faults.soak [--seconds T] [--seed S]

Tasks for a host and for a worker with the file contract, events, lists, subscriptions of clients that come and go, one
client that never reads, bad lines. What is remembered of finished tasks is bounded, and allowed for.
"""

import os
import resource
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from random import Random
from typing import Any

from omkd.store.locks import lock_holder
from tests.faults.figures import Options, options, report
from tests.faults.kill_loop import named
from tests.file_worker import FileWorker
from tests.kit import Client, Place, append, running_daemon, units, wait_until
from tests.leftovers import place_of_its_own

HOST, DOUBLE = "host", "double"
WARM_UP = 0.3
"""Of the time: what is allocated once is allocated by then."""

ROUND_S = 0.05
GROWTH_BYTES = 16 * 1024 * 1024
"""The newest units in memory (4 MiB of text, and their objects), what the deaf client has not read (4 MiB)."""

TASK_BYTES = 4096
FINISHED_KEPT = 10_000
"""Finished tasks in memory, and what one may take."""

MORE_DESCRIPTORS = 8
"""Connections that come and go while one looks."""

CHECK_S = 30.0


class Load:
    """What clients do; one step each time."""

    def __init__(self, place: Place, rng: Random) -> None:
        self._place = place
        self._rng = rng
        self._client = Client(place.socket)
        self._deaf = Client(place.socket)
        self._deaf.call("event.subscribe", after=0)
        self.tasks: list[str] = []
        self.figures: Counter[str] = Counter()

    def close(self) -> None:
        self._client.close()
        self._deaf.close()

    def step(self) -> None:
        acts: tuple[Callable[[], None], ...] = (
            self._send,
            self._send,
            self._publish,
            self._look,
            self._come_and_go,
            self._misbehave,
        )
        self._rng.choice(acts)()

    def _send(self) -> None:
        """Mostly to the double; a host's command is a process, and a second of many of them is all a machine has."""
        worker = HOST if self._rng.random() < 0.2 else DOUBLE
        task = {"task": "soak " + "x" * self._rng.choice((10, 100, 5000))}
        self.tasks.append(str(self._client.call("task.send", target={"worker": worker}, task=task)["id"]))

    def _publish(self) -> None:
        for _ in range(20):
            self._client.call("event.publish", event={"DisclosureLine": "x" * self._rng.choice((1, 1000))})
        self.figures["events"] += 20

    def _look(self) -> None:
        self._client.call("omkd.status")
        self._client.call("task.list", limit=100)
        self._client.call("event.list", last=50)
        self._client.call("escalation.list", lines=20)

    def _come_and_go(self) -> None:
        client = Client(self._place.socket)
        client.call("event.subscribe", last=10)
        client.next_notification()
        client.close()
        self.figures["connections"] += 1

    def _misbehave(self) -> None:
        append(self._place.session.worker(DOUBLE).outbox, b"no result\n")
        client = Client(self._place.socket)
        client.send_line(b"no request")
        client.read_line()
        client.close()
        self.figures["connections"] += 1

    def end(self) -> None:
        """Every task has ended, and `verify` is clean."""
        for start in range(0, len(self.tasks), 500):
            self._client.call("task.wait", ids=self.tasks[start : start + 500], timeout=CHECK_S)
        findings = self._client.call("omkd.verify")["findings"]
        assert findings == [], findings
        finished = Counter(event["task_id"] for event in named(units(self._place), "TaskFinished"))
        assert all(finished[each] == 1 for each in self.tasks), "a task has no result, or two"


def rss_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


def descriptors(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


def check_flat(name: str, before: tuple[int, int], after: tuple[int, int], tasks: int) -> None:
    allowed = GROWTH_BYTES + min(tasks, FINISHED_KEPT) * TASK_BYTES
    assert after[0] - before[0] <= allowed, f"{name}: memory grew from {before[0]} to {after[0]} bytes"
    assert after[1] - before[1] <= MORE_DESCRIPTORS, f"{name}: descriptors grew from {before[1]} to {after[1]}"


def run(chosen: Options) -> dict[str, Any]:
    seconds = 60.0 if chosen.seconds == float("inf") else chosen.seconds
    with place_of_its_own() as place, ExitStack() as ends:
        daemon = ends.enter_context(running_daemon(place))
        first = Client(place.socket)
        first.call("worker.add", name=HOST, role="host", window=0, runner={"command": ["true"], "grace_secs": 1})
        first.call("worker.add", name=DOUBLE, role="double", window=0)
        first.close()
        ends.enter_context(FileWorker(place.session.worker(DOUBLE)))
        load = Load(place, Random(chosen.seed))
        ends.callback(load.close)
        lock = place.session.worker(HOST).lock
        wait_until(lambda: lock_holder(lock) is not None, "the host does not start")
        began = time.monotonic()
        load_until(load, began + seconds * WARM_UP)
        host = lock_holder(lock)
        assert host is not None, "the host has ended"
        pids = {"omkd": daemon.process.pid, "omk-worker": int(host.pid)}
        before = {name: (rss_bytes(pid), descriptors(pid)) for name, pid in pids.items()}
        tasks_before = len(load.tasks)
        load_until(load, began + seconds)
        after = {name: (rss_bytes(pid), descriptors(pid)) for name, pid in pids.items()}
        load.end()
        for name in pids:
            check_flat(name, before[name], after[name], len(load.tasks) - tasks_before)
        assert daemon.stop(signal.SIGTERM) == 0
    grown = {f"{name} KiB": [before[name][0] // 1024, after[name][0] // 1024] for name in pids}
    opened = {f"{name} descriptors": [before[name][1], after[name][1]] for name in pids}
    return {"tasks": len(load.tasks), **load.figures, **grown, **opened}


def load_until(load: Load, end: float) -> None:
    while time.monotonic() < end:
        load.step()
        time.sleep(ROUND_S)


if __name__ == "__main__":
    report("soak", run, options(__doc__ or ""))
