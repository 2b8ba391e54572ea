"""Workers' files: foreign workers are found, each line is read once, nobody speaks for another."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from omkd.protocol.limits import WORKER_LINE_BYTES
from omkd.store.session import WorkerDir
from tests.file_worker import FileWorker
from tests.kit import Client, Daemon, Place, append, events_called, json_lines, running_daemon, units, wait_until

CONFORMANCE = Path(__file__).parent.parent / "conformance" / "encode.jsonl"


def rust_specs() -> list[Any]:
    """Specs byte for byte, but for a name of its own for each."""
    rows = [json.loads(line) for line in CONFORMANCE.read_text().splitlines()]
    named = [row for row in rows if row["type"] == "WorkerSpec" and row["value"]["name"] == "worker-0"]
    plain = [row for row in named if row["value"]["inbox"] == "workers/worker-0/inbox.jsonl" and row["value"]["role"]]
    names = [f"worker-{number}" for number in range(len(plain))]
    return [
        pytest.param(name, row["text"].replace("worker-0", name), id=row["note"])
        for name, row in zip(names, plain, strict=True)
    ]


def make_foreign(directory: WorkerDir, spec: str | None = None, **changed: object) -> None:
    """As another program makes it: the directory, then its spec."""
    name = directory.name
    value = {"name": name, "role": "coder", "project_dir": None, "approval_policy": "never"}
    value |= {"inbox": str(directory.inbox), "outbox": str(directory.outbox), "heartbeat": str(directory.heartbeat)}
    directory.path.mkdir(parents=True)
    directory.spec.write_text(spec or json.dumps({**value, "approval_timeout_secs": 300, **changed}))


def known_workers(client: Client) -> list[str]:
    workers: Any = client.call("worker.list")["workers"]
    return [worker["name"] for worker in workers]


def invalid_workers(client: Client) -> dict[str, str]:
    invalid: Any = client.call("omkd.status")["invalid_workers"]
    return {each["worker"]: each["error"] for each in invalid}


def send(client: Client, worker: str, **task: object) -> str:
    return str(client.call("task.send", target={"worker": worker}, task={"task": "x", **task})["id"])


def wait_done(client: Client, *ids: str) -> list[Any]:
    tasks: Any = client.call("task.wait", ids=list(ids), timeout=20)["tasks"]
    return list(tasks)


def rejections(place: Place, count: int = 1) -> list[Any]:
    """So many LineRejected, and not one more."""
    wait_until(lambda: len(events_called(place, "LineRejected")) >= count, f"{count} lines are not rejected")
    found = events_called(place, "LineRejected")
    assert len(found) == count, found
    return found


@pytest.fixture
def worker(client: Client, place: Place) -> WorkerDir:
    """One of omkd's own without a command: the test plays it. Ten tasks may be in its inbox."""
    client.call("worker.add", name="w", role="double", window=10)
    return place.session.worker("w")


def in_hand(client: Client, place: Place, count: int) -> list[str]:
    ids = [send(client, "w") for _ in range(count)]
    wait_until(lambda: {each["id"] for each in json_lines(place.session.worker("w").inbox)} >= set(ids), "no hand-outs")
    return ids


# --- foreign workers ---


@pytest.mark.parametrize(("name", "spec"), rust_specs())
def test_a_directory_that_rust_wrote_is_a_worker_and_gets_its_task(
    shared_daemon: Daemon, shared_client: Client, name: str, spec: str
) -> None:
    client, directory = shared_client, shared_daemon.place.session.worker(name)
    make_foreign(directory, spec)
    wait_until(lambda: name in known_workers(client), "the worker is not found")
    task_id = send(client, name, task="do it")
    with FileWorker(directory, says_start=False):
        (task,) = wait_done(client, task_id)
    assert (task["state"], task["result"]["summary"], task["worker"]) == ("success", "done", name)
    assert directory.spec.read_text() == spec
    shown: Any = client.call("worker.get", name=name)
    assert (shown["foreign"], shown["spec"]["name"], shown["runner"]) == (True, name, None)


