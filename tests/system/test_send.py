"""task.send: what was answered is there for good, once; what cannot be done is refused with the reason."""

import json
from typing import Any

import pytest

from omkd.protocol.limits import KEY_CHARS, TASK_BYTES
from tests.kit import Client, Place, append, events_called, json_lines, running_daemon, wait_until


def send(client: Client, target: object = "any", **more: Any) -> Any:
    """The answer, result or error."""
    task = {"task": "x", **more.pop("task", {})}
    return client.ask("task.send", target=target, task=task, **more)


def inbox_ids(place: Place, worker: str) -> list[str]:
    return [line["id"] for line in json_lines(place.session.worker(worker).inbox)]


def test_the_same_key_and_body_is_the_same_task_also_after_a_restart(place: Place) -> None:
    with running_daemon(place) as daemon:
        client = daemon.client()
        first = send(client, key="k1", task={"context": "c"})["result"]
        assert send(client, key="k1", task={"context": "c"})["result"]["id"] == first["id"]
        daemon.kill()
    with running_daemon(place) as daemon:
        client = daemon.client()
        assert send(client, key="k1", task={"context": "c"})["result"]["id"] == first["id"]
        assert len(client.call("task.list")["tasks"]) == 1


def test_the_same_key_with_another_body_is_a_conflict(client: Client) -> None:
    client.call("worker.add", name="w", role="r")
    first = send(client, {"worker": "w"}, key="k")["result"]["id"]
    for other in (
        {"target": "any"},
        {"target": {"worker": "w"}, "task": {"task": "y"}},
        {"target": {"worker": "w"}, "task": {"context": ""}},
        {"target": {"worker": "w"}, "task": {"budget_secs": 300}},
        {"target": {"worker": "w"}, "task": {"id": "mine"}},
    ):
        error = send(client, other.pop("target"), key="k", **other)["error"]
        assert error["data"]["name"] == "conflict"
        assert first in error["message"]


def test_a_key_and_the_senders_own_id_go_together(client: Client) -> None:
    assert send(client, key="k", task={"id": "mine"})["result"]["id"] == "mine"
    assert send(client, key="k", task={"id": "mine"})["result"]["id"] == "mine"
    error = send(client, task={"id": "mine"})["error"]
    assert error["data"]["name"] == "conflict"


@pytest.mark.parametrize("key", ["", "k" * (KEY_CHARS + 1)])
def test_a_key_of_no_use_is_refused(shared_client: Client, key: str) -> None:
    assert send(shared_client, key=key)["error"]["data"]["path"] == "key"


def test_ids_are_numbered_by_the_log_or_the_senders(client: Client) -> None:
    first, second = send(client)["result"], send(client, task={"id": "My-task_1"})["result"]
    assert (first["id"], second["id"]) == (f"t{first['id'][1:]}", "My-task_1")
    unit: Any = client.call("event.list", last=2)["units"]
    assert first["id"] == f"t{unit[0]['seq']}"


@pytest.mark.parametrize("id", ["t1", "t007", "", "../x", "a.2", "a/b", "-a", "ä", "x" * 65, "a b", "a\n"])
def test_an_id_that_cannot_be_is_refused(shared_client: Client, id: str) -> None:
    error = send(shared_client, task={"id": id})["error"]
    assert (error["data"]["name"], error["data"]["path"]) == ("invalid_params", "task.id")


@pytest.mark.parametrize(
    ("task", "path"),
    [
        ({"budget_secs": 0}, "task.budget_secs"),
        ({"task": "a\0b"}, "task.task"),
        ({"context": "\0"}, "task.context"),
        ({"acceptance_criteria": ["fine", "no\0t"]}, "task.acceptance_criteria[1]"),
    ],
)
def test_a_task_that_no_command_could_take_is_refused(
    shared_client: Client, task: dict[str, object], path: str
) -> None:
    before = shared_client.call("event.list", last=1)
    error = send(shared_client, task=task)["error"]
    assert (error["data"]["name"], error["data"]["path"]) == ("invalid_params", path)
    assert shared_client.call("event.list", last=1) == before


