"""Tasks are steered: order and dependencies, hold, retries, changes, cancels. The real daemon, real commands."""

import base64
import json
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from system_kit import (
    FOREVER,
    add_shell,
    consistent,
    dispatched,
    fifo,
    is_alive,
    lines_of,
    open_gate,
    refusal,
    result,
    send,
    state,
    wait,
    why,
)

from omkd.protocol.timestamps import parse_timestamp
from tests.file_worker import FileWorker
from tests.kit import Client, Daemon, Place, append, events_called, json_lines, units, wait_until


@pytest.fixture(autouse=True)
def _session_is_consistent_afterwards(client: Client) -> Iterator[None]:
    with consistent(client):
        yield


def soon(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def ts_of(place: Place, name: str, id: str) -> list[int]:
    """When each event of that name about a task was recorded."""
    return [
        parse_timestamp(unit["ts"])
        for unit in units(place)
        for event in unit["events"]
        if isinstance(event, dict) and name in event and event[name].get("task_id") == id
    ]


# --- order -------------------------------------------------------------------------------------------------------


def test_the_more_urgent_goes_first_then_the_older(client: Client, place: Place) -> None:
    add_shell(client)
    client.call("worker.pause", name="w")
    ids = [send(client, "true", priority=priority) for priority in (0, 5, -1, 5, 0)]
    assert why(client, ids[0]) == "worker w is paused"
    client.call("worker.resume", name="w")
    wait(client, *ids)
    assert dispatched(place) == [ids[1], ids[3], ids[0], ids[4], ids[2]]


def test_a_task_is_not_handed_out_before_its_time(client: Client, place: Place) -> None:
    add_shell(client)
    when = soon(1)
    later, now = send(client, "true", not_before=when), send(client, "true")
    assert why(client, later).startswith("not before 20")
    wait(client, later, now)
    assert dispatched(place) == [now, later]
    assert ts_of(place, "TaskDispatched", later)[0] >= parse_timestamp(when)


def test_a_task_waits_for_those_it_names(client: Client, place: Place) -> None:
    add_shell(client, "w", window=0)
    gate = fifo(place)
    first = send(client, f"cat {gate}")
    second = send(client, "true", after=[first])
    third = send(client, "true", after=[first, second])
    assert why(client, third) == f"waits for {first}, {second}"
    wait(client, first, until="started")
    assert state(client, second) == "queued"
    open_gate(gate)
    assert [task["state"] for task in wait(client, first, second, third)] == ["success"] * 3
    assert dispatched(place) == [first, second, third]
    assert ts_of(place, "TaskDispatched", second)[0] >= ts_of(place, "TaskFinished", first)[0]


def test_a_task_whose_dependency_fails_fails_with_the_reason_and_so_on_down(client: Client, place: Place) -> None:
    add_shell(client)
    first = send(client, "exit 1")
    second = send(client, "true", after=[first])
    third = send(client, "true", after=[second])
    assert result(client, second) == ("failed", f"not run: it waits for {first}, which did not succeed")
    assert result(client, third) == ("failed", f"not run: it waits for {second}, which did not succeed")
    assert dispatched(place) == [first]


def test_a_task_whose_dependency_is_cancelled_later_fails_with_the_reason(client: Client) -> None:
    add_shell(client)
    first = send(client, "true", hold=True)
    second = send(client, "true", after=[first])
    client.call("task.cancel", ids=[first])
    assert result(client, second) == ("failed", f"not run: it waits for {first}, which did not succeed")


def test_a_dependency_that_failed_before_is_said_at_once(client: Client) -> None:
    add_shell(client)
    first = send(client, "exit 1")
    wait(client, first)
    assert result(client, send(client, "true", after=[first]))[0] == "failed"


def test_a_task_that_failed_for_its_dependency_can_be_run_again_once_that_succeeded(
    client: Client, place: Place
) -> None:
    add_shell(client)
    marker = place.root / "marker"
    first = send(client, f"test -e {marker}")
    second = send(client, "echo did it", after=[first])
    assert result(client, second)[0] == "failed"
    marker.write_text("")
    client.call("task.retry", ids=[first, second])
    assert [task["state"] for task in wait(client, first, second)] == ["success", "success"]


def test_dependencies_that_cannot_be_are_refused(client: Client) -> None:
    add_shell(client)
    first = send(client, "true", hold=True)
    second = send(client, "true", after=[first])
    name, text = refusal(client, "task.send", target="any", task={"task": "x"}, after=["t999"])
    assert (name, "no task 't999'" in text) == ("not_found", True)
    assert refusal(client, "task.update", id=first, after=["t999"])[0] == "not_found"
    assert refusal(client, "task.update", id=first, after=[first]) == (
        "invalid_params",
        f"after: {first} would wait for itself",
    )
    assert refusal(client, "task.update", id=first, after=[second]) == (
        "invalid_params",
        f"after: {first} would wait for itself",
    )
    client.call("task.cancel", ids=[first, second])


def test_a_held_task_waits_until_it_is_released(client: Client) -> None:
    add_shell(client)
    held, other = send(client, "echo now", hold=True), send(client, "true")
    wait(client, other)
    assert (state(client, held), why(client, held)) == ("held", "held until it is released")
    client.call("task.hold", ids=[held])
    assert refusal(client, "task.release", ids=[other])[0] == "refused"
    client.call("task.release", ids=[held])
    assert result(client, held) == ("success", "now")


def test_holding_several_is_all_or_nothing(client: Client) -> None:
    add_shell(client)
    waiting, done = send(client, "true", not_before=soon(3600)), send(client, "true")
    wait(client, done)
    name, text = refusal(client, "task.hold", ids=[waiting, done])
    assert (name, text) == ("refused", f"{done} is success: only a task that is not handed out can be held")
    assert state(client, waiting) == "queued"


# --- again -------------------------------------------------------------------------------------------------------


def test_a_task_that_ended_is_run_again_by_hand_as_another_hand_out(client: Client, place: Place) -> None:
    add_shell(client)
    id = send(client, "echo $OMK_HANDOUT $OMK_TASK_ID; exit 1")
    assert result(client, id) == ("failed", f"{id} {id}")
    client.call("task.retry", ids=[id])
    assert result(client, id) == ("failed", f"{id}.2 {id}")
    assert [line["id"] for line in json_lines(place.session.worker("w").inbox)] == [id, f"{id}.2"]
    assert [each["by_hand"] for each in events_called(place, "TaskRequeued")] == [True]


def test_only_a_task_that_ended_can_be_run_again(client: Client) -> None:
    add_shell(client)
    id = send(client, "true", hold=True)
    assert refusal(client, "task.retry", ids=[id]) == (
        "refused",
        f"{id} is held, only a task that ended can be run again",
    )


def test_a_failure_is_retried_after_a_pause_as_often_as_was_said(client: Client, place: Place) -> None:
    """The first pause is 5 s; a second task fails in the meantime and has no retry."""
    add_shell(client, retries=1)
    marker = place.root / "marker"
    once = send(client, f"test -e {marker} || {{ touch {marker}; exit 3; }}; echo did it")
    never = send(client, "exit 4", retries=0)
    assert result(client, never) == ("failed", "exit status 4")
    assert (state(client, once), why(client, once).partition(";")[0]) == ("queued", "failed, retry 1 of 1")
    assert result(client, once) == ("success", "did it")
    (failed,) = events_called(place, "TaskRequeued")
    assert (failed["outcome"], failed["result"]["summary"]) == ("done", "exit status 3")
    assert ts_of(place, "TaskDispatched", once)[1] - ts_of(place, "TaskRequeued", once)[0] >= 5 * 10**9


def test_exit_status_75_is_later_and_no_failure(client: Client) -> None:
    add_shell(client)
    id = send(client, "echo no network; exit 75", retries=0)
    wait_until(lambda: "later: no network; not before 20" in why(client, id), "it is not put off")
    assert state(client, id) == "queued"
    client.call("task.cancel", ids=[id])
    assert state(client, id) == "cancelled"


# --- changes -----------------------------------------------------------------------------------------------------


def test_a_task_that_waits_can_be_changed_in_everything(client: Client) -> None:
    add_shell(client)
    add_shell(client, "other", role="ops")
    first, second = send(client, "true", hold=True), send(client, "true", hold=True)
    changed = client.call(
        "task.update",
        id=second,
        target={"role": "ops"},
        task="echo $OMK_WORKER",
        budget_secs=7,
        priority=3,
        after=[first],
        retries=2,
    )
    assert (changed["target"], changed["priority"], changed["task"]["budget_secs"]) == ({"role": "ops"}, 3, 7)
    client.call("task.release", ids=[first, second])
    assert result(client, second) == ("success", "other")


def test_a_task_that_is_handed_out_cannot_be_changed(client: Client) -> None:
    add_shell(client)
    id = send(client, FOREVER)
    wait(client, id, until="started")
    assert refusal(client, "task.update", id=id, priority=1) == (
        "refused",
        f"{id} is running at w: only a task that is not handed out can be changed",
    )
    client.call("task.cancel", ids=[id])
    wait(client, id)
    assert refusal(client, "task.update", id=id, priority=1)[0] == "refused"


# --- cancel ------------------------------------------------------------------------------------------------------


def test_a_cancel_ends_a_task_in_whatever_state_it_is(client: Client, place: Place) -> None:
    add_shell(client, window=2)
    running, inbox, queued = [send(client, FOREVER) for _ in range(3)]
    held, done = send(client, "true", hold=True), send(client, "true", {"worker": "w"}, priority=1, hold=True)
    wait(client, running, until="started")
    wait_until(lambda: state(client, inbox) == "dispatched", "the second is not in the inbox")
    assert [task["state"] for task in client.call("task.cancel", ids=[queued, held])["tasks"]] == ["cancelled"] * 2
    (asked,) = client.call("task.cancel", ids=[inbox], reason="not needed")["tasks"]
    assert (asked["state"], asked["why"]) == ("dispatched", "its worker was told to end it")
    assert wait(client, inbox)[0]["state"] == "cancelled"
    client.call("task.cancel", ids=[running])
    assert wait(client, running)[0]["state"] == "cancelled"
    client.call("task.release", ids=[done])
    wait(client, done)
    (still,) = client.call("task.cancel", ids=[done])["tasks"]
    assert still["state"] == "success"
    cancelled = {each["task_id"]: each for each in events_called(place, "TaskCancelled")}
    assert set(cancelled) == {running, inbox, queued, held}
    assert (cancelled[inbox]["reason"], cancelled[inbox]["worker"]) == ("not needed", "w")
    assert cancelled[queued]["worker"] is None


def test_a_cancelled_run_leaves_no_process_wherever_it_hides(client: Client, place: Place) -> None:
    """One forked twice into a session of its own and ignores SIGTERM; one has an empty environment besides."""
    add_shell(client)
    pids = place.root / "pids"
    id = send(
        client,
        f"(setsid sh -c 'trap \"\" TERM; echo $$ >> {pids}; {FOREVER}' &);"
        f"(env -i PATH=$PATH setsid sh -c 'echo $$ >> {pids}; {FOREVER}' &); {FOREVER}",
    )
    hidden = [int(pid) for pid in lines_of(pids, 2)]
    assert all(is_alive(pid) for pid in hidden)
    client.call("task.cancel", ids=[id])
    assert wait(client, id)[0]["state"] == "cancelled"
    assert not any(is_alive(pid) for pid in hidden)


def handed_out(place: Place, name: str, count: int = 1) -> list[dict[str, Any]]:
    inbox = place.session.worker(name).inbox
    wait_until(lambda: len(json_lines(inbox)) >= count, "not handed out")
    return json_lines(inbox)


def success_of(id: str) -> dict[str, object]:
    return {"task_id": id, "status": "success", "summary": "did it", "artifacts": [], "elapsed_secs": 1}


@pytest.fixture
def silent(client: Client, place: Place) -> Path:
    """The directory of a worker that another program plays, which the test is."""
    client.call("worker.add", name="f", role="dev")
    return place.session.worker("f").path


def test_a_result_that_comes_before_the_cancel_is_confirmed_wins(client: Client, place: Place, silent: Path) -> None:
    id = send(client, "x", {"worker": "f"})
    handed_out(place, "f")
    client.call("task.cancel", ids=[id])
    wait_until(lambda: json_lines(silent / "control.jsonl"), "the worker is not told")
    assert json_lines(silent / "control.jsonl") == [{"cancel": {"id": id, "reason": ""}}]
    append(silent / "outbox.jsonl", success_of(id))
    assert wait(client, id)[0]["state"] == "success"
    assert events_called(place, "TaskCancelled") == []


def test_a_result_that_comes_after_the_confirmed_cancel_is_rejected(client: Client, place: Place, silent: Path) -> None:
    id = send(client, "x", {"worker": "f"})
    handed_out(place, "f")
    client.call("task.cancel", ids=[id])
    append(silent / "outbox.jsonl", {**success_of(id), "status": "failed", "outcome": "cancelled"}, success_of(id))
    assert wait(client, id)[0]["state"] == "cancelled"
    wait_until(lambda: events_called(place, "LineRejected"), "the result is not rejected")
    (rejected,) = events_called(place, "LineRejected")
    assert (rejected["reason"], rejected["task_id"]) == ("duplicate", id)


def test_a_failure_after_a_cancel_is_not_retried(client: Client, place: Place, silent: Path) -> None:
    id = send(client, "x", {"worker": "f"}, retries=3)
    handed_out(place, "f")
    client.call("task.cancel", ids=[id])
    append(silent / "outbox.jsonl", {**success_of(id), "status": "failed"})
    assert wait(client, id)[0]["state"] == "failed"


def test_a_foreign_worker_that_does_not_confirm_keeps_the_task_until_it_is_forced(
    client: Client, place: Place, silent: Path
) -> None:
    id = send(client, "x", {"worker": "f"})
    handed_out(place, "f")
    (asked,) = client.call("task.cancel", ids=[id])["tasks"]
    assert (asked["state"], asked["why"]) == ("dispatched", "its worker was told to end it")
    (again,) = client.call("task.cancel", ids=[id])["tasks"]
    assert again["state"] == "dispatched"
    (forced,) = client.call("task.cancel", ids=[id], force=True, reason="gave up")["tasks"]
    assert (forced["state"], forced["why"]) == ("lost", "cancelled by force: gave up")
    append(silent / "outbox.jsonl", success_of(id))
    wait_until(lambda: events_called(place, "LineRejected"), "the late result is not recorded")
    (rejected,) = events_called(place, "LineRejected")
    assert (rejected["reason"], rejected["task_id"], state(client, id)) == ("late", id, "lost")


def test_a_worker_of_ours_confirms_even_when_forced(client: Client) -> None:
    add_shell(client)
    id = send(client, FOREVER)
    wait(client, id, until="started")
    client.call("task.cancel", ids=[id], force=True)
    assert wait(client, id)[0]["state"] == "cancelled"


# --- who, progress, output ---------------------------------------------------------------------------------------


def test_an_agent_is_told_who_sent_its_task_and_a_foreign_worker_is_not(client: Client, place: Place) -> None:
    add_shell(client)
    assert result(client, send(client, "echo $OMK_TASK_BY")) == ("success", "client")
    client.call("worker.add", name="f", role="dev")
    with FileWorker(place.session.worker("f")):
        wait(client, send(client, "x", {"worker": "f"}))
    (line,) = json_lines(place.session.worker("f").inbox)
    assert list(line) == ["id", "task", "acceptance_criteria"]


def test_an_agent_that_sends_a_task_is_who_sent_it(client: Client) -> None:
    add_shell(client, "lead")
    add_shell(client)
    sending = send(client, f"{sys.executable} -m omkctl send-task w 'echo $OMK_TASK_BY' --json", {"worker": "lead"})
    ended, said = result(client, sending)
    assert ended == "success", said
    sent = json.loads(said)
    assert sent["by"] == {"kind": "worker", "worker": "lead"}
    assert result(client, sent["id"]) == ("success", "worker:lead")


def test_progress_is_shown_while_a_task_runs(client: Client, place: Place) -> None:
    add_shell(client)
    gate = fifo(place)
    id = send(client, f"echo OMK_PROGRESS 40 half way; cat {gate}; echo did it")
    wait_until(lambda: client.call("task.get", id=id)["progress"], "no progress")
    progress = client.call("task.get", id=id)["progress"]
    assert isinstance(progress, dict)
    assert (progress["percent"], progress["message"]) == (40, "half way")
    open_gate(gate)
    assert result(client, id) == ("success", "did it")


def test_the_hole_of_a_long_output_is_told_not_sent(client: Client, place: Place) -> None:
    add_shell(client, output_bytes=64 * 1024)
    gate = fifo(place)
    number = "i=0; while [ $i -lt 9000 ]; do echo 0123456789012345678901234567890123456789 $i; i=$((i+1)); done"
    id = send(client, f"echo first; {number}; echo last; cat {gate}")
    log = place.session.worker("w").run(id, id) / "stdout.log"  # type: ignore[arg-type]  # ids are plain text here
    wait_until(lambda: log.exists() and log.read_bytes().endswith(b"last\n"), "no output")
    wait_until(lambda: b"\0" in log.read_bytes(), "no hole")
    text = followed_text(client, id)
    open_gate(gate)
    wait(client, id)
    assert "\0" not in text
    assert text.startswith("first\n0123")
    assert " bytes left out …\n" in text
    assert text.endswith("last\n")
    assert len(text) < 100_000


def followed_text(client: Client, id: str) -> str:
    text, offset, size = b"", 0, 1
    while offset < size:
        chunk = client.call("task.log", id=id, offset=offset)
        assert isinstance(chunk["offset"], int)
        assert isinstance(chunk["size"], int)
        offset, size = chunk["offset"], chunk["size"]
        text += base64.b64decode(str(chunk["data"]))
    return text.decode()


# --- what cannot be ----------------------------------------------------------------------------------------------


def test_a_project_directory_that_vanishes_while_a_task_waits_is_a_failure_that_says_so(
    client: Client, place: Place
) -> None:
    project = place.root / "project"
    project.mkdir()
    client.call("worker.add", name="w", role="dev", project_dir=str(project), runner={"command": ["true"]})
    id = send(client, "x", hold=True)
    project.rmdir()
    client.call("task.release", ids=[id])
    ended, summary = result(client, id)
    assert (ended, summary.partition(":")[0]) == ("failed", f"project directory {project} is not there")


def test_a_command_that_does_not_exist_is_refused_and_one_that_vanishes_fails_its_tasks(
    client: Client, place: Place
) -> None:
    name, text = refusal(client, "worker.add", name="n", role="dev", runner={"command": ["no-such-command-here"]})
    assert (name, text.startswith("runner.command[0]: no command 'no-such-command-here'")) == ("invalid_params", True)
    command = place.root / "agent"
    command.write_text("#!/bin/sh\ncat\n")
    command.chmod(0o700)
    add_shell(client, command=[str(command)])
    assert result(client, send(client, "hello")) == ("success", "hello")
    command.unlink()
    ended, summary = result(client, send(client, "hello"))
    assert (ended, summary.startswith(f"command not found: {command}")) == ("failed", True)


def test_a_prompt_of_a_mebibyte_is_too_large_and_goes_through_a_file(client: Client, place: Place) -> None:
    add_shell(client)
    text = "x" * 300_000
    name, said = refusal(client, "task.send", target={"worker": "w"}, task={"task": text})
    assert (name, said.endswith("put the rest into a file and name it")) == ("too_large", True)
    prompt = place.root / "prompt"
    prompt.write_text("x" * 1024 * 1024)
    assert result(client, send(client, f"wc -c < {prompt}")) == ("success", "1048576")


def test_a_request_over_a_mebibyte_is_refused_and_the_daemon_goes_on(client: Client, daemon: Daemon) -> None:
    add_shell(client)
    other = daemon.client()
    params = {"target": {"worker": "w"}, "task": {"task": "x" * 1024 * 1024}}
    other.send_line(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "task.send", "params": params}).encode())
    refused = other.read_line()
    assert isinstance(refused, dict)
    assert refused["error"]["data"]["name"] == "too_large"
    assert result(client, send(client, "echo on")) == ("success", "on")


