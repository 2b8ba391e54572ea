"""Workers of ours whose host hangs or does not run: a restart replaces it, and a cancel ends what it has in hand."""

import os
import resource
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from system_kit import (
    FOREVER,
    add_shell,
    consistent,
    fifo,
    is_alive,
    lines_of,
    open_gate,
    refusal,
    result,
    send,
    state,
    wait,
    wait_worker,
)

from omkd.protocol import codec
from omkd.protocol.scalars import HandoutId, TaskId
from tests.kit import Client, Place, events_called, json_lines, running_daemon, wait_until


@pytest.fixture
def client(place: Place) -> Iterator[Client]:
    """Of a daemon that gives a worker up when its host ends unasked; the session is proved consistent at the end."""
    config = place.root / "omkd.toml"
    config.write_text("max_restarts = 0\n")
    with running_daemon(place, "--config", str(config)) as daemon:
        client = daemon.client()
        with consistent(client):
            yield client


def host_pid(client: Client) -> int:
    return int(wait_worker(client, "ready")["pid"])


def dead_with(client: Client, place: Place, text: str) -> list[str]:
    """Two tasks in the inbox of a worker that is dead; the first had begun, and was taken back and handed out again."""
    add_shell(client, window=2)
    host = host_pid(client)
    ids = [send(client, f"echo $$ >> {place.root}/pids; {text}") for _ in range(2)]
    lines_of(place.root / "pids")
    wait_until(lambda: state(client, ids[1]) == "dispatched", "the second is not in the inbox")
    os.kill(host, signal.SIGKILL)
    wait_worker(client, "dead")
    wait_until(lambda: len(events_called(place, "TaskDispatched")) == 3, "what had begun is not taken back")
    return ids


# --- restart -----------------------------------------------------------------------------------------------------


def test_a_host_that_hangs_is_killed_by_a_restart_and_replaced(client: Client, place: Place) -> None:
    add_shell(client, grace_secs=0)
    host = host_pid(client)
    os.kill(host, signal.SIGSTOP)
    client.call("worker.restart", name="w")
    assert host_pid(client) != host
    assert not is_alive(host)
    assert [(each["failure"], each["status"]) for each in events_called(place, "WorkerExited")] == [(False, 137)]


@pytest.mark.parametrize("method", ["worker.restart", "worker.compact"])
def test_a_host_that_hangs_is_replaced_also_when_who_asked_has_gone(client: Client, place: Place, method: str) -> None:
    """`omkctl worker restart --timeout 1` hangs up long before the host is killed."""
    add_shell(client, grace_secs=0)
    host = host_pid(client)
    os.kill(host, signal.SIGSTOP)
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect(str(place.socket))
        call = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {"name": "w"}}
        asking.sendall(codec.encode(call) + b"\n")
        wait_until(lambda: pending_signals(host) & {"SIGTERM", "SIGKILL"}, "the host is not told")
    wait_until(lambda: not is_alive(host), "it is not killed")
    assert host_pid(client) != host