def test_a_foreign_worker_is_found_at_start_and_again_after_a_restart(place: Place) -> None:
    directory = place.session.worker("other")
    make_foreign(directory)
    for _ in range(2):
        with running_daemon(place) as daemon:
            client = daemon.client()
            assert known_workers(client) == ["other"]
            task_id = send(client, "other")
            with FileWorker(directory):
                wait_done(client, task_id)
            daemon.kill()
    assert len(events_called(place, "WorkerRegistered")) == 1
    assert len(events_called(place, "TaskFinished")) == 2


def test_paths_of_a_foreign_spec_may_count_from_the_session_or_the_directory(client: Client, place: Place) -> None:
    for name, base in (("a", "workers/a/"), ("b", "")):
        files = {each: f"{base}{each}.jsonl" for each in ("inbox", "outbox")}
        make_foreign(place.session.worker(name), heartbeat=f"{base}heartbeat.json", **files)
    wait_until(lambda: known_workers(client) == ["a", "b"], "the workers are not found")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"name": "another"}, "name is 'another'"),
        ({"inbox": "/tmp/elsewhere.jsonl"}, "inbox is '/tmp/elsewhere.jsonl'"),
        ({"outbox": "../../outbox.jsonl"}, "outbox is"),
        ({"heartbeat": ""}, "heartbeat is"),
        ({"role": ""}, "bad role"),
        ({"role": 3}, "role"),
        ({"approval_timeout_secs": -1}, "approval_timeout_secs"),
    ],
)
def test_an_invalid_spec_is_shown_and_tried_again_on_change(
    shared_daemon: Daemon, shared_client: Client, changed: dict[str, object], words: str
) -> None:
    name = f"invalid-{next(iter(changed))}-{len(words)}"
    client, directory = shared_client, shared_daemon.place.session.worker(name)
    make_foreign(directory, **changed)
    wait_until(lambda: words in invalid_workers(client).get(name, ""), f"{words!r} is not shown")
    assert name not in known_workers(client)
    error: Any = client.ask("worker.get", name=name)["error"]
    assert words in error["message"]
    directory.spec.unlink()
    directory.path.rmdir()
    make_foreign(directory)
    wait_until(lambda: name in known_workers(client), "the mended one is not found")
    assert name not in invalid_workers(client)


def test_a_spec_that_is_not_written_to_its_end_yet_waits_for_the_rest(client: Client, place: Place) -> None:
    other = place.session.worker("slow")
    make_foreign(other)
    whole = other.spec.read_bytes().replace(b"slow", b"half")
    directory = place.session.worker("half")
    directory.path.mkdir(parents=True)
    directory.spec.write_bytes(whole[:40])
    wait_until(lambda: "half" in invalid_workers(client), "half a spec is not shown")
    assert "half" not in known_workers(client)
    with directory.spec.open("ab") as spec:
        spec.write(whole[40:])
    wait_until(lambda: known_workers(client) == ["half", "slow"], "the whole one is not found")
    assert invalid_workers(client) == {}


def test_a_directory_that_is_a_symlink_or_no_directory_is_refused(client: Client, place: Place, tmp_path: Path) -> None:
    real = WorkerDir(tmp_path / "linked")
    linked = place.session.worker("linked")
    make_foreign(real, inbox=str(linked.inbox), outbox=str(linked.outbox), heartbeat=str(linked.heartbeat))
    client.call("omkd.hello")
    linked.path.symlink_to(real.path)
    (place.session.workers / "file").write_text("")
    wait_until(lambda: set(invalid_workers(client)) == {"linked", "file"}, "they are not shown")
    assert "symlink" in invalid_workers(client)["linked"]
    assert known_workers(client) == []


def test_a_spec_that_is_a_symlink_is_refused(client: Client, place: Place, tmp_path: Path) -> None:
    directory = place.session.worker("w")
    directory.path.mkdir(parents=True)
    (tmp_path / "spec.json").write_text("{}")
    directory.spec.symlink_to(tmp_path / "spec.json")
    wait_until(lambda: "w" in invalid_workers(client), "it is not shown")
    assert known_workers(client) == []


