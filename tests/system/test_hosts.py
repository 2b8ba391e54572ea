"""Hosts: they outlive the daemon, nothing of a run outlives its host, and a worker that cannot live is given up."""

import os
import select
import signal
import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from omkd.store.files import read_regular
from tests.kit import Client, Daemon, Place, events_called, is_alive, json_lines, running_daemon, wait_until

WAITS = """
setsid sleep 1000 &
echo $! >> {root}/pids
echo $$ >> {root}/pids
while [ ! -e {root}/go ]; do sleep 0.02; done
echo done by $OMK_TASK_ID
"""
"""Says its process and one that left its session, then waits for a file that the test makes."""


def add_waiting(client: Client, place: Place, **more: object) -> None:
    command = ["sh", "-c", WAITS.format(root=place.root)]
    client.call("worker.add", name="w", role="r", runner={"command": command, "grace_secs": 1, **more})


def send(client: Client) -> str:
    return str(client.call("task.send", target={"worker": "w"}, task={"task": "x"})["id"])


def pids(place: Place, count: int) -> list[int]:
    """Of the run's processes, once there are so many lines."""
    path = place.root / "pids"
    wait_until(lambda: path.exists() and path.read_text().count("\n") >= count, "the command does not run")
    return [int(line) for line in path.read_text().split()]


def let_go(place: Place) -> None:
    (place.root / "go").touch()


def host_pid(client: Client) -> int:
    """Once there is one."""

    def pid() -> object:
        return client.call("worker.get", name="w")["pid"]

    wait_until(lambda: pid() is not None, "no host")
    return int(str(pid()))


def wait_state(client: Client, task_id: str, state: str) -> Any:
    wait_until(lambda: client.call("task.get", id=task_id)["state"] == state, f"{task_id} is not {state}")
    return client.call("task.get", id=task_id)


def kill_host(client: Client) -> int:
    """Its pid; the daemon knows that it is gone."""
    pid = host_pid(client)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: client.call("worker.get", name="w")["pid"] != pid, "the end of the host is not seen")
    return pid


@pytest.fixture(autouse=True)
def _nothing_is_left(place: Place) -> Any:
    yield
    path = place.root / "pids"
    for pid in [int(line) for line in path.read_text().split()] if path.exists() else []:
        if is_alive(pid):
            os.kill(pid, signal.SIGKILL)


def test_a_command_goes_on_without_the_daemon_and_its_result_arrives_once(place: Place) -> None:
    with running_daemon(place) as daemon:
        client = daemon.client()
        add_waiting(client, place)
        task_id = send(client)
        wait_state(client, task_id, "running")
        host, processes = host_pid(client), pids(place, 2)
        daemon.kill()
    assert all(is_alive(pid) for pid in [host, *processes])
    let_go(place)
    outbox = place.session.worker("w").outbox
    wait_until(lambda: len(json_lines(outbox)) == 1, "no result without a daemon")
    with running_daemon(place) as daemon:
        client = daemon.client()
        (task,) = client.call("task.wait", ids=[task_id], timeout=20)["tasks"]
        assert (task["state"], task["result"]["summary"], task["handout"]) == ("success", f"done by {task_id}", 1)
        assert client.call("omkd.verify")["findings"] == []
    with running_daemon(place) as daemon:
        assert daemon.client().call("task.get", id=task_id)["state"] == "success"
    assert len(events_called(place, "TaskFinished")) == 1
    assert len(events_called(place, "WorkerCompleted")) == 1
    assert events_called(place, "LineRejected") == []


def test_a_daemon_that_starts_adopts_the_host_that_runs(place: Place) -> None:
    with running_daemon(place) as daemon:
        client = daemon.client()
        add_waiting(client, place)
        task_id = send(client)
        wait_state(client, task_id, "running")
        host = host_pid(client)
        daemon.kill()
    with running_daemon(place) as daemon:
        client = daemon.client()
        assert host_pid(client) == host
        assert client.call("worker.get", name="w")["state"] == "busy"
        let_go(place)
        client.call("task.wait", ids=[task_id], timeout=20)
        daemon.stop()
    assert is_alive(host)
    assert events_called(place, "WorkerExited") == []


