"""Questions at the real daemon: asked, answered, expired, refused, across restarts and crashes."""

import json
import os
import shlex
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from system_kit import FOREVER, Asking, Wire, add_shell, consistent, fifo, open_gate, refusal, send, wait, why

from tests.kit import Client, Daemon, Place, append, events_called, json_lines, running_daemon, units, wait_until

ALLOW = {"id": "yes", "label": "Allow once", "kind": "allow_once"}
DENY = {"id": "no", "label": "Reject", "kind": "reject_once"}
FAR = "2099-01-01T00:00:00Z"
PAST = "2020-01-01T00:00:00Z"


def ask(client: Client, summary: str = "may I?", **more: object) -> str:
    return str(client.call("decision.ask", summary=summary, **more)["id"])


def answer(client: Client, id: str, choice: str = "allow", note: str = "") -> Wire:
    return client.call("decision.answer", id=id, choice=choice, note=note)


def open_ids(client: Client) -> list[str]:
    return [each["id"] for each in client.call("decision.list")["decisions"]]


def decision(client: Client, id: str) -> Wire:
    (found,) = [each for each in client.call("decision.list", all=True)["decisions"] if each["id"] == id]
    assert isinstance(found, dict)
    return found


def lines(place: Place) -> list[tuple[str, str, bool]]:
    """Of the escalation log: kind, summary, auto_proceed."""
    return [(each["kind"], each["summary"], each["auto_proceed"]) for each in json_lines(place.session.escalations)]


def unacked(client: Client) -> list[str]:
    found = client.call("escalation.list", unacked=True)["escalations"]
    return [each["entry"]["summary"] for each in found]


def questions_file(place: Place, worker: str = "w") -> Path:
    return place.session.worker(worker).path / "events.jsonl"


def requested(id: str, *, task: str = "t1", handout: int = 1, worker: str = "w", expires: str = FAR) -> Wire:
    """As a host writes it into its events.jsonl."""
    return {
        "DecisionRequested": {
            "decision_id": id,
            "summary": f"{worker} wants to run make",
            "choices": [ALLOW, DENY],
            "expires": expires,
            "detail": "make all",
            "worker": worker,
            "task_id": task,
            "handout": handout,
        }
    }


def in_control(place: Place, worker: str = "w") -> list[Wire]:
    found = json_lines(place.session.worker(worker).path / "control.jsonl")
    return [each["answer"] for each in found if "answer" in each]


@pytest.fixture
def running(client: Client, place: Place) -> str:
    """A task at work at `w`, whose host has asked `<task>-1`."""
    add_shell(client)
    task = send(client, FOREVER)
    wait(client, task, until="started")
    append(questions_file(place), requested(f"{task}-1", task=task))
    wait_until(lambda: open_ids(client) == [f"{task}-1"], "the question is not there")
    return task


# --- asked and answered ---


def test_a_question_is_asked_and_the_first_answer_counts(client: Client, daemon: Daemon, place: Place) -> None:
    with consistent(client):
        id = ask(client, detail="all of it")
        waiter = Asking(place, "decision.wait", id=id)
        assert unacked(client) == ["decide: may I?"]
        done = answer(client, id, "allow", "go on")
        assert (done["state"], done["choice"], done["note"]) == ("answered", "allow", "go on")
        assert done["ended_by"]["pid"] == os.getpid()
        assert waiter.result()["choice"] == "allow"
        assert unacked(client) == []
        name, message = refusal(client, "decision.answer", id=id, choice="deny")
        assert name == "conflict"
        assert message.startswith(f"{id} was decided already: allow (Allow), by uid {os.getuid()} (pid {os.getpid()})")
        assert message.endswith(": go on")
    assert lines(place) == [("router_escalation", "decide: may I?", False)]
    assert daemon.process.poll() is None


def test_what_is_denied_is_refused_in_the_escalation_log(client: Client, place: Place) -> None:
    id = ask(client)
    answer(client, id, "deny", "not now")
    wait_until(lambda: len(lines(place)) == 2, "no second line")
    assert lines(place)[1] == ("refused", "denied: may I?: not now", False)
    assert unacked(client) == []