def test_what_begins_with_a_dot_is_no_worker(client: Client, place: Place) -> None:
    make_foreign(place.session.worker(".hidden"))
    make_foreign(place.session.worker("seen"))
    wait_until(lambda: known_workers(client) == ["seen"], "the worker is not found")
    assert invalid_workers(client) == {}


def test_a_foreign_workers_new_spec_is_taken_over(client: Client, place: Place) -> None:
    directory = place.session.worker("w")
    make_foreign(directory)
    wait_until(lambda: known_workers(client) == ["w"], "the worker is not found")
    new = directory.spec.read_text().replace('"coder"', '"reviewer"')
    temporary = directory.path / "new"
    temporary.write_text(new)
    temporary.rename(directory.spec)
    wait_until(lambda: client.call("worker.get", name="w")["role"] == "reviewer", "the new role is not shown")
    assert len(events_called(place, "WorkerUpdated")) == 1
    assert directory.spec.read_text() == new


def test_an_own_workers_tampered_spec_is_written_again(client: Client, worker: WorkerDir) -> None:
    wait_until(worker.spec.exists, "there is no spec")
    was = worker.spec.read_bytes()
    for tamper in (lambda: worker.spec.write_text("{}"), worker.spec.unlink):
        tamper()
        wait_until(lambda: worker.spec.exists() and worker.spec.read_bytes() == was, "the spec stays as it is")
    shown: Any = client.call("worker.get", name="w")
    assert shown["role"] == "double"


def test_an_own_workers_directory_that_vanished_is_made_again_with_its_hand_outs(place: Place) -> None:
    with running_daemon(place) as daemon:
        client = daemon.client()
        client.call("worker.add", name="w", role="r")
        task_id = send(client, "w")
        directory = place.session.worker("w")
        wait_until(lambda: len(json_lines(directory.inbox)) == 1, "is not handed out")
        daemon.kill()
    directory.path.rename(place.root / "gone")
    with running_daemon(place) as daemon:
        client = daemon.client()
        assert known_workers(client) == ["w"]
        assert [line["id"] for line in json_lines(directory.inbox)] == [task_id]
        with FileWorker(directory):
            wait_done(client, task_id)


# --- lines of the outbox and of events ---


def test_a_result_without_a_start_brings_both(client: Client, place: Place, worker: WorkerDir) -> None:
    (task_id,) = in_hand(client, place, 1)
    append(worker.outbox, {"task_id": task_id, "status": "success", "artifacts": ["a", "b"]})
    wait_done(client, task_id)
    (last,) = [unit for unit in units(place) if any("TaskFinished" in event for event in unit["events"])]
    kinds = [next(iter(event)) for event in last["events"]]
    assert kinds == ["TaskStarted", "WorkerStarted", "TaskFinished", "WorkerCompleted"]
    assert last["by"] == {"kind": "worker", "worker": "w"}
    assert (last["src"]["file"], last["src"]["end"]) == ("outbox.jsonl", worker.outbox.stat().st_size)
    assert last["events"][3]["WorkerCompleted"] == {"worker_id": "w", "files_touched": 2, "ok": True}


def test_events_are_read_before_the_outbox(client: Client, place: Place, worker: WorkerDir) -> None:
    """What a worker wrote first is recorded first, also when both are found at once after a restart."""
    (task_id,) = in_hand(client, place, 1)
    append(
        worker.events,
        {"TaskStarted": {"task_id": task_id}},
        {"WorkerProgress": {"worker_id": "w", "percent": 0.5, "message": "half"}},
    )
    append(worker.outbox, {"task_id": task_id, "status": "success"})
    wait_done(client, task_id)
    names = [next(iter(event)) for unit in units(place) for event in unit["events"] if "Daemon" not in str(event)]
    assert names[-5:] == ["TaskStarted", "WorkerStarted", "WorkerProgress", "TaskFinished", "WorkerCompleted"]


