"""A `systemd --user` of the tests' own; nothing of the machine's is touched but /run/systemd/system."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from attrs import define

from tests.kit import Client, Place, end_hosts, wait_until

UNITS = Path(__file__).parent.parent.parent / "systemd"
SYSTEMD = Path("/usr/lib/systemd/systemd")
BOOTED = Path("/run/systemd/system")
"""sd_booted(3): without it systemd and systemctl take the machine for one without systemd."""

DEADLINE_S = 60.0
WATCHDOG_S = 4


def why_not() -> str | None:
    """Why no such manager can be had here."""
    if os.geteuid() != 0:
        return "needs root: a systemd --user of its own makes cgroups and /run/systemd/system"
    if not SYSTEMD.exists() or shutil.which("systemctl") is None:
        return f"needs systemd: {SYSTEMD} or systemctl is not there"
    if not os.access("/sys/fs/cgroup", os.W_OK):
        return "needs a writable /sys/fs/cgroup"
    return None


@define
class Service:
    """`omkd@<session>` of a manager."""

    manager: "Manager"
    place: Place

    @property
    def unit(self) -> str:
        return f"omkd@{self.place.name}.service"

    @property
    def socket_unit(self) -> str:
        return f"omkd@{self.place.name}.socket"

    @property
    def config(self) -> Path:
        return self.manager.root / "config" / "omk" / "omkd.toml"

    def start(self) -> None:
        """Returns when systemd takes it for started."""
        self.manager.systemctl("start", self.unit)

    def client(self) -> Client:
        return Client(self.place.socket)

    def show(self, name: str) -> str:
        return self.manager.systemctl("show", "--property", name, "--value", self.unit).strip()

    @property
    def pid(self) -> int:
        return int(self.show("MainPID"))

    def wait_for(self, name: str, text: str) -> None:
        wait_until(lambda: self.show(name) == text, f"{name} of {self.unit} does not become {text!r}", DEADLINE_S)


@define
class Manager:
    """A running `systemd --user`; `root` holds all its directories."""

    root: Path
    process: subprocess.Popen[bytes]
    environment: dict[str, str]

    def systemctl(self, *arguments: str) -> str:
        done = self.try_systemctl(*arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def try_systemctl(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["systemctl", "--user", "--no-pager", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )

    @contextlib.contextmanager
    def service(self, session: str) -> Iterator[Service]:
        """A service that is not started; at the end it is stopped, with the hosts that it left."""
        service = Service(self, Place(self.root, session))
        try:
            yield service
        finally:
            self.try_systemctl("stop", service.socket_unit, service.unit)
            end_hosts(service.place)
            self.try_systemctl("reset-failed", service.socket_unit, service.unit)


@contextlib.contextmanager
def running_manager(root: Path, prefix: Sequence[str] = ()) -> Iterator[Manager]:
    """Answers when this is entered; at the end it and its units are gone. `prefix`: a command that starts it."""
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(root),
        "XDG_RUNTIME_DIR": str(root / "r"),
        "XDG_STATE_HOME": str(root / "s"),
        "XDG_CONFIG_HOME": str(root / "config"),
        "XDG_DATA_HOME": str(root / "data"),
    }
    (root / "r").mkdir(mode=0o700)
    write_units(root / "config" / "systemd" / "user", root)
    with booted(), (root / "systemd.log").open("wb") as log:
        process = subprocess.Popen(
            [*prefix, SYSTEMD, "--user"],
            env=environment | {"SYSTEMD_LOG_TARGET": "console"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        manager = Manager(root, process, environment)
        try:
            wait_until(lambda: answers(manager), f"systemd --user does not come up, see {log.name}", DEADLINE_S)
            yield manager
        finally:
            end(manager)


def answers(manager: Manager) -> bool:
    assert manager.process.poll() is None, (manager.root / "systemd.log").read_text()
    return manager.try_systemctl("show", "--property", "Version").returncode == 0


def end(manager: Manager) -> None:
    manager.try_systemctl("exit")
    try:
        manager.process.wait(DEADLINE_S)
    except subprocess.TimeoutExpired:
        manager.process.send_signal(signal.SIGKILL)
        manager.process.wait(DEADLINE_S)


@contextlib.contextmanager
def booted() -> Iterator[None]:
    made = not BOOTED.exists()
    BOOTED.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        if made:
            with contextlib.suppress(OSError):
                BOOTED.rmdir()


def write_units(directory: Path, root: Path) -> None:
    """The units as they are, but for the interpreter, and a shorter patience."""
    directory.mkdir(parents=True)
    shutil.copy(UNITS / "omkd@.socket", directory)
    service = (UNITS / "omkd@.service").read_text()
    exec_start = f"ExecStart={sys.executable} -m omkd --session %i"
    (directory / "omkd@.service").write_text(re.sub("^ExecStart=.*$", exec_start, service, flags=re.MULTILINE))
    drop_in = directory / "omkd@.service.d"
    drop_in.mkdir()
    (drop_in / "tests.conf").write_text(
        f"[Service]\nWatchdogSec={WATCHDOG_S}\nStandardError=append:{root}/%i.log\n"
        f"Environment=PATH={os.environ['PATH']}\n"
    )