@pytest.mark.parametrize(
    ("method", "params", "path"),
    [
        ("task.send", {"target": "any", "task": {"task": "a\0b"}}, "task.task"),
        ("task.send", {"target": "any", "task": {"task": "a", "context": "\0"}}, "task.context"),
        ("task.send", {"target": "any", "task": {"task": "a", "acceptance_criteria": ["\0"]}}, "task.acceptance"),
        ("task.send", {"target": "any", "task": {"task": "a", "budget_secs": 0}}, "task.budget_secs"),
        ("task.send", {"target": "any", "task": {"task": "a", "budget_secs": -1}}, "task.budget_secs"),
        ("task.update", {"id": "one", "budget_secs": 0}, "task.budget_secs"),
        ("worker.add", {"name": "x", "role": "r", "window": -1}, "window"),
        ("worker.update", {"name": "w", "window": -1}, "window"),
        ("worker.update", {"name": "w", "budget_secs": 0}, "runner.budget_secs"),
        ("worker.update", {"name": "w", "output_bytes": 1}, "runner.output_bytes"),
    ],
)
def test_what_cannot_be_is_an_error_that_names_the_field(
    client: Client, method: str, params: dict[str, object], path: str
) -> None:
    add_shell(client)
    send(client, "true", id="one", hold=True)
    name, text = refusal(client, method, **params)
    assert name == "invalid_params"
    assert path in text
    assert state(client, "one") == "held"