def test_nothing_of_a_run_outlives_its_host_and_the_task_runs_again(client: Client, place: Place) -> None:
    add_waiting(client, place)
    task_id = send(client)
    wait_state(client, task_id, "running")
    first = pids(place, 2)
    kill_host(client)
    wait_until(lambda: not any(is_alive(pid) for pid in first), "processes of the run are left")
    again = pids(place, 4)[2:]
    assert not set(again) & set(first)
    let_go(place)
    (task,) = client.call("task.wait", ids=[task_id], timeout=20)["tasks"]
    assert (task["state"], task["handout"], task["result"]["task_id"]) == ("success", 2, f"{task_id}.2")
    assert [line["id"] for line in json_lines(place.session.worker("w").inbox)] == [task_id, f"{task_id}.2"]
    requeued, exited = events_called(place, "TaskRequeued"), events_called(place, "WorkerExited")
    assert [(each["outcome"], each["handout"]) for each in requeued] == [("interrupted", 1)]
    assert [(each["status"], each["restart"]) for each in exited] == [(137, 1)]
    escalations = json_lines(place.session.escalations)
    assert "w exited: status 137 (restart 1 of 5)" in [each["summary"] for each in escalations]
    assert client.call("omkd.verify")["findings"] == []


def test_a_task_that_kills_its_host_fails_at_the_third_time(client: Client, place: Place) -> None:
    client.call("worker.add", name="w", role="r", runner={"command": ["sh", "-c", "kill -9 $PPID; sleep 1000"]})
    task_id = send(client)
    for number in range(1, 4):
        wait_until(lambda n=number: len(events_called(place, "WorkerExited")) >= n, f"exit {number} is not seen")
        hurry(client)
    (task,) = client.call("task.wait", ids=[task_id], timeout=20)["tasks"]
    assert (task["state"], task["handout"]) == ("failed", 3)
    assert len(events_called(place, "TaskRequeued")) == 2


def hurry(client: Client) -> None:
    """A host that waits for its next start is started now."""
    client.call("worker.restart", name="w")


def test_a_worker_whose_host_does_not_live_is_given_up_and_its_task_taken_back(client: Client, place: Place) -> None:
    add_waiting(client, place)
    for _ in range(4):
        kill_host(client)
        hurry(client)
    task_id = send(client)
    pids(place, 2)
    kill_host(client)
    hurry(client)
    last = pids(place, 4)[2:]
    kill_host(client)
    wait_until(lambda: client.call("worker.get", name="w")["state"] == "dead", "it is not given up")
    wait_until(lambda: not any(is_alive(pid) for pid in last), "processes of the last run are left")
    wait_until(lambda: len(events_called(place, "TaskRequeued")) == 2, "the task is not taken back")
    assert [each["restart"] for each in events_called(place, "WorkerExited")] == [1, 2, 3, 4, 5, 0]
    wait_until(lambda: client.call("task.get", id=task_id)["handout"] == 3, "it is not handed out again")
    client.call("worker.restart", name="w")
    let_go(place)
    (task,) = client.call("task.wait", ids=[task_id], timeout=20)["tasks"]
    assert (task["state"], task["result"]["task_id"]) == ("success", f"{task_id}.3")


def test_a_worker_is_removed_only_by_force_while_it_has_something_in_hand(client: Client, place: Place) -> None:
    add_waiting(client, place)
    task_id = send(client)
    wait_state(client, task_id, "running")
    host, processes = host_pid(client), pids(place, 2)
    error: Any = client.ask("worker.remove", name="w")["error"]
    assert (error["data"]["name"], error["data"]["in_hand"]) == ("refused", [task_id])
    assert all(is_alive(pid) for pid in [host, *processes])

    removed = client.call("worker.remove", name="w", force=True)
    assert not any(is_alive(pid) for pid in [host, *processes])
    moved_to = Path(str(removed["moved_to"]))
    assert moved_to.parent == place.session.removed
    assert (moved_to / "inbox.jsonl").exists()
    assert not place.session.worker("w").path.exists()
    assert client.call("worker.list")["workers"] == []
    assert client.call("task.get", id=task_id)["state"] in ("lost", "queued")


def test_an_idle_worker_is_removed_and_its_name_is_free(place: Place) -> None:
    with running_daemon(place) as daemon:
        client = daemon.client()
        for text in ("one", "two"):
            client.call("worker.add", name="w", role="r", runner={"command": ["echo", text]})
            (task,) = client.call("task.wait", ids=[send(client)], timeout=20)["tasks"]
            assert task["result"]["summary"] == text
            host = host_pid(client)
            client.call("worker.remove", name="w")
            assert not is_alive(host)
        assert len(list(place.session.removed.iterdir())) == 2
        error: Any = client.ask("worker.remove", name="w")["error"]
        assert error["data"]["name"] == "not_found"
        daemon.kill()
    with running_daemon(place) as daemon:
        assert daemon.client().call("worker.list")["workers"] == []


