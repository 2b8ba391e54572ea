"""Backup and restore, by the very commands of docs/operations.md, of a session that is at work and of one at rest."""

import re
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from attrs import evolve

from omkctl.commands.shutdown import until_at_rest
from omkctl.link import Deadline, Late
from omkctl.locate import Address
from omkd.api.unix_socket import socket_lock
from omkd.protocol.scalars import U32
from omkd.protocol.version import LOG_FORMAT
from omkd.store.locks import lock_holder, take_lock
from omkd.store.snapshot import read_snapshot, write_snapshot
from tests.kit import Client, Daemon, Place, append, end_hosts, events_called, running_daemon, wait_until
from tests.system.system_kit import add_shell, consistent, fifo, open_gate, result, send, state, wait

PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
DEADLINE_S = 60
ANSWERED_BEFORE = 30
"""Tasks that are answered when the copy begins; more follow while it is made."""

ENDED_BEFORE = 5
"""Of them, those whose results are in the log then."""


def recipe(name: str) -> str:
    """The commands behind `<!-- test: NAME -->`."""
    found = re.search(rf"<!-- test: {re.escape(name)} -->\n```sh\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None, f"docs/operations.md has no commands {name!r}"
    return found[1]


def typed(place: Place, script: str) -> str:
    """What a shell says to it, in the home directory of the session's user."""
    done = subprocess.run(
        ["sh", "-c", script],
        cwd=place.root,
        env=place.environment,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 0, (script, done)
    return done.stdout


@contextmanager
def home_of(root: Path) -> Iterator[Place]:
    """A user whose session `default` is where it is without any setting, and who has nothing else."""
    (root / ".local" / "state").mkdir(parents=True)
    (root / "s").symlink_to(root / ".local" / "state")
    place = Place(root, name="default")
    del place.environment["XDG_STATE_HOME"], place.environment["OMK_SESSION"]
    place.environment["PATH"] = f"{Path(sys.executable).parent}:{place.environment['PATH']}"
    try:
        yield place
    finally:
        end_hosts(place)


@pytest.fixture
def home() -> Iterator[Place]:
    with tempfile.TemporaryDirectory(prefix="omk-") as root, home_of(Path(root)) as place:
        yield place


@pytest.fixture
def other_home() -> Iterator[Place]:
    with tempfile.TemporaryDirectory(prefix="omk-") as root, home_of(Path(root)) as place:
        yield place


class Sending(threading.Thread):
    """Sends tasks until it is told to stop, so that there are always some to do; `answered` are those on disk."""

    def __init__(self, place: Place) -> None:
        super().__init__(name="sending")
        self._place = place
        self._enough = threading.Event()
        self.answered: list[str] = []
        self.start()

    def run(self) -> None:
        with closing(Client(self._place.socket)) as client:
            while not self._enough.is_set():
                self.answered.append(send(client, "echo did it", "any"))
                if len(self.answered) > ANSWERED_BEFORE:
                    wait(client, self.answered[-ANSWERED_BEFORE])

    def stop(self) -> None:
        self._enough.set()
        self.join(DEADLINE_S)


FILES, LOG = recipe("backup").split("cp -a")
"""The two halves of a copy of a session at work, for what happens between them."""


def copy_log(place: Place) -> None:
    assert typed(place, f"cd .local/state/omk/sessions; cp -a{LOG}").endswith("consistent\n")


def end_all(daemon: Daemon, client: Client) -> None:
    client.call("omkd.shutdown", workers=True)
    assert daemon.process.wait(DEADLINE_S) == 0


def restore_in(home: Place, other_home: Place) -> str:
    (home.root / "omk-backup").rename(other_home.root / "omk-backup")
    return typed(other_home, recipe("restore"))


def ends(place: Place) -> Counter[str]:
    """How often each task is recorded as ended."""
    return Counter(each["task_id"] for each in events_called(place, "TaskFinished"))


def test_a_copy_of_a_session_at_work_has_each_answered_task_and_goes_on_with_them(
    home: Place, other_home: Place
) -> None:
    with running_daemon(home) as daemon:
        client = daemon.client()
        for name in ("w1", "w2"):
            add_shell(client, name, window=4)
        sending = Sending(home)
        wait_until(lambda: len(sending.answered) >= ANSWERED_BEFORE, "nothing is answered")
        wait(client, *sending.answered[:ENDED_BEFORE])
        before = list(sending.answered)
        said = typed(home, recipe("backup"))
        sending.stop()
        assert said.endswith("consistent\n")
        assert len(sending.answered) > len(before), "nothing was sent while it was copied"
        end_all(daemon, client)
    assert restore_in(home, other_home).endswith("consistent\n")
    with running_daemon(other_home) as daemon:
        client = daemon.client()
        with consistent(client):
            queued_since = [send(client, "echo did it", "any") for _ in range(20)]
            assert {each["state"] for each in wait(client, *before, *queued_since)} == {"success"}
            known = [each["task_id"] for each in events_called(other_home, "TaskQueued")]
            wait(client, *known)
        assert ends(other_home) == Counter(known)
        end_all(daemon, client)
    assert "consistent" in typed(other_home, "omkd verify")


def test_what_was_in_hand_at_a_session_at_rest_is_done_where_it_is_restored(home: Place) -> None:
    """In the same place, where the old session was moved away with its hosts ended."""
    gate = fifo(home)
    with running_daemon(home) as daemon:
        client = daemon.client()
        add_shell(client)
        done = send(client, "echo done before")
        assert result(client, done) == ("success", "done before")
        append(home.session.worker("w").events, {"PersonNeeded": {"text": "which port?", "worker_id": "w"}})
        wait_until(lambda: events_called(home, "PersonNeeded") != [], "it is not read")
        in_hand = send(client, f"cat {gate}; echo done after")
        wait_until(lambda: state(client, in_hand) == "running", "it does not run")
        host = lock_holder(home.session.worker("w").lock)
        typed(home, "omkctl shutdown")
        assert lock_holder(home.session.lock) is None
        typed(home, "mkdir omk-backup; cp -a .local/state/omk/sessions/default omk-backup/")
        assert daemon.process.wait(DEADLINE_S) == 0
    assert lock_holder(home.session.worker("w").lock) == host
    end_hosts(home)
    typed(home, "mv .local/state/omk/sessions/default default.old")
    assert typed(home, recipe("restore")).endswith("consistent\n")
    with running_daemon(home) as daemon:
        client = daemon.client()
        with consistent(client):
            wait_until(lambda: state(client, in_hand) == "running", "it is not run again")
            open_gate(gate)
            assert result(client, in_hand) == ("success", "done after")
            assert result(client, done) == ("success", "done before")
        assert ends(home) == Counter([done, in_hand])
        assert events_called(home, "LineRejected") == []
        assert len(events_called(home, "PersonNeeded")) == 1
    assert list(home.session.path.glob("*.aside-*")) == []
    assert typed(home, "omkd verify").endswith("consistent\n")


def test_what_was_done_while_it_was_copied_is_consistent_in_the_copy_and_told_once(
    home: Place, other_home: Place
) -> None:
    """The hand-out, its start, its result and what the worker said are in the copy's log, and in no file of it."""
    with running_daemon(home) as daemon:
        client = daemon.client()
        add_shell(client)
        assert result(client, send(client, "echo before")) == ("success", "before")
        typed(home, FILES)
        assert result(client, send(client, "echo meanwhile")) == ("success", "meanwhile")
        append(home.session.worker("w").events, {"PersonNeeded": {"text": "which port?", "worker_id": "w"}})
        wait_until(lambda: events_called(home, "PersonNeeded") != [], "it is not read")
        copy_log(home)
        end_all(daemon, client)
    restore_in(home, other_home)
    other_socket = take_lock(socket_lock(other_home.socket))  # a start that fails knows nothing of the copy yet
    refused = subprocess.run([sys.executable, "-m", "omkd"], env=other_home.environment, timeout=30, check=False)
    other_socket.release()
    assert refused.returncode == 6
    for start in ("first", "second"):
        with running_daemon(other_home) as daemon:
            client = daemon.client()
            with consistent(client):
                assert result(client, send(client, f"echo {start}")) == ("success", start)
            end_all(daemon, client)
    assert len(events_called(other_home, "PersonNeeded")) == 1
    assert events_called(other_home, "LineRejected") == []
    assert [each["copied"] for each in events_called(other_home, "DaemonStarted")] == [False, True, False]
    assert typed(other_home, "omkd verify").endswith("consistent\n")


def test_what_was_begun_while_it_was_copied_is_interrupted_in_the_copy(home: Place, other_home: Place) -> None:
    """No file of the copy tells of the run; it was run again as if it had never begun, which this worker forbids."""
    gate, ran = fifo(home), home.root / "ran"
    with running_daemon(home) as daemon:
        client = daemon.client()
        add_shell(client, on_interrupt="fail")
        typed(home, FILES)
        task = send(client, f"echo once >> {ran}; cat {gate}")
        wait_until(lambda: state(client, task) == "running", "it does not run")
        copy_log(home)
        open_gate(gate)
        assert result(client, task)[0] == "success"
        end_all(daemon, client)
    restore_in(home, other_home)
    with running_daemon(other_home) as daemon:
        client = daemon.client()
        with consistent(client):
            assert result(client, task) == ("failed", "its host died")
            assert result(client, send(client, "echo since")) == ("success", "since")
    assert ran.read_text() == "once\n"


def test_a_worker_that_was_removed_while_it_was_copied_does_not_come_back(home: Place, other_home: Place) -> None:
    """Its directory is in the copy: as a stranger's, with a heartbeat of its last host, it would be handed tasks."""
    with running_daemon(home) as daemon:
        client = daemon.client()
        add_shell(client)
        assert result(client, send(client, "echo before")) == ("success", "before")
        typed(home, FILES)
        client.call("worker.remove", name="w")
        copy_log(home)
    restore_in(home, other_home)
    with running_daemon(other_home) as daemon:
        client = daemon.client()
        assert client.call("worker.list")["workers"] == []
        assert client.call("omkd.verify")["findings"] == []
        assert list(other_home.session.workers.iterdir()) == []
        assert len(list((other_home.session.path / "removed").glob("w.*/outbox.jsonl"))) == 1


def test_a_result_that_comes_to_stand_where_a_lost_one_stood_is_taken(home: Place) -> None:
    """The copy of the workers' files is older than that of the log, which has what came in between."""
    with running_daemon(home) as daemon:
        client = daemon.client()
        add_shell(client)
        assert result(client, send(client, "echo did it", id="one")) == ("success", "did it")
        end_all(daemon, client)
    outbox = home.session.worker("w").outbox
    line = outbox.read_text()
    typed(home, "cd .local/state/omk/sessions; mv default old; cp -a old default; rm default/workers/w/outbox.jsonl")
    with running_daemon(home) as daemon:
        client = daemon.client()
        assert result(client, send(client, "echo did it", id="two")) == ("success", "did it")
    assert outbox.read_text() == line.replace('"one"', '"two"')


def test_a_shutdown_lasts_until_that_daemon_lets_the_session_go(home: Place) -> None:
    """It closes its connections first, and writes its last snapshot then: nothing may be copied in between."""
    session = home.session
    address = Address(session="default", session_dir=session.path, sockets=(), locks=(session.lock,))
    lock = take_lock(session.lock)
    try:
        us = lock_holder(session.lock)
        assert us is not None
        with pytest.raises(Late):
            until_at_rest(address, us.pid, Deadline.after(0.05))
        until_at_rest(address, us.pid + 1, Deadline.after(DEADLINE_S))  # the one that was asked is gone already
    finally:
        lock.release()
    until_at_rest(address, us.pid, Deadline.after(DEADLINE_S))


def test_a_copy_that_is_started_beside_the_original_leaves_its_agents_alone(home: Place, other_home: Place) -> None:
    gate = fifo(home)
    with running_daemon(home) as daemon:
        client = daemon.client()
        add_shell(client)
        task = send(client, f"cat {gate}; echo did it")
        wait_until(lambda: state(client, task) == "running", "it does not run")
        typed(home, recipe("backup"))
        restore_in(home, other_home)
        with running_daemon(other_home) as copy:
            wait_until(lambda: events_called(other_home, "TaskRequeued") != [], "the copy does not begin anew")
            copy.client().call("omkd.shutdown", workers=True)
            copy.process.wait(DEADLINE_S)
        assert state(client, task) == "running"
        open_gate(gate)
        assert result(client, task) == ("success", "did it")


def test_an_older_omkd_does_not_start_on_a_snapshot_of_a_newer_one(home: Place) -> None:
    with running_daemon(home) as daemon:
        assert daemon.stop() == 0
    (path,) = home.session.path.glob("snapshot-*.json")
    found = read_snapshot(path)
    write_snapshot(home.session.path, evolve(found.header, log=U32(LOG_FORMAT + 1)), found.records)
    done = subprocess.run(
        [sys.executable, "-m", "omkd"], env=home.environment, capture_output=True, text=True, timeout=30, check=False
    )
    assert (done.returncode, "a newer omkd wrote this" in done.stderr) == (7, True)
