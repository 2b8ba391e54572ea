"""What systemd is told: read from a real NOTIFY_SOCKET. That systemd acts on it is in tests/system/test_systemd.py."""

import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing

from omkd.core.state import State
from omkd.protocol.events import ByOmkd, PersonNeeded
from omkd.pulse import (
    BEATS,
    EXTEND_EVERY_S,
    FOLD_LOOK_UNITS,
    SLOW_SYNC_S,
    FoldProgress,
    committer_lives,
    run_status,
    run_watchdog,
)
from omkd.services.hub import Hub
from omkd.store.event_log import Disk, Draft, EventLog, open_event_log
from omkd.store.session import SessionDir
from omkd.systemd import ActivationError, Notifier, listening_path, notifier_for, passed_socket, watchdog_s
from tests.kit import Client, Place, serves_at, wait_until

DEADLINE_S = 20.0
PERIOD_S = 0.15


class Ear:
    """The other end of NOTIFY_SOCKET."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self.socket.settimeout(DEADLINE_S)
        self.address = address

    def next(self) -> str:
        return self.socket.recv(65536).decode()

    def all(self) -> list[str]:
        """What was said until now."""
        self.socket.setblocking(False)
        heard = []
        while True:
            try:
                heard.append(self.next())
            except BlockingIOError:
                self.socket.settimeout(DEADLINE_S)
                return heard


@pytest.fixture
def ear() -> Iterator[Ear]:
    with tempfile.TemporaryDirectory(prefix="omk-") as root:
        ear = Ear(f"{root}/notify")
        yield ear
        ear.socket.close()


@pytest.fixture
def notifier(ear: Ear) -> Notifier:
    return notifier_for({"NOTIFY_SOCKET": ear.address})


# --- what is said


def test_each_word_of_the_protocol(ear: Ear, notifier: Notifier):
    notifier.ready("well")
    notifier.reloading()
    notifier.status("so")
    notifier.extend_timeout(2, "reads")
    notifier.alive()
    notifier.stopping("ends")
    heard = ear.all()
    assert heard[0] == "READY=1\nSTATUS=well"
    assert heard[1].startswith("RELOADING=1\nMONOTONIC_USEC=")
    assert heard[2:] == [
        "STATUS=so",
        "EXTEND_TIMEOUT_USEC=2000000\nSTATUS=reads",
        "WATCHDOG=1",
        "STOPPING=1\nSTATUS=ends",
    ]


def test_an_abstract_address_is_heard_too():
    ear = Ear(f"@omk-test-{os.getpid()}")
    Notifier(ear.address).alive()
    assert ear.next() == "WATCHDOG=1"
    ear.socket.close()


def test_nobody_to_tell_is_no_fault(tmp_path: Path):
    notifier_for({}).alive()
    Notifier(str(tmp_path / "nobody")).alive()


@pytest.mark.parametrize(
    ("environment", "period"),
    [
        ({"WATCHDOG_USEC": "3000000"}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "42"}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "43"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "x"}, None),
        ({}, None),
    ],
)
def test_the_watchdogs_period_is_for_the_process_that_it_names(environment: dict[str, str], period: float | None):
    assert watchdog_s(environment, 42) == period


def test_a_long_start_asks_for_more_time_and_stops_asking_when_it_is_over(ear: Ear, notifier: Notifier):
    now = 0.0
    progress = FoldProgress(notifier, lambda: now)
    for _ in range(3):
        now += EXTEND_EVERY_S / 2
        for _ in range(FOLD_LOOK_UNITS):
            progress.note()
    assert ear.all() == [
        f"EXTEND_TIMEOUT_USEC=120000000\nSTATUS=reads the log: {times * FOLD_LOOK_UNITS:,} units so far"
        for times in (1, 3)
    ]
    progress.end()
    now += 100
    for _ in range(FOLD_LOOK_UNITS):
        progress.note()
    assert ear.all() == []


# --- signs of life


@pytest.mark.parametrize(
    ("committed", "waited_for", "syncing_s", "lives"),
    [
        (5, 5, None, True),
        (6, 5, None, True),
        (4, 5, None, False),
        (4, 5, 0.0, True),
        (4, 5, SLOW_SYNC_S, True),
        (4, 5, SLOW_SYNC_S + 1, False),
    ],
)
def test_the_committer_lives_while_it_syncs_for_no_more_than_five_minutes(
    committed: int, waited_for: int, syncing_s: float | None, lives: bool
):
    assert committer_lives(committed, waited_for, syncing_s) is lives


class SlowDisk:
    """Its sync takes until `go_on` is set."""

    def __init__(self) -> None:
        self.go_on = threading.Event()
        self.go_on.set()

    def sync(self, descriptor: int) -> None:
        assert self.go_on.wait(DEADLINE_S)
        os.fdatasync(descriptor)


@asynccontextmanager
async def hub_with(path: Path, disk: Disk) -> AsyncIterator[Hub]:
    """Nothing commits before its log's `run` is started."""
    state = State()
    async with open_event_log(path / "events", fold=state.fold, clock_ns=lambda: 1, disk=disk) as log:
        yield Hub(session=SessionDir(path), log=log, state=state, clock_ns=lambda: 1)


def need_person(log: EventLog) -> None:
    log.append(Draft(by=ByOmkd(), events=(PersonNeeded(text="?"),)))


async def next_word(ear: Ear) -> str:
    return await trio.to_thread.run_sync(ear.next)


