"""What a new host makes of what a dead one left, and what the daemon may end itself."""

import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trio
from worker_kit import DEADLINE_S, Workspace, append, is_alive

from omkd.protocol import codec
from omkd.protocol.records import RunRecord
from omkd.protocol.scalars import U64, HandoutId, Ns
from omkd.store.procfs import boot_id, start_time
from omkd.worker.processes import end_leftovers, marks_of

BLOCK = "tail -f /dev/null"

LINE = {
    "task_id": "t1",
    "status": "success",
    "summary": "did it",
    "artifacts": [],
    "elapsed_secs": 4,
    "outcome": "done",
}


def kill_host(space: Workspace) -> None:
    space.hosts[-1].kill()
    space.hosts[-1].wait(DEADLINE_S)


def lay_run(space: Workspace, **files: object) -> Path:
    """A run's directory as a dead host left it: `run` is run.json, `result` result.json."""
    run = space.run("t1")
    run.mkdir(parents=True)
    for name, content in files.items():
        (run / f"{name}.json").write_text(json.dumps(content, separators=(",", ":")))
    return run


def record_of(*, pid: int, started: int, boot: str) -> bytes:
    return codec.dumps(
        RunRecord(
            handout="t1",
            session="s1",
            worker="coder",
            boot_id=boot,
            host_pid=U64(1),
            host_start_time=U64(1),
            pid=U64(pid),
            start_time=U64(started),
            started=Ns(10**18),
        )
    )


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(BLOCK.split(), stdin=subprocess.DEVNULL, start_new_session=True)
    yield process
    process.kill()
    process.wait(DEADLINE_S)


def test_a_run_whose_host_was_killed_is_ended_and_interrupted_before_the_next_begins(space: Workspace) -> None:
    """One descendant ignores SIGTERM in a session of its own; one, below the recorded command, has no environment."""
    space.shell(
        f"trap '' TERM; (setsid sh -c 'echo $$ > hidden; {BLOCK}' &);"
        f"env -i sh -c 'echo $$ > bare; exec {BLOCK}' & echo $$ > command; {BLOCK}"
    )
    space.send("t1")
    space.send("t2")
    space.start()
    pids = [int(space.wait_file(name)) for name in ("hidden", "bare", "command")]
    kill_host(space)
    assert [is_alive(pid) for pid in pids] == [True, True, True]
    look = "grep -qs 'State:.[RSDT]' /proc/$(cat $file)/status && echo $file"
    space.shell(f"for file in hidden bare command; do {look}; done; echo ran")
    space.start()
    first, second = space.results(2)
    assert (first["task_id"], first["status"], first["outcome"]) == ("t1", "failed", "interrupted")
    assert first["summary"].startswith("interrupted: the worker host died while it ran; ")
    assert (second["task_id"], second["summary"]) == ("t2", "ran")
    assert not any(is_alive(pid) for pid in pids)


def test_a_cancelled_run_whose_host_was_killed_is_cancelled(space: Workspace) -> None:
    space.shell(f"echo $$ > command; {BLOCK}")
    space.send()
    space.start()
    pid = int(space.wait_file("command"))
    kill_host(space)
    space.control(cancel={"id": "t1", "reason": "enough"})
    space.start()
    result = space.result()
    assert (result["outcome"], result["summary"]) == ("cancelled", "cancelled: enough")
    assert not is_alive(pid)


@pytest.mark.parametrize("torn", ["", '{"task_id":"t1","sta', '{"task_id":"t0","status":"succ'])
def test_a_result_without_an_outbox_line_is_reported_and_not_repeated(space: Workspace, torn: str) -> None:
    space.shell("echo again > again")
    space.send()
    lay_run(space, run={}, result=LINE)
    append(space.worker.outbox, torn)
    host = space.start()
    space.wait_status("ready")
    text = space.worker.outbox.read_text()
    lost = "" if LINE["task_id"] in torn else torn + "\n" * bool(torn)
    assert text == lost + json.dumps(LINE, separators=(",", ":")) + "\n"
    assert space.stop(host) == 0
    assert not (space.project / "again").exists()


def test_a_result_in_the_outbox_is_not_reported_again(space: Workspace) -> None:
    space.shell("echo ran")
    space.send("t1")
    space.send("t2")
    lay_run(space, run={}, result=LINE)
    append(space.worker.outbox, json.dumps(LINE) + "\n")
    space.start()
    assert [result["task_id"] for result in space.results(2)] == ["t1", "t2"]


def test_a_directory_without_run_record_never_began_and_is_run(space: Workspace) -> None:
    space.shell("echo ran")
    space.send()
    lay_run(space)
    space.start()
    assert space.result()["summary"] == "ran"


@pytest.mark.parametrize("record", [b"", b'{"handout":'])
def test_an_unreadable_run_record_is_a_run_that_began(space: Workspace, record: bytes) -> None:
    space.shell("echo ran")
    space.send()
    (lay_run(space) / "run.json").write_bytes(record)
    space.start()
    assert space.result()["outcome"] == "interrupted"


@pytest.mark.parametrize(("later", "boot"), [(1, boot_id), (0, lambda: "another boot")])
def test_a_recycled_pid_is_not_hit(
    space: Workspace, bystander: subprocess.Popen[bytes], later: int, boot: Callable[[], str]
) -> None:
    record = record_of(pid=bystander.pid, started=start_time(bystander.pid) + later, boot=boot())
    space.shell("true")
    space.send()
    (lay_run(space) / "run.json").write_bytes(record)
    space.start()
    assert space.result()["outcome"] == "interrupted"
    assert bystander.poll() is None


async def test_the_recorded_command_is_ended_even_without_marks(
    space: Workspace, bystander: subprocess.Popen[bytes]
) -> None:
    record = record_of(pid=bystander.pid, started=start_time(bystander.pid), boot=boot_id())
    (lay_run(space) / "run.json").write_bytes(record)
    with trio.fail_after(DEADLINE_S):
        assert await end_leftovers(space.worker, HandoutId("t1"), grace_s=DEADLINE_S) == 1
    assert bystander.wait(DEADLINE_S) == -signal.SIGTERM


async def test_leftovers_are_told_by_session_worker_handout_and_directory(space: Workspace) -> None:
    """Another session may have the same name, as in a test of one's own: only the directory tells them apart."""
    ours = marks_of(space.worker, HandoutId("t1")).environment()
    others = [{**ours, name: f"{value}x"} for name, value in ours.items()]
    started = [start(space, env) for env in (ours, *others)]
    with trio.fail_after(DEADLINE_S):
        assert await end_leftovers(space.worker, HandoutId("t1"), grace_s=DEADLINE_S) == 1
        assert await end_leftovers(space.worker, HandoutId("t1"), grace_s=DEADLINE_S) == 0
    assert [process.poll() for process in started] == [-signal.SIGTERM, None, None, None, None]
    for process in started:
        process.kill()
        process.wait(DEADLINE_S)


async def test_nothing_is_left_of_a_run_that_never_was(space: Workspace) -> None:
    with trio.fail_after(DEADLINE_S):
        assert await end_leftovers(space.worker, HandoutId("t1")) == 0


def start(space: Workspace, env: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(BLOCK.split(), env={**os.environ, **env, "TOKEN": space.token}, stdin=subprocess.DEVNULL)