def test_a_half_written_line_waits_for_its_end(client: Client, place: Place, worker: WorkerDir) -> None:
    first, second = in_hand(client, place, 2)
    line = json.dumps({"task_id": first, "status": "success", "summary": "ü€"}).encode()
    middle = line.index(b"\\u") if b"\\u" in line else 20
    append(worker.outbox, line[:middle])
    append(worker.events, {"TaskStarted": {"task_id": second}})
    wait_until(lambda: client.call("task.get", id=second)["state"] == "running", "the event is not read")
    assert client.call("task.get", id=first)["state"] == "dispatched"
    append(worker.outbox, line[middle:])
    append(worker.outbox, b"\n")
    (task,) = wait_done(client, first)
    assert task["result"]["summary"] == "ü€"
    assert events_called(place, "LineRejected") == []


def test_bad_lines_are_skipped_alone(client: Client, place: Place, worker: WorkerDir) -> None:
    first, second = in_hand(client, place, 2)
    bad = [
        b"no json\n",
        b"\xff\xfe{}\n",
        b"[]\n",
        b'{"task_id":3,"status":"success"}\n',
        b'{"task_id":"%b","status":"great"}\n' % second.encode(),
        b"x" * (WORKER_LINE_BYTES + 1) + b"\n",
    ]
    good = [json.dumps({"task_id": each, "status": "success"}).encode() + b"\n" for each in (first, second)]
    append(worker.outbox, good[0], b"\n \t\n", *bad, good[1])
    wait_done(client, first, second)
    found = rejections(place, len(bad))
    assert [each["reason"] for each in found] == [
        "not_json",
        "not_utf8",
        "wrong_type",
        "wrong_type",
        "wrong_type",
        "too_long",
    ]
    content = worker.outbox.read_bytes()
    for each, line in zip(found, bad, strict=True):
        assert content[each["offset"] : each["end"]] == line
        assert (each["worker"], each["file"], each["count"]) == ("w", "outbox.jsonl", 1)
    assert [each.get("task_id") for each in found] == [None, None, None, None, second, None]
    assert [each.get("in_hand", False) for each in found] == [False] * 4 + [True] + [False]
    listed: Any = client.call("escalation.list", kinds=["failed"])["escalations"]
    assert [each["entry"]["summary"].split(":")[:2] for each in listed] == [["w", f" result of {second} rejected"]]
    assert client.call("omkd.status")["rejected_lines"] == len(bad)


@pytest.mark.usefixtures("worker")
def test_nobody_speaks_for_another(client: Client, place: Place) -> None:
    client.call("worker.add", name="v", role="r")
    (task_id,) = in_hand(client, place, 1)
    other = place.session.worker("v")
    append(other.outbox, {"task_id": task_id, "status": "success"})
    append(other.events, {"WorkerProgress": {"worker_id": "w", "percent": 1.0}}, {"TaskStarted": {"task_id": task_id}})
    append(other.events, {"DaemonStopped": {"reason": "me"}}, {"PersonNeeded": {"text": "help"}})
    found = rejections(place, 4)
    assert {each["reason"] for each in found} == {"not_yours", "wrong_type"}
    assert client.call("task.get", id=task_id)["state"] == "dispatched"
    wait_until(lambda: len(events_called(place, "PersonNeeded")) == 1, "PersonNeeded is not recorded")
    assert events_called(place, "PersonNeeded")[0]["worker_id"] == "v"


def test_results_of_tasks_never_handed_out_are_one_rejection(client: Client, place: Place, worker: WorkerDir) -> None:
    (task_id,) = in_hand(client, place, 1)
    append(worker.outbox, *({"task_id": f"u{number}", "status": "success"} for number in range(30)))
    append(worker.outbox, {"task_id": task_id, "status": "success"})
    wait_done(client, task_id)
    (found,) = rejections(place)
    assert (found["reason"], found["count"], found["offset"]) == ("unknown_task", 30, 0)