def test_a_choice_is_named_by_its_id_or_by_a_meaning_that_only_one_has(client: Client) -> None:
    choices = [{"id": "a", "label": "A", "kind": "allow_once"}, {"id": "b", "label": "B", "kind": "allow_once"}, DENY]
    id = ask(client, choices=choices)
    name, message = refusal(client, "decision.answer", id=id, choice="allow_once")
    assert (name, message) == (
        "invalid_params",
        f"choice: {id} has no choice 'allow_once': there are a (A), b (B), no (Reject)",
    )
    assert answer(client, id, "reject_once")["choice"] == "no"


def test_as_many_questions_are_listed_as_fit(client: Client) -> None:
    """Those that wait, the oldest first; then of the decided ones the newest."""
    large = "x" * 240_000
    decided = [ask(client, f"decided {number}", detail=large) for number in range(6)]
    for id in decided:
        answer(client, id)
    waiting = [ask(client, f"waits {number}", detail=large) for number in range(2)]
    assert open_ids(client) == waiting
    assert [each["id"] for each in client.call("decision.list", all=True)["decisions"]] == [*decided[-2:], *waiting]


def test_an_id_goes_before_a_meaning(client: Client) -> None:
    odd = [{"id": "allow_once", "label": "for ever", "kind": "allow_always"}, ALLOW]
    assert answer(client, ask(client, choices=odd), "allow_once")["choice"] == "allow_once"


@pytest.mark.parametrize(
    ("params", "path"),
    [
        ({"summary": " "}, "summary"),
        ({"summary": "x", "choices": [ALLOW, ALLOW]}, "choices"),
        ({"summary": "x", "timeout_secs": 0}, "timeout_secs"),
    ],
)
def test_what_nobody_could_answer_is_not_asked(shared_client: Client, params: Wire, path: str) -> None:
    name, message = refusal(shared_client, "decision.ask", **params)
    assert name == "invalid_params"
    assert message.startswith(f"{path}: ")


def test_what_is_too_long_is_not_asked(shared_client: Client) -> None:
    assert refusal(shared_client, "decision.ask", summary="x", detail="y" * 300_000)[0] == "too_large"


def test_an_unknown_question_is_said_with_the_nearest(client: Client) -> None:
    id = ask(client)
    name, message = refusal(client, "decision.answer", id=f"{id}0", choice="allow")
    assert name == "not_found"
    assert f"did you mean '{id}'?" in message
    answer(client, id)
    assert "none waits" in refusal(client, "decision.answer", id="zz", choice="allow")[1]


def test_a_client_that_stops_waiting_changes_nothing(client: Client, place: Place) -> None:
    id = ask(client)
    gone = Client(place.socket)
    gone.send_line(json.dumps({"jsonrpc": "2.0", "id": 1, "method": "decision.wait", "params": {"id": id}}).encode())
    gone.close()
    client.call("omkd.status")
    assert open_ids(client) == [id]


def test_an_id_that_a_router_took_as_its_ticket_is_not_given_again(client: Client) -> None:
    next_seq = client.call("omkd.status")["seq"] + 2
    preflight(client, ticket=f"d{next_seq}")
    assert ask(client) == f"d{next_seq}-2"


# --- time ---


def test_a_question_that_nobody_answers_expires_and_that_is_not_denied(client: Client, place: Place) -> None:
    id = ask(client, timeout_secs=1)
    waiter = Asking(place, "decision.wait", id=id)
    done = waiter.result()
    assert (done["state"], done["choice"], done["note"]) == ("expired", None, "nobody decided in time")
    assert done["ended_by"] == {"kind": "omkd"}
    assert unacked(client) == ["expired: may I?: nobody decided in time"]
    name, message = refusal(client, "decision.answer", id=id, choice="allow")
    assert name == "conflict"
    assert "expired, at 2" in message
    assert [kind for kind, _, _ in lines(place)] == ["router_escalation", "refused"]


