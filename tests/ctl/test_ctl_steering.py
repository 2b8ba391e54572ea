"""Steering tasks and workers against the real daemon, as a person would: order, cancel, retry, pause, shutdown, ack."""

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ctl_calls import Ended
from ctl_person import DEADLINE_S, Run, ended, good, lines, started

from tests.kit import Daemon, Place, append, json_lines, running_daemon, wait_until

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "team.toml"

HOOK = f"{sys.executable} -m omkctl"


def sent(person: Run, *arguments: str) -> str:
    return good(person("send-task", *arguments, "--print-id")).strip()


def task(person: Run, id: str) -> Any:
    return json.loads(good(person("show", id, "--json")))


def worker_state(person: Run, name: str) -> str:
    return str(json.loads(good(person("worker", "show", name, "--json")))["state"])


def refused(ran: Ended, status: int) -> str:
    """What was said: one clear line, and nothing else."""
    assert (ran.status, ran.out) == (status, ""), ran
    assert ran.err.startswith("omkctl: ")
    assert ran.err.count("\n") == 1
    assert "Traceback" not in ran.err
    return ran.err


@pytest.fixture
def foreign(daemon: Daemon, person: Run) -> str:
    """A worker that some other program would play, and does not."""
    assert daemon.process.poll() is None
    good(person("worker", "add", "other"))
    return "other"


# --- order -------------------------------------------------------------------------------------------------------


def test_tasks_are_done_in_the_order_that_was_asked_for(wc: str, person: Run) -> None:
    good(person("worker", "pause", wc, "--reason", "to put them in order"))
    late = sent(person, wc, "late", "--priority", "-1")
    first = sent(person, wc, "first", "--priority", "5")
    second = sent(person, wc, "second", "--after", first, "--priority", "9")
    held = sent(person, wc, "held", "--hold")
    assert f"waits for {first}" in good(person("tasks", "--json"))
    assert "paused" in good(person("status"))
    assert "held until it is released" in good(person("show", held))
    good(person("worker", "resume", wc))
    good(person("wait", late, first, second))
    begun = sorted((late, first, second), key=lambda id: task(person, id)["started"])
    assert begun == [first, second, late]
    assert task(person, held)["state"] == "held"
    assert good(person("release", held)).startswith(f"{held} queued for wc")
    good(person("wait", held))


def test_a_task_that_waits_can_be_changed(wc: str, person: Run) -> None:
    other = sent(person, wc, "x", "--hold")
    id = sent(person, wc, "one", "--after", other, "--not-before", "2h")
    assert good(person("update", id, "one two three", "--no-after", "--priority", "3")).startswith(f"{id} queued")
    assert good(person("hold", id)) == f"{id} held for wc: held until it is released\n"
    good(person("update", id, "--not-before", "now", "--target", "role:counter", "--retries", "2", "--json"))
    good(person("release", id))
    assert good(person("wait", id)) == f"{id} success (wc)\n"
    assert task(person, id)["result"]["summary"] == "3"
    assert "only a task that is not handed out" in refused(person("update", id, "again"), 5)
    assert "nothing to change" in refused(person("update", id), 2)
    assert "contradict" in refused(person("update", id, "--after", other, "--no-after"), 2)
    assert "can be held" not in good(person("hold", other))


def test_a_failed_task_is_run_again_by_itself_and_by_hand(daemon: Daemon, place: Place, person: Run) -> None:
    assert daemon.process.poll() is None
    marks = place.root / "marks"
    script = f"mkdir {marks} || exec echo again; exit 1"
    good(person("worker", "add", "flaky", "--retries", "3", "--", "sh", "-c", script))
    id = sent(person, "flaky", "x", "--retries", "0")
    assert person("wait", id).status == 1
    assert good(person("retry", id)).startswith(f"{id} queued for flaky: run again by request")
    assert good(person("wait", id)) == f"{id} success (flaky)\n"
    assert "hand-outs:  2 (the output of each" in good(person("show", id))
    assert json.loads(good(person("worker", "show", "flaky", "--json")))["runner"]["retries"] == 3
    running = sent(person, "flaky", "x", "--hold")
    assert "only a task that ended" in refused(person("retry", running), 5)


# --- cancel ------------------------------------------------------------------------------------------------------


