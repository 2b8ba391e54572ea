"""What the torture found once, each in a few lines."""

import os
import resource
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from omkd.services.verify import verify_session
from omkd.store.files import sync_way_to
from omkd.store.tail import Position, TailReader
from tests.kit import Client, Daemon, Place, append, events_called, json_lines, running_daemon, wait_until


def texts(reader: TailReader) -> list[str]:
    return [line.text.decode() for line in reader.read().lines]  # type: ignore[union-attr]  # none is too long


def test_a_worker_whose_adding_was_cut_short_behind_its_directory_can_be_added(client: Client, place: Place) -> None:
    """An empty directory was there, and refused for ever."""
    place.session.worker("w").path.mkdir(parents=True, mode=0o755)
    client.call("worker.add", name="w", role="r")
    assert place.session.worker("w").spec.exists()
    assert place.session.worker("w").path.stat().st_mode & 0o077 == 0


def test_a_directory_with_something_in_it_is_still_nobodys_to_take(client: Client, place: Place) -> None:
    directory = place.session.worker("w").path
    directory.mkdir(parents=True)
    (directory / "notes.txt").write_text("mine")
    refused: Any = client.ask("worker.add", name="w", role="r")
    assert refused["error"]["data"]["name"] == "conflict"


def test_blocks_that_the_disk_never_wrote_are_no_strangers_line_in_an_inbox(place: Place) -> None:
    """`verify` said that another program had written the zeros which a loss of power leaves."""
    inbox = place.session.worker("w").inbox
    with running_daemon(place) as daemon, closing(Client(place.socket)) as client:
        client.call("worker.add", name="w", role="r", window=0)
        client.call("task.send", target={"worker": "w"}, task={"task": "x"})
        wait_until(lambda: len(json_lines(inbox)) == 1, "nothing is handed out")
        daemon.kill()
    inbox.write_bytes(bytes(inbox.stat().st_size))
    with running_daemon(place) as daemon:
        wait_until(lambda: b"}\n" in inbox.read_bytes(), "the hand-out is not written again")
        assert daemon.client().call("omkd.verify")["findings"] == []
        assert daemon.stop() == 0
    assert verify_session(place.session).findings == []


def test_a_line_that_was_lost_and_is_written_again_at_the_same_place_is_no_line_read_twice(tmp_path: Path) -> None:
    """Both had the same generation, end and text: `verify` took the second for the first, read again."""
    path = tmp_path / "outbox.jsonl"
    kept: list[Position] = []
    reader = TailReader(path, start=None, first_gen=1, limit_bytes=1000, earlier=lambda: reversed(kept))
    append(path, b"first\n", b"again\n")
    assert texts(reader) == ["first", "again"]
    kept += [reader.position_at(6), before := reader.position_at(12)]
    os.truncate(path, 6)
    assert texts(reader) == []
    append(path, b"again\n")
    assert texts(reader) == ["again"]
    after = reader.position_at(12)
    reader.close()
    assert (before.end, before.tail) == (after.end, after.tail)
    assert after.gen == before.gen + 1


def test_an_escalation_log_that_was_set_aside_in_the_middle_of_a_turn_goes_on_behind_what_it_kept(place: Place) -> None:
    """The position said that the new file began with the first line of the turn; the old one had kept that."""
    with running_daemon(place) as daemon:
        client = daemon.client()
        for text in ("one", "two", "three"):
            client.call("event.publish", event={"PersonNeeded": {"text": text}})
        wait_until(lambda: len(json_lines(place.session.escalations)) == 3, "no escalations")
        pos = place.session.escalations_pos.read_bytes()
        daemon.kill()
    lines = place.session.escalations.read_bytes().splitlines(keepends=True)
    with place.session.escalations.open("r+b") as file:  # the same inode: "two" was never written
        file.seek(len(lines[0]))
        file.write(bytes(len(lines[1])))
    assert place.session.escalations_pos.read_bytes() == pos
    for _ in range(2):
        with running_daemon(place) as daemon:
            wait_until(lambda: is_whole(place), "the rest is not written")
            assert daemon.client().call("omkd.verify")["findings"] == []
            daemon.kill()
    assert len(list(place.session.path.glob("*.aside-*"))) == 1


def is_whole(place: Place) -> bool:
    path = place.session.escalations
    if not path.exists() or b"\0" in path.read_bytes():
        return False
    return [each["summary"] for each in json_lines(place.session.escalations)] == ["two", "three"]


def test_names_that_a_killed_daemon_made_and_did_not_sync_are_synced_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All the way up, as far as this file system goes."""
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    synced, fsync = [], os.fsync

    def noting(descriptor: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noting)
    sync_way_to(deep)
    assert synced[:3] == [tmp_path / "a", tmp_path, tmp_path.parent]


def test_results_that_could_not_be_recorded_are_read_again_from_a_file_that_was_replaced_too(
    daemon: Daemon, client: Client, place: Place
) -> None:
    """The old file was closed, and had no name to be found by; the worker was taken off the list of the unread."""
    client.call("worker.add", name="w", role="r", window=0)
    outbox = place.session.worker("w").outbox
    sent: Any = [client.call("task.send", target={"worker": "w"}, task={"task": "x" * 3000}) for _ in range(2)]
    wait_until(lambda: len(json_lines(place.session.worker("w").inbox)) == 2, "nothing is handed out")
    append(outbox, b"opens it\n")
    wait_until(lambda: events_called(place, "LineRejected"), "the outbox is not read")
    size = sum(path.stat().st_size for path in place.session.events.glob("*.jsonl"))
    _, hard = resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (size + 900, hard))
    results = [
        {"task_id": each["id"], "status": "success", "summary": "y" * 400, "artifacts": [], "elapsed_secs": 0}
        for each in sent
    ]
    append(outbox, results[0])
    outbox.rename(outbox.with_name("old"))
    append(outbox, results[1])
    wait_until(lambda: client.call("omkd.status")["retried_writes"] != [], "the log takes it all")
    resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, hard))
    done: Any = client.call("task.wait", ids=[each["id"] for each in sent], timeout=10)["tasks"]
    assert [each["state"] for each in done] == ["success", "success"]