def test_a_question_outlives_the_daemon(place: Place) -> None:
    with running_daemon(place) as first:
        client = first.client()
        id = ask(client)
        first.kill()
    with running_daemon(place) as second:
        client = second.client()
        assert open_ids(client) == [id]
        answer(client, id)
        second.stop()
    with running_daemon(place) as third:
        client = third.client()
        assert decision(client, id)["choice"] == "allow"
        assert refusal(client, "decision.answer", id=id, choice="deny")[0] == "conflict"
        with consistent(client):
            assert unacked(client) == []


def test_time_that_runs_out_while_no_daemon_runs_is_found_out_at_the_start(place: Place) -> None:
    with running_daemon(place) as first:
        client = first.client()
        add_shell(client)
        task = send(client, FOREVER)
        wait(client, task, until="started")
        first.stop()
    append(questions_file(place), requested(f"{task}-1", task=task, expires=PAST))
    with running_daemon(place) as second:
        client = second.client()
        wait_until(lambda: bool(events_called(place, "DecisionExpired")), "it does not expire")
        assert decision(client, f"{task}-1")["state"] == "expired"
        wait_until(lambda: bool(in_control(place)), "the host is not told")
    assert in_control(place) == [{"decision": f"{task}-1", "choice": None, "note": "nobody decided in time", "by": ""}]


# --- of a worker's run ---


def test_the_answer_reaches_the_host_through_its_control_file(client: Client, place: Place, running: str) -> None:
    asked = decision(client, f"{running}-1")
    assert (asked["worker"], asked["task_id"], asked["detail"]) == ("w", running, "make all")
    answer(client, f"{running}-1", "no", "use the other one")
    wait_until(lambda: bool(in_control(place)), "the host is not told")
    by = f"uid {os.getuid()} (pid {os.getpid()})"
    assert in_control(place) == [{"decision": f"{running}-1", "choice": "no", "note": "use the other one", "by": by}]
    assert ("router_escalation", "decide: w wants to run make", False) in lines(place)


def test_an_answer_that_was_not_written_before_a_crash_is_written_at_the_start(
    place: Place, daemon: Daemon, client: Client, running: str
) -> None:
    """The control file as it was before the answer, as a crash between log and file leaves it."""
    answer(client, f"{running}-1", "yes")
    wait_until(lambda: bool(in_control(place)), "the host is not told")
    daemon.kill()
    (place.session.worker("w").path / "control.jsonl").write_bytes(b"")
    for _ in range(2):
        with running_daemon(place) as again:
            wait_until(lambda: bool(in_control(place)), "the host is not told at the start")
            again.stop()
    assert [each["choice"] for each in in_control(place)] == ["yes"]


def test_a_question_is_withdrawn_when_its_run_ends(client: Client, place: Place) -> None:
    add_shell(client)
    gate = fifo(place)
    task = send(client, f"read line < {gate} || true")
    wait(client, task, until="started")
    append(questions_file(place), requested(f"{task}-1", task=task))
    wait_until(lambda: bool(open_ids(client)), "the question is not there")
    waiter = Asking(place, "decision.wait", id=f"{task}-1")
    open_gate(gate)
    done = waiter.result()
    assert (done["state"], done["note"]) == ("expired", "its run ended")
    wait(client, task)
    with consistent(client):
        assert unacked(client) == []
    assert in_control(place) == []
    assert "refused" not in [kind for kind, _, _ in lines(place)]


def foreign_in_hand(client: Client, place: Place) -> str:
    """A task in the inbox of a worker that another program plays, which has asked `<task>-1`."""
    client.call("worker.add", name="f", role="dev")
    directory = place.session.worker("f")
    append(directory.path / "events.jsonl", b"")
    beat = {"status": "ready", "name": "f", "ts": "2026-05-25T10:11:12+00:00"}
    directory.heartbeat.write_text(json.dumps(beat))
    task = send(client, "x", {"worker": "f"})
    wait_until(lambda: client.call("task.get", id=task)["state"] == "dispatched", why(client, task))
    append(questions_file(place, "f"), requested(f"{task}-1", task=task, worker="f"))
    wait_until(lambda: open_ids(client) == [f"{task}-1"], "the question is not there")
    return task


