"""Many tasks through one worker: each has one result and two lines in the escalation log, in order."""

import json
from collections import Counter
from typing import Any

import pytest

from tests.file_worker import FileWorker
from tests.kit import Client, Place, events_called, json_lines, wait_until

PIPELINED = 500
"""Sends on their way at once; their answers are read before the next."""


def send_many(client: Client, worker: str, count: int) -> list[str]:
    """The tasks' ids, in the order they were sent."""
    ids: list[str] = []
    for first in range(0, count, PIPELINED):
        numbers = range(first, min(count, first + PIPELINED))
        client.send_line(b"\n".join(line_for(worker, number) for number in numbers))
        ids += [task_id_in(client.read_line()) for _ in numbers]
    return ids


def line_for(worker: str, number: int) -> bytes:
    params = {"target": {"worker": worker}, "task": {"task": f"task {number}"}}
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": "task.send", "params": params}).encode()


def task_id_in(answer: Any) -> str:
    assert "result" in answer, answer
    return str(answer["result"]["id"])


@pytest.mark.parametrize(("window", "count"), [(64, 20_000), (1, 1_000)])
def test_each_of_many_tasks_has_one_result_and_two_escalations(
    client: Client, place: Place, window: int, count: int
) -> None:
    client.call("worker.add", name="w", role="double", window=window)
    directory = place.session.worker("w")
    with FileWorker(directory) as double:
        ids = send_many(client, "w", count)
        wait_until(lambda: finished(client) == count, "not all tasks end", 60)

    assert double.inbox == ids
    assert double.most_in_hand <= window
    results = events_called(place, "TaskFinished")
    assert Counter(each["task_id"] for each in results) == Counter(ids)
    assert {each["result"]["status"] for each in results} == {"success"}
    wait_until(lambda: len(json_lines(place.session.escalations)) == 2 * count, "escalations are missing")
    assert_started_before_completed(json_lines(place.session.escalations), count, window)
    if window == 1:
        assert [each["task_id"] for each in results] == ids


def finished(client: Client) -> int:
    tasks = client.call("omkd.status")["tasks"]
    assert isinstance(tasks, dict)
    return int(tasks["success"])


def assert_started_before_completed(entries: list[dict[str, Any]], count: int, window: int) -> None:
    in_hand = 0
    for entry in entries:
        in_hand += 1 if entry["kind"] == "worker_started" else -1
        assert 0 <= in_hand <= window
    assert Counter(entry["kind"] for entry in entries) == {"worker_started": count, "worker_completed": count}
    started = [entry["summary"] for entry in entries if entry["kind"] == "worker_started"]
    assert all(f"task {number}" in summary for number, summary in enumerate(started[:10]))
