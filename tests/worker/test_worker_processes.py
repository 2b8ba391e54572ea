"""Which processes belong to a run, and their end."""

import os
import signal
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from attrs import evolve
from worker_kit import DEADLINE_S

from omkd.store.procfs import Process, process_of, processes
from omkd.worker.children import Children
from omkd.worker.processes import RunMarks, RunProcesses, end_processes, self_and_ancestors, send_signal

MARKS = RunMarks(session="s", worker="w", handout="t1", task_file=f"/nowhere/{uuid.uuid4()}/task.json")
"""Of this run of the tests: another one beside it is not ours to end."""

STUBBORN = "trap '' TERM; echo ready; exec tail -f /dev/null"


@pytest.fixture
def started() -> Iterator[list[subprocess.Popen[bytes]]]:
    made: list[subprocess.Popen[bytes]] = []
    yield made
    for process in made:
        process.kill()
        process.wait(DEADLINE_S)
        if process.stdout:
            process.stdout.close()


def start(started: list[subprocess.Popen[bytes]], script: str, env: dict[str, str]) -> subprocess.Popen[bytes]:
    """A shell that has said a line."""
    process = subprocess.Popen(
        ["/bin/sh", "-c", script], env={**os.environ, **env}, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    )
    started.append(process)
    assert process.stdout
    process.stdout.readline()
    return process


def found(pid: int) -> Process:
    process = process_of(pid)
    assert process is not None
    return process


async def test_sigkill_follows_for_what_ignores_sigterm(started: list[subprocess.Popen[bytes]]) -> None:
    process = start(started, STUBBORN, MARKS.environment())
    with trio.fail_after(DEADLINE_S):
        assert await end_processes(RunProcesses(marks=MARKS), grace_s=0.1) == 1
    assert process.wait(DEADLINE_S) == -signal.SIGKILL


async def test_no_patience_is_sigkill_at_once(started: list[subprocess.Popen[bytes]]) -> None:
    process = start(started, STUBBORN, MARKS.environment())
    patience = trio.CancelScope()
    patience.cancel()
    with trio.fail_after(DEADLINE_S):
        await end_processes(RunProcesses(marks=MARKS), grace_s=3600, patience=patience)
    assert process.wait(DEADLINE_S) == -signal.SIGKILL


async def test_what_is_born_during_the_grace_time_is_ended_too(started: list[subprocess.Popen[bytes]]) -> None:
    """On SIGTERM the shell starts another and is gone. (A SIGTERM between its fork and exec is lost: then SIGKILL.)"""
    script = "trap 'setsid tail -f /dev/null & exit' TERM; tail -f /dev/null & echo ready; wait"
    start(started, script, MARKS.environment())
    with trio.fail_after(DEADLINE_S):
        assert await end_processes(RunProcesses(marks=MARKS), grace_s=1) == 3
    assert RunProcesses(marks=MARKS).alive() == []


def test_this_process_and_its_ancestors_are_spared() -> None:
    seen = {process.pid: process for process in processes()}
    assert {os.getpid(), os.getppid()} <= self_and_ancestors(seen)
    us = found(os.getpid())
    assert os.getpid() not in [p.pid for p in RunProcesses(marks=MARKS, command=(us.pid, us.start_time)).alive()]


def test_a_signal_reaches_only_the_process_with_that_start_time(started: list[subprocess.Popen[bytes]]) -> None:
    process = start(started, "echo ready; exec tail -f /dev/null", {})
    seen = found(process.pid)
    send_signal(evolve(seen, start_time=seen.start_time + 1), signal.SIGKILL)
    send_signal(evolve(seen, start_time=seen.start_time - 1), signal.SIGKILL)
    send_signal(seen, signal.SIGTERM)
    assert process.wait(DEADLINE_S) == -signal.SIGTERM
    send_signal(seen, signal.SIGKILL)  # gone: nothing happens


def test_a_zombie_is_not_alive(started: list[subprocess.Popen[bytes]]) -> None:
    process = start(started, "echo ready", {})
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert found(process.pid).is_alive is False


async def test_only_orphans_are_reaped(tmp_path: Path, started: list[subprocess.Popen[bytes]]) -> None:
    """A child of this process that is none of `Children`'s stands for an orphan here."""
    children = Children()
    null = os.open(os.devnull, os.O_RDWR)
    with trio.fail_after(DEADLINE_S):
        ours = await children.start(
            [b"sh", b"-c", b"exit 3"], env=os.environb, cwd=tmp_path, stdin=null, stdout=null, stderr=null
        )
        os.close(null)
        orphan = start(started, "echo ready; exit 4", {}).pid
        for pid in (ours.pid, orphan):
            wait_without_reaping(pid)
        children.reap()
        assert await ours.wait() == 3
        children.forget(ours)
    assert process_of(orphan) is None


def wait_without_reaping(pid: int) -> None:
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