def test_cancel_says_what_ended_and_who_was_asked(gate: Callable[[], None], person: Run) -> None:
    assert callable(gate)
    running, waiting = sent(person, "gate", "x"), sent(person, "gate", "y")
    good(person("send-task", "gate", "z", "--hold"))
    assert person("wait", running, "--timeout", "0.1").status == 124
    wait_until(lambda: task(person, running)["state"] == "running", "it does not run")
    assert good(person("cancel", waiting)) == f"{waiting} cancelled for gate\n"
    said = good(person("cancel", running, waiting, "--reason", "no more"))
    assert said.splitlines() == [
        f"{running} running (gate): gate was told to end it",
        f"{waiting} cancelled for gate",
    ]
    assert person("wait", running).status == 1
    assert task(person, running)["state"] == "cancelled"
    assert "by:" in good(person("show", running))


def test_a_result_that_comes_first_wins(wc: str, person: Run) -> None:
    id = sent(person, wc, "one")
    good(person("wait", id))
    ran = person("cancel", id)
    assert (ran.status, ran.out) == (1, f"{id} success (wc): it had ended already\n")
    assert json.loads(person("cancel", id, "--json").out)["tasks"][0]["state"] == "success"
    assert "no task 't999'" in refused(person("cancel", id, "t999"), 3)


def test_a_worker_that_does_not_confirm_keeps_the_task_until_it_is_forced(foreign: str, person: Run) -> None:
    id = sent(person, foreign, "x")
    wait_until(lambda: task(person, id)["state"] == "dispatched", "it is not handed out")
    said = good(person("cancel", id))
    assert "is another program's: until it confirms, the task stays its own" in said
    assert task(person, id)["state"] == "dispatched"
    assert good(person("cancel", id, "--force")) == f"{id} lost (other)\n"
    assert task(person, id)["why"] == "cancelled by force, its worker did not confirm it"
    assert good(person("cancel", id)) == f"{id} lost (other)\n"


def test_a_task_that_was_lost_before_was_not_cancelled(foreign: str, person: Run) -> None:
    id = sent(person, foreign, "x")
    wait_until(lambda: task(person, id)["state"] == "dispatched", "it is not handed out")
    good(person("worker", "remove", foreign, "--force"))
    ran = person("cancel", id, "--force")
    assert (ran.status, ran.out) == (1, f"{id} lost (other): it had ended already\n")


# --- a person, asked ---------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("daemon")
def test_an_agent_asks_and_a_person_acknowledges(person: Run, place: Place) -> None:
    good(person("worker", "add", "asker", "--", "sh", "-c", f"{HOOK} escalate which one?"))
    id = sent(person, "asker", "x")
    good(person("wait", id))
    (fields,) = [
        event["PersonNeeded"]
        for line in good(person("events", "--type", "PersonNeeded", "--json")).splitlines()
        for event in json.loads(line)["events"]
    ]
    assert fields == {"text": "which one?", "worker_id": "asker", "task_id": id}
    good(person("escalate", "--", "and", "this"))
    assert "needs a person: 2 (omkctl inbox)" in good(person("status"))
    first, second = [json.loads(line) for line in good(person("tail-escalations", "--unacked", "--json")).splitlines()]
    assert (first["summary"], second["summary"]) == ("which one?", "and this")
    assert good(person("ack", str(first["seq"]), "--note", "the second")) == f"seen: {first['seq']}\n"
    shown = good(person("tail-escalations", "--unacked"))
    assert shown.count("\n") == 1
    assert person("ack", "--all-shown").out == shown
    assert person("ack", "--all-shown").status == 1
    assert "needs a person" not in good(person("status"))
    assert "holds nothing that needs a person" in refused(person("ack", "1"), 5)
    assert "there is no unit 9999" in refused(person("ack", "9999"), 3)
    assert "say which" in refused(person("ack"), 2)
    assert place.session.path.is_dir()


def test_without_a_daemon_an_agents_question_waits_in_its_file(daemon: Daemon, place: Place, person: Run) -> None:
    good(person("worker", "add", "asker", "--", "cat"))
    daemon.kill()
    assert "no daemon answers" in refused(person("escalate", "help"), 4)
    ran = person("escalate", "help", OMK_WORKER="asker", OMK_TASK_ID="t3")
    assert ran.status == 0
    asked = {"text": "help", "worker_id": "asker", "task_id": "t3"}
    assert json_lines(place.session.worker("asker").events) == [{"PersonNeeded": asked}]


# --- workers -----------------------------------------------------------------------------------------------------


