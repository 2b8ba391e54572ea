"""Every verb against the real daemon, with real workers, as a person would type it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from ctl_person import DEADLINE_S, Run, ended, good, lines, started

from omkd.store.procfs import environ_of, processes
from tests.kit import Daemon, Place, running_daemon, wait_until

# --- tasks -------------------------------------------------------------------------------------------------------


def test_a_task_is_counted_and_its_summary_is_all_on_stdout(wc: str, person: Run) -> None:
    ran = person("send-task", wc, "one two three", "--wait")
    assert (ran.status, ran.out) == (0, "3\n")
    assert "success (wc)" in ran.err


@pytest.mark.parametrize("target", ["wc", "role:counter", "any"])
@pytest.mark.usefixtures("wc")
def test_a_task_goes_to_a_name_a_role_or_anybody(person: Run, target: str) -> None:
    id = good(person("send-task", target, "--print-id", "--", "one", "two")).strip()
    assert good(person("wait", id)) == f"{id} success (wc)\n"
    task = json.loads(good(person("show", id, "--json")))
    assert (task["worker"], task["result"]["summary"], task["task"]["task"]) == ("wc", "2", "one two")


@pytest.mark.usefixtures("wc")
def test_a_text_comes_from_stdin_only_when_asked(person: Run) -> None:
    assert person("send-task", "wc", "--file", "-", "--wait", stdin="a b c d").out == "4\n"
    assert person("send-task", "wc", stdin="a b c d").status == 2


@pytest.mark.usefixtures("wc")
def test_the_same_key_is_the_same_task_and_another_text_a_conflict(person: Run) -> None:
    first = good(person("send-task", "wc", "one", "--key", "k", "--print-id"))
    assert good(person("send-task", "wc", "one", "--key", "k", "--print-id")) == first
    assert person("send-task", "wc", "two", "--key", "k").status == 6
    assert person("send-task", "wc", "one", "--id", "mine").out.startswith("mine ")
    assert person("send-task", "wc", "two", "--id", "mine").status == 6


@pytest.mark.usefixtures("wc")
def test_a_miss_names_the_nearest(person: Run) -> None:
    for arguments in (
        ["send-task", "wcc", "x"],
        ["worker", "show", "wcc"],
        ["tasks", "--worker", "wcc"],
        ["results", "--worker", "wcc"],
    ):
        ran = person(*arguments)
        assert ran.status == 3, ran
        assert "wc" in ran.err.replace("wcc", "")
    for arguments in (["show", "t999"], ["wait", "t999"], ["log", "t999"]):
        assert person(*arguments).status == 3


@pytest.mark.usefixtures("daemon")
def test_a_failing_command_fails_the_task(person: Run) -> None:
    good(person("worker", "add", "bad", "--", "sh", "-c", "echo partly; echo why >&2; exit 3"))
    ran = person("send-task", "bad", "x", "--wait")
    assert ran.status == 1
    id = ran.err.split()[1]
    assert good(person("log", id)) == "partly\n"
    assert good(person("log", id, "--stderr")) == "why\n"
    assert person("wait", id).status == 1
    assert "failed" in good(person("results"))
    assert good(person("tasks", "--state", "failed")).count("\n") == 2


def test_waiting_can_time_out_and_be_interrupted_and_the_task_stays(
    gate: Callable[[], None], place: Place, person: Run
) -> None:
    ran = person("send-task", "gate", "x", "--wait", "--timeout", "0.3")
    assert ran.status == 124
    with started(place, "send-task", "gate", "y", "--wait") as process:
        assert process.stderr is not None
        said = process.stderr.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE_S) == 130
        assert "stays with the daemon" in process.stderr.read()
    first, second = ran.err.split()[1], said.split()[1]
    assert person("wait", "--timeout", "0.2", first).status == 124
    assert person("worker", "remove", "gate").status == 5
    gate()
    gate()
    assert good(person("wait", first, second)).count("success") == 2


def test_a_run_is_followed_live(gate: Callable[[], None], place: Place) -> None:
    with started(place, "send-task", "gate", "x", "--follow") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        gate()
        ran = ended(process)
    assert (ran.status, ran.out) == (0, "ended well\n")


def test_the_log_of_a_task_that_has_not_begun_is_waited_for(
    gate: Callable[[], None], place: Place, person: Run
) -> None:
    first = good(person("send-task", "gate", "x", "--print-id")).strip()
    second = good(person("send-task", "gate", "y", "--print-id")).strip()
    with started(place, "log", "-f", second) as process:
        gate()
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        gate()
        assert ended(process).out == "ended well\n"
    assert good(person("log", first, "-n", "1")) == "ended well\n"


# --- across a restart --------------------------------------------------------------------------------------------


def test_waiting_and_following_outlive_a_killed_daemon(
    gate: Callable[[], None], daemon: Daemon, place: Place, person: Run
) -> None:
    with (
        started(place, "send-task", "gate", "x", "--follow") as follower,
        started(place, "events", "-f", "-n", "all", "--json") as events,
        started(place, "tail-escalations", "-f", "-n", "all", "--json", "--count", "2") as tail,
    ):
        assert follower.stdout is not None
        assert tail.stdout is not None
        assert follower.stdout.readline() == "begun\n"
        assert json.loads(tail.stdout.readline())["kind"] == "worker_started"
        daemon.kill()
        with running_daemon(place):
            gate()
            followed = ended(follower)
            assert (followed.status, followed.out) == (0, "ended well\n")
            assert json.loads(ended(tail).out)["kind"] == "worker_completed"
            whole = good(person("events", "-n", "all", "--json"))
            assert events.stdout is not None
            seen = [events.stdout.readline() for _ in whole.splitlines()]
    assert "".join(seen) == whole


def test_a_task_that_is_sent_while_the_daemon_starts_arrives_once(place: Place, person: Run) -> None:
    with running_daemon(place) as daemon:
        good(person("worker", "add", "wc", "--", "wc", "-w"))
        daemon.kill()
    with running_daemon(place):
        assert person("send-task", "wc", "a b", "--wait").out == "2\n"
        assert good(person("tasks", "-n", "all")).count("\n") == 2


# --- logs --------------------------------------------------------------------------------------------------------


def test_printed_escalations_are_the_files_lines_and_then_seq(wc: str, person: Run, place: Place) -> None:
    good(person("send-task", wc, "one two", "--wait"))
    good(person("publish", "PersonNeeded", "text=say \x1b[31mwhen\n\u2028"))
    good(
        person(
            "publish",
            "AutonomousProceed",
            *("kind=large_escalation", "intent=large", "confidence=0.3", "reasoning=why"),
        )
    )
    printed = lines(good(person("tail-escalations", "-n", "all", "--json")))
    wait_until(
        lambda: place.session.escalations.read_bytes().count(b"\n") == len(printed), "the escalation log is short"
    )
    kept = lines(place.session.escalations.read_text())
    assert [line[: line.rindex(',"seq":')] + "}" for line in printed] == kept
    assert lines(good(person("tail-escalations", "-n", "1", "--json"))) == printed[-1:]
    assert good(person("tail-escalations", "--kind", "worker_completed", "--worker", "wc")).count("\n") == 1
    seqs = [json.loads(line)["seq"] for line in printed]
    assert lines(good(person("tail-escalations", "--after", str(seqs[0]), "--json"))) == printed[1:]
    assert lines(good(person("tail-escalations", "--since", "1h", "--json"))) == printed


def test_events_are_the_logs_units(wc: str, person: Run) -> None:
    good(person("send-task", wc, "one two", "--wait"))
    units = [json.loads(line) for line in good(person("events", "-n", "all", "--json")).splitlines()]
    assert [unit["seq"] for unit in units] == list(range(1, len(units) + 1))
    ends = good(person("events", "--type", "TaskFinished", "--json")).splitlines()
    assert len(ends) == 1
    assert "WorkerCompleted" in ends[0]
    assert person("events", "-f", "-n", "1", "--count", "1").out.count("\n") == 1
    assert person("events", "-f", "-n", "0", "--timeout", "0.2").status == 124


def test_results_are_followed(wc: str, person: Run, place: Place) -> None:
    first = good(person("send-task", wc, "one", "--wait", "--print-id")).strip()
    with started(place, "results", "-f", "--json") as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["id"] == first
        second = good(person("send-task", wc, "one two", "--print-id")).strip()
        task = json.loads(process.stdout.readline())
        assert (task["id"], task["result"]["summary"]) == (second, "2")


@pytest.mark.usefixtures("daemon")
def test_an_agents_hook_speaks_for_its_worker(person: Run) -> None:
    hook = f"{sys.executable} -m omkctl publish PersonNeeded 'text=which one?' && echo told"
    good(person("worker", "add", "asker", "--", "sh", "-c", hook))
    assert person("send-task", "asker", "x", "--wait").out == "told\n"
    (line,) = good(person("events", "--type", "PersonNeeded", "--json")).splitlines()
    unit = json.loads(line)
    assert unit["by"] == {"kind": "worker", "worker": "asker"}
    assert unit["events"][0]["PersonNeeded"]["worker_id"] == "asker"


@pytest.mark.usefixtures("daemon")
def test_an_event_that_is_none_is_refused(person: Run) -> None:
    assert person("publish", "Nonsense", "a=1").status == 2
    assert person("publish", "DaemonStopped", "reason=x").status in (2, 5)


# --- workers and the daemon --------------------------------------------------------------------------------------


def test_workers_are_listed_shown_and_removed(wc: str, person: Run) -> None:
    assert "sh -c 'wc -w'" in good(person("workers"))
    for verb in (["worker", "list"], ["workers"]):
        assert [each["name"] for each in json.loads(good(person(*verb, "--json")))["workers"]] == [wc]
    assert "counter" in good(person("worker", "show", wc))
    assert person("worker", "add", wc, "--", "cat").status == 6
    assert "removed" in good(person("worker", "remove", wc))
    assert person("worker", "show", wc).status == 3


def test_what_a_removed_worker_did_is_listed(wc: str, person: Run) -> None:
    good(person("send-task", wc, "one", "--id", "t-1", "--wait"))
    good(person("worker", "remove", wc))
    assert "t-1" in good(person("tasks", "--worker", wc))
    assert "t-1" in good(person("results", "--worker", wc))
    assert person("tasks", "--state", "running").status == 1


@pytest.mark.usefixtures("daemon")
def test_a_command_with_a_path_that_cannot_run_is_said_to_be_so(person: Run, place: Place) -> None:
    (place.root / "agent").write_text("#!/bin/sh\n")
    for command, says in (
        (f"{place.root}/missing", f"there is no file {place.root}/missing"),
        (f"{place.root}/agent", f"{place.root}/agent is not executable"),
        ("./agent", f"{place.root}/agent is not executable"),
    ):
        ran = person("worker", "add", "m", "--project-dir", str(place.root), "--", command)
        assert (ran.status, says in ran.err, "PATH" in ran.err) == (2, True, False), ran


def test_the_daemon_says_how_it_is_and_ends_when_told(wc: str, person: Run, daemon: Daemon) -> None:
    good(person("send-task", wc, "one", "--wait"))
    assert "1 success" in good(person("status"))
    assert "consistent" in good(person("verify"))
    assert json.loads(good(person("verify", "--json")))["findings"] == []
    assert json.loads(good(person("rpc", "omkd.status")))["session"] == "t"
    assert person("rpc", "omkd.nonsense").status == 2
    assert "session t" in good(person("version"))
    assert "has ended" in good(person("shutdown"))
    assert daemon.process.wait(DEADLINE_S) == 0
    assert person("status").status == 4
    offline = person("verify")
    assert "consistent" in good(offline)
    assert "no daemon runs" in offline.err
    assert json.loads(good(person("verify", "--json")))["findings"] == []


@pytest.mark.usefixtures("daemon")
def test_errors_of_the_daemon_are_json_when_asked(person: Run) -> None:
    ran = person("show", "t999", "--json")
    error: dict[str, Any] = json.loads(ran.out)["error"]
    assert (ran.status, ran.err, error["name"], error["code"]) == (3, "", "not_found", -32001)


# --- the demo ----------------------------------------------------------------------------------------------------


def test_the_demo_does_what_it_says_and_leaves_nothing(place: Place, person: Run) -> None:
    ran = person("demo", TMPDIR=str(place.root))
    assert ran.status == 0, ran
    for part in (
        "budget of 1s ran out",
        "router_escalation",
        "wc completed",
        "broken failed",
        "worker steps is paused",
        "waits for t",
        "(patient)",
        "things need a person",
        "--keep keeps them",
    ):
        assert part in ran.out
    assert not list(place.root.glob("omk-*"))


def test_an_interrupted_demo_leaves_nothing(place: Place) -> None:
    place.environment["TMPDIR"] = str(place.root)
    with started(place, "demo") as process:
        assert process.stdout is not None
        while "worker_started" not in process.stdout.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.wait(DEADLINE_S) == 130
    assert not list(place.root.glob("omk-*"))
    assert not [line for line in environments() if str(place.root).encode() in line]


def environments() -> list[bytes]:
    """The environments of this user's processes, but for our own."""
    return [environ_of(process.pid) for process in processes() if process.pid != os.getpid()]


def test_a_kept_demo_can_be_looked_into(place: Place, person: Run) -> None:
    place.environment["TMPDIR"] = str(place.root)
    assert person("demo", "--keep", "--json").status == 0
    (kept,) = place.root.glob("omk-*/state/omk/sessions/demo")
    assert person("-S", "demo", "--state-dir", str(kept.parent), "verify").status == 0


@pytest.mark.usefixtures("daemon")
def test_where_stdout_is_closed_a_command_does_what_it_is_for(place: Place, person: Run) -> None:
    command = f'{sys.executable} -m omkctl publish \'{{"PersonNeeded":{{"text":"look"}}}}\' >&-'
    ran = subprocess.run(["sh", "-c", command], env=place.environment, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert "look" in good(person("rpc", "escalation.list"))
