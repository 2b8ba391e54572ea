"""Workers are tended: paused, restarted, removed, adopted, declared; and the daemon ends. Real hosts and commands."""

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest
from system_kit import (
    FOREVER,
    Asking,
    add_shell,
    alive_with,
    consistent,
    dispatched,
    fifo,
    lines_of,
    open_gate,
    refusal,
    result,
    send,
    state,
    wait,
    wait_worker,
    why,
    worker,
)

from omkd.store.locks import lock_holder, take_lock
from tests.kit import Client, Daemon, Place, events_called, json_lines, running_daemon, wait_until

DEADLINE_S = 20.0

DRAINS = "w: drains, gets work again when that is over"


@pytest.fixture
def client(daemon: Daemon) -> Iterator[Client]:
    """As everywhere; and if the daemon still serves, the session is proved consistent at the end."""
    client = daemon.client()
    yield client
    client.close()
    if daemon.process.poll() is None:
        last = daemon.client()
        with consistent(last):
            pass
        last.close()


def running_at_a_gate(client: Client, place: Place, **of_worker: Any) -> tuple[Path, str]:
    """A worker `w` that is busy until its gate is opened: the gate, the task."""
    add_shell(client, **of_worker)
    gate = fifo(place)
    running = send(client, f"cat {gate}")
    wait(client, running, until="started")
    return gate, running


def ask_to_drain(client: Client, method: str) -> None:
    """The answer is not waited for."""
    call = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {"name": "w", "drain": True}}
    client.send_line(json.dumps(call).encode())


def host_pid(place: Place, name: str = "w") -> int:
    holder = lock_holder(place.session.worker(name).lock)
    return 0 if holder is None else holder.pid


# --- pause -------------------------------------------------------------------------------------------------------


def test_a_paused_worker_finishes_what_it_has_and_gets_nothing(client: Client, place: Place) -> None:
    gate, running = running_at_a_gate(client, place)
    assert client.call("worker.pause", name="w", reason="lunch")["state"] == "paused"
    waiting = send(client, "true")
    open_gate(gate)
    wait(client, running)
    assert (state(client, waiting), why(client, waiting)) == ("queued", "worker w is paused")
    client.call("worker.resume", name="w")
    wait(client, waiting)
    assert [each["reason"] for each in events_called(place, "WorkerPaused")] == ["lunch"]


def test_a_pause_that_drains_is_answered_once_nothing_is_in_hand(client: Client, place: Place) -> None:
    gate, running = running_at_a_gate(client, place)
    pausing = Asking(place, "worker.pause", name="w", drain=True)
    wait_until(lambda: worker(client)["state"] == "paused", "it is not paused")
    assert pausing.is_alive()
    open_gate(gate)
    assert pausing.result()["in_hand"] == []
    assert state(client, running) == "success"


def test_what_was_sent_to_any_goes_to_another_while_one_is_paused(client: Client) -> None:
    add_shell(client, "a")
    add_shell(client, "b")
    wait_worker(client, "ready", "b")
    client.call("worker.pause", name="a")
    assert result(client, send(client, "echo $OMK_WORKER", "any")) == ("success", "b")


# --- restart -----------------------------------------------------------------------------------------------------


def test_a_restart_lets_the_run_finish_within_its_grace_time(client: Client, place: Place) -> None:
    gate, id = running_at_a_gate(client, place, grace_secs=30)
    before = host_pid(place)
    restarting = Asking(place, "worker.restart", name="w")
    log = place.session.worker("w").host_log
    wait_until(lambda: "told to stop" in log.read_text(), "the host is not told")
    open_gate(gate)
    restarting.result()
    assert state(client, id) == "success"
    wait_until(lambda: host_pid(place) not in (0, before), "no new host")
    assert [each["failure"] for each in events_called(place, "WorkerExited")] == [False]