def test_a_worker_is_changed_paused_restarted_and_drained(gate: Callable[[], None], person: Run, place: Place) -> None:
    said = good(person("worker", "update", "gate", "--retries", "1", "--stall", "10m"))
    assert said == "worker gate: retries stall_secs as given, from its next run on\n"
    assert "stall:     after 10m" in good(person("worker", "show", "gate"))
    first = sent(person, "gate", "x")
    wait_until(lambda: task(person, first)["state"] == "running", "it does not run")
    second = sent(person, "gate", "y")
    assert good(person("worker", "pause", "gate")) == f"worker gate is paused; in hand: {first}\n"
    with started(place, "worker", "pause", "gate", "--drain") as waiting:
        assert waiting.stderr is not None
        assert f"waits for {first}" in waiting.stderr.readline()
        gate()
        assert ended(waiting) == Ended(0, "worker gate is paused\n", "")
    before = json.loads(good(person("worker", "show", "gate", "--json")))
    assert (before["state"], task(person, second)["state"]) == ("paused", "queued")
    assert good(person("worker", "restart", "gate")) == "worker gate has a new host\n"
    assert good(person("worker", "resume", "gate")) == "worker gate gets work again\n"
    wait_until(lambda: task(person, second)["state"] == "running", "it does not run")
    assert json.loads(good(person("worker", "show", "gate", "--json")))["pid"] != before["pid"]
    assert "running" in good(person("worker", "log", "gate", "-n", "1"))
    for verb in ("restart", "compact"):
        ran = person("worker", verb, "gate", "--drain", "--timeout", "0.3")
        assert ran.status == 124
        assert ran.err.splitlines() == [
            f"omkctl: worker gate gets nothing more; waits for {second}",
            "omkctl: worker gate is not done within 0.3 s; it gets work again",
        ]
    wait_until(lambda: worker_state(person, "gate") == "busy", "it drains on")
    for verb in ("restart", "remove"):
        said = refused(person("worker", verb, "gate", "--drain", "--force"), 2)
        assert "--drain waits for what is in hand, --force does not: one of them" in said
    ran = person("worker", "remove", "gate", "--drain", "--timeout", "0.3")
    assert ran.status == 124
    assert f"waits for {second}" in ran.err
    assert "it stays paused (omkctl worker resume gate)" in ran.err
    assert worker_state(person, "gate") == "paused"
    gate()
    assert "removed" in good(person("worker", "remove", "gate", "--drain"))
    assert good(person("wait", second)).startswith(f"{second} success")


def test_a_foreign_worker_is_adopted(daemon: Daemon, place: Place, person: Run) -> None:
    assert daemon.process.poll() is None
    directory = place.session.worker("rust")
    directory.path.mkdir(mode=0o700, parents=True)
    spec = {
        "name": "rust",
        "role": "worker",
        "inbox": str(directory.inbox),
        "outbox": str(directory.outbox),
        "heartbeat": str(directory.heartbeat),
        "project_dir": None,
        "external_tools": None,
        "approval_policy": "never",
        "approval_timeout_secs": 300,
    }
    append(directory.spec, spec)
    wait_until(lambda: person("worker", "show", "rust").status == 0, "it is not found")
    assert "foreign" in refused(person("worker", "update", "rust", "--window", "2"), 5)
    assert "foreign" in refused(person("worker", "restart", "rust"), 5)
    assert good(person("worker", "adopt", "rust")) == "worker rust is omkd's own\n"
    assert good(person("worker", "update", "rust", "--window", "2")).startswith("worker rust: window as given")


# --- shutdown ----------------------------------------------------------------------------------------------------


def test_shutdown_waits_for_what_runs_and_says_so(
    gate: Callable[[], None], daemon: Daemon, place: Place, person: Run
) -> None:
    id = sent(person, "gate", "x")
    wait_until(lambda: task(person, id)["state"] == "running", "it does not run")
    waits = sent(person, "gate", "y")
    with started(place, "shutdown", "--drain", "1m") as process:
        assert process.stderr is not None
        assert process.stderr.readline() == f"omkctl: waits for {id}, at most 1m\n"
        assert f"it is to end, and waits for {id}" in good(person("status"))
        gate()
        assert "has ended" in ended(process).out
    assert daemon.process.wait(DEADLINE_S) == 0
    assert person("show", waits).status == 4


def test_a_drain_that_takes_too_long_says_what_goes_on(gate: Callable[[], None], daemon: Daemon, person: Run) -> None:
    id = sent(person, "gate", "x")
    wait_until(lambda: task(person, id)["state"] == "running", "it does not run")
    ran = person("shutdown", "--drain", "1")
    assert ran.status == 0
    assert f"the time ran out for {id}: its host goes on" in ran.err
    assert daemon.process.wait(DEADLINE_S) == 0
    gate()


