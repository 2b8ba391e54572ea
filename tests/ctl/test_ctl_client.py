"""Calls and subscriptions outlive a restart of the daemon; where none is, they fail at once."""

import contextlib
import fcntl
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import cast

import pytest
from ctl_calls import Omkctl, Scripted
from ctl_person import DEADLINE_S
from scripted_daemon import Hangup, ScriptedDaemon, Silence, Stream, always, fail, in_turn

from omkctl.client import Client, Unreachable
from omkctl.failures import DaemonError, Failure
from omkctl.link import NEVER, Deadline, Late
from omkctl.locate import FLOCK, Address, address_for, lock_is_held
from omkctl.shapes import Escalation, Task
from omkctl.stream import ESCALATION_LOG
from omkctl.subscriptions import follow
from omkd.protocol.errors import ApiError, ErrorKind
from tests.kit import Place, start

Result = dict[str, object]


@pytest.fixture
def client(address: Address) -> Iterator[Client]:
    with closing(Client(address, patience_s=5, answer_s=5)) as made:
        yield made


@contextlib.contextmanager
def held(path: Path) -> Iterator[None]:
    """A lock as the daemon takes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, struct.pack(FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    try:
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def later(act: Callable[[], None]) -> Iterator[None]:
    """Does `act` once the client has had time to fail a first time; joined at the end."""
    timer = threading.Timer(0.1, act)
    timer.start()
    try:
        yield
    finally:
        timer.join()


def test_without_a_daemon_a_call_fails_soon_and_says_how_to_start_one(client: Client, address: Address) -> None:
    begun = time.monotonic()
    with pytest.raises(Unreachable) as failure:
        client.call("omkd.status", {}, Result)
    assert time.monotonic() - begun < 3
    assert failure.value.status == 4
    assert not failure.value.sent
    for part in (*map(str, address.sockets), "omkd --session default", "systemctl --user start omkd@default"):
        assert part in failure.value.message


def test_a_daemon_that_was_started_in_the_line_before_is_waited_for(place: Place) -> None:
    """Nothing says of it yet that it lives. (omkctl waits a second; how long a start takes, the machine decides.)"""
    address = address_for(place.environment, session=place.name, socket=None, state_dir=None)
    process = start(place, (), place.root / "omkd.log")
    try:
        with closing(Client(address, patience_s=DEADLINE_S, start_s=DEADLINE_S)) as client:
            assert client.call("omkd.status", {}, Result)["pid"] == process.pid
    finally:
        process.terminate()
        assert process.wait(DEADLINE_S) == 0


@pytest.fixture
def leftover(address: Address, scripted: Scripted) -> None:
    """The socket of a daemon that died."""
    scripted({}).stop()
    with closing(socket.socket(socket.AF_UNIX)) as bound:
        bound.bind(str(address.sockets[0]))


@pytest.mark.usefixtures("leftover")
def test_where_a_daemon_died_another_is_waited_for(client: Client, address: Address) -> None:
    """As systemd starts it, a second later."""
    daemon = ScriptedDaemon(address.sockets[0], {"omkd.status": always({"seq": 1})})
    with later(daemon.start):
        assert client.call("omkd.status", {}, Result) == {"seq": 1}
    daemon.stop()


@pytest.mark.usefixtures("leftover")
@pytest.mark.parametrize("patience_s", [0, 10.0])
def test_where_a_daemon_died_and_none_comes_the_call_fails(address: Address, patience_s: float) -> None:
    with closing(Client(address, patience_s=patience_s)) as client, pytest.raises(Unreachable, match="refused"):
        client.call("omkd.status", {}, Result)


@pytest.mark.parametrize("which", ["session", "socket"])
def test_while_a_lock_is_held_a_starting_daemon_is_waited_for(client: Client, address: Address, which: str) -> None:
    lock = address.locks[0] if which == "session" else address.locks[1]
    daemon = ScriptedDaemon(address.sockets[0], {"omkd.status": always({"seq": 1})})
    with held(lock), later(daemon.start):
        assert lock_is_held(lock)
        assert client.call("omkd.status", {}, Result) == {"seq": 1}
    daemon.stop()


def test_a_lock_that_nobody_holds_is_not_waited_for(address: Address) -> None:
    with held(address.locks[0]):
        pass
    assert not address.daemon_lives()


def test_patience_ends(address: Address) -> None:
    with held(address.locks[0]), closing(Client(address, patience_s=0.1)) as client, pytest.raises(Unreachable):
        client.call("omkd.status", {}, Result)


@pytest.mark.parametrize(
    "fault", [Hangup(), ApiError(ErrorKind.SHUTTING_DOWN, "ending")], ids=["closed midway", "shutting down"]
)
def test_a_call_is_made_again_with_the_same_parameters(client: Client, scripted: Scripted, fault: Exception) -> None:
    daemon = scripted({"task.send": in_turn(fail(fault), fail(fault), always({"id": "t1"}))})
    assert client.call("task.send", {"key": "k"}, Result) == {"id": "t1"}
    assert daemon.asked == [("task.send", {"key": "k"})] * 3


def test_a_call_outlives_a_restart(client: Client, scripted: Scripted) -> None:
    daemon = scripted({"omkd.status": always({"seq": 1})})
    client.call("omkd.status", {}, Result)
    daemon.stop()
    with later(daemon.start):
        assert client.call("omkd.status", {}, Result) == {"seq": 1}


def test_a_call_that_must_not_be_made_twice_is_sent_once(client: Client, scripted: Scripted) -> None:
    daemon = scripted({"event.publish": fail(Hangup())})
    with pytest.raises(Unreachable) as failure:
        client.call("event.publish", {}, Result, repeatable=False)
    assert failure.value.sent
    assert len(daemon.asked) == 1


def test_a_daemon_that_says_nothing_is_unreachable(address: Address, scripted: Scripted) -> None:
    scripted({"omkd.status": fail(Silence())})
    with closing(Client(address, answer_s=0.1)) as client, pytest.raises(Unreachable, match="did not answer"):
        client.call("omkd.status", {}, Result)
    scripted({"omkd.hello": fail(Silence())})
    with closing(Client(address, answer_s=0.1)) as client, pytest.raises(Unreachable, match="did not answer"):
        client.call("omkd.status", {}, Result)


def test_a_daemon_of_another_version_is_7(client: Client, scripted: Scripted) -> None:
    scripted({"omkd.hello": fail(ApiError(ErrorKind.VERSION_MISMATCH, "other")), "omkd.status": always({})})
    with pytest.raises(DaemonError) as refusal:
        client.call("omkd.status", {}, Result)
    assert refusal.value.status == 7


def test_an_answer_without_its_fields_is_7(client: Client, scripted: Scripted) -> None:
    scripted({"task.get": always({"id": "t1"})})
    with pytest.raises(Failure, match="has no by, dispatched") as failure:
        client.call("task.get", {"id": "t1"}, Task)
    assert failure.value.status == 7


def test_an_answer_that_is_too_long_is_said_to_be_so(address: Address, scripted: Scripted) -> None:
    """Not asked for again: it would be as long."""
    daemon = scripted({"omkd.status": always("x" * 3_000_000)})
    with closing(Client(address)) as client, pytest.raises(Failure, match="over 2097152 bytes") as failure:
        client.call("omkd.status", {}, Result)
    assert (failure.value.name, failure.value.status) == ("too_large", 1)
    assert len(daemon.asked) == 1


def test_waiting_outlives_a_restart_and_ends_at_its_deadline(client: Client, scripted: Scripted) -> None:
    daemon = scripted({"task.wait": in_turn(fail(Hangup()), always({"tasks": []}))})
    assert client.wait("task.wait", {}, Result, NEVER) == {"tasks": []}
    daemon.stop()
    with pytest.raises(Late):
        client.wait("task.wait", {}, Result, Deadline.after(0.1))


def escalation(seq: int, summary: str) -> tuple[str, dict[str, object]]:
    return ("escalation", {"subscription": 1, "seq": seq, "entry": {"summary": summary}})


def test_following_goes_on_behind_the_last_item_of_a_unit(client: Client, scripted: Scripted) -> None:
    """Unit 5 has two escalations; the connection ends between them."""
    first = Stream({"subscription": 1, "seq": 3}, [escalation(4, "a"), escalation(5, "b")], hang_up=True)
    again = Stream(
        {"subscription": 1, "seq": 4}, [escalation(5, "b"), escalation(5, "c"), escalation(7, "d")], hang_up=True
    )
    last = Stream({"subscription": 1, "seq": 6}, [escalation(7, "d"), escalation(8, "e")])
    daemon = scripted({"escalation.tail": in_turn(always(first), always(again), always(last))})
    said: list[str] = []
    params = {"lines": 2, "kinds": ["failed"]}
    notes = follow(client, "escalation.tail", params, ESCALATION_LOG.seq_of, Deadline.after(5), said.append)
    shown = [cast(Escalation, note)["entry"]["summary"] for note in islice(notes, 5)]
    assert shown == ["a", "b", "c", "d", "e"]
    assert [params for _, params in daemon.asked] == [
        {"lines": 2, "kinds": ["failed"]},
        {"after": 4, "kinds": ["failed"]},
        {"after": 6, "kinds": ["failed"]},
    ]
    assert len(said) == 2


def test_following_goes_on_from_where_it_began_when_nothing_came(client: Client, scripted: Scripted) -> None:
    nothing = Stream({"subscription": 1, "seq": 3}, hang_up=True)
    one = Stream({"subscription": 1, "seq": 3}, [escalation(4, "a")])
    daemon = scripted({"escalation.tail": in_turn(always(nothing), always(one))})
    notes = follow(client, "escalation.tail", {}, ESCALATION_LOG.seq_of, Deadline.after(5), lambda _: None)
    assert next(notes)["seq"] == 4
    assert daemon.asked[1] == ("escalation.tail", {"after": 3})


def test_a_gap_is_said(client: Client, scripted: Scripted) -> None:
    gap = ("gap", {"subscription": 1, "first": 1, "last": 9})
    scripted({"escalation.tail": always(Stream({"subscription": 1, "seq": 9}, [gap, escalation(10, "a")]))})
    said: list[str] = []
    notes = follow(client, "escalation.tail", {}, ESCALATION_LOG.seq_of, Deadline.after(5), said.append)
    assert next(notes)["seq"] == 10
    assert said == ["units 1 to 9 are gone: the log was cut there"]


def test_a_session_that_was_typed_beats_a_socket_of_the_environment(
    omkctl: Omkctl, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMKD_SOCKET", str(home / "other.sock"))
    assert "other.sock" in omkctl("status").err
    assert "other.sock" not in omkctl("status", "--session", "mine").err
    assert "mine.sock" in omkctl("-S", "mine", "status").err
    assert "third.sock" in omkctl("-S", "mine", "status", "--socket", "third.sock").err


def test_the_environment_chooses_the_session(omkctl: Omkctl, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMK_SESSION", "from-worker")
    assert "from-worker.sock" in omkctl("status").err
    monkeypatch.setenv("OMKCTL_SESSION", "from-person")
    assert "from-person.sock" in omkctl("status").err