def test_a_task_that_is_cancelled_by_force_withdraws_its_questions(client: Client, place: Place) -> None:
    task = foreign_in_hand(client, place)
    client.call("task.cancel", ids=[task], force=True)
    assert open_ids(client) == []
    assert decision(client, f"{task}-1")["note"] == "its run ended"
    assert in_control(place, "f") == []


def test_a_worker_that_is_removed_withdraws_its_questions_in_the_same_unit(client: Client, place: Place) -> None:
    task = foreign_in_hand(client, place)
    client.call("worker.remove", name="f", force=True)
    assert open_ids(client) == []
    assert decision(client, f"{task}-1")["note"] == "worker f was removed"
    (unit,) = [each for each in units(place) if any("WorkerRemoved" in event for event in each["events"])]
    assert [next(iter(event)) for event in unit["events"]] == ["TaskLost", "WorkerRemoved", "DecisionExpired"]


def test_both_sides_may_say_that_a_question_expired(client: Client, place: Place) -> None:
    task = foreign_in_hand(client, place)
    expired = {"DecisionExpired": {"decision_id": f"{task}-1", "reason": "nobody answered"}}
    append(questions_file(place, "f"), expired, expired, {"PersonNeeded": {"text": "go on"}})
    wait_until(lambda: bool(events_called(place, "PersonNeeded")), "the file is not read on")
    assert len(events_called(place, "DecisionExpired")) == 1
    assert events_called(place, "LineRejected") == []
    assert client.call("omkd.status")["rejected_lines"] == 0


# --- who may answer ---


@pytest.fixture
def as_worker(client: Client, place: Place) -> Callable[[str], str]:
    """Runs a shell command below a worker's host; what it says on stdout."""
    add_shell(client, "agent", command=["sh"], env={"PATH": os.environ["PATH"]})

    def run(script: str) -> str:
        (done,) = wait(client, send(client, script, {"worker": "agent"}))
        assert place.session.path.exists()
        return str(done["result"]["summary"])

    return run


def omkctl(*words: str) -> str:
    return shlex.join([sys.executable, "-m", "omkctl", *words])


def test_a_worker_may_ask_and_may_not_answer(client: Client, as_worker: Callable[[str], str]) -> None:
    id = ask(client)
    said = as_worker(f"{omkctl('answer', id, 'allow')} 2>&1; echo status $?")
    assert "only a person may decide" in said
    assert said.endswith("status 5")
    assert open_ids(client) == [id]
    for words in (("approve", id), ("deny", id)):
        assert as_worker(f"{omkctl(*words)} 2>/dev/null; echo status $?").endswith("status 5")


def test_a_worker_that_hides_its_name_is_told_by_its_host(client: Client, as_worker: Callable[[str], str]) -> None:
    id = ask(client)
    hidden = f"env -u OMK_WORKER -u OMK_SESSION {omkctl('--session', 't', 'answer', id, 'allow')}"
    assert as_worker(f"{hidden} 2>/dev/null; echo status $?").endswith("status 5")


def test_what_an_agent_asks_is_a_question_of_its_run(client: Client, place: Place) -> None:
    add_shell(client)
    task = send(client, f"{omkctl('ask', 'delete it?')}")
    wait_until(lambda: bool(open_ids(client)), "the question is not there")
    (asked,) = client.call("decision.list")["decisions"]
    assert (asked["worker"], asked["task_id"], asked["asked_by"]) == ("w", task, {"kind": "worker", "worker": "w"})
    answer(client, asked["id"], "allow")
    (done,) = wait(client, task)
    assert done["state"] == "success"
    assert done["result"]["summary"].splitlines()[-1] == "allow"
    assert place.session.path.exists()


