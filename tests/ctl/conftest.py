"""Short directories for sockets, an environment without a person's settings, and daemons that tests script."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ctl_calls import Ended, Omkctl, Scripted
from ctl_person import COMMAND, DEADLINE_S, Run, good
from scripted_daemon import Answer, ScriptedDaemon

from omkctl.cli import run
from omkctl.locate import Address, address_for
from tests.kit import Daemon, Place


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The environment's directories, all below one short path; no OMK_… or OMKCTL_… of who runs the tests."""
    root = Path(tempfile.mkdtemp(prefix="ctl-", dir="/tmp"))
    for name in list(os.environ):
        if name.startswith(("OMK", "NO_COLOR")):
            monkeypatch.delenv(name)
    (root / "run").mkdir()
    monkeypatch.setenv("XDG_STATE_HOME", str(root / "state"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(root / "run"))
    monkeypatch.setenv("HOME", str(root))
    monkeypatch.setenv("TZ", "UTC")
    yield root
    shutil.rmtree(root)


@pytest.fixture
def address(home: Path) -> Address:
    env = {"XDG_STATE_HOME": f"{home}/state", "XDG_RUNTIME_DIR": f"{home}/run"}
    return address_for(env, session="default", socket=None, state_dir=None)


@pytest.fixture
def scripted(address: Address) -> Iterator[Scripted]:
    """Makes a daemon at the default session's address that answers so."""
    made: list[ScriptedDaemon] = []

    def make(answers: dict[str, Answer]) -> ScriptedDaemon:
        daemon = ScriptedDaemon(address.sockets[0], answers)
        daemon.start()
        made.append(daemon)
        return daemon

    yield make
    for daemon in made:
        daemon.stop()


@pytest.fixture
def omkctl(home: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Omkctl:
    """Runs `omkctl` in this process."""
    monkeypatch.chdir(home)

    def call(*arguments: str) -> Ended:
        capfd.readouterr()
        status = run(list(arguments))
        out, err = capfd.readouterr()
        return Ended(int(status), out, err)

    return call


@pytest.fixture
def person(place: Place) -> Run:
    """Types `omkctl …` in the session's environment."""
    return person_at(place)


def person_at(place: Place) -> Run:
    def run(*arguments: str, stdin: str | None = None, **env: str) -> Ended:
        ran = subprocess.run(
            [*COMMAND, *arguments],
            env={**place.environment, **env},
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        return Ended(ran.returncode, ran.stdout, ran.stderr)

    return run


@pytest.fixture(scope="module")
def shared_person(shared_daemon: Daemon) -> Run:
    """For commands that change nothing; a worker `wc` is there."""
    run = person_at(shared_daemon.place)
    good(run("worker", "add", "wc", "--role", "counter", "--", "sh", "-c", "wc -w"))
    return run


@pytest.fixture
def wc(daemon: Daemon, person: Run) -> str:
    """A worker that counts words."""
    assert daemon.process.poll() is None
    good(person("worker", "add", "wc", "--role", "counter", "--", "sh", "-c", "wc -w"))
    return "wc"


@pytest.fixture
def gate(daemon: Daemon, place: Place, person: Run) -> Iterator[Callable[[], None]]:
    """Worker `gate` says `begun` and ends with `ended` when this is called."""
    assert daemon.process.poll() is None
    fifo = place.root / "gate"
    os.mkfifo(fifo)
    good(person("worker", "add", "gate", "--", "sh", "-c", f"echo begun; read line < {fifo}; echo ended $line"))

    def open_gate() -> None:
        descriptor = os.open(fifo, os.O_RDWR)
        os.write(descriptor, b"well\n")
        opened.append(descriptor)

    opened: list[int] = []
    yield open_gate
    for descriptor in opened:
        os.close(descriptor)