def test_a_task_over_its_limit_is_refused_and_one_at_it_taken(client: Client) -> None:
    error = send(client, task={"task": "x" * TASK_BYTES})["error"]
    assert (error["data"]["name"], error["data"]["limit"]) == ("too_large", TASK_BYTES)
    big = "\u0001€" * (TASK_BYTES // 10)
    taken = send(client, task={"task": big})["result"]
    got: Any = client.call("task.get", id=taken["id"])
    assert got["task"]["task"] == big


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ({"worker": "codr"}, ["no worker 'codr'", "did you mean 'coder'?", "known: coder, docs"]),
        ({"role": "reviwer"}, ["no worker has the role 'reviwer'", "did you mean 'reviewer'?"]),
    ],
)
def test_an_unknown_target_is_refused_with_what_was_meant(
    shared_client: Client, target: object, words: list[str]
) -> None:
    shared_client.call("worker.add", name="coder", role="dev")
    shared_client.call("worker.add", name="docs", role="reviewer")
    error = send(shared_client, target)["error"]
    assert error["data"]["name"] == "not_found"
    assert all(each in error["message"] for each in words), error["message"]


def test_a_worker_never_has_more_than_its_window_in_its_inbox(client: Client, place: Place) -> None:
    for name, window in (("one", 1), ("three", 3), ("all", 0)):
        client.call("worker.add", name=name, role="r", window=window)
        sent = [send(client, {"worker": name})["result"]["id"] for _ in range(8)]
        expected = sent[: window or 8]
        wait_until(lambda n=name, e=expected: inbox_ids(place, n) == e, f"{name}: {expected} expected")
        worker: Any = client.call("worker.get", name=name)
        assert (worker["in_hand"], worker["queued"]) == (expected, 8 - len(expected))
        append(place.session.worker(name).outbox, {"task_id": sent[0], "status": "failed"})
        wait_until(lambda n=name, e=sent[: (window or 7) + 1]: inbox_ids(place, n) == e, f"{name}: no next one")


def test_the_rest_waits_and_says_why(client: Client) -> None:
    client.call("worker.add", name="w", role="r")
    first, second = (send(client, {"worker": "w"})["result"]["id"] for _ in range(2))
    wait_until(lambda: client.call("task.get", id=first)["state"] == "dispatched", "is not handed out")
    waiting = client.call("task.get", id=second)
    assert (waiting["state"], waiting["worker"], waiting["why"]) == ("queued", None, "w: no room for more in hand")


def test_a_role_or_any_goes_to_the_least_loaded(client: Client, place: Place) -> None:
    for name, role in (("a", "dev"), ("b", "dev"), ("c", "docs")):
        client.call("worker.add", name=name, role=role, window=2)
    send(client, {"worker": "a"})
    wait_until(lambda: len(inbox_ids(place, "a")) == 1, "is not handed out")
    to_role = [send(client, {"role": "dev"})["result"]["id"] for _ in range(3)]
    wait_until(lambda: len(inbox_ids(place, "a") + inbox_ids(place, "b")) == 4, "are not handed out")
    assert inbox_ids(place, "b")[0] == to_role[0]
    assert inbox_ids(place, "c") == []
    to_any = send(client)["result"]["id"]
    wait_until(lambda: inbox_ids(place, "c") == [to_any], "does not go to the idle one")


def test_a_line_of_the_inbox_is_as_rust_writes_it(client: Client, place: Place) -> None:
    client.call("worker.add", name="w", role="r")
    sent = send(client, {"worker": "w"}, task={"task": 'grüße\n"2"', "acceptance_criteria": ["a"], "budget_secs": 7})
    inbox = place.session.worker("w").inbox
    wait_until(lambda: len(json_lines(inbox)) == 1, "is not handed out")
    task_id = sent["result"]["id"]
    rest = '","task":"grüße\\n\\"2\\"","acceptance_criteria":["a"],"budget_secs":7}\n'
    assert inbox.read_text() == '{"id":"' + task_id + rest


