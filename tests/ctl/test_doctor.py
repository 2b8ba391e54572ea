"""Faults are planted in a real session; doctor names each, and the command that it gives mends it.

What cannot be planted for real is put in: where systemd keeps who lingers, and the hour.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from ctl_person import COMMAND, DEADLINE_S, Run, good

from omkctl import doctor_files, doctor_service
from omkctl.doctor_facts import Facts, Surroundings, gather
from omkctl.locate import address_for
from omkctl.service_manager import SHOWN, own_name
from omkctl.service_plan import Installed
from tests.kit import Client, Daemon, Place, running_daemon, wait_until

ROOT = Path(__file__).parent.parent.parent
BIN = Path(sys.executable).parent
HOLD = """
import sys
from pathlib import Path
from omkd.store.locks import take_lock
lock = take_lock(Path(sys.argv[1]))
print("held", flush=True)
sys.stdin.read()
"""

Findings = list[dict[str, str]]
Doctor = Callable[..., Findings]


@pytest.fixture
def doctor(person: Run) -> Doctor:
    """What `omkctl doctor --json` finds; of one check, if it is named."""

    def run(check: str | None = None, **env: str) -> Findings:
        ended = person("doctor", "--json", **env)
        said = json.loads(ended.out)
        assert (ended.status == 0) is said["well"] is (said["findings"] == [])
        return [finding for finding in said["findings"] if check in (None, finding["check"])]

    return run


def mend(place: Place, command: str, **env: str) -> None:
    path = f"{BIN}:{place.environment['PATH']}"
    done = subprocess.run(
        ["sh", "-c", command],
        env={**place.environment, "PATH": path, **env},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, (command, done.stderr)


@contextmanager
def holding(path: Path, text: str | None = None) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the lock `path`, and is no omkd; `text` stands in the file instead of who it is."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        if text is not None:
            path.write_text(text)
        yield process
    finally:
        process.kill()
        process.communicate()


def test_where_nothing_is_wrong_it_says_so(wc: str, doctor: Doctor, person: Run) -> None:
    assert wc
    assert doctor() == []
    said = good(person("doctor"))
    assert "ok  socket: " in said
    assert "!!" not in said


def test_without_a_daemon_it_says_how_to_start_one(doctor: Doctor, place: Place, person: Run) -> None:
    (found,) = doctor()
    assert (found["check"], found["mend"]) == ("daemon", "omkd --session t &")
    assert f"tried {place.socket} (No such file or directory)" in found["what"]
    said = person("doctor")
    assert (said.status, "--  workers: not without a daemon" in said.out) == (1, True)
    assert not place.session.path.exists()


def test_a_daemon_of_another_socket_is_started_there(place: Place, person: Run) -> None:
    elsewhere = place.root / "else where.sock"
    for told in (["--socket", str(elsewhere)], []):
        env = {} if told else {"OMKD_SOCKET": str(elsewhere)}
        found = json.loads(person("doctor", "--json", *told, **env).out)["findings"]
        assert found[0]["mend"] == f"omkd --session t --socket '{elsewhere}' &"


# --- the ten faults ----------------------------------------------------------------------------------------------


def test_a_wrong_mode(daemon: Daemon, place: Place, doctor: Doctor) -> None:
    assert daemon.process.poll() is None
    place.socket.chmod(0o666)
    place.socket.parent.chmod(0o755)
    place.session.events.chmod(0o750)
    found = doctor()
    assert [each["check"] for each in found] == ["socket", "socket", "modes"]
    assert f"the socket {place.socket} has mode 666, it must be 600" in found[1]["what"]
    assert f"others can get at {place.session.events} (mode 750)" in found[2]["what"]
    for each in found:
        mend(place, each["mend"])
    assert doctor() == []


def test_a_lock_that_another_process_holds(place: Place, doctor: Doctor) -> None:
    place.session.path.mkdir(parents=True, mode=0o700)
    with holding(place.session.lock) as process:
        (found,) = doctor()
        assert (found["check"], found["mend"]) == ("locks", f"kill {process.pid}")
        assert f"{place.session.lock} is held by pid {process.pid} ({sys.executable}" in found["what"]
        mend(place, found["mend"])
        process.wait(DEADLINE_S)
    with running_daemon(place):
        assert doctor() == []


def test_a_lock_whose_text_does_not_say_who_holds_it(place: Place, doctor: Doctor) -> None:
    place.session.path.mkdir(parents=True, mode=0o700)
    with holding(place.session.lock, text="{}") as process:
        (found,) = doctor("locks")
        assert found["mend"] == f"kill {process.pid}"


def may_mount() -> bool:
    tried = subprocess.run(["unshare", "-rm", "mount", "-t", "tmpfs", "none", "/mnt"], capture_output=True, check=False)
    return tried.returncode == 0


@pytest.mark.skipif(not may_mount(), reason="needs a mount namespace of its own, for a small tmpfs")
def test_a_full_disk(place: Place) -> None:
    session = place.session.path
    script = f"""
        mkdir -m 700 {place.root}/s && mount -t tmpfs -o size=300m,mode=700 none {place.root}/s || exit 1
        umask 077; mkdir -p {session}/removed && fallocate -l 100M {session}/removed/output || exit 1
        found=$("$0" -m omkctl doctor --json); echo "$found"
        sh -c "$(echo "$found" | "$0" -c "{PRINT_MEND}")" && "$0" -m omkctl doctor --json; true
    """
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script, sys.executable],
        env=place.environment,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=True,
    )
    before, after = (
        [each for each in json.loads(line)["findings"] if each["check"] == "disk"] for line in done.stdout.splitlines()
    )
    assert [each["what"] for each in before] == [f"200 MiB are free for {session}, there should be 256"]
    assert after == []


PRINT_MEND = (
    "import json, sys; found = json.load(sys.stdin)['findings']; "
    "print(next(each['mend'] for each in found if each['check'] == 'disk'))"
)


def script_at(path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text("#!/bin/sh\nexec cat\n")
    path.chmod(0o755)
    return path


def test_a_command_that_is_not_there_any_more(daemon: Daemon, place: Place, person: Run, doctor: Doctor) -> None:
    assert daemon.process.poll() is None
    agent = script_at(place.root / "bin" / "agent")
    good(person("worker", "add", "coder", "--", str(agent)))
    assert doctor() == []
    agent.unlink()
    (found,) = doctor()
    assert (found["check"], found["what"]) == ("commands", f"worker coder: there is no command {agent}")
    command = found["mend"].removeprefix("install it, or: ")
    mend(place, command.replace("COMMAND", "cat"))
    assert doctor() == []


@pytest.mark.usefixtures("daemon")
def test_a_project_that_is_not_there_any_more(place: Place, person: Run, doctor: Doctor) -> None:
    project = place.root / "my project"
    project.mkdir()
    good(person("worker", "add", "coder", "--project-dir", str(project), "--", "cat"))
    assert doctor() == []
    project.rmdir()
    (found,) = doctor()
    assert (found["check"], found["what"]) == ("commands", f"worker coder works in {project}, which is not there")
    mend(place, found["mend"])
    assert doctor() == []
    project.rmdir()
    project.touch()
    (found,) = doctor()
    assert "which cannot be entered: [Errno 20] Not a directory" in found["what"]
    mend(place, found["mend"])  # shows each part of the path, with its owner and mode


def test_a_path_of_the_daemon_without_the_agent(place: Place, person: Run, doctor: Doctor) -> None:
    agent = script_at(place.root / "nvm" / "agent")
    short = place.environment["PATH"]
    long = f"{agent.parent}:{short}"
    place.environment["PATH"] = long
    with running_daemon(place, environ_shows=True) as first:
        good(person("worker", "add", "coder", "--", "agent"))
        assert doctor() == []
        first.stop()
    place.environment["PATH"] = short
    with running_daemon(place, environ_shows=True):
        (found,) = doctor(PATH=long)
        assert found["check"] == "commands"
        assert "agent is not on the daemon's PATH" in found["what"]
        assert f"here it is {agent}" in found["what"]
        mend(place, found["mend"])
        assert doctor(PATH=long) == []
        assert "hello" in good(person("send-task", "coder", "hello", "--wait"))


def test_a_host_that_has_an_older_path_than_the_daemon(place: Place, person: Run, doctor: Doctor) -> None:
    agent = script_at(place.root / "nvm" / "agent")
    with running_daemon(place, environ_shows=True) as first:
        good(person("worker", "add", "coder", "--", "cat"))
        first.stop()
    place.environment["PATH"] += f":{agent.parent}"
    with running_daemon(place, environ_shows=True):
        good(person("worker", "update", "coder", "--", "agent"))
        (found,) = doctor()
        assert found["mend"] == "omkctl --session t worker restart coder"
        mend(place, found["mend"])
        wait_until(lambda: doctor() == [], "a restart does not mend it")


def test_a_foreign_socket(place: Place, doctor: Doctor) -> None:
    place.socket.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as foreign:
        foreign.bind(str(place.socket))
        place.socket.chmod(0o600)
        foreign.listen()
        foreign.settimeout(0)
        hang_up = subprocess.Popen(
            [sys.executable, "-c", HANG_UP, str(foreign.fileno())], pass_fds=[foreign.fileno()], stdin=subprocess.PIPE
        )
        try:
            (found,) = doctor("socket")
            assert f"the socket {place.socket} is foreign: what listens there is no omkd" in found["what"]
            mend(place, found["mend"])
            assert doctor("socket") == []
        finally:
            hang_up.kill()
            hang_up.communicate()
    with running_daemon(place):
        assert doctor() == []


HANG_UP = """
import socket, sys
listener = socket.socket(fileno=int(sys.argv[1]))
listener.settimeout(None)
while True:
    client, _ = listener.accept()
    client.sendall(b"220 mail.example ESMTP\\n")
    client.close()