def test_a_restart_that_drains_interrupts_nothing(client: Client, place: Place) -> None:
    gate, id = running_at_a_gate(client, place, grace_secs=0)
    before = host_pid(place)
    waiting = send(client, "echo $PPID")
    restarting = Asking(place, "worker.restart", name="w", drain=True)
    wait_until(lambda: why(client, waiting) == DRAINS, "it does not drain")
    assert (host_pid(place), worker(client)["state"]) == (before, "busy")
    open_gate(gate)
    restarting.result()
    assert [task["state"] for task in wait(client, id, waiting)] == ["success", "success"]
    assert host_pid(place) != before
    assert events_called(place, "TaskRequeued") == []
    assert events_called(place, "WorkerPaused") == []


@pytest.mark.parametrize("method", ["worker.restart", "worker.compact"])
def test_a_pause_while_it_drains_for_another_call_stays(client: Client, place: Place, method: str) -> None:
    gate, _ = running_at_a_gate(client, place)
    waiting = send(client, "true")
    draining = Asking(place, method, name="w", drain=True)
    wait_until(lambda: why(client, waiting) == DRAINS, "it does not drain")
    client.call("worker.pause", name="w", reason="lunch")
    open_gate(gate)
    draining.result()
    assert (worker(client)["state"], state(client, waiting)) == ("paused", "queued")
    client.call("worker.resume", name="w")
    wait(client, waiting)


def test_a_drain_ends_with_the_daemon(place: Place) -> None:
    with running_daemon(place) as daemon:
        client = daemon.client()
        gate, running = running_at_a_gate(client, place)
        waiting = send(client, "true")
        asking = daemon.client()
        ask_to_drain(asking, "worker.restart")
        wait_until(lambda: why(client, waiting) == DRAINS, "it does not drain")
        daemon.kill()
    with running_daemon(place) as daemon:
        client = daemon.client()
        open_gate(gate)
        assert [task["state"] for task in wait(client, running, waiting)] == ["success", "success"]


def test_a_drain_ends_with_who_asked(daemon: Daemon, client: Client, place: Place) -> None:
    gate, running = running_at_a_gate(client, place)
    waiting = send(client, "true")
    asking = daemon.client()
    ask_to_drain(asking, "worker.compact")
    wait_until(lambda: why(client, waiting) == DRAINS, "it does not drain")
    asking.close()
    wait_until(lambda: why(client, waiting) == "w: no room for more in hand", "it drains on")
    open_gate(gate)
    wait(client, running, waiting)


@pytest.mark.parametrize("method", ["worker.restart", "worker.remove"])
def test_to_drain_and_to_force_at_once_is_refused(client: Client, method: str) -> None:
    add_shell(client)
    name, text = refusal(client, method, name="w", drain=True, force=True)
    assert (name, text) == ("invalid_params", "force: drain waits for what is in hand, force does not: one of them")
    assert wait_worker(client, "ready")["in_hand"] == []


def test_a_forced_restart_interrupts_what_runs_and_it_is_run_again(client: Client, place: Place) -> None:
    add_shell(client)
    ran = place.root / "ran"
    id = send(client, f"echo $OMK_HANDOUT >> {ran}; [ $OMK_HANDOUT != $OMK_TASK_ID ] || {FOREVER}")
    lines_of(ran)
    before = host_pid(place)
    client.call("worker.restart", name="w", force=True)
    assert wait(client, id)[0]["state"] == "success"
    assert lines_of(ran) == [id, f"{id}.2"]
    assert host_pid(place) != before
    (again,) = events_called(place, "TaskRequeued")
    assert (again["outcome"], again["why"]) == ("interrupted", "hand-out 1 was interrupted")
    assert [(each["failure"], each["status"]) for each in events_called(place, "WorkerExited")] == [(False, 137)]


def test_a_worker_without_command_cannot_be_restarted(client: Client) -> None:
    client.call("worker.add", name="f", role="dev")
    name, text = refusal(client, "worker.restart", name="f")
    assert (name, text) == ("refused", "worker f has no command, another program plays it: restart that")