async def test_a_committer_that_hangs_is_not_called_alive(
    ear: Ear, notifier: Notifier, tmp_path: Path, mock_clock: trio.testing.MockClock
):
    async def beats(number: int) -> list[str]:
        for _ in range(number):
            mock_clock.jump(PERIOD_S / BEATS)
            await trio.testing.wait_all_tasks_blocked()
        return ear.all()

    async with hub_with(tmp_path, Disk()) as hub, trio.open_nursery() as nursery:
        nursery.start_soon(run_watchdog, hub, notifier, PERIOD_S)
        await trio.testing.wait_all_tasks_blocked()
        assert ear.all() == ["WATCHDOG=1"]
        assert await beats(3) == ["WATCHDOG=1"] * 3
        need_person(hub.log)
        assert await beats(1) == ["WATCHDOG=1"]  # it may be on its way
        assert await beats(3) == []
        await nursery.start(hub.log.run)
        await hub.log.commit(hub.log.written)
        assert await beats(2) == ["WATCHDOG=1"] * 2
        nursery.cancel_scope.cancel()


async def test_a_sync_that_takes_long_counts_as_life_and_is_in_the_status(ear: Ear, notifier: Notifier, tmp_path: Path):
    disk = SlowDisk()
    async with hub_with(tmp_path, Disk(sync=disk.sync)) as hub, trio.open_nursery() as nursery:
        await nursery.start(hub.log.run)
        disk.go_on.clear()
        need_person(hub.log)
        nursery.start_soon(run_watchdog, hub, notifier, PERIOD_S)
        assert [await next_word(ear) for _ in range(6)] == ["WATCHDOG=1"] * 6
        nursery.start_soon(run_status, hub, notifier)
        with trio.fail_after(DEADLINE_S):
            while "waits for the disk for" not in (word := await next_word(ear)):
                assert word.startswith(("WATCHDOG=1", "STATUS="))
        disk.go_on.set()
        with trio.fail_after(DEADLINE_S):
            while await next_word(ear) != "STATUS=0 workers, 0 running, 0 queued, 1 needs you":
                pass
        nursery.cancel_scope.cancel()


async def test_status_is_said_when_it_changes_and_once(ear: Ear, notifier: Notifier, tmp_path: Path):
    async with hub_with(tmp_path, Disk()) as hub, trio.open_nursery() as nursery:
        await nursery.start(hub.log.run)
        nursery.start_soon(run_status, hub, notifier)
        for number in range(3):
            need_person(hub.log)
            needs = "1 needs" if number == 0 else f"{number + 1} need"
            assert await next_word(ear) == f"STATUS=0 workers, 0 running, 0 queued, {needs} you"
        nursery.cancel_scope.cancel()
    assert ear.all() == []


# --- a socket that is handed over


def test_without_a_socket_for_us_nothing_is_taken():
    assert passed_socket({}, 42) is None
    environment = {"LISTEN_PID": "43", "LISTEN_FDS": "1", "LISTEN_FDNAMES": "x", "A": "b"}
    assert passed_socket(environment, 42) is None
    assert environment == {"A": "b"}


OMKD_WITH_PASSED = """
import os, socket, sys
passed = socket.socket(getattr(socket, sys.argv[1]), getattr(socket, sys.argv[2]))
passed.bind(sys.argv[3] or ("127.0.0.1", 0))
if sys.argv[4]:
    passed.listen()
held = [os.dup(passed.fileno()) for _ in range(8)]
for number in range(int(sys.argv[5])):
    os.dup2(held[-1], 3 + number)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=sys.argv[5])
os.execv(sys.executable, [sys.executable, "-m", "omkd"])
"""


@pytest.mark.parametrize(
    ("family", "kind", "listens", "count", "said"),
    [
        ("AF_UNIX", "SOCK_STREAM", "yes", "2", "systemd hands over 2 sockets, there must be one"),
        ("AF_UNIX", "SOCK_STREAM", "", "1", "another socket than a listening Unix stream socket with a path"),
        ("AF_UNIX", "SOCK_DGRAM", "", "1", "another socket than a listening Unix stream socket with a path"),
        ("AF_INET", "SOCK_STREAM", "yes", "1", "another socket than a listening Unix stream socket with a path"),
    ],
)
def test_what_cannot_be_the_control_socket_is_refused(
    place: Place, family: str, kind: str, listens: str, count: str, said: str
):
    address = str(place.root / "x.sock") if family == "AF_UNIX" else ""
    done = subprocess.run(
        [sys.executable, "-c", OMKD_WITH_PASSED, family, kind, address, listens, count],
        env=place.environment,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert (done.returncode, said in done.stderr) == (78, True), done.stderr


def test_a_socket_that_is_no_socket_is_refused():
    reading, writing = os.pipe()
    os.close(writing)
    with pytest.raises(ActivationError, match="is no socket"):
        listening_path(reading)
    os.close(reading)


def test_a_socket_of_another_place_is_served_there_and_stays(place: Place):
    address = place.root / "other.sock"
    process = subprocess.Popen(
        [sys.executable, "-c", OMKD_WITH_PASSED, "AF_UNIX", "SOCK_STREAM", str(address), "yes", "1"],
        env=place.environment,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        wait_until(lambda: serves_at(address, process.pid), "it does not serve there")
        client = Client(address)
        assert client.call("omkd.status")["socket"] == str(address)
        client.close()
        assert not place.socket.exists()
    finally:
        process.terminate()
        assert process.wait(DEADLINE_S) == 0
    assert address.is_socket()