"""


def test_a_file_in_place_of_the_socket(place: Place, doctor: Doctor) -> None:
    place.socket.parent.mkdir(mode=0o700)
    place.socket.mkdir()
    (found,) = doctor("socket")
    assert f"{place.socket} is no socket" in found["what"]
    mend(place, found["mend"])
    assert doctor("socket") == []


def test_an_old_client(daemon: Daemon, place: Place, tmp_path: Path) -> None:
    """The packages of an earlier release, beside those of the daemon."""
    assert daemon.process.poll() is None
    for package in ("omkd", "omkctl"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    version = tmp_path / "omkd" / "protocol" / "version.py"
    version.write_text(re.sub(r'__version__ = "[^"]*"', '__version__ = "0.0.1"', version.read_text()))
    old = subprocess.run(
        [*COMMAND, "doctor", "--json"],
        env={**place.environment, "PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    (found,) = [each for each in json.loads(old.stdout)["findings"] if each["check"] == "versions"]
    assert found["what"].startswith("this omkctl is 0.0.1 (protocol ")
    assert found["mend"] == f"{BIN}/omkctl --session t doctor"
    mend(place, found["mend"])


def test_a_damaged_segment(place: Place, doctor: Doctor) -> None:
    with running_daemon(place) as daemon:
        client = Client(place.socket)
        for _ in range(5):
            client.call("task.send", target="any", task={"task": "x"})
        client.close()
        daemon.kill()
    for snapshot in place.session.path.glob("snapshot*"):
        snapshot.unlink()
    (segment,) = place.session.events.glob("*.jsonl")
    content = bytearray(segment.read_bytes())
    content[content.index(b"\n") + 2] ^= 0x55
    segment.write_bytes(content)
    (found,) = doctor("log")
    assert f"sequence: {segment}: damaged at byte" in found["what"]
    mend(place, found["mend"])
    assert doctor("log") == []
    with running_daemon(place):
        assert doctor() == []


def test_a_dead_worker(place: Place, person: Run, doctor: Doctor) -> None:
    config = place.root / ".config" / "omk" / "omkd.toml"
    config.parent.mkdir(parents=True)
    config.write_text("max_restarts = 0\n")
    with running_daemon(place):
        good(person("worker", "add", "coder", "--", "cat"))
        wait_until(lambda: state_of(person, "coder") == "ready", "no host")
        pid = json.loads(good(person("worker", "show", "coder", "--json")))["pid"]
        os.kill(pid, 9)
        wait_until(lambda: state_of(person, "coder") == "dead", "its host is started again")
        (found,) = doctor()
        assert (found["check"], found["mend"]) == ("workers", "omkctl --session t worker restart coder")
        assert found["what"].startswith("worker coder is dead: its host ended too often")
        assert (person("health").status, "worker coder was given up" in person("health").out) == (1, True)
        mend(place, found["mend"])
        wait_until(lambda: state_of(person, "coder") == "ready", "a restart does not mend it")
        assert doctor() == []


def state_of(person: Run, name: str) -> Any:
    return json.loads(good(person("worker", "show", name, "--json")))["state"]


def test_lingering_that_is_off(place: Place, tmp_path: Path) -> None:
    """Put in: an enabled unit, and where systemd keeps who lingers. The mend is what loginctl does there."""
    enabled = {**dict.fromkeys(SHOWN, ""), "LoadState": "loaded", "UnitFileState": "enabled"}
    installed = Installed(directory=tmp_path, session="t", service=enabled, socket=dict.fromkeys(SHOWN, ""))
    facts = replace(facts_of(place), installed=installed, around=Surroundings(env=os.environ, linger_dir=tmp_path))
    (found,) = doctor_service.check_linger(facts)
    assert found.what.startswith(f"lingering is off for {own_name()}")
    assert found.mend == "loginctl enable-linger"
    (tmp_path / own_name()).touch()
    assert list(doctor_service.check_linger(facts)) == []


# --- and others --------------------------------------------------------------------------------------------------


def facts_of(place: Place) -> Facts:
    address = address_for(place.environment, session=place.name, socket=None, state_dir=None)
    return gather(address, "omkctl", Surroundings(env=place.environment))


def test_a_log_of_the_future(daemon: Daemon, place: Place) -> None:
    assert daemon.process.poll() is None
    facts = facts_of(place)
    assert list(doctor_files.check_clock(facts)) == []
    yesterday = replace(facts, now=datetime.now(UTC) - timedelta(days=1))
    (found,) = doctor_files.check_clock(yesterday)
    assert re.search(r"in the future: the clock was, or is, wrong", found.what)


def test_a_configuration_with_which_the_daemon_would_not_start_again(
    daemon: Daemon, place: Place, doctor: Doctor
) -> None:
    assert daemon.process.poll() is None
    config = place.root / ".config" / "omk" / "omkd.toml"
    config.parent.mkdir(parents=True)
    config.write_text("\nlook_secs = true\n")
    (found,) = doctor()
    assert found["check"] == "config"
    assert f"{config}:2: look_secs: it must be a whole number" in found["what"]


def test_a_notice_that_reaches_nobody(place: Place, person: Run, doctor: Doctor) -> None:
    config = place.root / ".config" / "omk" / "omkd.toml"
    config.parent.mkdir(parents=True)
    config.write_text('[[notify]]\nname = "phone"\ncommand = ["false"]\nattempts = 1\n')
    with running_daemon(place):
        good(person("escalate", "which port?"))
        wait_until(lambda: doctor() != [], "nothing is found")
        (found,) = doctor()
        assert found["check"] == "notices"
        assert found["what"].startswith("notice phone failed: ")
        config.write_text('[[notify]]\nname = "phone"\ncommand = ["true"]\n')
        mend(place, found["mend"].partition(", then ")[2])
        wait_until(lambda: doctor() == [], "it is not mended")


def test_a_host_of_another_version(daemon: Daemon, place: Place, doctor: Doctor) -> None:
    assert daemon.process.poll() is None
    lock = place.session.workers / "old" / "worker.lock"
    lock.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
    with ExitStack() as stack:
        stack.enter_context(holding(lock))
        said = json.loads(lock.read_text())
        lock.write_text(json.dumps({**said, "version": "0.0.1"}))
        (found,) = doctor("versions")
        assert found["what"].startswith("the host of worker old is omk-worker 0.0.1")
        assert found["mend"] == "omkctl --session t worker restart --drain old"


def test_a_daemon_without_its_lock(daemon: Daemon, place: Place, doctor: Doctor) -> None:
    for lock in (place.session.lock, place.socket.with_name(f"{place.socket.name}.lock")):
        lock.unlink()
    (found,) = doctor("locks")
    assert f"omkd, pid {daemon.process.pid}, holds no lock" in found["what"]
