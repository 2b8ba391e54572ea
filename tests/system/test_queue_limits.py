"""How much may wait: what is past the limit is refused with the limit's name, and taken again when there is room."""

from system_kit import refusal, send

from tests.kit import Place, running_daemon


def test_too_many_waiting_tasks_are_refused_by_name(place: Place) -> None:
    config = place.root / "omkd.toml"
    config.write_text("max_queued_tasks = 2\nmax_queued_bytes = 100\n")
    with running_daemon(place, "--config", str(config)) as daemon:
        client = daemon.client()
        client.call("worker.add", name="w", role="r")
        client.call("worker.pause", name="w")
        first = send(client, "x" * 60)
        params = {"target": {"worker": "w"}, "task": {"task": "y" * 60}}
        name, text = refusal(client, "task.send", **params)
        assert (name, "max_queued_bytes" in text) == ("queue_full", True)
        send(client, "z", key="k")
        name, text = refusal(client, "task.send", target={"worker": "w"}, task={"task": "z"})
        assert (name, "max_queued_tasks" in text) == ("queue_full", True)
        send(client, "z", key="k")
        client.call("task.cancel", ids=[first])
        send(client, "y" * 60)
        assert refusal(client, "task.retry", ids=[first])[0] == "queue_full"
