"""What is no file where omkd expects one: it is said, and holds nobody up."""

import os
import socket

import pytest

from tests.kit import Client, Daemon, Place, running_daemon, wait_until
from tests.system.system_kit import add_shell, result, send
from tests.system.test_starting import run_omkd

SPEC = '{"name":"w","role":"r","inbox":"inbox.jsonl","outbox":"outbox.jsonl","heartbeat":"heartbeat.json"}'


@pytest.mark.parametrize("content", ["file", "symlink"])
def test_what_is_no_socket_is_left_alone(place: Place, content: str) -> None:
    precious = place.root / "precious"
    precious.write_text("mine")
    path = precious if content == "file" else place.root / "link"
    if path != precious:
        path.symlink_to(precious)
    refused = run_omkd(place, "--socket", str(path))
    assert refused.returncode == 78
    assert f"{path} is no socket" in refused.stderr
    assert precious.read_text() == "mine"


def test_a_socket_that_another_program_listens_on_is_left_alone(place: Place) -> None:
    path = place.root / "other.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        refused = run_omkd(place, "--socket", str(path))
        assert refused.returncode == 78
        assert f"another program listens on {path}" in refused.stderr
        assert path.exists()


@pytest.mark.parametrize("name", ["inbox.jsonl", "outbox.jsonl", "events.jsonl", "control.jsonl", "heartbeat.json"])
def test_a_fifo_in_a_workers_directory_holds_nobody_up(daemon: Daemon, client: Client, name: str) -> None:
    directory = daemon.place.session.workers / "fifo"
    directory.mkdir(mode=0o700)
    os.mkfifo(directory / name)
    (directory / "worker-spec.json").write_text(SPEC.replace('"w"', '"fifo"'))
    wait_until(lambda: "fifo" in str(client.call("worker.list")), "the worker is not seen")
    sent = client.call("task.send", target={"worker": "fifo"}, task={"task": "x"})
    wait_until(lambda: client.call("task.get", id=sent["id"])["state"] == "dispatched", "it is not handed out")
    add_shell(client)
    assert result(client, send(client, "echo well")) == ("success", "well")
    assert daemon.stop() == 0


def test_a_fifo_as_a_runs_output_holds_nobody_up(client: Client) -> None:
    add_shell(client)
    task = send(client, 'cd "${OMK_TASK_FILE%/*}" && rm stdout.log && mkfifo stdout.log')
    client.call("task.wait", ids=[task], timeout=20)
    answer = client.ask("task.log", id=task)
    assert "error" in answer, answer
    assert result(client, send(client, "echo well")) == ("success", "well")


@pytest.mark.parametrize("name", ["escalations.pos", "snapshot-99.json", "omkd.lock", "pending_escalations.jsonl"])
def test_a_fifo_in_the_session_is_said_or_passed_over(place: Place, name: str) -> None:
    place.session.path.mkdir(parents=True, mode=0o700)
    os.mkfifo(place.session.path / name)
    if name == "omkd.lock":
        assert run_omkd(place).returncode != 0
        return
    with running_daemon(place) as daemon:
        client = daemon.client()
        add_shell(client)
        assert result(client, send(client, "echo well")) == ("success", "well")
        assert daemon.stop() == 0