def test_the_same_worker_added_again_is_no_error_and_another_is_a_conflict(client: Client, place: Place) -> None:
    for _ in range(2):
        added = client.call("worker.add", name="w", role="r", runner={"command": ["true"]})
        assert added["name"] == "w"
    error: Any = client.ask("worker.add", name="w", role="other")["error"]
    assert error["data"]["name"] == "conflict"
    (place.session.workers / "mine").mkdir()
    (place.session.workers / "mine" / "notes.txt").write_text("somebody's")
    error = client.ask("worker.add", name="mine", role="r")["error"]
    assert (error["data"]["name"], error["data"]["path"]) == ("conflict", str(place.session.workers / "mine"))


def test_a_host_has_nothing_of_the_daemon_but_its_environment(place: Place) -> None:
    """Started as systemd and a shell with open descriptors start it."""
    read_end, write_end = os.pipe()
    told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    told.bind(str(place.root / "notify"))
    told.settimeout(20)
    more = {"NOTIFY_SOCKET": str(place.root / "notify"), "WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}
    process = subprocess.Popen(
        [sys.executable, "-m", "omkd"],
        env={**place.environment, **more, "MINE": "kept"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        pass_fds=[write_end],
    )
    try:
        assert told.recv(1000).startswith(b"READY=1")
        with closing(Client(place.socket)) as client:
            env_shown = "echo ${NOTIFY_SOCKET-none} ${WATCHDOG_USEC-none} $MINE $OMKD_SOCKET; cat"
            client.call("worker.add", name="w", role="r", runner={"command": ["sh", "-c", env_shown]})
            task_id = send(client)
            (task,) = client.call("task.wait", ids=[task_id], timeout=20)["tasks"]
            assert task["result"]["summary"].splitlines()[0] == f"none none kept {place.socket}"
            assert_clean_host(place, host_pid(client))
    finally:
        process.terminate()
        assert process.wait(20) == 0
        told.close()
        os.close(write_end)
    ended, _, _ = select.select([read_end], [], [], 5)
    os.close(read_end)
    assert ended, "the host has the daemon's pipe"


def assert_clean_host(place: Place, pid: int) -> None:
    opened = {int(number): os.readlink(f"/proc/{pid}/fd/{number}") for number in os.listdir(f"/proc/{pid}/fd")}
    log = str(place.session.worker("w").host_log)
    assert (opened[0], opened[1], opened[2]) == ("/dev/null", log, log)
    assert not [path for path in opened.values() if str(place.session.events) in path or "omkd.lock" in path]
    environment = read_regular(Path(f"/proc/{pid}/environ"), 1 << 20).split(b"\0")
    assert not [each for each in environment if each.startswith((b"NOTIFY_SOCKET", b"WATCHDOG", b"LISTEN_"))]
    assert os.getsid(pid) == pid


def test_a_second_host_beside_one_that_runs_is_not_started(client: Client, daemon: Daemon, place: Place) -> None:
    client.call("worker.add", name="w", role="r", runner={"command": ["true"]})
    host = host_pid(client)
    wait_until(lambda: client.call("worker.get", name="w")["state"] == "ready", "it does not become ready")
    second = subprocess.run(
        [sys.executable, "-m", "omkd.worker", "--dir", str(place.session.worker("w").path)],
        env=place.environment,
        capture_output=True,
        timeout=20,
        check=False,
    )
    assert second.returncode == 6
    assert f"pid {host}".encode() in second.stderr
    assert daemon.process.poll() is None


def test_a_removal_that_a_crash_cut_off_is_finished_by_the_next_start(place: Place) -> None:
    """The fact is on disk, the rename is not: the directory must not come back as a foreign worker."""
    with running_daemon(place) as daemon:
        client = daemon.client()
        client.call("worker.add", name="w", role="r")
        client.call("worker.remove", name="w")
        (gone,) = place.session.removed.iterdir()
        daemon.kill()
    gone.rename(place.session.worker("w").path)
    (place.session.worker("w").path / "moved-to").write_text(f"removed/{gone.name}")
    with running_daemon(place) as daemon:
        assert daemon.client().call("worker.list")["workers"] == []
        assert gone.is_dir()
        assert not place.session.worker("w").path.exists()
        assert not (gone / "moved-to").exists()


def test_a_mark_without_its_fact_is_taken_away(place: Place) -> None:
    """The crash came before the fact: the worker is still there."""
    with running_daemon(place) as daemon:
        daemon.client().call("worker.add", name="w", role="r")
        daemon.kill()
    mark = place.session.worker("w").path / "moved-to"
    mark.write_text("removed/w.9")
    with running_daemon(place) as daemon:
        assert [each["name"] for each in daemon.client().call("worker.list")["workers"]] == ["w"]
        assert not mark.exists()
