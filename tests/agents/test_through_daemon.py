"""Real agents as a person has them: `omkctl`, the real daemon, the real host, and a scripted model for the agent.

What becomes of a question is the table of `docs/acp.md`: Kimi Code goes through all of it, each agent through a yes and
a no. At the end the daemon and the host are ended, and nothing that carries the session's mark may be alive.
"""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
from ctl_calls import Ended
from ctl_person import COMMAND, good
from real_agents import INSTALLED, RealAgent, chosen
from scripted_model import Listen, Say, scripted_model
from system_kit import alive_with

from omkd.store.locks import lock_holder
from tests.kit import Place, end_hosts, events_called, is_alive, running_daemon, wait_until

pytestmark = pytest.mark.skipif(INSTALLED is None, reason="real agents are run by `make agents`")

CHOSEN = chosen(os.environ.get("OMK_TEST_WHICH"))
FIRST = CHOSEN[:1]
"""Kimi Code, unless others are named."""

DEADLINE_S = 60
MAKE = "echo hello > hello.txt"
DONE = Say("Done.")
NOTE = "not here, write to notes.txt"
A_PERSON = f"by uid {os.getuid()} (pid "

Wire = dict[str, Any]


class Desk:
    """A session with one worker, `w`, a real agent; and the person, who types `omkctl`."""

    def __init__(self, place: Place, agent: RealAgent) -> None:
        self.place = place
        self.agent = agent
        self.project = place.root / "project"
        self.project.mkdir()
        self.runs = agent.run(MAKE)

    def type(self, *words: str) -> Ended:
        ran = subprocess.run(
            [*COMMAND, *words],
            env=self.place.environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S + 10,
            check=False,
        )
        return Ended(ran.returncode, ran.stdout, ran.stderr)

    def add(self, model: str, *options: str) -> None:
        env = self.agent.environment(self.place.root / "home", model)
        given = [word for name, value in env.items() for word in ("--env", f"{name}={value}")]
        where = ["--role", "coder", "--project-dir", str(self.project), "--grace", "2s"]
        good(self.type("worker", "add", "w", *where, *given, *options, "--acp", "--", *self.agent.command()))

    def send(self) -> str:
        return good(self.type("send-task", "w", "make the file", "--print-id")).strip()

    def asked(self, count: int = 1) -> Wire:
        """The question that waits, once the escalation log has so many."""
        follow = ["-n", "all", "-f", "--kind", "router_escalation", "--count", str(count)]
        lines = good(self.type("tail-escalations", *follow, "--timeout", f"{DEADLINE_S}s", "--json")).splitlines()
        *_, last = [json.loads(line) for line in lines]
        assert last["summary"] == f"decide: w wants: {MAKE}"
        assert last["auto_proceed"] is False
        (question,) = self.questions()
        assert question["worker"] == "w"
        assert question["summary"].endswith(MAKE)
        assert not self.made()
        return question

    def questions(self) -> list[Wire]:
        """Those in the inbox."""
        waiting = [json.loads(line) for line in self.type("inbox", "--json").out.splitlines()]
        return [each for each in waiting if each["kind"] == "decision"]

    def result(self, task: str) -> tuple[str, str]:
        """State and summary of a task, once it ended. Nothing is asked then."""
        self.type("wait", task, "--timeout", f"{DEADLINE_S}s")
        shown = json.loads(good(self.type("show", task, "--json")))
        assert self.questions() == []
        return shown["state"], shown["result"]["summary"]

    def made(self) -> bool:
        return (self.project / "hello.txt").exists()

    def agents(self) -> set[int]:
        """The agent's processes, and its tools'."""
        return set(alive_with("OMK_WORKER=w")) & set(alive_with(f"OMK_SESSION={self.place.name}"))

    def host(self) -> int:
        return int(json.loads(good(self.type("worker", "show", "w", "--json")))["pid"])


@pytest.fixture
def place(place: Place) -> Iterator[Place]:
    """A session whose name no other test has; of its processes none is left."""
    named = Place(place.root, name=place.root.name.replace("_", "-"))
    yield named
    end_host(named)
    assert alive_with(f"OMK_SESSION={named.name}") == []


def end_host(place: Place) -> None:
    """It gives its lock back a moment before it ends."""
    holder = lock_holder(place.session.worker("w").path / "worker.lock")
    end_hosts(place)
    if holder is not None and holder.pid:
        pid = holder.pid
        wait_until(lambda: not is_alive(pid), "the host lives on")


def desks(agents: tuple[RealAgent, ...]) -> Any:
    return pytest.mark.parametrize("desk", agents, ids=[agent.name for agent in agents], indirect=True)


@pytest.fixture
def desk(place: Place, request: pytest.FixtureRequest) -> Desk:
    return Desk(place, request.param)