@pytest.mark.parametrize("round", range(3))
def test_what_was_answered_is_there_after_a_kill(place: Place, round: int) -> None:
    """Killed right behind an answer, in the middle of what is still on its way; then everything is sent again."""
    line = '{"jsonrpc":"2.0","id":%d,"method":"task.send","params":{"target":"any","task":{"task":"%d"},"key":"k%d"}}'
    lines = "\n".join(line % (number, number, number) for number in range(200)).encode()
    answered: dict[int, str] = {}
    with running_daemon(place) as daemon:
        client = daemon.client()
        client.send_line(lines)
        for _ in range(1 + round * 70):
            answer: Any = client.read_line()
            answered[answer["id"]] = answer["result"]["id"]
        daemon.kill()
    with running_daemon(place) as daemon:
        client = daemon.client()
        there: Any = client.call("task.list", limit=1000)["tasks"]
        by_text = {task["task"]["task"]: task["id"] for task in there}
        assert {str(number): task_id for number, task_id in answered.items()}.items() <= by_text.items()
        client.send_line(lines)
        again = {}
        for _ in range(200):
            answer = client.read_line()
            again[answer["id"]] = answer["result"]["id"]
        assert answered.items() <= again.items()
        assert len(set(again.values())) == 200
        daemon.stop()
    assert len(events_called(place, "TaskQueued")) == 200


def test_a_published_event_answered_is_there_after_a_kill(place: Place) -> None:
    with running_daemon(place) as daemon:
        seq = daemon.client().call("event.publish", event={"DisclosureLine": "kept"})["seq"]
        daemon.kill()
    with running_daemon(place) as daemon:
        units: Any = daemon.client().call("event.list", after=int(str(seq)) - 1, limit=1)["units"]
    assert units[0]["events"] == [{"DisclosureLine": "kept"}]


def test_tasks_are_listed_newest_in_pages_and_filtered(client: Client) -> None:
    client.call("worker.add", name="w", role="dev", window=1)
    client.call("worker.add", name="v", role="docs", window=1)
    named = [send(client, {"worker": "w"})["result"]["id"] for _ in range(5)]
    by_role = send(client, {"role": "docs"})["result"]["id"]

    def listed(**params: object) -> list[str]:
        tasks: Any = client.call("task.list", **params)["tasks"]
        return [task["id"] for task in tasks]

    wait_until(lambda: listed(states=["dispatched"]) == [named[0], by_role], "two are handed out")
    assert listed() == [*named, by_role]
    assert listed(worker="w") == named
    assert listed(role="docs") == [by_role]
    assert listed(states=["queued"]) == named[1:]
    assert listed(states=["success", "failed"]) == []
    page: Any = client.call("task.list", limit=2)
    assert ([task["id"] for task in page["tasks"]], page["next"]) == ([named[4], by_role], named[4])
    assert listed(limit=100, before=page["next"]) == named[:4]
    last: Any = client.call("task.get", id=by_role)
    assert listed(since=last["queued"]) == [by_role]


def test_waiting_ends_with_the_first_or_all_or_the_time(client: Client, place: Place) -> None:
    client.call("worker.add", name="w", role="r", window=0)
    ids = [send(client, {"worker": "w"})["result"]["id"] for _ in range(2)]
    wait_until(lambda: inbox_ids(place, "w") == ids, "are not handed out")
    error: Any = client.ask("task.wait", ids=ids, timeout=0.05)["error"]
    assert (error["data"]["name"], error["data"]["ids"]) == ("timeout", ids)
    append(place.session.worker("w").events, {"TaskStarted": {"task_id": ids[0]}})
    started: Any = client.call("task.wait", ids=ids[:1], until="started", timeout=20)["tasks"]
    assert started[0]["state"] == "running"
    append(place.session.worker("w").outbox, {"task_id": ids[1], "status": "partial", "summary": "half"})
    first: Any = client.call("task.wait", ids=ids, any=True, timeout=20)["tasks"]
    assert [(task["id"], task["state"]) for task in first] == [(ids[1], "partial")]
    append(place.session.worker("w").outbox, {"task_id": ids[0], "status": "success"})
    every: Any = client.call("task.wait", ids=ids, timeout=20)["tasks"]
    assert [task["state"] for task in every] == ["success", "partial"]
    assert client.call("task.wait", ids=ids, timeout=0)["tasks"] == every
    assert client.ask("task.wait", ids=[])["error"]["data"]["name"] == "invalid_params"
    missing: Any = client.ask("task.wait", ids=[ids[0], "nope"])["error"]
    assert missing["data"]["name"] == "not_found"


def test_a_text_with_a_lone_surrogate_is_refused_and_nothing_recorded(client: Client) -> None:
    line = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "task.send", "params": {"target": "any"}})[:-2]
    client.send_line((line + ',"task":{"task":"\\ud800"}}}').encode())
    answer: Any = client.read_line()
    assert "error" in answer
    assert client.call("task.list")["tasks"] == []