def test_a_second_result_is_a_duplicate_and_changes_nothing(client: Client, place: Place, worker: WorkerDir) -> None:
    (task_id,) = in_hand(client, place, 1)
    append(worker.outbox, {"task_id": task_id, "status": "success"}, {"task_id": task_id, "status": "failed"})
    (found,) = rejections(place)
    assert (found["reason"], found["task_id"]) == ("duplicate", task_id)
    assert client.call("task.get", id=task_id)["state"] == "success"


def test_many_bad_lines_a_minute_are_said_together(client: Client, place: Place, worker: WorkerDir) -> None:
    (task_id,) = in_hand(client, place, 1)
    for number in range(50):
        append(worker.outbox, b"bad %d\n" % number)
    append(worker.outbox, {"task_id": task_id, "status": "success"})
    wait_done(client, task_id)
    found = events_called(place, "LineRejected")
    assert sum(each["count"] for each in found) == 50
    assert len(found) <= 11
    assert [each["count"] for each in found[:10]] == [1] * 10
    assert (found[-1]["offset"], found[-1]["end"]) == (10 * len(b"bad 0\n"), worker.outbox.read_bytes().index(b"{"))


def test_an_outbox_that_is_replaced_is_read_to_its_end_first(client: Client, place: Place, worker: WorkerDir) -> None:
    first, second, third = in_hand(client, place, 3)
    append(worker.outbox, {"task_id": first, "status": "success"})
    wait_done(client, first)
    append(worker.outbox, {"task_id": second, "status": "success"})
    replacement = worker.path / "outbox.new"
    append(replacement, {"task_id": third, "status": "success"})
    replacement.rename(worker.outbox)
    assert [task["state"] for task in wait_done(client, second, third)] == ["success"] * 2
    assert events_called(place, "LineRejected") == []


def test_an_outbox_that_lost_its_end_goes_on_at_its_end(client: Client, place: Place, worker: WorkerDir) -> None:
    first, second, third = in_hand(client, place, 3)
    append(worker.outbox, {"task_id": first, "status": "success"})
    size = worker.outbox.stat().st_size
    append(worker.outbox, {"task_id": second, "status": "success"})
    wait_done(client, first, second)
    os.truncate(worker.outbox, size)
    append(worker.outbox, {"task_id": third, "status": "success"})
    wait_done(client, third)
    assert len(events_called(place, "TaskFinished")) == 3


def test_an_outbox_is_read_on_after_a_restart_each_line_once(place: Place) -> None:
    with running_daemon(place) as daemon:
        client = daemon.client()
        client.call("worker.add", name="w", role="r", window=0)
        directory = place.session.worker("w")
        ids = [send(client, "w") for _ in range(6)]
        wait_until(lambda: len(json_lines(directory.inbox)) == 6, "are not handed out")
        append(directory.outbox, *({"task_id": each, "status": "success"} for each in ids[:3]), b"bad\n")
        wait_done(client, *ids[:3])
        rejections(place, 1)
        daemon.kill()
    append(directory.outbox, *({"task_id": each, "status": "success"} for each in ids[3:5]))
    with running_daemon(place) as daemon:
        client = daemon.client()
        wait_done(client, *ids[3:5])
        daemon.stop()
    append(directory.outbox, {"task_id": ids[5], "status": "success"})
    with running_daemon(place) as daemon:
        wait_done(daemon.client(), *ids)
    assert [each["task_id"] for each in events_called(place, "TaskFinished")] == ids
    rejections(place, 1)


def test_a_late_result_of_a_removed_workers_task_is_not_taken(client: Client, place: Place, worker: WorkerDir) -> None:
    (task_id,) = in_hand(client, place, 1)
    client.call("worker.remove", name="w", force=True)
    assert client.call("task.get", id=task_id)["state"] == "lost"
    client.call("worker.add", name="w", role="double")
    append(worker.outbox, {"task_id": task_id, "status": "success"})
    (found,) = rejections(place)
    assert found["reason"] == "late"
    assert client.call("task.get", id=task_id)["state"] == "lost"


