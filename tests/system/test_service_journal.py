"""`omkctl service logs` with a real journald: what the daemon logs under a real `systemd --user` is found again.

journald keeps its sockets in /run and its files in /var/log, so that it gets a mount namespace with its own of both.
It knows a user's unit by the cgroup, so that the manager is started where logind would put it.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.kit import wait_until
from tests.system.systemd_kit import DEADLINE_S, Manager, Service, running_manager, why_not

pytestmark = pytest.mark.systemd

JOURNALD = Path("/usr/lib/systemd/systemd-journald")
OWN_PLACES = """
    mount -t tmpfs -o mode=755 none /run && mkdir -p /run/systemd/system /run/systemd/journal &&
    mount -t tmpfs -o mode=755 none /var/log && mkdir /var/log/journal && exec "$0"
"""
SLICE = "user.slice"
MANAGERS_CGROUP = f"{SLICE}/user-{os.geteuid()}.slice/user@{os.geteuid()}.service"
IN_CGROUPS = 'until [ "$1" = -- ]; do echo $$ > "$1" || exit 1; shift; done; shift; exec "$@"'

Omkctl = Callable[..., str]


def why_no_journal() -> str | None:
    if (reason := why_not()) is not None:
        return reason
    if not JOURNALD.exists() or shutil.which("journalctl") is None:
        return f"needs journald: {JOURNALD} or journalctl is not there"
    if any((root / SLICE).exists() for root in hierarchies()):
        return "needs a machine whose own systemd has no users: theirs would be among ours"
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode != 0:
        return "needs a mount namespace of its own"
    return None


@contextmanager
def running_journald(log: Path) -> Iterator[list[str]]:
    """What is put in front of a command that is to find it; it listens when this is entered."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", OWN_PLACES, JOURNALD],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        listening = Path(f"/proc/{process.pid}/root/run/systemd/journal/stdout")
        wait_until(lambda: listening.exists() or process.poll() is not None, "journald does not listen")
        assert process.poll() is None, log.read_text()
        inside = ["nsenter", f"--target={process.pid}", "--mount", "--"]
        subprocess.run([*inside, "journalctl", "--flush"], check=True, timeout=DEADLINE_S)
        yield inside
    finally:
        process.terminate()
        process.wait(DEADLINE_S)


@contextmanager
def cgroups(name: str) -> Iterator[list[Path]]:
    """One in each hierarchy; gone at the end."""
    made = [root / name for root in hierarchies()]
    for each in made:
        each.mkdir(parents=True)
    try:
        yield made
    finally:
        for root in hierarchies():
            wait_until(lambda top=root / SLICE: remove_cgroups(top), f"a cgroup below {root} stays")


def hierarchies() -> list[Path]:
    """Of cgroups, those that systemd uses: one, or with the older kind two."""
    roots = [Path("/sys/fs/cgroup") / each for each in ("", "systemd", "unified")]
    return [root for root in roots if (root / "cgroup.procs").exists()]


def remove_cgroups(top: Path) -> bool:
    """False as long as a process that has ended is not reaped."""
    try:
        for directory, _, _ in os.walk(top, topdown=False):
            os.rmdir(directory)
    except OSError:
        return False
    return True


@pytest.fixture(scope="module")
def inside() -> Iterator[list[str]]:
    if (reason := why_no_journal()) is not None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"in CI this must run: {reason}")
        pytest.skip(reason)
    with tempfile.TemporaryDirectory(prefix="omk-") as root, running_journald(Path(root) / "journald.log") as prefix:
        yield prefix


@pytest.fixture(scope="module")
def manager(inside: list[str]) -> Iterator[Manager]:
    with tempfile.TemporaryDirectory(prefix="omk-") as root, cgroups(MANAGERS_CGROUP) as made:
        entries = [str(each / "cgroup.procs") for each in made]
        prefix = [*inside, "sh", "-c", IN_CGROUPS, "sh", *entries, "--"]
        with running_manager(Path(root), prefix) as manager:
            shutil.rmtree(Path(root) / "config" / "systemd" / "user")
            yield manager


@pytest.fixture
def service(manager: Manager) -> Iterator[Service]:
    with manager.service("logged") as service:
        yield service


@pytest.fixture
def omkctl(service: Service, inside: list[str]) -> Omkctl:
    """Types `omkctl …` where the journal is; what it prints."""

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [*inside, sys.executable, "-m", "omkctl", *arguments],
            env={**service.manager.environment, "OMK_SESSION": service.place.name},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        assert (done.returncode, "Hint" in done.stderr) == (0, False), done
        return done.stdout

    return run


def test_logs_are_those_of_the_service_with_its_priorities(service: Service, omkctl: Omkctl) -> None:
    omkctl("service", "install", "--now")
    client = service.client()
    client.call("event.publish", event={"PersonNeeded": {"text": "which port?"}})
    client.close()
    wait_until(lambda: "(which port?)" in omkctl("service", "logs"), "the journal does not get it")
    lines = omkctl("service", "logs", "--output=short").splitlines()
    assert [line for line in lines if f" omkd[{service.pid}]: omkd.daemon: session " in line] != []
    assert omkctl("service", "logs", "-p", "warning", "--output=cat").splitlines() == [
        line.partition("]: ")[2] for line in lines if "(which port?)" in line
    ]
    shown = [json.loads(line) for line in omkctl("service", "logs", "--json", "--grep", "is served on").splitlines()]
    assert [(each["PRIORITY"], each["_SYSTEMD_USER_UNIT"]) for each in shown] == [("6", service.unit)]