def test_shutdown_ends_the_hosts_when_told(wc: str, daemon: Daemon, person: Run) -> None:
    wait_until(lambda: json.loads(good(person("worker", "show", wc, "--json")))["pid"] is not None, "no host")
    pid = json.loads(good(person("worker", "show", wc, "--json")))["pid"]
    assert "has ended" in good(person("shutdown", "--workers"))
    assert daemon.process.wait(DEADLINE_S) == 0
    assert not os.path.exists(f"/proc/{pid}")


def test_an_interrupted_shutdown_ends_all_the_same(
    gate: Callable[[], None], daemon: Daemon, place: Place, person: Run
) -> None:
    id = sent(person, "gate", "x")
    wait_until(lambda: task(person, id)["state"] == "running", "it does not run")
    with started(place, "shutdown", "--drain", "1m") as process:
        assert process.stderr is not None
        process.stderr.readline()
        process.send_signal(signal.SIGINT)
        ran = ended(process)
    assert ran.status == 130
    assert "ends all the same" in ran.err
    gate()
    assert daemon.process.wait(DEADLINE_S) == 0


# --- faults ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["send-task", "wc", "x", "--after", "nosuch"], 3, "no task 'nosuch'"),
        (["send-task", "wc", "x", "--budget", "0"], 2, "at least 1"),
        (["send-task", "wc", "x", "--retries", "-1"], 2, "--retries"),
        (["send-task", "wc", "x", "--not-before", "soon"], 2, "is no time"),
        (["send-task", "nobody", "x"], 3, "no worker 'nobody'"),
        (["worker", "add", "w", "--window", "-1", "--", "cat"], 2, "--window"),
        (["worker", "add", "w", "--budget", "0", "--", "cat"], 2, "at least 1"),
        (["worker", "add", "w", "--", "no-such-command"], 2, "no command 'no-such-command'"),
        (["worker", "add", "w", "--stall", "5m"], 2, "need a command"),
        (["worker", "add", "w", "--project-dir", "/nowhere", "--", "cat"], 2, "/nowhere is not there: make it"),
        (["worker", "add", "w", "--external-tool", "{", "--", "cat"], 2, "--external-tool is not JSON"),
        (["worker", "update", "wc", "--budget", "0"], 2, "at least 1"),
        (["worker", "update", "wc"], 2, "nothing to change"),
        (["worker", "pause", "wcc"], 3, "did you mean 'wc'"),
        (["shutdown", "--drain", "soon"], 2, "is no duration"),
        (["send-task", "wc", "x", "--not-before", "90000000h"], 2, "is too long: at most 36500d"),
        (["send-task", "wc", "x", "--budget", "99999999999999999999h"], 2, "is too long: at most 36500d"),
        (["send-task", "wc", " "], 2, "the text is empty"),
        (["send-task", "wc", "x", "--criterion", ""], 2, "--criterion is empty"),
        (["update", "t1", "--criterion", " "], 2, "--criterion is empty"),
        (["worker", "add", "any", "--role", "r", "--", "cat"], 2, "stands for any worker"),
        (["escalate", ""], 2, "the text is empty"),
        (["send-task", "wc", "x", "--key", "\udce9"], 2, "is not UTF-8: nothing was sent"),
    ],
)
def test_a_fault_is_one_clear_line(shared_person: Run, arguments: list[str], status: int, says: str) -> None:
    assert says in refused(shared_person(*arguments), status)


def test_a_text_that_cannot_be_a_task_is_refused(wc: str, person: Run, place: Place) -> None:
    file = place.root / "text"
    file.write_bytes(b"a\0b")
    assert "NUL" in refused(person("send-task", wc, "--file", str(file)), 2)
    file.write_bytes(b"x" * 1024 * 1024)
    said = refused(person("send-task", wc, "--file", str(file)), 2)
    assert "1048576 bytes, at most 262144" in said
    assert person("send-task", wc, "--file", str(file), "--json").out.startswith('{"error":{"code":null')
    assert good(person("tasks", "--json")) == '{"tasks":[],"next":null}\n'


def test_a_cycle_is_refused_and_a_cancelled_dependency_fails_what_waits(wc: str, person: Run) -> None:
    first = sent(person, wc, "x", "--hold")
    second = sent(person, wc, "y", "--after", first)
    assert "would wait for itself" in refused(person("update", first, "--after", second), 2)
    good(person("cancel", first))
    assert person("wait", second).status == 1
    assert first in task(person, second)["result"]["summary"]