@pytest.mark.parametrize(
    ("policy", "then", "outcome"),
    [("rerun", "success", "interrupted"), ("hold", "held", "interrupted"), ("fail", "failed", None)],
)
def test_what_becomes_of_a_task_whose_host_dies_is_the_workers_choice(
    client: Client, place: Place, policy: str, then: str, outcome: str | None
) -> None:
    add_shell(client, on_interrupt=policy)
    ran = place.root / "ran"
    id = send(client, f"echo $$ >> {ran}; [ $OMK_HANDOUT != $OMK_TASK_ID ] || {FOREVER}")
    lines_of(ran)
    os.kill(host_pid(place), signal.SIGKILL)
    wait_until(lambda: state(client, id) == then, f"it is not {then}")
    assert [each["outcome"] for each in events_called(place, "TaskRequeued")] == ([outcome] if outcome else [])
    assert len(ran.read_text().splitlines()) == (2 if policy == "rerun" else 1)
    if policy == "hold":
        client.call("task.release", ids=[id])
        assert wait(client, id)[0]["state"] == "success"


# --- a host of another version -----------------------------------------------------------------------------------


def make_older(place: Place) -> None:
    """From here on, what is started takes itself for another version: the daemon and so its hosts."""
    older = place.root / "older"
    older.mkdir()
    (older / "sitecustomize.py").write_text("import omkd.protocol.version as v\nv.__version__ = '0.0.9'\n")
    place.environment["PYTHONPATH"] = str(older)


def host_version(place: Place) -> str:
    holder = lock_holder(place.session.worker("w").lock)
    return "" if holder is None else holder.version


@pytest.mark.parametrize("hangs", [False, True])
def test_a_host_of_an_older_version_is_replaced_when_it_has_nothing_in_hand(place: Place, hangs: bool) -> None:
    make_older(place)
    with running_daemon(place) as older:
        client = older.client()
        add_shell(client, grace_secs=0)
        wait_worker(client, "ready")
        older.stop()
    assert host_version(place) == "0.0.9"
    if hangs:
        os.kill(host_pid(place), signal.SIGSTOP)
    del place.environment["PYTHONPATH"]
    with running_daemon(place) as newer:
        client = newer.client()
        wait_until(lambda: host_version(place) not in ("", "0.0.9"), "it is not replaced")
        assert result(client, send(client, "echo done")) == ("success", "done")
        assert [each["failure"] for each in events_called(place, "WorkerExited")] == [False]
        with consistent(client):
            pass


def test_a_host_of_an_older_version_finishes_what_it_has_and_gets_nothing_more(place: Place) -> None:
    make_older(place)
    gate, ran = fifo(place), place.root / "ran"
    with running_daemon(place) as older:
        client = older.client()
        add_shell(client)
        first, second = [send(client, f"cat {gate}; echo $OMK_HANDOUT $PPID >> {ran}") for _ in range(2)]
        wait(client, first, until="started")
        before = host_pid(place)
        older.stop(signal.SIGKILL)
    del place.environment["PYTHONPATH"]
    with running_daemon(place) as newer:
        client = newer.client()
        wait_worker(client, "busy")
        assert why(client, second) == "w: host of another version is replaced first"
        open_gate(gate)
        assert wait(client, first)[0]["state"] == "success"
        wait(client, second, until="started")
        open_gate(gate)
        assert wait(client, second)[0]["state"] == "success"
        lines = [line.split() for line in lines_of(ran, 2)]
        assert [id for id, _ in lines] == [first, second]
        assert (lines[0][1] == str(before), lines[1][1] == str(before)) == (True, False)
        assert events_called(place, "TaskRequeued") == []
        with consistent(client):
            pass


# --- remove, adopt -----------------------------------------------------------------------------------------------


def test_a_worker_with_tasks_in_hand_is_not_removed_unless_it_drains(client: Client, place: Place) -> None:
    gate, id = running_at_a_gate(client, place)
    name, text = refusal(client, "worker.remove", name="w")
    assert (name, f"worker w has {id} in hand" in text) == ("refused", True)
    assert worker(client)["state"] == "busy"
    removing = Asking(place, "worker.remove", name="w", drain=True)
    wait_until(lambda: worker(client)["state"] == "paused", "it does not drain")
    open_gate(gate)
    moved_to = Path(str(removing.result()["moved_to"]))
    assert state(client, id) == "success"
    assert json_lines(moved_to / "outbox.jsonl")[0]["task_id"] == id
    assert refusal(client, "worker.get", name="w")[0] == "not_found"
    assert lock_holder(moved_to / "worker.lock") is None


