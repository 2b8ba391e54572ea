"""A task through an ACP agent, the real daemon and host: what it asks waits for a person, and how each case ends."""

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from system_kit import alive_with, consistent, refusal, result, send, wait, worker

from tests.kit import Client, Daemon, Place, end_hosts, events_called, json_lines, running_daemon, wait_until

AGENT = Path(__file__).parent.parent / "agents" / "acp_agent.py"
TOUCH = "echo hi > hi.txt"
ASKS = {"ask": TOUCH}
SAID = {"say": "Done."}

Wire = dict[str, Any]


@pytest.fixture(autouse=True)
def _no_process_is_left(place: Place) -> Iterator[None]:
    yield
    end_hosts(place)
    assert alive_with(f"TOKEN={place.root}") == []


@pytest.fixture
def client(daemon: Daemon) -> Iterator[Client]:
    """As everywhere; and the session is proved consistent at the end."""
    client = daemon.client()
    yield client
    with consistent(client):
        pass


def add_agent(
    client: Client, place: Place, *steps: Wire, policy: object = "never", timeout_secs: int = 300, **script: object
) -> None:
    """Worker `w`, an agent with this script."""
    (place.root / "project").mkdir(exist_ok=True)
    runner = {
        "command": [sys.executable, str(AGENT), json.dumps({"steps": list(steps), **script})],
        "env": {"TOKEN": str(place.root)},
        "grace_secs": 1,
        "acp": True,
        "acp_asks": True,
    }
    client.call(
        "worker.add",
        name="w",
        role="dev",
        runner=runner,
        project_dir=str(place.root / "project"),
        approval_policy=policy,
        approval_timeout_secs=timeout_secs,
    )


def made(place: Place) -> bool:
    return (place.root / "project" / "hi.txt").exists()


def question(client: Client) -> Wire:
    """The one that waits, once there is one."""

    def waiting() -> list[Wire]:
        return list(client.call("decision.list")["decisions"])

    wait_until(lambda: len(waiting()) == 1, "no question")
    return waiting()[0]


def run_dir(place: Place, handout: str) -> Path:
    return place.session.worker("w").runs / handout.partition(".")[0] / handout


def test_without_a_question_a_turn_is_a_task_with_a_log_progress_and_cost(place: Place) -> None:
    with running_daemon(place) as daemon:
        client = daemon.client()
        add_agent(client, place, {"plan": [1, 2]}, ASKS, SAID, {"usage": [7, 3, 0.5]}, policy="yolo")
        task = send(client, "please")
        state, summary = result(client, task)
        assert (state, summary) == ("success", f"allowed: {TOUCH} (the policy is yolo)\nDone.")
        assert made(place)
        files = run_dir(place, task)
        assert (files / "stdout.log").read_text() == "Done."
        said = [line["msg"] for line in json_lines(files / "acp.jsonl") if line["dir"] == "out"]
        (prompt,) = [each["params"]["prompt"] for each in said if each.get("method") == "session/prompt"]
        assert prompt == [{"type": "text", "text": "please"}]
        wait_until(lambda: events_called(place, "CostDelta"), "no cost")
        (cost,) = events_called(place, "CostDelta")
        assert cost == {"source": "w", "tokens_in": 7, "tokens_out": 3, "usd": 0.5}
        assert events_called(place, "WorkerProgress")[-1]["worker_id"] == "w"
        assert f"allowed unasked: {TOUCH}" in place.session.worker("w").host_log.read_text()


# --- a question --------------------------------------------------------------------------------------------------


def test_a_question_waits_for_a_person_whose_yes_lets_the_tool_run(client: Client, place: Place) -> None:
    add_agent(client, place, ASKS, SAID)
    task = send(client, "x")
    asked = question(client)
    assert (asked["id"], asked["worker"], asked["task_id"]) == (f"{task}-1", "w", task)
    assert asked["summary"] == f"w wants: {TOUCH}"
    assert f"command: {TOUCH}" in asked["detail"]
    assert [choice["kind"] for choice in asked["choices"]] == ["allow_once", "allow_always", "reject_once"]
    lines = place.session.escalations
    wait_until(lambda: any(TOUCH in line["summary"] for line in json_lines(lines)), "no escalation")
    (line,) = [line for line in json_lines(lines) if TOUCH in line["summary"]]
    assert (line["kind"], line["auto_proceed"]) == ("router_escalation", False)
    assert not made(place)
    client.call("decision.answer", id=asked["id"], choice="allow_once")
    state, summary = result(client, task)
    assert state == "success"
    assert summary.startswith(f"allowed: {TOUCH} (by uid {os.getuid()} ")
    assert made(place)


