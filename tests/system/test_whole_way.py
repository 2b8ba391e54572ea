"""The whole way through: a task goes in, a command does it, result and escalations come out. Real processes."""

import json

from tests.kit import Client, Place


def test_a_task_sent_to_a_command_comes_back_with_its_output(client: Client, place: Place) -> None:
    client.call("worker.add", name="wc", role="counter", runner={"command": ["sh", "-c", "wc -w"]})
    sent = client.call("task.send", target={"worker": "wc"}, task={"task": "one two three"})
    done = client.call("task.wait", ids=[sent["id"]], timeout=20)
    (task,) = done["tasks"]
    assert (task["state"], task["result"]["summary"]) == ("success", "3")

    listed = client.call("escalation.list")["escalations"]
    kept = [json.loads(line) for line in place.session.escalations.read_text().splitlines()]
    assert [each["entry"]["kind"] for each in listed] == ["worker_started", "worker_completed"]
    assert kept == [each["entry"] for each in listed]