@desks(CHOSEN)
def test_what_a_person_approves_runs_and_the_result_names_it(desk: Desk, place: Place) -> None:
    with scripted_model([desk.runs, DONE]) as model, running_daemon(place):
        desk.add(model)
        task = desk.send()
        asked = desk.asked()
        assert (asked["id"], asked["worker"], asked["task_id"]) == (f"{task}-1", "w", task)
        good(desk.type("approve", asked["id"]))
        state, summary = desk.result(task)
        assert state == "success"
        assert summary.startswith(f"allowed: {MAKE} ({A_PERSON}")
        assert (desk.project / "hello.txt").read_text() == "hello\n"
        assert (place.session.worker("w").runs / task / task / "acp.jsonl").stat().st_size


@desks(CHOSEN)
def test_a_no_and_its_note_reach_the_model(desk: Desk, place: Place) -> None:
    """As a further prompt: the protocol has no field for it."""
    with scripted_model([desk.runs, Listen(NOTE)]) as model, running_daemon(place):
        desk.add(model)
        task = desk.send()
        good(desk.type("deny", desk.asked()["id"], "--note", NOTE))
        state, summary = desk.result(task)
        assert state == "failed"
        assert summary.startswith(f"refused: {MAKE} ({A_PERSON}")
        assert f"heard: {NOTE}" in summary.splitlines()[-1]
        assert not desk.made()


@desks(FIRST)
def test_a_question_that_nobody_answers_expires_which_is_no_denial(desk: Desk, place: Place) -> None:
    with scripted_model([desk.runs, DONE]) as model, running_daemon(place):
        desk.add(model, "--approval-timeout", "1s")
        task = desk.send()
        state, summary = desk.result(task)
        assert state == "failed"
        assert f"expired: {MAKE} (nobody answered within 1s)" in summary
        (expired,) = events_called(place, "DecisionExpired")
        assert (expired["decision_id"], expired["withdrawn"]) == (f"{task}-1", False)
        assert not desk.made()


@desks(FIRST)
def test_a_cancel_at_the_question_withdraws_it(desk: Desk, place: Place) -> None:
    with scripted_model([desk.runs, DONE]) as model, running_daemon(place):
        desk.add(model)
        task = desk.send()
        asked = desk.asked()
        good(desk.type("cancel", task, "--reason", "enough"))
        state, summary = desk.result(task)
        assert state == "cancelled"
        assert summary.splitlines()[0] == "cancelled: enough"
        assert f"not decided: {MAKE} (the turn ended first)" in summary
        (expired,) = events_called(place, "DecisionExpired")
        assert (expired["decision_id"], expired["withdrawn"]) == (asked["id"], True)
        late = desk.type("approve", asked["id"])
        assert late.status == 6, late
        assert not desk.made()


@desks(FIRST)
def test_a_daemon_killed_at_the_question_shows_it_again(desk: Desk, place: Place) -> None:
    """The agent waits on; it is the same question and the same process."""
    with scripted_model([desk.runs, DONE]) as model:
        with running_daemon(place) as daemon:
            desk.add(model)
            task = desk.send()
            asked = desk.asked()
            at_work = desk.agents()
            daemon.kill()
        with running_daemon(place):
            again = desk.asked()
            assert (again["id"], desk.agents()) == (asked["id"], at_work)
            good(desk.type("approve", asked["id"]))
            state, summary = desk.result(task)
            assert state == "success"
            assert summary.startswith(f"allowed: {MAKE} ({A_PERSON}")
            assert desk.made()
            assert len(events_called(place, "DecisionRequested")) == 1


@desks(FIRST)
def test_a_host_killed_at_the_question_leaves_nothing_and_the_task_asks_again(desk: Desk, place: Place) -> None:
    with scripted_model([desk.runs, DONE]) as model, running_daemon(place):
        desk.add(model)
        task = desk.send()
        first = desk.asked()
        left = desk.agents()
        os.kill(desk.host(), signal.SIGKILL)
        second = desk.asked(2)
        assert (first["id"], second["id"]) == (f"{task}-1", f"{task}.2-1")
        assert desk.agents().isdisjoint(left)
        (expired,) = events_called(place, "DecisionExpired")
        assert (expired["decision_id"], expired["withdrawn"]) == (first["id"], True)
        good(desk.type("approve", second["id"]))
        assert desk.result(task)[0] == "success"
        assert desk.made()


@desks(FIRST)
def test_daemon_and_host_killed_at_the_question_leave_nothing_and_the_task_asks_again(desk: Desk, place: Place) -> None:
    with scripted_model([desk.runs, DONE]) as model:
        with running_daemon(place) as daemon:
            desk.add(model)
            task = desk.send()
            desk.asked()
            left = desk.agents()
            host = desk.host()
            daemon.kill()
            os.kill(host, signal.SIGKILL)
            wait_until(lambda: not is_alive(host), "the host lives on")
        with running_daemon(place):
            again = desk.asked(2)
            assert again["id"] == f"{task}.2-1"
            assert desk.agents().isdisjoint(left)
            good(desk.type("deny", again["id"]))
            state, summary = desk.result(task)
            assert state == "failed"
            assert f"refused: {MAKE} ({A_PERSON}" in summary
            assert not desk.made()