def test_a_forced_removal_makes_what_is_in_hand_lost_and_ends_it(client: Client, place: Place) -> None:
    add_shell(client)
    ran = place.root / "ran"
    id, queued = send(client, f"echo $$ > {ran}; {FOREVER}"), send(client, "true")
    (pid,) = lines_of(ran)
    client.call("worker.remove", name="w", force=True)
    assert state(client, id) in ("lost", "queued", "failed")
    assert not Path(f"/proc/{pid}").exists()
    assert (state(client, queued), why(client, queued)) == ("queued", "there is no worker w")


def test_a_foreign_worker_is_adopted_with_its_command(client: Client, place: Place) -> None:
    directory = place.session.worker("f")
    directory.path.mkdir(parents=True)
    directory.runner.write_text(json.dumps({"command": ["sh"], "idle_exit_secs": 0}))
    spec = {"name": "f", "role": "dev", "inbox": "inbox.jsonl", "outbox": "outbox.jsonl"}
    directory.spec.write_text(json.dumps({**spec, "heartbeat": "heartbeat.json"}))
    wait_until(lambda: refusal_or_none(client, "f") is None, "it is not found")
    assert (worker(client, "f")["foreign"], worker(client, "f")["runner"]) == (True, None)
    for method, params in (("worker.update", {"window": 2}), ("worker.restart", {})):
        assert refusal(client, method, name="f", **params)[0] == "refused"
    id = send(client, "echo $OMK_WORKER", {"worker": "f"})
    assert client.call("worker.adopt", name="f")["foreign"] is False
    assert result(client, id) == ("success", "f")
    assert client.call("worker.adopt", name="f")["foreign"] is False
    assert len(events_called(place, "WorkerUpdated")) == 1


def test_a_foreign_worker_whose_command_cannot_be_read_is_not_adopted(client: Client, place: Place) -> None:
    directory = place.session.worker("f")
    directory.path.mkdir(parents=True)
    directory.runner.write_text("{")
    spec = {"name": "f", "role": "dev", "inbox": "inbox.jsonl", "outbox": "outbox.jsonl"}
    directory.spec.write_text(json.dumps({**spec, "heartbeat": "heartbeat.json"}))
    wait_until(lambda: refusal_or_none(client, "f") is None, "it is not found")
    name, text = refusal(client, "worker.adopt", name="f")
    assert (name, text.startswith(f"{directory.runner} cannot be used")) == ("refused", True)
    assert worker(client, "f")["foreign"] is True


def refusal_or_none(client: Client, name: str) -> object:
    return client.ask("worker.get", name=name).get("error")


# --- update, apply, log ------------------------------------------------------------------------------------------


def test_new_settings_count_from_the_next_run_on(client: Client, place: Place) -> None:
    add_shell(client)
    gate = fifo(place)
    first = send(client, f"cat {gate}; echo ${{COLOR-none}}")
    wait(client, first, until="started")
    changed = client.call("worker.update", name="w", role="ops", window=2, env={"COLOR": "green"}, budget_secs=7)
    assert (changed["role"], changed["window"]) == ("ops", 2)
    open_gate(gate)
    assert result(client, first) == ("success", "none")
    assert result(client, send(client, "echo $COLOR")) == ("success", "green")
    runner = json.loads(place.session.worker("w").runner.read_text())
    assert (runner["budget_secs"], runner["command"]) == (7, ["sh"])
    client.call("worker.update", name="w", role="ops")
    assert len(events_called(place, "WorkerUpdated")) == 1


def test_declared_workers_are_made_as_declared_and_again_nothing_changes(client: Client, place: Place) -> None:
    add_shell(client, "old")
    client.call("worker.add", name="plain", role="dev")
    team = [
        {"name": "a", "role": "dev", "runner": {"command": ["sh"], "retries": 2}},
        {"name": "plain", "role": "ops"},
    ]
    expected = {"added": ["a"], "updated": {"plain": ["role"]}, "removed": ["old"], "unchanged": []}
    assert client.call("worker.apply", workers=team, prune=True, dry_run=True) == expected
    assert {each["name"] for each in workers(client)} == {"old", "plain"}
    assert client.call("worker.apply", workers=team, prune=True) == expected
    assert {each["name"]: each["role"] for each in workers(client)} == {"a": "dev", "plain": "ops"}
    again = client.call("worker.apply", workers=team, prune=True)
    assert again == {"added": [], "updated": {}, "removed": [], "unchanged": ["a", "plain"]}
    assert len(events_called(place, "WorkerUpdated")) == 1


