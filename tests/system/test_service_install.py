"""`omkctl service …` on a real `systemd --user`: from nothing to a running service, and away again."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from omkctl import doctor_service
from omkctl.doctor_facts import Facts, Surroundings, gather
from omkctl.locate import address_for
from omkctl.service_manager import own_name
from tests.kit import Client, running_daemon
from tests.system.systemd_kit import Manager, Service, running_manager, why_not

DEADLINE_S = 90
pytestmark = pytest.mark.systemd

Omkctl = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def bare_manager() -> Iterator[Manager]:
    """Without any unit of omkd's."""
    if (reason := why_not()) is not None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"in CI this must run: {reason}")
        pytest.skip(reason)
    with tempfile.TemporaryDirectory(prefix="omk-") as root, running_manager(Path(root)) as manager:
        yield manager


@pytest.fixture
def service(bare_manager: Manager, request: pytest.FixtureRequest) -> Iterator[Service]:
    """A session of its own for each test, with no unit installed."""
    shutil.rmtree(units_of(bare_manager), ignore_errors=True)
    bare_manager.systemctl("daemon-reload")
    with bare_manager.service(f"i{abs(hash(request.node.name)) % 10**8}") as service:
        yield service


@pytest.fixture
def omkctl(service: Service) -> Omkctl:
    """Types `omkctl …` for the session, as its user."""

    def run(*arguments: str, status: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "omkctl", *arguments],
            env={**service.manager.environment, "OMK_SESSION": service.place.name, **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        assert done.returncode == status, done
        return done

    return run


def units_of(manager: Manager) -> Path:
    return manager.root / "config" / "systemd" / "user"


def files_in(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if not path.is_dir())


def test_one_command_from_nothing_to_a_running_service(service: Service, omkctl: Omkctl) -> None:
    units = units_of(service.manager)
    said = omkctl("service", "install", "--now").stdout.splitlines()
    assert said == [
        f"wrote {units}/omkd@.service",
        f"wrote {units}/omkd@.socket",
        "systemd read the units again",
        f"enabled {service.unit}: it starts when you log in",
        f"started {service.unit}: it serves",
    ]
    client = service.client()
    assert client.call("omkd.status")["pid"] == service.pid
    client.close()
    assert (service.show("ActiveState"), service.show("UnitFileState")) == ("active", "enabled")


def test_a_second_install_finds_nothing_to_do(service: Service, omkctl: Omkctl) -> None:
    omkctl("service", "install", "--now")
    pid = service.pid
    assert omkctl("service", "install", "--now").stdout == "nothing to do\n"
    assert service.pid == pid


def test_another_path_is_taken_by_a_restart_and_agents_at_work_go_on(service: Service, omkctl: Omkctl) -> None:
    omkctl("service", "install", "--now")
    omkctl("worker", "add", "w", "--", "sh", "-c", "sleep 2; echo did it")
    task = omkctl("send-task", "w", "x", "--wait", "started", "--print-id").stdout.strip()
    before = service.pid
    longer = f'/nowhere/100% "a" b:{service.manager.environment["PATH"]}'
    said = omkctl("service", "install", "--now", PATH=longer).stdout
    assert f"restarted {service.unit}" in said
    assert service.pid != before
    environ = Path(f"/proc/{service.pid}/environ").read_bytes().split(b"\0")
    assert [each for each in environ if each.startswith(b'PATH=/nowhere/100% "a" b:')] != []
    assert omkctl("wait", task).returncode == 0
    assert json.loads(omkctl("show", task, "--json").stdout)["handout"] == 1


def test_without_now_it_is_enabled_and_how_to_start_it_is_said(service: Service, omkctl: Omkctl) -> None:
    done = omkctl("service", "install")
    assert service.show("ActiveState") == "inactive"
    assert f"it is not started: systemctl --user start {service.unit}" in done.stderr
    assert f"  start     systemctl --user start {service.unit}\n" in omkctl("service", "status", status=1).stdout
    service.start()
    assert "active (running" in omkctl("service", "status").stdout


def test_without_now_a_socket_activated_one_is_started_by_its_socket(service: Service, omkctl: Omkctl) -> None:
    """It named the service: started so, it makes a socket of its own, and systemd holds none."""
    done = omkctl("service", "install", "--socket-activated")
    socket = service.unit.replace(".service", ".socket")
    assert f"it is not started: systemctl --user start {socket}\n" in done.stderr
    service.manager.systemctl("start", socket)
    assert "not started" not in omkctl("service", "install", "--socket-activated").stderr
    omkctl("status")
    assert service.show("ActiveState") == "active"


def test_a_dry_run_says_all_and_does_nothing(service: Service, omkctl: Omkctl) -> None:
    said = omkctl("service", "install", "--now", "--dry-run").stdout.splitlines()
    assert [line.split()[:2] for line in said] == [
        ["would", word] for word in ("write", "write", "let", "enable", "start")
    ]
    assert not units_of(service.manager).exists()
    omkctl("service", "install", "--now")
    pid = service.pid
    shown = json.loads(omkctl("service", "uninstall", "--dry-run", "--json").stdout)
    assert (shown["unit"], shown["dry_run"], len(shown["steps"])) == (service.unit, True, 5)
    assert service.pid == pid


def test_systemd_can_hold_the_socket_and_give_it_back(service: Service, omkctl: Omkctl) -> None:
    omkctl("service", "install", "--now")
    said = omkctl("service", "install", "--now", "--socket-activated").stdout
    assert said.splitlines() == [
        f"enabled {service.socket_unit}: it starts when you log in",
        f"stopped {service.unit}; agents at work go on",
        f"started {service.socket_unit}",
        f"started {service.unit}: it serves",
    ]
    service.manager.systemctl("stop", service.unit)
    client = service.client()
    assert client.call("omkd.status")["socket"] == str(service.place.socket)
    client.close()
    assert omkctl("service", "install", "--now", "--socket-activated").stdout == "nothing to do\n"
    omkctl("service", "install", "--now")
    assert service.manager.try_systemctl("is-active", service.socket_unit).returncode != 0
    assert json.loads(omkctl("status", "--json").stdout)["pid"] == service.pid


def test_uninstall_leaves_the_session_and_nothing_else(service: Service, omkctl: Omkctl) -> None:
    omkctl("service", "install", "--now", "--socket-activated")
    done = omkctl("service", "uninstall")
    assert f"the session stays, in {service.place.session.path}" in done.stderr
    assert service.place.session.events.is_dir()
    assert files_in(units_of(service.manager)) == []
    assert (service.show("LoadState"), service.place.socket.exists()) == ("not-found", False)
    assert omkctl("service", "uninstall").stdout == "nothing to do\n"
    omkctl("service", "status", status=3)


def test_the_units_stay_as_long_as_another_session_has_them(service: Service, omkctl: Omkctl) -> None:
    other = f"{service.place.name}-other"
    omkctl("service", "install", "--now")
    omkctl("service", "install", "--session", other)
    omkctl("service", "uninstall")
    assert (units_of(service.manager) / "omkd@.service").exists()
    omkctl("service", "uninstall", "--session", other)
    assert files_in(units_of(service.manager)) == []


def test_what_a_person_wrote_is_not_overwritten(service: Service, omkctl: Omkctl) -> None:
    unit = units_of(service.manager) / "omkd@.service"
    unit.parent.mkdir(parents=True)
    unit.write_text("[Service]\nExecStart=/bin/true\n")
    assert f"{unit} was not written by omkctl" in omkctl("service", "install", status=6).stderr
    assert unit.read_text() == "[Service]\nExecStart=/bin/true\n"
    omkctl("service", "uninstall")
    assert unit.exists()


def test_a_daemon_that_was_started_by_hand_is_not_fought(service: Service, omkctl: Omkctl) -> None:
    service.place.environment.update(service.manager.environment)
    with running_daemon(service.place) as daemon:
        said = omkctl("service", "install", "--now", status=6).stderr
        assert f"is served by omkd, pid {daemon.process.pid}, which is not the service" in said
    assert not units_of(service.manager).exists()


def test_a_start_that_fails_says_where_to_look(service: Service, omkctl: Omkctl) -> None:
    service.config.parent.mkdir(parents=True, exist_ok=True)
    service.config.write_text("log_levl = 3\n")
    said = omkctl("service", "install", "--now", status=1).stderr
    assert f"see omkctl --session {service.place.name} service logs" in said
    status = json.loads(omkctl("service", "status", "--json", status=1).stdout)
    assert (status["active"], status["exit_status"]) == ("failed", 78)
    ended = "  ended     exit-code, exit status 78: the log is damaged, or the configuration or a path cannot be used"
    assert f"{ended}; see omkctl doctor\n" in omkctl("service", "status", status=1).stdout
    found = json.loads(omkctl("doctor", "--json", status=1).stdout)["findings"]
    assert {"daemon", "config"} <= {each["check"] for each in found}
    assert any("has failed with exit status 78" in each["what"] for each in found)
    service.config.unlink()
    omkctl("service", "install", "--now")


def test_status_says_what_the_daemon_says(service: Service, omkctl: Omkctl) -> None:
    omkctl("service", "install", "--now")
    service.wait_for("StatusText", "0 workers, 0 running, 0 queued")
    status = json.loads(omkctl("service", "status", "--json").stdout)
    assert (status["pid"], status["says"]) == (service.pid, "0 workers, 0 running, 0 queued")
    assert (status["enabled"], status["socket"]) == (True, "inactive")


def test_without_a_systemd_of_the_user_it_says_what_to_do(service: Service, omkctl: Omkctl) -> None:
    said = omkctl("service", "install", status=1, XDG_RUNTIME_DIR=str(service.manager.root / "none")).stderr
    assert "no systemd of this user answers" in said
    assert "XDG_RUNTIME_DIR=/run/user/$(id -u)" in said


def facts_of(service: Service, linger_dir: Path) -> Facts:
    env = service.manager.environment
    address = address_for(env, session=service.place.name, socket=None, state_dir=None)
    return gather(address, "omkctl", Surroundings(env=env, linger_dir=linger_dir))


@pytest.fixture
def here(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """systemctl of this process speaks to the test's manager."""
    for name, value in service.manager.environment.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("here")
def test_doctor_finds_what_is_wrong_with_the_units(service: Service, omkctl: Omkctl, tmp_path: Path) -> None:
    """Put in: where systemd keeps who lingers."""
    omkctl("service", "install", "--now")
    facts = facts_of(service, tmp_path)
    (lingering,) = doctor_service.check_linger(facts)
    assert lingering.mend == "loginctl enable-linger"
    (tmp_path / own_name()).touch()
    assert list(doctor_service.check_linger(facts)) == list(doctor_service.check_units(facts)) == []
    unit = units_of(service.manager) / "omkd@.service"
    written = unit.read_text()
    for change, says in (
        (written.replace(sys.executable, "/gone/bin/python"), "starts /gone/bin/python, which is not there"),
        (written.replace("WatchdogSec=60", "WatchdogSec=9"), "is not as this omkctl would write it"),
        ("\n".join(line for line in written.splitlines() if "PATH=" not in line), "sets no PATH"),
    ):
        unit.write_text(change)
        service.manager.systemctl("daemon-reload")
        (found,) = doctor_service.check_units(facts_of(service, tmp_path))
        assert says in found.what
        assert found.mend == "omkctl service install --now"
        omkctl("service", "install", "--now")
        assert unit.read_text() == written
        assert list(doctor_service.check_units(facts_of(service, tmp_path))) == []
    elsewhere = replace(facts, around=Surroundings(env={**facts.around.env, "PATH": "/bin"}, linger_dir=tmp_path))
    assert list(doctor_service.check_units(elsewhere)) == []


def test_doctor_finds_an_agent_that_the_service_does_not_and_install_mends_it(service: Service, omkctl: Omkctl) -> None:
    agent = service.manager.root / "nvm" / "agent"
    agent.parent.mkdir(exist_ok=True)
    agent.write_text("#!/bin/sh\nexec cat\n")
    agent.chmod(0o755)
    short = service.manager.environment["PATH"]
    long = f"{agent.parent}:{short}"
    omkctl("service", "install", "--now", PATH=long)
    omkctl("worker", "add", "coder", "--", "agent")
    omkctl("service", "install", "--now", PATH=short)

    def found() -> list[dict[str, str]]:
        said = omkctl("doctor", "--json", status=1, PATH=long).stdout
        return [each for each in json.loads(said)["findings"] if each["check"] == "commands"]

    (finding,) = found()
    name = service.place.name
    install, restart = f"omkctl --session {name} service install --now", f"omkctl --session {name} worker restart coder"
    assert finding["mend"] == f"{install} && {restart}"
    done = subprocess.run(
        ["sh", "-c", finding["mend"]],
        env={**service.manager.environment, "PATH": f"{Path(sys.executable).parent}:{long}"},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, done
    client = Client(service.place.socket)
    (task,) = client.call(
        "task.wait",
        ids=[client.call("task.send", target={"worker": "coder"}, task={"task": "hello"})["id"]],
        timeout=30,
    )["tasks"]
    client.close()
    assert (task["state"], task["result"]["summary"]) == ("success", "hello")
