"""What tests of every part use: a session of its own, the real daemon on it, a client that speaks to it."""

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import trio
from attrs import define, field

from omkd.protocol import codec
from omkd.store.locks import lock_holder
from omkd.store.procfs import process_of
from omkd.store.session import SessionDir
from tests.warm import Forked, fork_omkd

START_S = 20.0
STOP_S = 20.0
LOOK_S = 0.01


@define
class Place:
    """Where a session of a test is: a short path, since AF_UNIX paths end at 107 bytes."""

    root: Path
    name: str = "t"
    environment: dict[str, str] = field(init=False)

    def __attrs_post_init__(self) -> None:
        kept = {name: text for name, text in os.environ.items() if not name.startswith(("OMK", "XDG_"))}
        self.environment = {
            **kept,
            "HOME": str(self.root),
            "XDG_STATE_HOME": str(self.root / "s"),
            "XDG_RUNTIME_DIR": str(self.root / "r"),
            "OMK_SESSION": self.name,
        }
        (self.root / "r").mkdir(mode=0o700, exist_ok=True)

    @property
    def session(self) -> SessionDir:
        return SessionDir(self.root / "s" / "omk" / "sessions" / self.name)

    @property
    def socket(self) -> Path:
        return self.root / "r" / "omk" / f"{self.name}.sock"


class Client:
    """One blocking connection to the daemon."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(30)
        try:
            self.socket.connect(str(path))
        except OSError:
            self.socket.close()
            raise
        self._file = self.socket.makefile("rwb")
        self._last_id = 0
        self.notifications: list[dict[str, object]] = []

    def close(self) -> None:
        """Again is no harm; what the daemon did not take is dropped."""
        with suppress(OSError):
            self._file.close()
        self.socket.close()

    def send_line(self, line: bytes) -> None:
        self._file.write(line + b"\n")
        self._file.flush()

    def read_line(self) -> object:
        line = self._file.readline()
        if not line:
            raise EOFError("the daemon closed the connection")
        return codec.parse(line)

    def ask(self, method: str, **params: object) -> dict[str, Any]:
        """The whole answer: `result` or `error`. Notifications that come before it are kept."""
        self._last_id += 1
        self.send_line(codec.encode({"jsonrpc": "2.0", "id": self._last_id, "method": method, "params": params}))
        while True:
            answer = self.read_line()
            assert isinstance(answer, dict)
            if answer.get("id") == self._last_id:
                return answer
            self.notifications.append(answer)

    def call(self, method: str, **params: object) -> dict[str, Any]:
        """The result; an error fails the test."""
        answer = self.ask(method, **params)
        assert "result" in answer, answer
        result = answer["result"]
        assert isinstance(result, dict)
        return result

    def next_notification(self) -> dict[str, object]:
        if self.notifications:
            return self.notifications.pop(0)
        found = self.read_line()
        assert isinstance(found, dict)
        return found


@define
class Daemon:
    """A running `python -m omkd`. Its clients are closed at the latest when it ends."""

    place: Place
    process: subprocess.Popen[bytes] | Forked
    log: Path
    clients: list[Client] = field(factory=list)

    def client(self) -> Client:
        client = Client(self.place.socket)
        self.clients.append(client)
        return client

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(STOP_S)

    def kill(self) -> None:
        self.stop(signal.SIGKILL)


@contextmanager
def running_daemon(place: Place, *options: str, environ_shows: bool = False) -> Iterator[Daemon]:
    """Serves when this is entered; at the end it is stopped, its hosts are left to `place_of_its_own`.

    `environ_shows`: /proc has to show the place's environment as the daemon's, which one that was only forked has not.
    """
    log = place.root / "omkd.log"
    forks = is_test() and not environ_shows
    process = fork_omkd(options, place.environment, log) if forks else start(place, options, log)
    daemon = Daemon(place, process, log)
    try:
        wait_until(lambda: serves(place, process.pid) or process.poll() is not None, f"omkd does not start, see {log}")
        assert process.poll() is None, log.read_text()
        yield daemon
    finally:
        for client in daemon.clients:
            client.close()
        if process.poll() is None:
            daemon.kill()


def is_test() -> bool:
    """Not a bench or a torture; nor CI, where each daemon is started as a person does it."""
    return "PYTEST_CURRENT_TEST" in os.environ and "CI" not in os.environ


def start(place: Place, options: tuple[str, ...], log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "omkd", *options],
            env=place.environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def serves(place: Place, pid: int) -> bool:
    """Whether this daemon does; a process that one before it was starting takes connections until its exec."""
    return serves_at(place.socket, pid)


def serves_at(address: Path, pid: int) -> bool:
    try:
        client = Client(address)
    except OSError:
        return False
    try:
        return bool(client.call("omkd.hello")["pid"] == pid)
    except (OSError, EOFError):
        return False
    finally:
        client.close()


def wait_until(condition: object, complaint: str, timeout_s: float = START_S) -> None:
    """Looks again and again until `condition()`; for what another process does and nobody tells."""
    assert callable(condition)
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, complaint
        time.sleep(LOOK_S)


async def until(condition: Callable[[], bool]) -> None:
    """`wait_until` beside services that run in this loop."""
    with trio.fail_after(START_S):
        while not condition():  # noqa: ASYNC110 (a file changes, a child process does something: no event is set)
            await trio.sleep(LOOK_S)


@contextmanager
def without_descriptors() -> Iterator[None]:
    """Nothing more can be opened in this process."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


def end_hosts(place: Place) -> None:
    """Ends the worker hosts that a test left, by their locks."""
    if not place.session.workers.is_dir():
        return
    for directory in place.session.workers.iterdir():
        if directory.is_symlink() or not directory.is_dir():
            continue
        wait_until(lambda lock=directory / "worker.lock": end_host(lock), f"the host of {directory} stays")


def end_host(lock: Path) -> bool:
    """Whether none is left that says its pid. One that a killed daemon started at its end may follow another."""
    holder = lock_holder(lock)
    if holder is None or not holder.pid:
        return True
    with suppress(ProcessLookupError):
        os.kill(holder.pid, signal.SIGTERM)
    wait_until(lambda: lock_holder(lock) != holder, f"host {holder.pid} stays")
    return False


def append(path: Path, *lines: object) -> None:
    """Appends lines as a worker does: with one write. Bytes go as they are, other things as JSON and a newline."""
    encoded = [line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n" for line in lines]
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    with open(descriptor, "wb", buffering=0) as file:
        file.write(b"".join(encoded))


def json_lines(path: Path) -> list[Any]:
    """The complete lines of a file; none if there is no file."""
    if not path.exists():
        return []
    whole, _, _ = path.read_bytes().rpartition(b"\n")
    return [json.loads(line) for line in whole.splitlines()]


def units(place: Place) -> list[Any]:
    """All units of the session's log, as they are on disk."""
    return [unit for segment in sorted(place.session.events.glob("*.jsonl")) for unit in json_lines(segment)]


def events_called(place: Place, name: str) -> list[Any]:
    """The fields of each event of that name in the session's log, in order."""
    events = [event for unit in units(place) for event in unit["events"]]
    return [event[name] for event in events if isinstance(event, dict) and name in event]


def is_alive(pid: int) -> bool:
    """False for a process that has ended and waits to be reaped."""
    found = process_of(pid)
    return found is not None and found.is_alive
