"""A scripted day: six workers, two hundred tasks, restarts and kills, each tied to an event. Real processes.

At its end every task is where a plain model says, no command ran twice but the one whose host was killed, no process
is left, and the session is proved consistent. What is random has a fixed seed; what is not decided by it (who gets a
task that any may do) the model does not ask.
"""

import os
import random
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from attrs import define, field, frozen
from system_kit import FOREVER, add_shell, alive_with, dispatched, send, wait

from omkd.services.verify import verify_session
from omkd.store.locks import lock_holder
from tests.kit import Client, Daemon, Place, events_called, running_daemon, units, wait_until

SEED = 20261120
TASKS = 200
DEV, OPS = ("w1", "w2", "w3"), ("w4", "w5", "w6")
PAUSED, KILLED = "w6", "w2"

ENDINGS = ("TaskFinished", "TaskCancelled", "TaskLost")

SCRIPTS = {
    "succeeds": "echo did it",
    "fails": "exit 3",
    "fails once": '[ "$OMK_HANDOUT" != "$OMK_TASK_ID" ]',
    "takes too long": FOREVER,
    "is cancelled": FOREVER,
    "is cancelled later": "exit 75",
    "loses its host": f'[ "$OMK_HANDOUT" != "$OMK_TASK_ID" ] || {FOREVER}',
}
ENDS = {
    "succeeds": "success",
    "fails": "failed",
    "fails once": "success",
    "takes too long": "failed",
    "is cancelled": "cancelled",
    "is cancelled later": "cancelled",
    "loses its host": "success",
}
MAY_RUN_AGAIN = ("fails once", "loses its host")
SPECIAL = ("fails once",) * 3 + ("takes too long",) * 4 + ("is cancelled",) * 10 + ("is cancelled later",) * 2


@frozen(kw_only=True)
class Planned:
    """A task as it is sent. `kind` says what its command does, and so how it ends if it runs."""

    id: str
    kind: str
    target: object
    after: tuple[str, ...] = ()
    priority: int = 0


def plan() -> list[Planned]:
    """Special tasks stand among the others; a third of all waits for one or two that come before."""
    chance = random.Random(SEED)
    kinds = [*SPECIAL, *("fails",) * 15]
    kinds += ["succeeds"] * (TASKS - 1 - len(kinds))
    chance.shuffle(kinds)
    kinds.insert(20, "loses its host")
    return [planned(number, kind, chance) for number, kind in enumerate(kinds)]


def planned(number: int, kind: str, chance: random.Random) -> Planned:
    targets: list[object] = ["any", {"role": "dev"}, {"role": "ops"}]
    targets += [{"worker": name} for name in (*DEV, *OPS)]
    waits = number >= 10 and chance.random() < 1 / 3 and kind != "loses its host"
    after = tuple(f"n{chance.randrange(number)}" for _ in range(chance.randint(1, 2))) if waits else ()
    target = {"worker": KILLED} if kind == "loses its host" else chance.choice(targets)
    priority = 5 if kind == "loses its host" else chance.randint(-1, 1)
    return Planned(id=f"n{number}", kind=kind, target=target, after=after, priority=priority)


def model(tasks: list[Planned]) -> dict[str, str]:
    """How each task ends."""
    ends: dict[str, str] = {}
    for task in tasks:
        can_run = all(ends[id] == "success" for id in task.after)
        ends[task.id] = ENDS[task.kind] if can_run else "failed"
    return ends


@define
class Day:
    """The operator: follows the events over all restarts, and does each thing at its event."""

    place: Place
    tasks: dict[str, Planned]
    stack: ExitStack
    daemon: Daemon = field(init=False)
    client: Client = field(init=False)
    seen: int = 0
    ended: set[str] = field(factory=set)
    done: list[str] = field(factory=list)
    killed_host: int = 0

    def start(self) -> None:
        self.daemon = self.stack.enter_context(running_daemon(self.place))
        self.client = self.daemon.client()
        self.client.call("event.subscribe", after=self.seen)

    def restart(self, number: signal.Signals) -> None:
        self.daemon.stop(number)
        self.client.close()
        self.start()

    def units(self) -> Iterator[dict[str, Any]]:
        while True:
            note = self.client.next_notification()
            params = note["params"]
            assert isinstance(params, dict)
            unit = params["unit"]
            assert unit["seq"] == self.seen + 1, "a unit is missing, or comes twice"
            self.seen = unit["seq"]
            yield unit

    def live(self) -> None:
        """Until every task has ended."""
        for unit in self.units():
            for event in unit["events"]:
                name, fields = next(iter(event.items())) if isinstance(event, dict) else (event, {})
                self.note(name, fields)
            if len(self.ended) == len(self.tasks):
                return

    def note(self, name: str, fields: dict[str, Any]) -> None:
        task = self.tasks.get(fields.get("task_id", ""))
        if task is not None and name in ENDINGS:
            self.ended.add(task.id)
            self.at_end_number(len(self.ended))
        if task is not None and name == "TaskStarted":
            self.at_start(task, fields["handout"])
        if task is not None and name == "TaskRequeued" and task.kind == "is cancelled later":
            self.client.call("task.cancel", ids=[task.id])

    def at_start(self, task: Planned, handout: int) -> None:
        if task.kind == "is cancelled":
            self.client.call("task.cancel", ids=[task.id], reason="not needed")
        if task.kind == "loses its host" and handout == 1:
            holder = lock_holder(self.place.session.worker(KILLED).lock)
            assert holder is not None
            self.killed_host = holder.pid
            os.kill(holder.pid, signal.SIGKILL)

    def at_end_number(self, count: int) -> None:
        steps: dict[int, Callable[[], object]] = {
            10: lambda: self.client.call("worker.pause", name=PAUSED),
            40: lambda: self.restart(signal.SIGKILL),
            80: lambda: self.restart(signal.SIGTERM),
            120: lambda: self.client.call("worker.resume", name=PAUSED),
        }
        if count in steps and str(count) not in self.done:
            self.done.append(str(count))
            steps[count]()