# --- a router's question ---


def preflight(client: Client, ticket: str = "k1", timeout_ms: int = 60_000) -> None:
    request = {"kind": "large_escalation", "headline": "three workers", "timeout_ms": timeout_ms, "ticket_id": ticket}
    client.call("event.publish", event={"PreflightRequest": request})


def preflight_ends(place: Place) -> list[list[Any]]:
    """The events of each unit that has a PreflightResponse."""
    found = [each["events"] for each in units(place)]
    return [events for events in found if any("PreflightResponse" in event for event in events)]


@pytest.mark.parametrize("choice", ["accept", "explain", "downgrade", "cancel"])
def test_a_router_hears_the_answer_in_its_own_words(client: Client, place: Place, choice: str) -> None:
    preflight(client)
    assert unacked(client) == ["decide: large escalation: three workers"]
    answer(client, "k1", choice)
    ((answered, response),) = preflight_ends(place)
    assert answered["DecisionAnswered"]["choice"] == choice
    assert response == {"PreflightResponse": choice}


def test_a_router_that_nobody_answers_hears_timeout(client: Client, place: Place) -> None:
    preflight(client, timeout_ms=50)
    wait_until(lambda: bool(preflight_ends(place)), "it does not expire")
    ((expired, response),) = preflight_ends(place)
    assert expired["DecisionExpired"]["withdrawn"] is False
    assert response == {"PreflightResponse": "timeout"}
    assert client.call("decision.list")["decisions"] == []


def test_a_routers_request_in_a_workers_file_is_a_question_too(client: Client, place: Place) -> None:
    add_shell(client)
    request = {"kind": "large_escalation", "headline": "x", "timeout_ms": 60_000, "ticket_id": "k1"}
    append(questions_file(place), {"PreflightRequest": request})
    wait_until(lambda: open_ids(client) == ["k1"], "the question is not there")
    append(questions_file(place), {"PreflightResponse": "accept"})
    wait_until(lambda: bool(events_called(place, "LineRejected")), "a worker answered")
    assert decision(client, "k1")["worker"] == "w"
    answer(client, "k1", "accept")
    assert len(preflight_ends(place)) == 1


def test_a_worker_publishes_no_answer_to_a_router(client: Client, as_worker: Callable[[str], str]) -> None:
    preflight(client)
    said = as_worker(f"{omkctl('publish', 'PreflightResponse', 'value=accept')} 2>&1; echo status $?")
    assert said.endswith("status 5")
    assert open_ids(client) == ["k1"]


def test_a_ticket_that_waits_is_refused(client: Client, place: Place) -> None:
    preflight(client)
    for ticket in ("k1", ask(client)):
        request = {"kind": "large_escalation", "headline": "x", "timeout_ms": 1, "ticket_id": ticket}
        assert refusal(client, "event.publish", event={"PreflightRequest": request})[0] == "conflict"
    assert len(events_called(place, "PreflightRequest")) == 1


def test_a_person_answers_a_routers_question_and_publishes_no_answer(client: Client, place: Place) -> None:
    client.call("event.publish", event={"PreflightResponse": "cancel"})
    preflight(client)
    name, text = refusal(client, "event.publish", event={"PreflightResponse": "accept"})
    assert name == "refused"
    assert "'k1': give it with omkctl answer ID accept" in text
    assert open_ids(client) == ["k1"]
    answer(client, "k1", "accept")
    assert len(preflight_ends(place)) == 2


def test_a_daemon_that_is_killed_between_question_and_expiry_answers_the_router(place: Place) -> None:
    with running_daemon(place) as first:
        client = first.client()
        preflight(client, timeout_ms=300)
        first.stop(signal.SIGKILL)
    with running_daemon(place):
        wait_until(lambda: bool(preflight_ends(place)), "it does not expire")
    ((_, response),) = preflight_ends(place)
    assert response == {"PreflightResponse": "timeout"}
