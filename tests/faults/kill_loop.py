"""SIGKILL to the daemon, a host or a client at any moment, under load.

    python -m tests.faults.kill_loop [--cases ROUNDS] [--seed S] [--seconds T]

Each round senders send, pipelined and with keys, to hosts that run quick commands and to a worker with the file
contract; something is killed at a random moment, what ended is started again. At the end of the round every answered
task has ended, once, with one result, and `verify` is clean.
"""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack, suppress
from pathlib import Path
from random import Random
from typing import Any

from omkd.store.locks import lock_holder
from tests.faults.figures import Options, options, report
from tests.file_worker import FileWorker
from tests.kit import Client, Daemon, Place, running_daemon, units, wait_until
from tests.leftovers import place_of_its_own

HOSTS = ("h1", "h2", "h3")
DOUBLE = "f"
SENDERS = 3
TASKS_FOR_HOST = 3
TASKS_FOR_DOUBLE = 40
LATEST_KILL_S = 0.6
VICTIMS = ("daemon", "daemon", "host", "client", "daemon and host")
ROUND_S = 60.0
ROUNDS_A_SESSION = 25
"""Each round looks at all that its session ever recorded."""

MANY_RESTARTS = 1_000_000


class Loop:
    """The processes and what they were told. `figures` counts."""

    def __init__(self, place: Place, rng: Random, ends: ExitStack) -> None:
        self.place = place
        self._rng = rng
        self._ends = ends
        self._daemon: Daemon | None = None
        self._senders: list[subprocess.Popen[str]] = []
        self.figures: Counter[str] = Counter()

    @property
    def answers(self) -> Path:
        return self.place.root / "answers"

    def begin(self) -> None:
        config = self.place.root / "omkd.toml"
        config.write_text(f"max_restarts = {MANY_RESTARTS}\n")
        self.place.environment["OMKD_CONFIG"] = str(config)
        self._start_daemon()
        client = Client(self.place.socket)
        for name in HOSTS:
            runner = {"command": ["true"], "grace_secs": 1}
            client.call("worker.add", name=name, role="quick", window=0, runner=runner)
        client.call("worker.add", name=DOUBLE, role="double", window=0)
        client.close()
        self._ends.enter_context(FileWorker(self.place.session.worker(DOUBLE)))
        self._senders = [self._new_sender(number) for number in range(SENDERS)]

    def round(self) -> None:
        """Raises AssertionError."""
        for number, sender in enumerate(self._senders):
            host = HOSTS[number % len(HOSTS)]
            assert sender.stdin is not None
            sender.stdin.write(f"{TASKS_FOR_HOST} {host}\n{TASKS_FOR_DOUBLE} {DOUBLE}\n")
            sender.stdin.flush()
        time.sleep(self._rng.uniform(0, LATEST_KILL_S))
        victim = self._rng.choice(VICTIMS)
        alive = list(range(SENDERS))
        if victim == "client":
            alive.remove(self._kill_client())
        if "host" in victim:
            self._kill_host()
        if "daemon" in victim:
            self._kill_daemon()
        self.figures[f"killed: {victim}"] += 1
        self.figures["kills"] += 1 + (" and " in victim)
        self._await_senders(alive)
        for number in set(range(SENDERS)) - set(alive):
            self._senders[number] = self._new_sender(number)
        self._check()

    def _start_daemon(self) -> None:
        self._daemon = self._ends.enter_context(running_daemon(self.place))

    def _new_sender(self, number: int) -> subprocess.Popen[str]:
        sender = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.sender", str(self.place.socket), str(self.answers), f"s{number}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._ends.enter_context(sender)
        self._ends.callback(sender.kill)
        return sender

    def _kill_client(self) -> int:
        number = self._rng.randrange(SENDERS)
        self._senders[number].kill()
        self._senders[number].communicate()
        return number

    def _kill_host(self) -> None:
        holder = lock_holder(self.place.session.worker(self._rng.choice(HOSTS)).lock)
        if holder is not None and holder.pid:
            with suppress(ProcessLookupError):
                os.kill(holder.pid, signal.SIGKILL)

    def _kill_daemon(self) -> None:
        assert self._daemon is not None
        self._daemon.kill()
        self._start_daemon()

    def _await_senders(self, alive: list[int]) -> None:
        for number in alive:
            for _ in range(2):
                assert self._senders[number].stdout is not None
                line = self._senders[number].stdout.readline()
                assert line == "done\n", f"sender {number} said {line!r}"

    def _check(self) -> None:
        """Every answered task ended once, with one result; none was queued twice for one key; `verify` is clean."""
        client = Client(self.place.socket)
        try:
            self._check_with(client)
        finally:
            client.close()

    def _check_with(self, client: Client) -> None:
        answered = dict(line.split() for line in self.answers.read_text().splitlines())
        ids = list(answered.values())
        for start in range(0, len(ids), 500):
            client.call("task.wait", ids=ids[start : start + 500], timeout=ROUND_S)
        wait_until(lambda: client.call("omkd.status")["retried_writes"] == [], "a write is shown as failing for ever")
        findings = client.call("omkd.verify")["findings"]
        assert findings == [], findings
        log = units(self.place)
        keys = Counter(event["key"] for event in named(log, "TaskQueued"))
        finished = Counter(event["task_id"] for event in named(log, "TaskFinished"))
        lost = [each for each in ids if finished[each] == 0]
        twice = [each for each in ids if finished[each] > 1] + [key for key, count in keys.items() if count > 1]
        assert not lost, f"answered, and no result: {lost}"
        assert not twice, f"recorded twice: {twice}"
        self.figures["tasks"] = len(ids)
        self.figures["hand-outs run again"] = len(named(log, "TaskRequeued"))


def named(log: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    events = (event for unit in log for event in unit["events"])
    return [event[name] for event in events if isinstance(event, dict) and name in event]


def run(chosen: Options) -> dict[str, Any]:
    deadline = time.monotonic() + chosen.seconds
    rng = Random(chosen.seed)
    figures: Counter[str] = Counter(rounds=0, sessions=0)
    while figures["rounds"] < chosen.cases and time.monotonic() < deadline:
        rounds = min(ROUNDS_A_SESSION, chosen.cases - figures["rounds"])
        figures += session_of(rounds, rng, deadline, done=figures["rounds"])
        figures["sessions"] += 1
    return dict(figures)


def session_of(rounds: int, rng: Random, deadline: float, *, done: int) -> Counter[str]:
    with place_of_its_own() as place, ExitStack() as ends:
        loop = Loop(place, rng, ends)
        loop.begin()
        while loop.figures["rounds"] < rounds and time.monotonic() < deadline:
            try:
                loop.round()
            except AssertionError as lost:
                log = (place.root / "omkd.log").read_text()[-3000:]
                number = done + loop.figures["rounds"] + 1
                raise AssertionError(f"round {number}: {str(lost)[-3000:]}\n{log}") from lost
            loop.figures["rounds"] += 1
    return loop.figures


if __name__ == "__main__":
    report("kill loop", run, options(__doc__ or "", cases=20))
