"""A disk that takes no more: sends are refused, nothing answered is lost, and it goes on by itself.

Two ways to fill it: a small tmpfs in a mount namespace of the daemon's own (a real ENOSPC, seen through
/proc/PID/root), and RLIMIT_FSIZE, set on the running daemon (EFBIG at the same places, everywhere).
"""

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from omkd.store.session import SessionDir
from tests.kit import Client, Daemon, Place, events_called, json_lines, running_daemon, serves, wait_until
from tests.system.system_kit import add_shell, fifo, open_gate, result, send, state, wait_worker

SMALL_DISK = 'mount -t tmpfs -o size=1m none "$1" && exec "$2" -m omkd --state-dir "$1/sessions"'


def may_mount() -> bool:
    tried = subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False)
    return tried.returncode == 0


def send_until_refused(client: Client) -> tuple[list[str], Any]:
    """The ids that were answered, and the first refusal."""
    answered: list[str] = []
    for _ in range(5000):
        answer: Any = client.ask("task.send", target="any", task={"task": "x" * 1000})
        if "error" in answer:
            return answered, answer["error"]
        answered.append(answer["result"]["id"])
    raise AssertionError("the disk is never full")


def assert_goes_on(client: Client, answered: list[str]) -> None:
    def sent() -> bool:
        answer: Any = client.ask("task.send", target="any", task={"task": "after"})
        return "result" in answer

    wait_until(sent, "sends are refused for ever")
    tasks: Any = client.call("task.list", limit=1000)["tasks"]
    assert set(answered) <= {task["id"] for task in tasks}


@contextmanager
def daemon_on_a_small_disk(place: Place) -> Iterator[tuple[subprocess.Popen[bytes], SessionDir]]:
    disk = place.root / "disk"
    disk.mkdir()
    with (place.root / "omkd.log").open("ab") as log:
        process = subprocess.Popen(
            ["unshare", "-rm", "sh", "-c", SMALL_DISK, "sh", str(disk), sys.executable],
            env=place.environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        wait_until(lambda: serves(place, process.pid) or process.poll() is not None, "omkd does not start")
        assert process.poll() is None, (place.root / "omkd.log").read_text()
        yield process, SessionDir(Path(f"/proc/{process.pid}/root{disk}/sessions/t"))
    finally:
        process.kill()
        process.wait(20)


@pytest.mark.skipif(not may_mount(), reason="no mounts in a namespace of one's own here")
def test_a_full_disk_refuses_sends_and_goes_on_when_there_is_room_again(place: Place) -> None:
    with daemon_on_a_small_disk(place) as (process, session), closing(Client(place.socket)) as client:
        client.call("worker.add", name="w", role="r", window=0)
        filler = session.path.parent / "filler"
        filler.write_bytes(b"x" * 400_000)
        answered, error = send_until_refused(client)
        assert error["data"]["name"] == "write_failed"
        assert "make room" in error["message"]
        assert "/sessions/t/events/" in error["message"]
        assert len(answered) > 20
        shown: Any = client.call("task.get", id=answered[-1])
        assert shown["id"] == answered[-1]
        filler.unlink()
        assert_goes_on(client, answered)
        wait_until(
            lambda: len(json_lines(session.worker("w").inbox)) == len(client.call("task.list", limit=1000)["tasks"]),
            "not all is handed out",
        )
        wait_until(lambda: client.call("omkd.status")["retried_writes"] == [], "a write is shown as failing for ever")
        ids = [line["id"] for line in json_lines(session.worker("w").inbox)]
        assert len(set(ids)) == len(ids)
        assert client.call("omkd.verify")["findings"] == []
        assert process.poll() is None


def limit_files(daemon: Daemon, size: int) -> None:
    """No file of the daemon grows beyond `size` from now on."""
    _, hard = resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (size, hard))


def log_size(place: Place) -> int:
    return sum(path.stat().st_size for path in place.session.events.glob("*.jsonl"))


def test_a_log_that_cannot_grow_refuses_sends_and_goes_on_when_it_can(place: Place) -> None:
    with running_daemon(place) as daemon:
        client = daemon.client()
        client.call("worker.add", name="w", role="r", window=0)
        limit_files(daemon, log_size(place) + 50_000)
        answered, error = send_until_refused(client)
        assert (error["data"]["name"], len(answered) > 5) == ("write_failed", True)
        publish = client.ask("event.publish", event={"DisclosureLine": "x" * 60_000})
        assert "error" in publish
        limit_files(daemon, resource.RLIM_INFINITY)
        assert_goes_on(client, answered)
        daemon.kill()
    with running_daemon(place) as daemon:
        assert_goes_on(daemon.client(), answered)
        assert "torn" not in daemon.log.read_text()
    assert set(answered) <= {each["task_id"] for each in events_called(place, "TaskQueued")}


def test_what_a_dead_worker_has_in_hand_waits_while_the_log_cannot_grow(place: Place) -> None:
    """It ended the daemon: the last result of a worker that is given up was to be recorded on a full disk."""
    config = place.root / "omkd.toml"
    config.write_text("max_restarts = 0\n")
    gate = fifo(place)
    with running_daemon(place, "--config", str(config)) as daemon:
        client = daemon.client()
        add_shell(client)
        host = wait_worker(client, "ready")["pid"]
        task = send(client, f"cat {gate}; head -c 3000 /dev/zero | tr '\\0' x")
        wait_until(lambda: state(client, task) == "running", "it does not run")
        limit_files(daemon, log_size(place) + 1500)  # room for the end of the host, none for the result
        open_gate(gate)
        wait_until(lambda: len(json_lines(place.session.worker("w").outbox)) == 1, "the command does not end")
        os.kill(host, signal.SIGKILL)
        wait_until(lambda: events_called(place, "WorkerExited") != [], "nobody notices that the host is dead")
        wait_until(lambda: daemon.log.read_text().count("nothing was recorded") > 1, "the result is not tried again")
        limit_files(daemon, resource.RLIM_INFINITY)
        assert result(client, task) == ("success", 3000 * "x")
        assert client.call("omkd.verify")["findings"] == []
        assert daemon.process.poll() is None


def test_results_wait_in_their_outbox_while_the_log_cannot_grow(place: Place) -> None:
    with running_daemon(place) as daemon:
        client = daemon.client()
        client.call("worker.add", name="cat", role="r", window=0, runner={"command": ["cat"]})
        wait_until(lambda: client.call("worker.get", name="cat")["state"] == "ready", "the host does not start")
        done = client.call("task.send", target={"worker": "cat"}, task={"task": "first"})
        client.call("task.wait", ids=[done["id"]], timeout=20)
        sent = client.call("task.send", target={"worker": "cat"}, task={"task": "x" * 20_000})["id"]
        limit_files(daemon, log_size(place) + 100)
        outbox = place.session.worker("cat").outbox
        wait_until(lambda: len(json_lines(outbox)) == 2, "the command does not end")
        limit_files(daemon, resource.RLIM_INFINITY)
        (task,) = client.call("task.wait", ids=[sent], timeout=20)["tasks"]
        assert task["state"] == "success"
        wait_until(lambda: client.call("omkd.status")["retried_writes"] == [], "a write is shown as failing for ever")
    assert len(events_called(place, "TaskFinished")) == 2