def test_a_persons_no_and_its_note_reach_the_agent_and_done_is_no_success(client: Client, place: Place) -> None:
    add_agent(client, place, ASKS, SAID, echoes=True)
    task = send(client, "x")
    client.call("decision.answer", id=question(client)["id"], choice="reject_once", note="not in this project")
    state, summary = result(client, task)
    assert state == "failed"
    assert summary.startswith(f"refused: {TOUCH} (by uid {os.getuid()} ")
    assert f"- {TOUCH}: not in this project" in summary
    assert not made(place)


def test_a_question_that_nobody_answers_expires_which_is_not_denied(client: Client, place: Place) -> None:
    add_agent(client, place, ASKS, SAID, timeout_secs=1)
    task = send(client, "x")
    state, summary = result(client, task)
    assert state == "failed"
    assert summary == f"expired: {TOUCH} (nobody answered within 1s)\nDone."
    (expired,) = events_called(place, "DecisionExpired")
    assert (expired["decision_id"], expired["withdrawn"]) == (f"{task}-1", False)
    assert not made(place)


def test_a_cancel_at_the_question_withdraws_it(client: Client, place: Place) -> None:
    add_agent(client, place, ASKS, SAID)
    task = send(client, "x")
    asked = question(client)
    client.call("task.cancel", ids=[task], reason="enough")
    (ended,) = wait(client, task)
    assert ended["state"] == "cancelled"
    assert ended["result"]["summary"].splitlines()[0] == "cancelled: enough"
    assert f"not decided: {TOUCH} (the turn ended first)" in ended["result"]["summary"]
    assert client.call("decision.list")["decisions"] == []
    (expired,) = events_called(place, "DecisionExpired")
    assert (expired["decision_id"], expired["withdrawn"]) == (asked["id"], True)
    assert not made(place)


def test_while_a_question_waits_the_budget_stands(client: Client, place: Place) -> None:
    """It would run out before anybody can have answered; then nothing ever expired."""
    add_agent(client, place, ASKS, SAID, timeout_secs=2)
    state, summary = result(client, send(client, "x", budget_secs=1))
    assert (state, summary) == ("failed", f"expired: {TOUCH} (nobody answered within 2s)\nDone.")


# --- from task to task -------------------------------------------------------------------------------------------


def test_the_next_task_has_the_same_process_and_a_session_of_its_own(client: Client, place: Place) -> None:
    add_agent(client, place, {"run": "echo $PPID"}, SAID, policy="yolo")
    tasks = [send(client, "x") for _ in range(3)]
    assert [each["state"] for each in wait(client, *tasks)] == ["success"] * 3
    agents = [(run_dir(place, task) / "stderr.log").read_text() for task in tasks]
    assert len(set(agents)) == 1
    assert agents[0].strip() in map(str, alive_with(f"TOKEN={place.root}"))
    client.call("worker.update", name="w", budget_secs=77)
    assert [each["state"] for each in wait(client, send(client, "x"))] == ["success"]
    client.call("worker.update", name="w", env={"TOKEN": str(place.root), "MORE": "1"})
    another = send(client, "x")
    assert [each["state"] for each in wait(client, another)] == ["success"]
    assert (run_dir(place, another) / "stderr.log").read_text() != agents[0]


def test_a_kept_agent_ends_with_its_host_however_that_ends(client: Client, place: Place) -> None:
    add_agent(client, place, SAID, policy="yolo")
    assert result(client, send(client, "x"))[0] == "success"
    (agent,) = alive_with(f"TOKEN={place.root}")
    os.kill(worker(client)["pid"], signal.SIGKILL)
    wait_until(lambda: agent not in alive_with(f"TOKEN={place.root}"), "the agent lives on")
    assert result(client, send(client, "x"))[0] == "success"
    assert len(alive_with(f"TOKEN={place.root}")) == 1
    client.call("worker.remove", name="w")
    assert alive_with(f"TOKEN={place.root}") == []


def test_one_session_for_all_tasks_of_a_worker(client: Client, place: Place) -> None:
    add_agent(client, place, SAID, policy="yolo")
    client.call("worker.update", name="w", acp_session="worker")
    tasks = [send(client, "x") for _ in range(2)]
    assert [each["state"] for each in wait(client, *tasks)] == ["success"] * 2
    said = [line["msg"] for task in tasks for line in json_lines(run_dir(place, task) / "acp.jsonl")]
    assert [each["method"] for each in said if "method" in each and "id" in each] == [
        "initialize",
        "session/new",
        "session/prompt",
        "session/prompt",
    ]


def test_a_restart_of_the_daemon_loses_no_question(place: Place) -> None:
    with running_daemon(place) as daemon:
        client = daemon.client()
        add_agent(client, place, ASKS, SAID)
        task = send(client, "x")
        asked = question(client)
        daemon.kill()
    with running_daemon(place) as daemon:
        client = daemon.client()
        assert question(client)["id"] == asked["id"]
        client.call("decision.answer", id=asked["id"], choice="allow_once")
        assert result(client, task)[0] == "success"
        assert len(events_called(place, "DecisionRequested")) == 1
        assert made(place)