def test_a_file_of_a_worker_that_is_a_symlink_is_not_read(client: Client, place: Place, tmp_path: Path) -> None:
    client.call("worker.add", name="w", role="r")
    (task_id,) = in_hand(client, place, 1)
    elsewhere = tmp_path / "outbox"
    append(elsewhere, {"task_id": task_id, "status": "success"})
    directory = place.session.worker("w")
    directory.outbox.symlink_to(elsewhere)

    def retried() -> list[str]:
        writes: Any = client.call("omkd.status")["retried_writes"]
        return [each["path"] for each in writes]

    wait_until(lambda: retried() == [str(directory.outbox)], "it is not shown")
    assert client.call("task.get", id=task_id)["state"] == "dispatched"
    directory.outbox.unlink()
    append(directory.outbox, {"task_id": task_id, "status": "success"})
    wait_done(client, task_id)
    wait_until(lambda: retried() == [], "it is shown for ever")


def test_a_heartbeat_tells_the_state_of_a_foreign_worker(client: Client, place: Place, daemon: Daemon) -> None:
    directory = place.session.worker("w")
    make_foreign(directory)
    wait_until(lambda: known_workers(client) == ["w"], "the worker is not found")

    def state() -> object:
        return client.call("worker.get", name="w")["state"]

    assert state() == "unknown"
    for status, shown in (("ready", "ready"), ("stopped", "stopped"), ("whatever it says", "ready")):
        temporary = directory.path / "beat"
        temporary.write_text(json.dumps({"status": status, "name": "w", "ts": "2026-05-25T10:11:12+00:00"}))
        temporary.rename(directory.heartbeat)
        wait_until(lambda wanted=shown: state() == wanted, f"{status!r} is not {shown}")
    directory.heartbeat.write_text("{")
    assert daemon.client().call("omkd.hello")


@pytest.mark.usefixtures("worker")
def test_modes_are_private_whatever_the_umask(client: Client, place: Place) -> None:
    in_hand(client, place, 1)
    paths = [path for path in place.session.path.rglob("*") if not path.is_symlink()]
    assert paths
    for path in [place.session.path, *paths]:
        assert path.stat().st_mode & 0o777 == (0o700 if path.is_dir() else 0o600), path


def test_an_inbox_that_is_taken_away_is_there_again_with_what_is_unfinished(client: Client, place: Place) -> None:
    client.call("worker.add", name="w", role="r", window=0)
    sent: Any = [client.call("task.send", target={"worker": "w"}, task={"task": text}) for text in ("a", "b")]
    inbox = place.session.worker("w").inbox
    wait_until(lambda: len(json_lines(inbox)) == 2, "they are not handed out")
    inbox.unlink()
    wait_until(
        lambda: [line["id"] for line in json_lines(inbox)] == [each["id"] for each in sent], "it is not made again"
    )
    assert client.call("omkd.verify")["findings"] == []


# --- a worker that writes much


def test_a_worker_that_has_much_to_say_holds_up_no_other(client: Client, place: Place) -> None:
    """All of it was read first, and a result of another waited as long."""
    many = 5_000
    for name in ("quick", "w"):
        client.call("worker.add", name=name, role="r")
    task = send(client, "w")
    wait_until(lambda: json_lines(place.session.worker("w").inbox) != [], "it is not handed out")
    append(place.session.worker("quick").events, *[{"PersonNeeded": {"text": "x"}}] * many)
    append(place.session.worker("w").outbox, {"task_id": task, "status": "success", "elapsed_secs": 0, "summary": ""})
    wait_done(client, task)
    wait_until(lambda: len(events_called(place, "PersonNeeded")) == many, "not all is read")
    kinds = [next(iter(unit["events"][0])) for unit in units(place)]  # TaskStarted: of the unit with the result
    assert kinds.index("TaskStarted") < len(kinds) - 1 - kinds[::-1].index("PersonNeeded")