def workers(client: Client) -> list[dict[str, object]]:
    found = client.call("worker.list")["workers"]
    assert isinstance(found, list)
    return found


def test_a_team_that_cannot_be_changes_nothing(client: Client) -> None:
    add_shell(client)
    twice = [{"name": "a", "role": "dev"}, {"name": "a", "role": "ops"}]
    assert refusal(client, "worker.apply", workers=twice) == (
        "invalid_params",
        "workers[1].name: 'a' is declared twice",
    )
    bad = [{"name": "b", "role": "dev"}, {"name": "c", "role": "dev", "runner": {"command": ["no-such-command"]}}]
    assert refusal(client, "worker.apply", workers=bad)[0] == "invalid_params"
    assert [each["name"] for each in workers(client)] == ["w"]


@pytest.mark.parametrize("dry_run", [False, True])
def test_while_one_to_be_pruned_has_tasks_in_hand_nothing_is_changed(
    client: Client, place: Place, dry_run: bool
) -> None:
    """Also not those that could be changed: one to add, one to update, one to remove."""
    add_shell(client)
    add_shell(client, "idle")
    client.call("worker.add", name="plain", role="dev")
    id = send(client, FOREVER)
    wait(client, id, until="started")
    team = [{"name": "new", "role": "dev"}, {"name": "plain", "role": "ops"}]
    name, text = refusal(client, "worker.apply", workers=team, prune=True, dry_run=dry_run)
    says = f"worker w has {id} in hand: let that end, or cancel it, then prune; nothing is changed"
    assert (name, text) == ("refused", says)
    assert {each["name"]: each["role"] for each in workers(client)} == {"w": "dev", "idle": "dev", "plain": "dev"}
    assert events_called(place, "WorkerUpdated") == []
    client.call("task.cancel", ids=[id])
    wait(client, id)
    assert client.call("worker.apply", workers=team, prune=True, dry_run=dry_run)["removed"] == ["w", "idle"]


def test_one_that_another_program_plays_is_not_pruned_while_it_is_at_work(client: Client, place: Place) -> None:
    client.call("worker.add", name="plain", role="dev")
    lock = take_lock(place.session.worker("plain").lock)
    name, text = refusal(client, "worker.apply", workers=[{"name": "new", "role": "dev"}], prune=True)
    says = f"worker plain is at work (pid {os.getpid()}): end its program, then prune; nothing is changed"
    assert (name, text) == ("refused", says)
    assert [each["name"] for each in workers(client)] == ["plain"]
    lock.release()
    assert client.call("worker.apply", workers=[], prune=True)["removed"] == ["plain"]


def test_the_log_of_a_host_can_be_asked_for(client: Client, place: Place) -> None:
    add_shell(client)
    wait(client, send(client, "true", id="one"))
    log = place.session.worker("w").host_log
    wait_until(lambda: "one: success" in log.read_text(), "it is not logged")
    said = client.call("worker.log", name="w", lines=2)
    assert said["path"] == str(place.session.worker("w").host_log)
    lines = said["lines"]
    assert isinstance(lines, list)
    assert "one: running" in lines[0]
    assert "one: success" in lines[1]
    assert client.call("worker.log", name="w", lines=0)["lines"] == []
    client.call("worker.add", name="f", role="dev")
    assert client.call("worker.log", name="f")["lines"] == []


# --- the end of the daemon ---------------------------------------------------------------------------------------


