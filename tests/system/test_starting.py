"""How the daemon starts and ends: locks, sockets, damage; each refusal says what is wrong and has its exit status."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from omkd.store.locks import lock_holder
from tests.kit import (
    Client,
    Daemon,
    Place,
    append,
    events_called,
    json_lines,
    running_daemon,
    serves,
    units,
    wait_until,
)


def run_omkd(place: Place, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "omkd", *arguments],
        env={**place.environment, **environment},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def segment(place: Place) -> Path:
    return sorted(place.session.events.glob("*.jsonl"))[-1]


def test_a_second_daemon_on_the_session_says_who_holds_it(daemon: Daemon) -> None:
    second = run_omkd(daemon.place, "--socket", str(daemon.place.root / "other.sock"))
    assert second.returncode == 6
    assert f"omkd.lock is held by pid {daemon.process.pid}" in second.stderr
    assert not (daemon.place.root / "other.sock").exists()
    assert daemon.client().call("omkd.hello")


def test_what_killed_runs_left_half_written_is_removed(place: Place) -> None:
    """A snapshot may have 240 MB, and each run that was killed in it left one."""
    session = place.session
    for directory in (session.path, session.events, session.older):
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        (directory / ".snapshot-7.json.0123abcd.tmp").write_bytes(b"{")
    (session.path / ".snapshot.tmp").write_bytes(b"somebody's")
    with running_daemon(place):
        assert [path.name for path in session.path.rglob(".*.tmp")] == [".snapshot.tmp"]


KILLED_WHILE_IT_FORKED = """
import os, sys
from pathlib import Path
from omkd.store.locks import take_lock
lock = take_lock(Path(sys.argv[1]))
if os.fork():
    os._exit(0)
sys.stdin.read()
"""


@contextmanager
def lock_of_a_dead_daemon(path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Held by its child, which has not executed yet, until stdin ends."""
    with subprocess.Popen([sys.executable, "-c", KILLED_WHILE_IT_FORKED, path], stdin=subprocess.PIPE) as process:
        assert process.wait(20) == 0
        yield process
        assert process.stdin is not None
        process.stdin.close()
        wait_until(lambda: lock_holder(path) is None, "the child stays")


def test_the_lock_of_a_daemon_that_was_killed_while_it_started_a_process_is_waited_for(place: Place) -> None:
    """Refused, exit status 6 would tell systemd to leave it at that."""
    with (
        lock_of_a_dead_daemon(place.session.lock) as dead,
        (place.root / "omkd.log").open("ab") as log,
        subprocess.Popen([sys.executable, "-m", "omkd"], env=place.environment, stderr=log) as process,
    ):
        wait_until(lambda: "which has ended: waiting" in (place.root / "omkd.log").read_text(), "it does not wait")
        assert process.poll() is None
        assert dead.stdin is not None
        dead.stdin.close()
        wait_until(lambda: serves(place, process.pid), "it does not serve")
        process.terminate()
        assert process.wait(20) == 0


def test_and_is_not_waited_for_for_ever(place: Place) -> None:
    with lock_of_a_dead_daemon(place.session.lock):
        refused = run_omkd(place)
    assert refused.returncode == 6
    assert "omkd.lock is held by pid" in refused.stderr


def test_a_second_daemon_on_the_socket_says_who_holds_it(daemon: Daemon) -> None:
    second = run_omkd(daemon.place, "--session", "two", "--socket", str(daemon.place.socket))
    assert second.returncode == 6
    assert f"t.sock.lock is held by pid {daemon.process.pid}" in second.stderr
    assert daemon.client().call("omkd.hello")["session"] == "t"


def test_a_socket_that_was_left_behind_is_taken_over(place: Place) -> None:
    with running_daemon(place) as daemon:
        daemon.kill()
    assert place.socket.exists()
    with running_daemon(place) as daemon:
        assert daemon.client().call("omkd.hello")
        assert daemon.stop() == 0
    assert not place.socket.exists()


def test_a_socket_that_another_made_since_is_left_alone_at_the_end(daemon: Daemon) -> None:
    daemon.place.socket.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(daemon.place.socket))
        assert daemon.stop() == 0
        assert daemon.place.socket.exists()


def test_without_a_runtime_directory_the_socket_is_in_the_session(place: Place) -> None:
    del place.environment["XDG_RUNTIME_DIR"]
    inside = place.session.path / "omkd.sock"
    process = subprocess.Popen([sys.executable, "-m", "omkd"], env=place.environment, stderr=subprocess.DEVNULL)
    try:
        wait_until(inside.exists, "there is no socket in the session's directory")
    finally:
        process.terminate()
        assert process.wait(20) == 0


