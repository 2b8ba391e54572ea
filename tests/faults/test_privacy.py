"""What a session holds is for its owner alone, and what an environment holds is written nowhere."""

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.kit import Client, Daemon, Place, end_hosts, running_daemon, wait_until

SECRET = "hunter2-do-not-write-me"
GIVEN = "given-with-env-for-the-worker"


def run_something(client: Client, **runner: object) -> None:
    """A task through a host, an escalation, and a rotation of what can be rotated."""
    settings = {"command": ["sh"], "grace_secs": 1, **runner}
    client.call("worker.add", name="w", role="r", runner=settings)
    client.call("event.publish", event={"PersonNeeded": {"text": "x"}})
    sent: Any = client.call("task.send", target={"worker": "w"}, task={"task": "echo done"})
    done: Any = client.call("task.wait", ids=[sent["id"]], timeout=25)["tasks"]
    assert done[0]["state"] == "success"


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


@pytest.mark.usefixtures("umask")
def test_every_file_and_directory_is_for_its_owner_alone_whatever_the_umask(place: Place) -> None:
    with running_daemon(place) as daemon:
        with closing(Client(place.socket)) as client:
            run_something(client)
            modes = {path: mode_of(path) for path in [place.session.path, *place.session.path.rglob("*")]}
            modes[place.socket] = mode_of(place.socket)
        daemon.stop()
        modes |= {path: mode_of(path) for path in place.session.path.rglob("*")}
        end_hosts(place)
    assert len(modes) > 20
    wrong = {str(path): oct(mode) for path, mode in modes.items() if mode & 0o077}
    assert wrong == {}


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


SESSION_FILES = ("omkd.lock", "pending_escalations.jsonl", "escalations.pos")
WORKER_FILES = ("inbox.jsonl", "outbox.jsonl", "events.jsonl", "control.jsonl", "worker-spec.json", "worker.lock")


@pytest.mark.parametrize("name", [*SESSION_FILES, *(f"workers/w/{name}" for name in WORKER_FILES), "events"])
def test_what_a_symlink_in_place_of_a_file_leads_to_is_neither_written_nor_believed(place: Place, name: str) -> None:
    """Each is tried at a start, and while the daemon works on."""
    with running_daemon(place) as daemon, closing(Client(place.socket)) as client:
        run_something(client)
        daemon.stop()
        end_hosts(place)
    elsewhere = place.root / "elsewhere"
    path = place.session.path / name
    if path.is_dir():
        path.rename(elsewhere)
        before: object = sorted((each.name, each.read_bytes()) for each in elsewhere.iterdir())
    else:
        elsewhere.write_bytes(b'{"precious":"text"}\n')
        before = elsewhere.read_bytes()
        path.unlink(missing_ok=True)
    path.symlink_to(elsewhere)
    process = start(place)
    try:
        wait_until(lambda: process.poll() is not None or answers(place), "it neither serves nor ends")
        if process.poll() is None:
            with closing(Client(place.socket)) as client:
                client.ask("event.publish", event={"PersonNeeded": {"text": "y"}})
                client.ask("task.send", target={"worker": "w"}, task={"task": "echo more"})
                client.call("omkd.status")
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)
        if name.endswith(".lock"):
            path.unlink()
        end_hosts(place)
    after: object
    if elsewhere.is_dir():
        after = sorted((each.name, each.read_bytes()) for each in elsewhere.iterdir())
    else:
        after = elsewhere.read_bytes()
    assert after == before


def start(place: Place) -> subprocess.Popen[bytes]:
    log = (place.root / "omkd.log").open("ab")
    with log:
        return subprocess.Popen(
            [sys.executable, "-m", "omkd"], env=place.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )


def answers(place: Place) -> bool:
    try:
        with closing(Client(place.socket)) as client:
            return "result" in client.ask("omkd.hello")
    except (OSError, EOFError):
        return False


def test_the_environment_is_written_nowhere_unless_it_was_given_for_the_worker(place: Place) -> None:
    place.environment["SOME_TOKEN"] = SECRET
    place.environment["PLAIN"] = SECRET
    with running_daemon(place) as daemon, closing(Client(place.socket)) as client:
        run_something(client, env={"GIVEN": GIVEN})
        shown = str(client.call("worker.list")) + str(client.call("omkd.status")) + str(client.call("event.list"))
        assert daemon.stop() == 0
        end_hosts(place)
    assert SECRET not in shown
    holders = files_with(place, SECRET)
    assert holders == []
    given = {path.name for path in files_with(place, GIVEN)}
    assert "runner.json" in given


def files_with(place: Place, text: str) -> list[Path]:
    files = [path for path in place.root.rglob("*") if path.is_file() and not path.is_symlink()]
    return [path for path in files if text.encode() in path.read_bytes()]


def test_directories_that_others_may_enter_are_closed_to_them(place: Place) -> None:
    """Made by a hand, or by mkdir -p in a script."""
    loose = (place.session.path, place.socket.parent)
    for directory in loose:
        directory.mkdir(parents=True, exist_ok=True)
        directory.chmod(0o777)
    with running_daemon(place) as daemon:
        assert [stat.S_IMODE(each.stat().st_mode) for each in loose] == [0o700, 0o700]
        assert daemon.log.read_text().count("was open to others") == 2


def test_the_value_of_a_secret_name_is_redacted_in_every_listing(daemon: Daemon, client: Client) -> None:
    run_something(client, env={"API_TOKEN": SECRET, "AWS_SECRET_NAME": SECRET, "PASSWORD": SECRET, "MY_KEY": SECRET})
    client.call("event.subscribe", last=1000)
    shown = [client.call("worker.list"), client.call("worker.get", name="w"), client.call("event.list", last=1000)]
    told = ""
    while "WorkerRegistered" not in told:
        told += str(client.next_notification())
    shown.append({"told": told})
    assert SECRET not in str(shown)
    assert str(shown).count("[redacted]") == 16
    assert SECRET not in daemon.log.read_text()


def test_a_secret_in_a_workers_command_is_redacted_in_every_listing(daemon: Daemon, client: Client) -> None:
    command = ["env", f"BAR_TOKEN={SECRET}", "sh", "-c", "cat"]
    client.call("worker.add", name="w", role="r", runner={"command": command})
    shown = str([client.call("worker.list"), client.call("worker.get", name="w"), client.call("event.list", last=1000)])
    assert (SECRET in shown, shown.count("BAR_TOKEN=[redacted]")) == (False, 3)
    assert SECRET not in daemon.log.read_text()
