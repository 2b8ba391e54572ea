"""Answers are lines, and lines have a limit: what would be longer comes by the page, or is said to be too much."""

import json
from typing import Any

import pytest

from omkd.protocol.limits import PAGE_BYTES, SERVER_LINE_BYTES
from tests.kit import Client

LARGE = 250_000
MANY = 12


@pytest.fixture
def large(client: Client) -> list[str]:
    """The ids of tasks that are too much for one answer together, and wait."""
    client.call("worker.add", name="w", role="r", window=1)
    client.call("worker.pause", name="w")
    task = {"task": "x" * LARGE}
    return [str(client.call("task.send", target={"worker": "w"}, task=task)["id"]) for _ in range(MANY)]


def call(client: Client, method: str, **params: object) -> dict[str, Any]:
    """Its result, on a line that is not too long."""
    client.send_line(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode())
    line = client._file.readline()
    assert len(line) <= SERVER_LINE_BYTES
    result: dict[str, Any] = json.loads(line)["result"]
    return result


def test_tasks_come_by_the_page(client: Client, large: list[str]) -> None:
    found: list[str] = []
    page: dict[str, Any] = {"next": None}
    while page["next"] is not None or not found:
        page = call(client, "task.list", before=page["next"])
        found[:0] = [task["id"] for task in page["tasks"]]
    assert found == large


def test_units_come_by_the_page_from_the_oldest_on(client: Client, large: list[str]) -> None:
    seqs: list[int] = []
    page: dict[str, Any] = {"next": 0}
    while page["next"] is not None:
        page = call(client, "event.list", after=page["next"])
        seqs += [unit["seq"] for unit in page["units"]]
    assert seqs == list(range(1, len(seqs) + 1))
    assert len(seqs) > len(large)


@pytest.mark.parametrize("wanted", [1, 5, MANY, 1000])
@pytest.mark.usefixtures("large")
def test_the_newest_units_come_by_the_page(client: Client, wanted: int) -> None:
    everything = call(client, "omkd.status")["seq"]
    seqs: list[int] = []
    before: int | None = None
    while before is not None or not seqs:
        page = call(client, "event.list", last=wanted - len(seqs), before=before)
        seqs[:0] = [unit["seq"] for unit in page["units"]]
        before = page["next"]
    assert seqs == list(range(1, everything + 1))[-wanted:]


def test_the_newest_escalations_come_by_the_page(client: Client) -> None:
    for number in range(MANY):
        client.call("event.publish", event={"PersonNeeded": {"text": f"{number} " + "x" * LARGE}})
    found: list[str] = []
    before: int | None = None
    while before is not None or not found:
        page = call(client, "escalation.list", lines=MANY - len(found), before=before)
        found[:0] = [each["entry"]["summary"].split()[0] for each in page["escalations"]]
        before = page["next"]
    assert found == [str(number) for number in range(MANY)]


@pytest.mark.parametrize("method", ["task.hold", "task.cancel", "task.wait"])
def test_a_call_that_names_too_much_is_refused_before_anything_is_done(
    client: Client, large: list[str], method: str
) -> None:
    error = client.ask(method, ids=large)["error"]
    assert (error["data"]["name"], error["data"]["limit"]) == ("too_large", PAGE_BYTES)
    assert f"{MANY} tasks have 3" in error["message"]
    assert client.call("omkd.status")["tasks"]["queued"] == MANY  # type: ignore[index]
    few = large[:4]
    asked = {"ids": few} if method != "task.wait" else {"ids": few, "any": True, "until": "done", "timeout": 0}
    assert client.ask(method, **asked).get("error", {"data": {"name": "timeout"}})["data"]["name"] == "timeout"


def test_a_reason_counts_for_each_task_that_it_is_said_of(client: Client) -> None:
    client.call("worker.add", name="w", role="r", window=1)
    client.call("worker.pause", name="w")
    ids = [client.call("task.send", target={"worker": "w"}, task={"task": "x"})["id"] for _ in range(MANY)]
    assert client.ask("task.cancel", ids=ids, reason="y" * LARGE)["error"]["data"]["name"] == "too_large"
    assert client.ask("task.cancel", ids=ids[:1], reason="y" * LARGE * 2)["error"]["data"]["name"] == "too_large"
    assert len(call(client, "task.cancel", ids=ids[:3], reason="y" * LARGE)["tasks"]) == 3


def test_waiting_for_any_brings_as_many_as_fit(client: Client, large: list[str]) -> None:
    for start in range(0, MANY, 4):
        client.call("task.cancel", ids=large[start : start + 4])
    found = call(client, "task.wait", ids=large, any=True)["tasks"]
    assert [task["id"] for task in found] == large[: len(found)]
    assert 1 <= len(found) < MANY


def test_the_longest_answers_of_a_batch_that_is_too_much_are_replaced(client: Client, large: list[str]) -> None:
    batch = [{"jsonrpc": "2.0", "id": id, "method": "task.get", "params": {"id": id}} for id in large]
    small = {"jsonrpc": "2.0", "id": "hello", "method": "omkd.hello"}
    unanswered = {"jsonrpc": "2.0", "method": "omkd.hello"}
    client.send_line(json.dumps([*batch, small, unanswered, 1]).encode())
    line = client._file.readline()
    assert SERVER_LINE_BYTES - LARGE < len(line) <= SERVER_LINE_BYTES
    answers = json.loads(line)
    assert [answer["id"] for answer in answers] == [*large, "hello", None]
    errors = {answer["error"]["data"]["name"] for answer in answers[:MANY] if "error" in answer}
    assert errors == {"too_large"}
    assert "result" in answers[MANY]


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("\x7f" * 1_000_000, {}),
        ("task.get", {"id": "\x7f" * 1_000_000}),
        ("worker.get", {"name": "\x80" * 500_000}),
        ("task.send", {"target": {"role": "\x7f" * 1_000_000}, "task": {"task": "x"}}),
        ("decision.answer", {"id": "\x7f" * 1_000_000, "choice": "y"}),
    ],
)
def test_a_name_that_nothing_has_is_not_repeated_at_length(
    shared_client: Client, method: str, params: dict[str, object]
) -> None:
    request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
    shared_client.send_line(json.dumps(request, ensure_ascii=False).encode())
    line = shared_client._file.readline()
    assert len(line) <= SERVER_LINE_BYTES
    assert len(json.loads(line)["error"]["message"]) < 1000
