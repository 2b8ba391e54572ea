"""`worker.compact`: a worker's files move into its archive, and whatever is cut short nothing is done or said twice."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from system_kit import add_shell, refusal, result, send, wait_worker

from omkd.services.verify import verify_session
from omkd.store.archive import archived, compress, move_to_archive, open_archived
from omkd.store.session import WorkerDir
from tests.kit import Client, Place, append, events_called, json_lines, running_daemon, units, wait_until

MOVED = ("inbox", "control", "outbox", "events")


def archive_names(directory: WorkerDir) -> list[str]:
    return sorted(path.name for path in directory.archive.iterdir()) if directory.archive.exists() else []


def archived_lines(directory: WorkerDir, stem: str) -> list[Any]:
    found = []
    for path in archived(directory.archive, stem):
        with open_archived(path) as opened:
            found += [json.loads(line) for line in opened]
    return found


def ran(place: Place) -> list[str]:
    """What the shell worker's tasks appended, in order."""
    path = place.root / "ran"
    return path.read_text().split() if path.exists() else []


def run_one(client: Client, place: Place, name: str) -> str:
    task_id = send(client, f"echo {name} >> {place.root / 'ran'}")
    assert result(client, task_id)[0] == "success"
    return task_id


def test_the_files_are_moved_whole_and_gzipped_and_work_goes_on(client: Client, place: Place) -> None:
    add_shell(client)
    first = run_one(client, place, "one")
    directory = place.session.worker("w")
    before = {stem: json_lines(directory.path / f"{stem}.jsonl") for stem in MOVED}
    compacted = client.call("worker.compact", name="w")
    names = archive_names(directory)
    assert names == sorted(os.path.basename(path) for path in compacted["archived"])  # type: ignore[attr-defined]
    assert all(name.endswith(".jsonl.gz") for name in names)
    assert {stem: archived_lines(directory, stem) for stem in MOVED} == before
    assert [(directory.archive / name).stat().st_mode & 0o777 for name in names] == [0o600] * len(names)
    second = run_one(client, place, "two")
    assert ran(place) == ["one", "two"]
    assert [line["id"] for line in json_lines(directory.inbox)] == [second]
    finished = [event["task_id"] for event in events_called(place, "TaskFinished")]
    assert finished == [first, second]
    verified: Any = client.call("omkd.verify")
    assert (verified["findings"], verified["checked"]["archived_inbox_lines"]) == ([], 1)
    packed = next(directory.archive.glob("inbox-*"))
    packed.write_bytes(packed.read_bytes()[:-9])
    damaged: Any = client.call("omkd.verify")["findings"]
    assert [finding["kind"] for finding in damaged] == ["inbox"]


def test_one_with_something_in_hand_is_refused_unless_it_drains(client: Client, place: Place) -> None:
    add_shell(client)
    task_id = send(client, f"while [ ! -e {place.root / 'go'} ]; do sleep 0.05; done")
    client.call("task.wait", ids=[task_id], until="started", timeout=20)
    name, text = refusal(client, "worker.compact", name="w")
    assert (name, task_id in text, "--drain" in text) == ("refused", True, True)
    (place.root / "go").touch()
    client.call("worker.compact", name="w", drain=True)
    assert archive_names(place.session.worker("w"))
    wait_worker(client, "ready")


def test_a_worker_whose_program_omkd_does_not_run_is_refused(client: Client) -> None:
    client.call("worker.add", name="p", role="r")
    assert refusal(client, "worker.compact", name="p")[0] == "refused"
    assert refusal(client, "worker.compact", name="nobody")[0] == "not_found"


@pytest.mark.parametrize("moved", range(len(MOVED) + 1))
def test_a_compaction_that_was_cut_short_is_finished_by_the_next_start(place: Place, moved: int) -> None:
    """Killed after so many files were moved, before anything was recorded."""
    directory = place.session.worker("w")
    with running_daemon(place) as daemon:
        client = daemon.client()
        add_shell(client)
        run_one(client, place, "one")
        client.call("worker.pause", name="w")
        client.call("omkd.shutdown", workers=True)
        daemon.process.wait(20)
    append(
        directory.events, {"WorkerProgress": {"worker_id": "w", "percent": 0.5, "message": "said while nobody read"}}
    )
    with running_daemon(place) as daemon:
        wait_until(lambda: len(events_called(place, "WorkerProgress")) == 1, "it is not read")
        daemon.kill()
    for stem in MOVED[:moved]:
        move_to_archive(directory.path / f"{stem}.jsonl", directory.archive, 77)
    with running_daemon(place) as daemon:
        client = daemon.client()
        wait_until(lambda: all(name.endswith(".gz") for name in archive_names(directory)), "not gzipped")
        client.call("worker.resume", name="w")
        run_one(client, place, "two")
        assert ran(place) == ["one", "two"]
        assert len(events_called(place, "WorkerProgress")) == 1
        assert len(events_called(place, "TaskFinished")) == 2
        assert events_called(place, "LineRejected") == []
        assert client.call("omkd.verify")["findings"] == []
        daemon.stop()
    assert verify_session(place.session).findings == []


def test_one_that_was_recorded_and_not_gzipped_is_gzipped_and_recorded_no_second_time(place: Place) -> None:
    directory = place.session.worker("w")
    with running_daemon(place) as daemon:
        client = daemon.client()
        add_shell(client)
        run_one(client, place, "one")
        client.call("worker.compact", name="w")
        daemon.kill()
    for path in list(directory.archive.iterdir()):
        with open_archived(path) as opened:
            path.with_name(path.name.removesuffix(".gz")).write_bytes(opened.read())
        path.unlink()
    anew = [unit for unit in units(place) if unit.get("src", {}).get("inode") == 0]
    with running_daemon(place) as daemon:
        wait_until(lambda: all(name.endswith(".gz") for name in archive_names(directory)), "not gzipped")
        run_one(daemon.client(), place, "two")
    assert [unit for unit in units(place) if unit.get("src", {}).get("inode") == 0] == anew
    assert ran(place) == ["one", "two"]


def test_a_file_is_whole_in_the_archive_or_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "outbox-7.jsonl"
    path.write_bytes(b"line\n" * 1000)
    (tmp_path / ".outbox-7.jsonl.gz.tmp").write_bytes(b"torn")
    packed = compress(path)
    assert (packed.name, path.exists(), len(list(tmp_path.iterdir()))) == ("outbox-7.jsonl.gz", False, 1)
    with open_archived(packed) as opened:
        assert opened.read() == b"line\n" * 1000
    assert archived(tmp_path, "outbox") == [packed]
    assert archived(tmp_path / "none", "outbox") == []