def test_a_project_dir_that_vanishes_while_its_task_waits_fails_it(daemon: Daemon, place: Place, person: Run) -> None:
    assert daemon.process.poll() is None
    (place.root / "project").mkdir()
    good(person("worker", "add", "there", "--project-dir", str(place.root / "project"), "--", "cat"))
    id = sent(person, "there", "x", "--hold")
    (place.root / "project").rmdir()
    good(person("release", id))
    assert person("wait", id).status == 1
    assert str(place.root / "project") in task(person, id)["result"]["summary"]


# --- a team ------------------------------------------------------------------------------------------------------

TEAM = """
[[worker]]
name = "wc"
role = "counter"
command = ["wc", "-w"]

[[worker]]
name = "reader"
project_dir = "."
command = ["cat"]
"""


@pytest.mark.usefixtures("daemon")
def test_a_team_is_made_as_declared_and_again_changes_nothing(place: Place, person: Run) -> None:
    file = place.root / "team.toml"
    file.write_text(TEAM)
    assert good(person("worker", "apply", str(file), "--dry-run")).count("would be added") == 2
    assert good(person("worker", "list")).startswith("no workers")
    assert good(person("worker", "apply", str(file))) == "worker wc added\nworker reader added\n"
    assert good(person("worker", "apply", str(file))) == "unchanged: wc reader\n"
    good(person("worker", "add", "extra", "--", "cat"))
    file.write_text(TEAM.replace('["cat"]', '["cat"]\nbudget = "1h"'))
    said = good(person("worker", "apply", str(file), "--prune"))
    assert said == "worker reader updated: budget_secs\nworker extra removed\nunchanged: wc\n"
    assert json.loads(good(person("worker", "show", "reader", "--json")))["spec"]["project_dir"] == str(place.root)
    applied = json.loads(good(person("worker", "apply", str(file), "--json")))
    assert applied == {"added": [], "updated": {}, "removed": [], "unchanged": ["wc", "reader"]}


@pytest.mark.usefixtures("daemon")
def test_a_fault_of_a_team_names_file_and_worker_and_changes_nothing(place: Place, person: Run) -> None:
    file = place.root / "team.toml"
    file.write_text(TEAM + '[[worker]]\nname = "wc"\n')
    assert f"{file}: worker 3 ('wc'): worker 1 has this name" in refused(person("worker", "apply", str(file)), 2)
    file.write_text(TEAM.replace('"cat"', '"catt"'))
    said = refused(person("worker", "apply", str(file)), 2)
    assert f"{file}: worker 2 ('reader'): runner.command[0]: no command 'catt'" in said
    file.write_text(TEAM.replace('"reader"', '"re/ader"'))
    assert f"{file}: worker 2 ('re/ader'): name" in refused(person("worker", "apply", str(file)), 2)
    assert good(person("worker", "list")).startswith("no workers")


def test_the_example_of_a_team_can_be_applied(place: Place, person: Run) -> None:
    """With stand-ins for the agents, which need an account."""
    agents = place.root / "bin"
    agents.mkdir()
    for name in ("claude", "codex", "gemini"):
        (agents / name).symlink_to("/bin/true")
    place.environment["PATH"] = f"{agents}:{place.environment['PATH']}"
    with running_daemon(place):
        said = good(person("worker", "apply", str(EXAMPLE)))
        assert said.splitlines() == [
            f"worker {name} added" for name in ("coder", "coder2", "reviewer", "tests", "house")
        ]
        assert good(person("worker", "apply", str(EXAMPLE))) == "unchanged: coder coder2 reviewer tests house\n"


def test_many_large_tasks_are_listed_steered_and_waited_for(daemon: Daemon, person: Run) -> None:
    """Too much for one answer together: in pages, and in as few parts as the daemon takes."""
    client = daemon.client()
    client.call("worker.add", name="idle", role="r", window=1)
    client.call("worker.pause", name="idle")
    task = {"task": "x" * 250_000}
    ids = [str(client.call("task.send", target={"worker": "idle"}, task=task)["id"]) for _ in range(10)]
    assert [each["id"] for each in json.loads(good(person("tasks", "-n", "all", "--json")))["tasks"]] == ids
    for verb, state in (("hold", "held"), ("release", "queued"), ("cancel", "cancelled"), ("retry", "queued")):
        said = json.loads(good(person(verb, *ids, "--json")))["tasks"]
        assert [(each["id"], each["state"]) for each in said] == [(id, state) for id in ids]
    good(person("cancel", *ids))
    assert [line.split()[:2] for line in lines(person("wait", *ids).out)] == [[id, "cancelled"] for id in ids]
    queued = lines(good(person("events", "-n", "1000", "--type", "TaskQueued")))
    assert len(queued) == len(ids)
