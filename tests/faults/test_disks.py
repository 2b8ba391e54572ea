"""Disks that stop taking anything under a daemon that works: read-only, or with the files taken away.

What cannot be accepted is refused, with the cause and the path; when the cause is gone it goes on by itself. The log
itself is put back. (A full disk: `tests/system/test_full_disk.py`.)
"""

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from omkd.store.session import SessionDir
from tests.file_worker import FileWorker
from tests.kit import Client, Daemon, Place, json_lines, running_daemon, serves, wait_until
from tests.system.test_full_disk import may_mount

DISK_OF_ITS_OWN = 'mount -t tmpfs -o size=20m none "$1" && exec "$2" -m omkd --state-dir "$1/sessions"'


@contextmanager
def daemon_on_a_disk_of_its_own(place: Place) -> Iterator[tuple[int, Path]]:
    """Its pid, and where in its mount namespace the disk is."""
    disk = place.root / "disk"
    disk.mkdir()
    with (place.root / "omkd.log").open("ab") as log:
        process = subprocess.Popen(
            ["unshare", "-rm", "sh", "-c", DISK_OF_ITS_OWN, "sh", str(disk), sys.executable],
            env=place.environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        wait_until(lambda: serves(place, process.pid) or process.poll() is not None, "omkd does not start")
        assert process.poll() is None, (place.root / "omkd.log").read_text()
        yield process.pid, disk
    finally:
        process.kill()
        process.wait(20)


def cover(pid: int, disk: Path) -> None:
    """From now on whatever is opened there is read-only; what is open is not (a remount would say EBUSY)."""
    within(pid, "mount", "--bind", str(disk), str(disk))
    within(pid, "mount", "-o", "remount,ro,bind", str(disk))


def uncover(pid: int, disk: Path) -> None:
    within(pid, "umount", str(disk))


def within(pid: int, *command: str) -> None:
    namespaces = ["nsenter", "--target", str(pid), "--user", "--mount", "--preserve-credentials"]
    subprocess.run([*namespaces, *command], check=True, timeout=20)


def ask_send(client: Client, text: str) -> Any:
    return client.ask("task.send", target="any", task={"task": text})


def wait_sent(client: Client, text: str) -> None:
    wait_until(lambda: "result" in ask_send(client, text), "sends are refused for ever")


def queued_texts(client: Client) -> list[str]:
    tasks: Any = client.call("task.list", limit=1000)["tasks"]
    return [each["task"]["task"] for each in tasks]


@pytest.mark.skipif(not may_mount(), reason="no mounts in a namespace of one's own here")
def test_on_a_disk_that_became_read_only_projections_wait_and_go_on_when_it_can_be_written(place: Place) -> None:
    """A log that is open for writing goes on; what must be opened anew is refused, shown in `status`, tried again."""
    with daemon_on_a_disk_of_its_own(place) as (pid, disk), closing(Client(place.socket)) as client:
        session = SessionDir(Path(f"/proc/{pid}/root{disk}/sessions/t"))
        client.call("worker.add", name="w", role="r", window=0)
        wait_sent(client, "before")
        wait_until(lambda: len(json_lines(session.worker("w").inbox)) == 1, "nothing is handed out")
        cover(pid, disk)
        refused: Any = client.ask("worker.add", name="v", role="r")
        assert refused["error"]["data"]["name"] == "write_failed"
        assert "Read-only file system" in refused["error"]["message"]
        assert "workers/v" in refused["error"]["message"]
        wait_sent(client, "meanwhile")
        wait_until(lambda: client.call("omkd.status")["retried_writes"] != [], "nobody is told")
        uncover(pid, disk)
        wait_sent(client, "after")
        wait_until(lambda: client.call("omkd.status")["retried_writes"] == [], "a write is shown as failing for ever")
        assert queued_texts(client) == ["before", "meanwhile", "after"]
        wait_until(lambda: len(json_lines(session.worker("w").inbox)) == 3, "not all is handed out")
        assert client.call("omkd.verify")["findings"] == []


def test_a_workers_directory_that_is_taken_away_is_made_again_and_its_tasks_come_to_their_end(
    daemon: Daemon, client: Client, place: Place
) -> None:
    client.call("worker.add", name="w", role="r", window=0)
    sent: Any = client.call("task.send", target={"worker": "w"}, task={"task": "x"})
    directory = place.session.worker("w")
    wait_until(lambda: len(json_lines(directory.inbox)) == 1, "nothing is handed out")
    directory.path.rename(place.root / "taken away")
    second: Any = client.call("task.send", target={"worker": "w"}, task={"task": "y"})
    daemon.kill()
    with running_daemon(place) as again, closing(Client(place.socket)) as client:
        wait_until(lambda: len(json_lines(directory.inbox)) == 2, "the inbox is not made again")
        with FileWorker(directory):
            done: Any = client.call("task.wait", ids=[sent["id"], second["id"]], timeout=20)["tasks"]
        assert [each["state"] for each in done] == ["success", "success"]
        assert client.call("omkd.verify")["findings"] == []
        assert again.stop() == 0


def test_an_escalation_log_that_is_taken_away_is_begun_anew(client: Client, place: Place) -> None:
    client.call("event.publish", event={"PersonNeeded": {"text": "first"}})
    wait_until(lambda: len(json_lines(place.session.escalations)) == 1, "no escalation")
    place.session.escalations.unlink()
    client.call("event.publish", event={"PersonNeeded": {"text": "second"}})
    wait_until(lambda: [each["summary"] for each in json_lines(place.session.escalations)] == ["second"], "none anew")
    listed: Any = client.call("escalation.list")["escalations"]
    assert [each["entry"]["summary"] for each in listed] == ["first", "second"]


def remove(events: Path) -> None:
    shutil.rmtree(events)


def replace(events: Path) -> None:
    """As an editor does, or a restore."""
    (segment,) = events.glob("*.jsonl")
    segment.rename(segment.with_suffix(".tmp"))
    segment.write_text("another's")


@pytest.mark.parametrize("take_away", [remove, replace])
def test_a_log_that_was_taken_away_is_put_back_with_all_that_was_answered(
    place: Place, take_away: Callable[[Path], None]
) -> None:
    with running_daemon(place) as daemon:
        client = daemon.client()
        client.call("worker.add", name="w", role="r", window=0)
        before = client.call("task.send", target={"worker": "w"}, task={"task": "before"})["id"]
        take_away(place.session.events)
        behind = client.call("task.send", target={"worker": "w"}, task={"task": "behind"})["id"]
        daemon.kill()
    with running_daemon(place), closing(Client(place.socket)) as client:
        assert [client.call("task.get", id=each)["task"]["task"] for each in (before, behind)] == ["before", "behind"]
        assert client.call("omkd.verify")["findings"] == []


def test_a_log_that_is_taken_away_under_the_daemon_is_no_clean_session(
    daemon: Daemon, client: Client, place: Place
) -> None:
    """Nobody can promise what was in it; but `verify` says so, and the next start does not go on as if nothing were."""
    client.call("worker.add", name="w", role="r", window=0)
    kept = place.session.events.with_name("kept")
    place.session.events.rename(kept)
    found: Any = client.ask("omkd.verify")
    assert "error" in found or found["result"]["findings"] != []
    daemon.stop(signal.SIGKILL)
    kept.rename(place.session.events)
    with running_daemon(place), closing(Client(place.socket)) as client:
        assert client.call("worker.get", name="w")["name"] == "w"
        assert client.call("omkd.verify")["findings"] == []
