"""More tasks than are kept in memory: all of them are still found, listed, run again and waited for."""

import json
import shutil
from collections.abc import Iterator
from typing import Any

import pytest
from system_kit import Wire, add_shell, refusal, result, send, state

from omkd.core.kept import KEPT_FINISHED
from omkd.protocol.timestamps import parse_timestamp
from tests.kit import Client, Place, running_daemon
from tests.leftovers import place_of_its_own

pytestmark = pytest.mark.xdist_group("older")
PER_BATCH = 500
MORE = 600


def send_many(client: Client, count: int) -> list[str]:
    """In batches; their ids."""
    ids: list[str] = []
    for start in range(0, count, PER_BATCH):
        asked = [
            {
                "jsonrpc": "2.0",
                "id": number,
                "method": "task.send",
                "params": {"target": {"worker": "idle"}, "task": {"task": f"number {number}"}},
            }
            for number in range(start, min(start + PER_BATCH, count))
        ]
        client.send_line(json.dumps(asked).encode())
        answers: Any = client.read_line()
        ids += [answer["result"]["id"] for answer in sorted(answers, key=lambda answer: answer["id"])]
    return ids


def all_listed(client: Client, **filters: object) -> list[Wire]:
    found: list[Wire] = []
    before: object = None
    while True:
        page: Any = client.call("task.list", limit=1000, before=before, **filters)
        found[:0] = page["tasks"]
        before = page["next"]
        if before is None:
            return found


@pytest.fixture(scope="module")
def original() -> Iterator[Place]:
    """A session in which the first task succeeded, one waits from the beginning, and MORE than are kept ended."""
    with place_of_its_own() as place, running_daemon(place) as daemon:
        client = daemon.client()
        add_shell(client)
        client.call("worker.add", name="idle", role="r", window=1)
        client.call("worker.pause", name="idle")
        assert result(client, send(client, "echo first", id="first", key="the-key"))[0] == "success"
        send(client, "wait", {"worker": "idle"}, id="waits")
        ids = send_many(client, KEPT_FINISHED + MORE)
        for start in range(0, len(ids), PER_BATCH):
            client.call("task.cancel", ids=ids[start : start + PER_BATCH], reason="enough")
        client.call("omkd.shutdown", workers=True)
        daemon.process.wait(30)
        yield place


@pytest.fixture
def crowded(original: Place, place: Place) -> Place:
    """A copy of it: the tests change it."""
    shutil.copytree(original.session.path, place.session.path)
    return place


def test_older_tasks_are_there_after_a_restart(crowded: Place) -> None:
    with running_daemon(crowded) as daemon:
        client = daemon.client()
        assert (crowded.session.path / "older").exists()
        first = client.call("task.get", id="first")
        assert (first["state"], first["worker"], first["handout"]) == ("success", "w", 1)
        assert first["result"]["summary"].strip() == "first"  # type: ignore[index]
        assert client.call("task.log", id="first")["size"] == 6
        assert client.call("task.wait", ids=["first"], timeout=5)["tasks"] == [first]
        assert client.call("task.cancel", ids=["first"])["tasks"] == [first]
        assert refusal(client, "task.hold", ids=["first"])[0] == "refused"
        tasks = all_listed(client)
        assert [tasks[0]["id"], tasks[1]["id"]] == ["first", "waits"]
        assert len(tasks) == len({task["id"] for task in tasks}) == KEPT_FINISHED + MORE + 2
        queued = [parse_timestamp(str(task["queued"])) for task in tasks]  # as text 0.319Z is behind 0.319064Z
        assert queued == sorted(queued)
        assert [task["id"] for task in all_listed(client, states=["success"])] == ["first"]
        assert all_listed(client, since=tasks[-5]["queued"])[-5:] == tasks[-5:]
        assert client.call("omkd.status")["tasks"]["cancelled"] == KEPT_FINISHED + MORE  # type: ignore[index]
        assert client.call("omkd.verify")["findings"] == []
        same = client.call(
            "task.send", target={"worker": "w"}, task={"task": "echo first", "id": "first"}, key="the-key"
        )
        assert same == first
        assert refusal(client, "task.get", id="t999999")[0] == "not_found"


def test_one_may_be_waited_for_and_run_again(crowded: Place) -> None:
    with running_daemon(crowded) as daemon:
        client = daemon.client()
        assert result(client, send(client, "echo then", after=["first"]))[0] == "success"
        older = next(task["id"] for task in all_listed(client, states=["cancelled"]))
        assert result(client, send(client, "echo never", after=[older]))[0] == "failed"
        again: Any = client.call("task.retry", ids=["first"])["tasks"]
        assert [(task["id"], task["task"]["task"]) for task in again] == [("first", "echo first")]
        (done,) = client.call("task.wait", ids=["first"], timeout=20)["tasks"]  # type: ignore[misc]
        assert (done["state"], done["handout"]) == ("success", 2)  # type: ignore[index]
        assert state(client, "waits") == "queued"
        assert len([task for task in all_listed(client) if task["id"] == "first"]) == 1
        assert client.call("omkd.verify")["findings"] == []
        client.call("omkd.shutdown", workers=True)
        daemon.process.wait(30)