def test_without_a_daemon_the_host_lets_a_question_expire(place: Place) -> None:
    with running_daemon(place) as daemon:
        client = daemon.client()
        add_agent(client, place, ASKS, SAID, timeout_secs=1)
        task = send(client, "x")
        question(client)
        daemon.kill()
    outbox = place.session.worker("w").outbox
    wait_until(lambda: json_lines(outbox), "no result")
    assert json_lines(outbox)[0]["summary"] == f"expired: {TOUCH} (nobody answered within 1s)\nDone."
    with running_daemon(place) as daemon:
        assert result(daemon.client(), task)[0] == "failed"
        (expired,) = events_called(place, "DecisionExpired")
        assert not expired["withdrawn"]


def test_a_host_that_dies_at_the_question_leaves_nothing_and_the_task_asks_again(client: Client, place: Place) -> None:
    add_agent(client, place, ASKS, SAID)
    task = send(client, "x")
    first = question(client)
    pid = worker(client)["pid"]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: [each["id"] for each in asked_now(client)] == [f"{task}.2-1"], "it is not asked again")
    assert first["id"] == f"{task}-1"
    (expired,) = events_called(place, "DecisionExpired")
    assert (expired["decision_id"], expired["withdrawn"]) == (first["id"], True)
    client.call("decision.answer", id=f"{task}.2-1", choice="allow_once")
    assert result(client, task)[0] == "success"


def asked_now(client: Client) -> list[Wire]:
    return list(client.call("decision.list")["decisions"])


def test_a_host_told_to_stop_ends_the_turn_as_interrupted(client: Client, place: Place) -> None:
    add_agent(client, place, ASKS, SAID)
    task = send(client, "x")
    question(client)
    client.call("worker.restart", name="w", force=True)
    wait_until(lambda: [each["id"] for each in asked_now(client)] == [f"{task}.2-1"], "it is not asked again")
    (requeued,) = events_called(place, "TaskRequeued")
    assert requeued["outcome"] == "interrupted"


def test_a_tool_that_left_its_session_ends_with_the_turn(client: Client, place: Place) -> None:
    add_agent(client, place, {"orphan": str(place.root / "pid")}, SAID, policy="yolo")
    assert result(client, send(client, "x"))[0] == "success"
    assert alive_with(f"TOKEN={place.root}") == []


# --- what is refused ---------------------------------------------------------------------------------------------


def test_an_agent_that_is_not_known_to_ask_does_nothing_under_a_policy_that_asks(client: Client, place: Place) -> None:
    add_agent(client, place, ASKS, SAID)
    client.call("worker.update", name="w", acp_asks=False)
    state, summary = result(client, send(client, "x"))
    assert state == "failed"
    assert "cannot be made to ask" in summary
    assert "--acp-asks" in summary


def test_an_agent_that_cannot_be_started_is_said_as_that(client: Client, place: Place) -> None:
    script = place.root / "agent"
    script.write_text("#!/nonexistent/interpreter\n")
    script.chmod(0o755)
    client.call("worker.add", name="w", role="dev", runner={"command": [str(script)], "acp": True})
    state, summary = result(client, send(client, "x"))
    assert state == "failed"
    assert summary.startswith("command not found")


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [("", "would allow everything"), ("(", "no regular expression"), (".*", "matches everything")],
)
def test_a_pattern_that_cannot_be_used_is_refused_with_its_place(
    shared_client: Client, pattern: str, reason: str
) -> None:
    policy = {"pattern": {"patterns": ["^ls", pattern]}}
    name, message = refusal(shared_client, "worker.add", name="p", role="r", approval_policy=policy)
    assert name == "invalid_params"
    assert message.startswith("approval_policy.pattern.patterns[1]")
    assert reason in message


@pytest.mark.parametrize(
    ("runner", "message"),
    [
        ({"command": ["kimi"], "acp": True}, "runner.command: `kimi` alone installs software"),
        ({"command": ["sh"], "acp_asks": True}, "runner.acp_asks: it is for an agent that speaks ACP"),
        ({"command": ["sh"], "acp_session": "worker"}, "runner.acp_session: it is for an agent that speaks ACP"),
        ({"command": ["sh"], "acp_mode": "ask"}, "runner.acp_mode: it is for an agent that speaks ACP"),
    ],
)
def test_settings_of_acp_that_cannot_work_are_refused(shared_client: Client, runner: Wire, message: str) -> None:
    assert refusal(shared_client, "worker.add", name="p", role="r", runner=runner)[1].startswith(message)
