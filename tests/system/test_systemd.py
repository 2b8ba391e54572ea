"""The units in a real `systemd --user`: what systemd says of omkd is so, and what it does to omkd loses nothing."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from omkd.store.locks import lock_holder, take_lock
from tests.kit import Client, events_called, wait_until
from tests.system.systemd_kit import DEADLINE_S, UNITS, Manager, Service, running_manager, why_not


@pytest.fixture(scope="module")
def manager() -> Iterator[Manager]:
    if (reason := why_not()) is not None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"in CI this must run: {reason}")
        pytest.skip(reason)
    with tempfile.TemporaryDirectory(prefix="omk-") as root, running_manager(Path(root)) as manager:
        yield manager


@pytest.fixture
def service(manager: Manager, request: pytest.FixtureRequest) -> Iterator[Service]:
    """A session of its own for each test."""
    with manager.service(f"s{abs(hash(request.node.name)) % 10**8}") as service:
        yield service


@pytest.fixture
def config(service: Service) -> Iterator[Path]:
    """omkd.toml, gone again at the end."""
    service.config.parent.mkdir(parents=True, exist_ok=True)
    yield service.config
    service.config.unlink(missing_ok=True)


def send(client: Client, worker: str, text: str = "do it") -> str:
    return str(client.call("task.send", target={"worker": worker}, task={"task": text})["id"])


def add(client: Client, worker: str, script: str) -> None:
    client.call("worker.add", name=worker, role="r", runner={"command": ["sh", "-c", script]})


def wait_running(client: Client, task_id: str) -> None:
    client.call("task.wait", ids=[task_id], until="started", timeout=DEADLINE_S)


def result_of(client: Client, task_id: str) -> tuple[str, str]:
    (task,) = client.call("task.wait", ids=[task_id], timeout=DEADLINE_S)["tasks"]
    return task["state"], task["result"]["summary"]


@pytest.mark.systemd
def test_what_systemd_calls_started_serves(service: Service) -> None:
    service.start()
    client = service.client()
    assert client.call("omkd.status")["pid"] == service.pid
    client.close()
    assert (service.show("ActiveState"), service.show("StatusText")) == ("active", "0 workers, 0 running, 0 queued")


@pytest.mark.systemd
def test_what_a_start_again_would_not_change_is_not_started_again(service: Service) -> None:
    lock = take_lock(service.place.session.lock)
    try:
        assert service.manager.try_systemctl("start", service.unit).returncode != 0
    finally:
        lock.release()
    assert (service.show("ExecMainStatus"), service.show("NRestarts")) == ("6", "0")


@pytest.mark.systemd
def test_a_broken_configuration_is_not_started_again_either(service: Service, config: Path) -> None:
    config.write_text("log_levl = 3\n")
    assert service.manager.try_systemctl("start", service.unit).returncode != 0
    assert (service.show("ExecMainStatus"), service.show("NRestarts")) == ("78", "0")


@pytest.mark.systemd
def test_status_says_what_is_done_and_what_needs_a_person(service: Service) -> None:
    service.start()
    client = service.client()
    add(client, "w", "sleep 60")
    wait_running(client, send(client, "w"))
    send(client, "w")
    service.wait_for("StatusText", "1 worker, 1 running, 1 queued")
    client.call("event.publish", event={"PersonNeeded": {"text": "which port?"}})
    service.wait_for("StatusText", "1 worker, 1 running, 1 queued, 1 needs you")
    client.close()


LONG_LOG_UNITS = 100_000
"""A second of reading on a fast machine: enough to catch the daemon at it."""

START_LIMIT_S = 3


def write_log(service: Service, units: int) -> None:
    """A log of so many units that mean nothing."""
    session = service.place.session
    session.events.mkdir(parents=True, mode=0o700)
    line = (
        '{{"seq":{},"ts":"2026-11-20T15:15:00Z","by":{{"kind":"omkd"}},"synced":{},'
        '"events":[{{"DisclosureLine":"x"}}]}}\n'
    )
    with (session.events / f"{1:020}.jsonl").open("w") as file:
        file.writelines(line.format(seq, seq - 1) for seq in range(1, units + 1))


@pytest.fixture
def short_start(service: Service) -> Iterator[None]:
    """A start of this session may take three seconds, and what omkd asks for on top."""
    drop_in = service.manager.root / "config" / "systemd" / "user" / f"{service.unit}.d" / "start.conf"
    drop_in.parent.mkdir()
    drop_in.write_text(f"[Service]\nTimeoutStartSec={START_LIMIT_S}\n")
    service.manager.systemctl("daemon-reload")
    yield
    shutil.rmtree(drop_in.parent)
    service.manager.systemctl("daemon-reload")


@pytest.mark.systemd
@pytest.mark.usefixtures("short_start")
def test_a_start_that_reads_a_long_log_may_take_longer_than_its_limit(service: Service) -> None:
    """It is held up at that, so that the limit passes on a fast machine, too."""
    write_log(service, LONG_LOG_UNITS)
    service.manager.systemctl("start", "--no-block", service.unit)
    wait_until(lambda: service.show("StatusText").startswith("reads the log: "), "it does not ask for time", DEADLINE_S)
    pid = service.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        begun_s = int(service.show("ExecMainStartTimestampMonotonic")) / 1_000_000
        passed = begun_s + START_LIMIT_S + 1
        wait_until(lambda: time.monotonic() > passed, "the clock stands", DEADLINE_S)
        assert service.show("ActiveState") == "activating"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
    service.wait_for("ActiveState", "active")
    assert (service.pid, service.show("NRestarts")) == (pid, "0")
    client = service.client()
    assert client.call("omkd.status")["seq"] > LONG_LOG_UNITS
    client.close()


@pytest.mark.systemd
def test_the_first_client_of_the_socket_starts_omkd_and_is_answered(service: Service) -> None:
    service.manager.systemctl("start", service.socket_unit)
    assert service.show("ActiveState") == "inactive"
    for _ in range(2):
        client = service.client()
        assert client.call("omkd.status")["socket"] == str(service.place.socket)
        client.close()
        assert service.show("ActiveState") == "active"
        service.manager.systemctl("stop", service.unit)
        assert service.place.socket.is_socket()
    mode = service.place.socket.stat().st_mode & 0o777, service.place.socket.parent.stat().st_mode & 0o777
    assert mode == (0o600, 0o700)


@pytest.mark.systemd
def test_a_client_that_comes_during_a_restart_waits_and_is_answered(service: Service) -> None:
    service.manager.systemctl("start", service.socket_unit, service.unit)
    before = service.pid
    os.kill(before, signal.SIGKILL)
    client = service.client()
    assert client.call("omkd.status")["pid"] != before
    client.close()


@pytest.mark.systemd
def test_hosts_and_agents_do_not_hear_of_systemd(service: Service) -> None:
    service.manager.systemctl("start", service.socket_unit)
    client = service.client()
    add(client, "w", "env | grep -cE '^(NOTIFY_SOCKET|LISTEN_|WATCHDOG_)'; ls -l /proc/self/fd | grep -c socket; true")
    assert result_of(client, send(client, "w")) == ("success", "0\n0")
    client.close()


@pytest.mark.systemd
def test_a_daemon_that_hangs_is_replaced_and_nothing_is_lost(service: Service) -> None:
    service.start()
    client = service.client()
    add(client, "w", "sleep 5; echo did it")
    running = send(client, "w")
    wait_running(client, running)
    queued = send(client, "w")
    os.kill(service.pid, signal.SIGSTOP)
    service.wait_for("NRestarts", "1")
    service.wait_for("ActiveState", "active")
    client.close()
    client = service.client()
    assert [result_of(client, each) for each in (running, queued)] == [("success", "did it")] * 2
    client.close()
    finished = [each["task_id"] for each in events_called(service.place, "TaskFinished")]
    assert finished == [running, queued]
    assert events_called(service.place, "TaskRequeued") == []


@pytest.mark.systemd
def test_the_result_of_a_task_that_ran_during_a_restart_arrives(service: Service) -> None:
    service.start()
    client = service.client()
    add(client, "w", "sleep 3; echo did it")
    task_id = send(client, "w")
    wait_running(client, task_id)
    client.close()
    before = service.pid
    service.manager.systemctl("restart", service.unit)
    assert service.pid != before
    client = service.client()
    assert result_of(client, task_id) == ("success", "did it")
    client.close()
    assert len(events_called(service.place, "TaskDispatched")) == 1


@pytest.mark.systemd
def test_a_stop_leaves_the_agents_at_work_and_says_so(service: Service) -> None:
    service.start()
    client = service.client()
    add(client, "w", "sleep 3; echo did it")
    task_id = send(client, "w")
    wait_running(client, task_id)
    client.close()
    worker = service.place.session.worker("w")
    service.manager.systemctl("stop", service.unit)
    assert service.show("ActiveState") == "inactive"
    assert service.show("StatusText") == "hosts and agents at work go on"
    assert lock_holder(worker.lock) is not None
    wait_until(lambda: worker.outbox.exists() and worker.outbox.read_bytes(), "the agent was ended")
    service.start()
    client = service.client()
    assert result_of(client, task_id) == ("success", "did it")
    client.close()


@pytest.mark.systemd
def test_a_reload_takes_the_whole_file_or_nothing(service: Service, config: Path) -> None:
    service.start()
    client = service.client()

    def max_restarts() -> object:
        options = client.call("omkd.config")["options"]
        assert isinstance(options, list)
        return next(each["value"] for each in options if each["name"] == "max_restarts")

    config.write_text("max_restarts = 2\n")
    service.manager.systemctl("reload", service.unit)
    wait_until(lambda: max_restarts() == 2, "SIGHUP reads no configuration")
    config.write_text("max_restarts = 3\nlook_secs = true\n")
    service.manager.systemctl("reload", service.unit)
    refusal = f"{config}:2: look_secs: it must be a whole number, it is true; nothing was changed"
    service.wait_for("StatusText", refusal)
    assert (max_restarts(), service.show("ActiveState"), service.show("NRestarts")) == (2, "active", "0")
    client.close()


@pytest.mark.systemd
def test_systemd_has_taken_over_what_the_unit_says(service: Service) -> None:
    service.start()
    shown = [service.show(name) for name in ("OOMPolicy", "KillMode", "Type", "RestartPreventExitStatus")]
    assert shown == ["continue", "process", "notify", "2 6 7 78"]


def test_the_docs_give_a_reason_for_each_directive() -> None:
    page = (UNITS.parent / "docs" / "operations.md").read_text()
    sections = (UNITS / "omkd@.service").read_text().partition("[Install]")[0]
    names = set(re.findall(r"^(\w+)=", sections, re.MULTILINE)) - {"Description", "ExecStart"}
    rows = "".join(line.split("|")[1] for line in page.splitlines() if line.startswith("| `"))
    assert {name for name in names if f"`{name}=" not in rows} == set()


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_has_no_complaint_about_the_units_together(tmp_path: Path) -> None:
    (tmp_path / ".local" / "bin").mkdir(parents=True)
    (tmp_path / ".local" / "bin" / "omkd").symlink_to(Path(sys.executable).parent / "omkd")
    (tmp_path / "run").mkdir(mode=0o700)
    units = [shutil.copy(unit, tmp_path) for unit in sorted(UNITS.iterdir())]
    done = subprocess.run(
        ["systemd-analyze", "--user", "--man=no", "verify", *units],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path / "run")},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert (len(units), done.returncode, done.stdout + done.stderr) == (2, 0, "")