def test_a_shutdown_that_drains_says_what_it_waits_for_and_hands_nothing_out(
    daemon: Daemon, client: Client, place: Place
) -> None:
    add_shell(client, window=0)
    gate = fifo(place)
    running = send(client, f"cat {gate}")
    wait(client, running, until="started")
    assert client.call("omkd.shutdown", drain_secs=60) == {"waits_for": [running]}
    late = send(client, "true")
    assert client.call("omkd.status")["draining"] == [running]
    open_gate(gate)
    assert daemon.process.wait(DEADLINE_S) == 0
    assert dispatched(place) == [running]
    assert [each["reason"] for each in events_called(place, "DaemonStopped")] == ["omkd.shutdown, drained"]
    with running_daemon(place) as next_daemon:
        again = next_daemon.client()
        assert wait(again, running, late)[1]["state"] == "success"
        again.close()


def test_a_drain_ends_at_its_deadline_and_the_agent_goes_on(daemon: Daemon, client: Client, place: Place) -> None:
    add_shell(client)
    gate = fifo(place)
    id = send(client, f"cat {gate}; echo finished")
    wait(client, id, until="started")
    client.call("omkd.shutdown", drain_secs=0)
    assert daemon.process.wait(DEADLINE_S) == 0
    open_gate(gate)
    with running_daemon(place) as next_daemon:
        again = next_daemon.client()
        assert result(again, id) == ("success", "finished")
        again.close()


def test_a_shutdown_with_workers_ends_the_hosts_too(daemon: Daemon, client: Client, place: Place) -> None:
    """One that ends earlier is not started again while the others still end."""
    names = [f"w{number}" for number in range(4)]
    for name in names:
        add_shell(client, name, grace_secs=1 if name == "w0" else 0)
    slow = send(client, FOREVER, {"worker": "w0"})
    wait(client, slow, until="started")
    for name in names[1:]:
        wait_worker(client, "ready", name)
    client.call("omkd.shutdown", workers=True)
    assert daemon.process.wait(DEADLINE_S) == 0
    assert [host_pid(place, name) for name in names] == [0] * 4
    assert [each["failure"] for each in events_called(place, "WorkerExited")] == [False] * 4
    assert alive_with(f"XDG_STATE_HOME={place.environment['XDG_STATE_HOME']}") == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_and_sigterm_end_the_daemon_not_the_hosts(
    daemon: Daemon, client: Client, place: Place, number: signal.Signals
) -> None:
    add_shell(client)
    wait_worker(client, "ready")
    before = host_pid(place)
    assert daemon.stop(number) == 0
    assert host_pid(place) == before
    with running_daemon(place) as next_daemon:
        again = next_daemon.client()
        assert wait_worker(again, "ready")["pid"] == before
        again.close()


def test_a_closed_terminal_ends_the_daemon_not_the_hosts(place: Place) -> None:
    terminal = pexpect.spawn(sys.executable, ["-m", "omkd"], env=place.environment, timeout=DEADLINE_S)
    terminal.expect("is served on")
    client = Client(place.socket)
    add_shell(client)
    before = wait_worker(client, "ready")["pid"]
    client.close()
    terminal.ptyproc.fileobj.close()  # as the terminal is, not as pexpect does it, which sends signals
    wait_until(lambda: not terminal.isalive(), "omkd lives on without its terminal")
    assert terminal.exitstatus == 0
    assert host_pid(place) == before
    assert [each["reason"] for each in events_called(place, "DaemonStopped")] == ["SIGHUP"]


# --- a person ----------------------------------------------------------------------------------------------------


def test_what_needs_a_person_is_counted_until_it_is_acknowledged(client: Client) -> None:
    add_shell(client)
    failed = send(client, "exit 1")
    wait(client, failed)
    asked = client.call("event.publish", event={"PersonNeeded": {"text": "look at this"}})["seq"]
    assert client.call("omkd.status")["unacked"] == 2
    listed = client.call("escalation.list", unacked=True)["escalations"]
    assert isinstance(listed, list)
    assert listed[-1]["seq"] == asked
    assert listed[-1]["entry"]["summary"] == "look at this"
    client.call("escalation.ack", seqs=[each["seq"] for each in listed], note="seen")
    assert client.call("omkd.status")["unacked"] == 0
    assert client.call("escalation.list", unacked=True)["escalations"] == []
    assert refusal(client, "escalation.ack", seqs=[1])[0] == "refused"
    assert refusal(client, "escalation.ack", seqs=[99999])[0] == "not_found"