def pending_signals(pid: int) -> set[str]:
    """Those that a stopped process will get when it goes on; SIGKILL of one that is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text().splitlines()
    except FileNotFoundError:
        return {"SIGKILL"}
    (mask,) = [int(line.split()[1], 16) for line in status if line.startswith("ShdPnd")]
    return {each.name for each in signal.Signals if mask & (1 << (each - 1))}


@pytest.mark.parametrize("drain", [False, True])
def test_a_dead_worker_is_started_at_once_and_does_what_it_had_in_hand(
    client: Client, place: Place, drain: bool
) -> None:
    ids = dead_with(client, place, f"[ -e {place.root}/go ] || {FOREVER}")
    (place.root / "go").touch()
    client.call("worker.restart", name="w", drain=drain)
    assert [task["state"] for task in wait(client, *ids)] == ["success", "success"]


# --- cancel ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("paused", [False, True])
def test_what_a_dead_worker_has_in_hand_is_cancelled_for_good_at_once(
    client: Client, place: Place, paused: bool
) -> None:
    ids = dead_with(client, place, FOREVER)
    if paused:
        client.call("worker.pause", name="w")
    ran = len(lines_of(place.root / "pids"))
    cancelled = client.call("task.cancel", ids=ids, reason="no more")["tasks"]
    assert [(each["state"], each["why"]) for each in cancelled] == [("cancelled", "no more")] * 2
    client.call("worker.resume", name="w")
    client.call("worker.restart", name="w")
    last = send(client, "true")
    assert wait(client, last)[0]["state"] == "success"
    assert len(lines_of(place.root / "pids")) == ran
    dones = [line["done"]["id"] for line in json_lines(place.session.worker("w").control) if "done" in line]
    assert set(dones) >= {f"{ids[0]}.2", ids[1]}
    assert events_called(place, "LineRejected") == []


def test_what_was_to_be_cancelled_when_its_host_died_for_good_is_cancelled(client: Client, place: Place) -> None:
    add_shell(client, window=2)
    host = host_pid(client)
    begun, waiting = [send(client, f"echo $$ >> {place.root}/pids; {FOREVER}") for _ in range(2)]
    (pid,) = lines_of(place.root / "pids")
    wait_until(lambda: state(client, waiting) == "dispatched", "the second is not in the inbox")
    wait_until(lambda: state(client, begun) == "running", "the first does not run")
    os.kill(host, signal.SIGSTOP)
    asked = client.call("task.cancel", ids=[begun, waiting])["tasks"]
    assert [each["state"] for each in asked] == ["running", "dispatched"]
    os.kill(host, signal.SIGKILL)
    assert [each["state"] for each in wait(client, begun, waiting)] == ["cancelled", "cancelled"]
    assert not is_alive(int(pid))


def test_what_had_begun_is_cancelled_between_two_starts_of_its_host(place: Place) -> None:
    """Its host is started again after 8 s: the fifth pause."""
    with running_daemon(place) as daemon:
        client = daemon.client()
        add_shell(client)
        for _ in range(4):
            kill_host(client)
            client.call("worker.restart", name="w")
        id = send(client, f"echo $$ >> {place.root}/pids; {FOREVER}")
        wait(client, id, until="started")
        pid = int(lines_of(place.root / "pids")[0])
        kill_host(client)
        (cancelled,) = client.call("task.cancel", ids=[id])["tasks"]
        assert (cancelled["state"], is_alive(pid)) == ("cancelled", False)
        client.call("worker.restart", name="w")
        assert wait(client, send(client, "true"))[0]["state"] == "success"
        with consistent(client):
            pass


def kill_host(client: Client) -> None:
    """Its end is known when this returns."""
    wait_until(lambda: client.call("worker.get", name="w")["pid"] is not None, "no host")
    pid = int(client.call("worker.get", name="w")["pid"])
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: client.call("worker.get", name="w")["pid"] != pid, "its end is not seen")


# --- a result that is recorded and not reported ------------------------------------------------------------------


@pytest.mark.parametrize("cancelled", [False, True])
def test_a_result_that_a_host_recorded_and_could_not_report_before_it_died_for_good_counts(
    client: Client, place: Place, cancelled: bool
) -> None:
    """It was taken for interrupted, and run a second time. Its host died between result.json and the outbox line."""
    add_shell(client, grace_secs=0)
    host, directory = host_pid(client), place.session.worker("w")
    result(client, send(client, "seq 1000"))
    gate = fifo(place)
    id = send(client, f"echo ran >> {place.root}/runs; cat {gate}")
    lines_of(place.root / "runs")
    wait_until(lambda: state(client, id) == "running", "its start is not read")
    limit = directory.outbox.stat().st_size
    resource.prlimit(host, resource.RLIMIT_FSIZE, (limit, limit))
    open_gate(gate)
    wait_until((directory.run(TaskId(id), HandoutId(id)) / "result.json").exists, "no result")
    if cancelled:
        client.call("task.cancel", ids=[id])
    os.kill(host, signal.SIGKILL)
    assert wait(client, id)[0]["state"] == "success"
    done = {"done": {"id": id}}
    wait_until(lambda: directory.control.exists() and done in json_lines(directory.control), "its host would report it")
    client.call("worker.restart", name="w")
    wait(client, send(client, "true"))
    assert len(lines_of(place.root / "runs")) == 1
    assert events_called(place, "LineRejected") == []


# --- what would wait for ever ------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["worker.pause", "worker.remove", "worker.compact"])
def test_to_wait_for_what_a_dead_worker_has_in_hand_is_refused_with_what_helps(
    client: Client, place: Place, method: str
) -> None:
    ids = dead_with(client, place, FOREVER)
    name, text = refusal(client, method, name="w", drain=True)
    there = f"worker w is dead and has {ids[1]}, {ids[0]} in hand: start it again (omkctl worker restart w), "
    assert (name, text) == ("refused", there + f"or give that up (omkctl cancel {ids[1]} {ids[0]})")
    client.call("task.cancel", ids=ids)
    client.call(method, name="w", drain=True)


def test_a_drain_ends_when_its_worker_dies(client: Client, place: Place) -> None:
    """It waited for a task of a host that lived; nothing will end that task now."""
    add_shell(client)
    host = host_pid(client)
    id = send(client, f"echo $$ >> {place.root}/pids; {FOREVER}")
    lines_of(place.root / "pids")
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect(str(place.socket))
        call = {"jsonrpc": "2.0", "id": 1, "method": "worker.restart", "params": {"name": "w", "drain": True}}
        asking.sendall(codec.encode(call) + b"\n")
        os.kill(host, signal.SIGKILL)
        answer = codec.parse(asking.makefile("rb").readline())
    assert isinstance(answer, dict)
    assert "result" in answer
    wait_until(lambda: len(lines_of(place.root / "pids")) == 2, "the new host does not run it again")
    client.call("task.cancel", ids=[id])
    wait(client, id)