def test_a_socket_path_that_is_too_long_is_refused(place: Place) -> None:
    long = place.root / ("x" * 100) / "omkd.sock"
    ended = run_omkd(place, "--socket", str(long))
    assert ended.returncode == 2
    assert str(long) in ended.stderr
    assert "at most 107" in ended.stderr
    assert "--socket" in ended.stderr
    assert not place.session.path.exists()


@pytest.mark.parametrize("name", ["../x", "", "a/b", ".hidden", "x" * 65, "ä"])
def test_a_bad_session_name_is_refused(place: Place, name: str) -> None:
    ended = run_omkd(place, "--session", name)
    assert (ended.returncode, "bad session name" in ended.stderr) == (2, True)


def test_a_state_directory_that_cannot_be_made_is_named(place: Place) -> None:
    (place.root / "file").write_text("")
    ended = run_omkd(place, "--state-dir", str(place.root / "file" / "sessions"))
    assert ended.returncode == 78
    assert str(place.root / "file") in ended.stderr
    assert "Traceback" not in ended.stderr


READ_ONLY = 'mount -t tmpfs -o ro none "$1" && exec "$2" -m omkd --state-dir "$1/sessions"'


def may_mount() -> bool:
    tried = subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False)
    return tried.returncode == 0


@pytest.mark.skipif(not may_mount(), reason="no mounts in a namespace of one's own here")
def test_a_state_directory_that_may_not_be_written_is_named(place: Place) -> None:
    readonly = place.root / "ro"
    readonly.mkdir()
    ended = subprocess.run(
        ["unshare", "-rm", "sh", "-c", READ_ONLY, "sh", str(readonly), sys.executable],
        env=place.environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ended.returncode == 78
    assert f"Read-only file system: '{readonly}" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_symlink_in_place_of_the_session_is_refused(place: Place) -> None:
    elsewhere = place.root / "elsewhere"
    elsewhere.mkdir()
    place.session.path.parent.mkdir(parents=True)
    place.session.path.symlink_to(elsewhere)
    ended = run_omkd(place)
    assert ended.returncode == 78
    assert "symlink" in ended.stderr
    assert list(elsewhere.iterdir()) == []


def test_a_torn_end_is_moved_aside_and_said(place: Place) -> None:
    with running_daemon(place) as daemon:
        seq = daemon.client().call("event.publish", event={"DisclosureLine": "kept"})["seq"]
        daemon.kill()
    append(segment(place), b'{"seq":%d,"ts":"2026' % (int(str(seq)) + 1))
    with running_daemon(place) as daemon:
        kept: Any = daemon.client().call("event.list", after=int(str(seq)) - 1)["units"]
        assert kept[0]["events"] == [{"DisclosureLine": "kept"}]
        assert kept[1]["seq"] == int(str(seq)) + 1
        assert "torn" in daemon.log.read_text()
    torn = segment(place).with_suffix(".jsonl.torn")
    assert torn.read_bytes().startswith(b'{"seq"')


def test_damage_is_refused_until_it_is_repaired(place: Place) -> None:
    with running_daemon(place) as daemon:
        client = daemon.client()
        for number in range(20):
            client.call("event.publish", event={"DisclosureLine": f"line {number}"})
        daemon.kill()
    content = segment(place).read_bytes()
    damaged = content.replace(b"line 5", b"line\xff5")
    segment(place).write_bytes(damaged)

    ended = run_omkd(place)
    assert ended.returncode == 78
    assert str(segment(place)) in ended.stderr
    assert str(content.rindex(b"\n", 0, content.index(b"line 5")) + 1) in ended.stderr
    assert "omkd repair" in ended.stderr
    assert segment(place).read_bytes() == damaged

    assert run_omkd(place, "repair").returncode == 0
    with running_daemon(place) as daemon:
        client = daemon.client()
        seq = client.call("event.publish", event={"DisclosureLine": "after"})["seq"]
        assert int(str(seq)) > 21
    assert len(events_called(place, "LogDamaged")) == 1
    assert run_omkd(place, "repair").stdout == "nothing is damaged\n"


def test_a_log_of_a_newer_omkd_is_not_touched(place: Place) -> None:
    with running_daemon(place) as daemon:
        daemon.stop()
    last = json_lines(segment(place))[-1]
    newer = {**last, "seq": last["seq"] + 1, "events": [{"NotYetInvented": {}}]}
    append(segment(place), newer)
    content = segment(place).read_bytes()
    for arguments in ((), ("repair",)):
        ended = run_omkd(place, *arguments)
        assert (ended.returncode, "NotYetInvented" in ended.stderr) == (7, True), ended.stderr
    assert segment(place).read_bytes() == content


def test_repair_and_verify_of_a_session_that_is_not_there(place: Place) -> None:
    for verb in ("repair", "verify"):
        ended = run_omkd(place, verb)
        assert (ended.returncode, str(place.session.path) in ended.stderr) == (3, True)


def test_repair_is_refused_while_a_daemon_serves(daemon: Daemon) -> None:
    ended = run_omkd(daemon.place, "repair")
    assert (ended.returncode, f"pid {daemon.process.pid}" in ended.stderr) == (6, True)


def test_a_start_says_whether_the_run_before_ended_cleanly(place: Place) -> None:
    for stop in (signal.SIGTERM, signal.SIGKILL, signal.SIGINT):
        with running_daemon(place) as daemon:
            daemon.client().call("omkd.hello")
            daemon.stop(stop)
    with running_daemon(place) as daemon:
        daemon.client().call("omkd.shutdown")
        assert daemon.process.wait(20) == 0
    assert [each["clean"] for each in events_called(place, "DaemonStarted")] == [True, True, False, True]
    reasons = [each["reason"] for each in events_called(place, "DaemonStopped")]
    assert reasons == ["SIGTERM", "SIGINT", "omkd.shutdown"]


def test_a_start_that_is_refused_leaves_no_trace_in_the_log(place: Place) -> None:
    with running_daemon(place) as daemon:
        refused = run_omkd(place, "--session", "two", "--socket", str(place.socket))
        assert refused.returncode == 6
        daemon.stop()
    with running_daemon(Place(place.root, "two")) as daemon:
        daemon.stop()
    assert [each["clean"] for each in events_called(Place(place.root, "two"), "DaemonStarted")] == [True]


def test_an_end_during_traffic_loses_nothing_that_was_answered(place: Place) -> None:
    answered: list[list[str]] = [[] for _ in range(4)]

    def work(mine: list[str]) -> None:
        client = Client(place.socket)
        try:
            while True:
                mine.append(str(client.call("task.send", target="any", task={"task": "x"})["id"]))
        except (EOFError, OSError):
            client.close()

    with running_daemon(place) as daemon:
        threads = [threading.Thread(target=work, args=(mine,)) for mine in answered]
        for thread in threads:
            thread.start()
        wait_until(lambda: all(len(mine) > 50 for mine in answered), "too slow")
        assert daemon.stop() == 0
        for thread in threads:
            thread.join(20)
    queued = {each["task_id"] for each in events_called(place, "TaskQueued")}
    ids = [task_id for mine in answered for task_id in mine]
    assert len(set(ids)) == len(ids)
    assert set(ids) <= queued
    last = units(place)[-1]
    assert last["events"] == [{"DaemonStopped": {"reason": "SIGTERM"}}]


def test_what_waits_when_the_daemon_ends_is_told_by_the_end_of_the_connection(daemon: Daemon, client: Client) -> None:
    task = client.call("task.send", target="any", task={"task": "x"})
    waits = {"jsonrpc": "2.0", "id": 9, "method": "task.wait", "params": {"ids": [task["id"]]}}
    client.send_line(json.dumps(waits).encode())
    client.call("omkd.hello")
    assert daemon.stop() == 0
    with pytest.raises((EOFError, ConnectionResetError)):
        client.read_line()


def test_the_environment_of_the_daemon_decides_where_things_are(place: Place) -> None:
    with running_daemon(place) as daemon:
        hello = daemon.client().call("omkd.hello")
        assert (hello["session"], hello["session_dir"]) == ("t", str(place.session.path))
        assert hello["pid"] == daemon.process.pid
    version = run_omkd(place, "--version").stdout
    assert str(hello["omkd"]) in version
    assert os.path.isdir(place.session.events)


@pytest.mark.parametrize("loss", ["removed", "emptied", "overwritten"])
def test_a_session_whose_log_is_gone_is_not_begun_anew(place: Place, loss: str) -> None:
    """Numbers that were shown would be given again."""
    with running_daemon(place) as daemon:
        client = daemon.client()
        client.call("event.publish", event={"PersonNeeded": {"text": "look"}})
        wait_until(place.session.escalations.exists, "no escalation")
        client.call("escalation.rotate")
        daemon.kill()
    for snapshot in place.session.path.glob("snapshot-*"):
        snapshot.unlink()
    if loss == "removed":
        shutil.rmtree(place.session.events)
    else:
        segment(place).write_bytes(b"" if loss == "emptied" else b"no unit\n" * 50)
    verified = run_omkd(place, "verify")
    assert (verified.returncode, "restore" in verified.stdout) == (1, True)
    for _ in range(2):
        ended = run_omkd(place)
        assert ended.returncode == 78
        assert "the event log is gone" in ended.stderr
        assert f"remove {place.session.escalations_pos}" in ended.stderr
    place.session.escalations_pos.unlink()
    with running_daemon(place) as daemon:
        assert daemon.client().call("task.list")["tasks"] == []