@pytest.fixture
def day(place: Place) -> Iterator[Day]:
    with ExitStack() as stack:
        opened = Day(place=place, tasks={task.id: task for task in plan()}, stack=stack)
        opened.start()
        yield opened


def test_a_day_with_everything_in_it(day: Day, place: Place) -> None:
    ran = place.root / "ran"
    for name in (*DEV, *OPS):
        role = "dev" if name in DEV else "ops"
        add_shell(day.client, name, role=role, window=2 if name == "w4" else 1, budget_secs=30)
    for task in day.tasks.values():
        send_planned(day.client, task, str(ran))
    day.live()

    expected = model(list(day.tasks.values()))
    states = {task["id"]: task["state"] for task in wait(day.client, *expected)}
    assert states == expected
    assert Counter(states.values()).keys() == {"success", "failed", "cancelled"}
    assert day.done == ["10", "40", "80", "120"]
    assert day.killed_host > 0
    assert_ran_once(day, ran.read_text().splitlines())
    assert_recorded_once(place, expected)
    assert day.client.call("omkd.verify")["findings"] == []

    day.client.call("omkd.shutdown", workers=True)
    assert day.daemon.process.wait(20) == 0
    mark = f"XDG_STATE_HOME={place.environment['XDG_STATE_HOME']}"
    wait_until(lambda: alive_with(mark) == [], "processes are left")
    assert verify_session(place.session).findings == []


def send_planned(client: Client, task: Planned, ran: str) -> None:
    """Each command says first that it runs: one write to a file opened with O_APPEND."""
    more: dict[str, Any] = {"budget_secs": 1} if task.kind == "takes too long" else {}
    more["retries"] = 1 if task.kind == "fails once" else 0
    script = f"echo $OMK_HANDOUT >> {ran}; {SCRIPTS[task.kind]}"
    after = list(dict.fromkeys(task.after))
    send(client, script, task.target, id=task.id, after=after, priority=task.priority, key=f"key {task.id}", **more)


def assert_ran_once(day: Day, handouts: list[str]) -> None:
    assert max(Counter(handouts).values()) == 1, "a hand-out ran twice"
    again = {handout.partition(".")[0] for handout in handouts if "." in handout}
    assert {day.tasks[id].kind for id in again} == set(MAY_RUN_AGAIN)
    ended_without_run = {id for id, state in model(list(day.tasks.values())).items() if id not in handouts}
    assert all(day.tasks[id].after or day.tasks[id].kind == "is cancelled" for id in ended_without_run)


def assert_recorded_once(place: Place, expected: dict[str, str]) -> None:
    ends = [
        fields["task_id"]
        for unit in units(place)
        for event in unit["events"]
        if isinstance(event, dict)
        for name, fields in event.items()
        if name in ENDINGS
    ]
    assert Counter(ends) == dict.fromkeys(expected, 1)
    assert len(dispatched(place)) == len(set(dispatched(place))) + len(events_called(place, "TaskRequeued")) - later(
        place
    )
    assert [each["clean"] for each in events_called(place, "DaemonStarted")] == [True, False, True]
    # a daemon that is killed at the same time never saw the host end
    assert [each["failure"] for each in events_called(place, "WorkerExited")] in ([], [True])
    assert events_called(place, "LineRejected") == []


def later(place: Place) -> int:
    """Of those put off none is handed out again: they are cancelled."""
    return sum(each["outcome"] == "later" for each in events_called(place, "TaskRequeued"))
