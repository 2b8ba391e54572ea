"""A run's output: progress lines, the size limit, how many runs are kept, and the host's own log."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from worker_kit import DEADLINE_S, Workspace, append

from omkd.protocol.events import WorkerProgress
from omkd.protocol.scalars import HandoutId, TaskId
from omkd.store.session import WorkerDir
from omkd.store.trimming import BLOCK_BYTES, give_back, kept_of, left_out_line, trim
from omkd.worker.files import RunFiles
from omkd.worker.output import READ_BYTES, Output
from omkd.worker.progress import ProgressLines, progress_in, without_progress
from omkd.worker.retention import Retention, remove_old_runs
from tests.kit import wait_until

LIMIT = 64 * 1024


# --- progress ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "percent", "message"),
    [
        ("OMK_PROGRESS 40 half way", 40.0, "half way"),
        ("OMK_PROGRESS 40", 40.0, None),
        ("OMK_PROGRESS 33.5% of it\r", 33.5, "of it"),
        ("OMK_PROGRESS reading", None, "reading"),
        ("OMK_PROGRESS 3 of 7", 3.0, "of 7"),
        ("OMK_PROGRESS 4000 files", None, "4000 files"),
        ("OMK_PROGRESS -1", None, "-1"),
        ("OMK_PROGRESS 5files", None, "5files"),
    ],
)
def test_a_progress_line_has_a_percentage_or_a_text(line: str, percent: float | None, message: str | None) -> None:
    found = progress_in("coder", line)
    assert found is not None
    assert (found.worker_id, found.percent, found.message) == ("coder", percent, message)


@pytest.mark.parametrize("line", ["OMK_PROGRESS", "OMK_PROGRESS  ", "OMK_PROGRESSING 4", " OMK_PROGRESS 4", "40"])
def test_any_other_line_is_output(line: str) -> None:
    assert progress_in("coder", line) is None


@given(st.lists(st.sampled_from(["OMK_PROGRESS 1 a\n", "OMK_PROGRESS 2\n", "talk\n", "\n", "ü\n"])), st.data())
def test_progress_is_the_same_however_the_output_is_cut(lines: list[str], data: st.DataObject) -> None:
    text = "".join(lines).encode()
    at_once, cut = ProgressLines("coder"), ProgressLines("coder")
    at_once.receive_data(text)
    while text:
        size = data.draw(st.integers(1, len(text)))
        cut.receive_data(text[:size])
        text = text[size:]
    assert cut.latest == at_once.latest
    wanted = [found for line in lines if (found := progress_in("coder", line.rstrip("\n"))) is not None]
    assert at_once.latest == (wanted[-1] if wanted else None)


def test_a_line_without_its_newline_is_not_there_yet() -> None:
    lines = ProgressLines("coder")
    lines.receive_data(b"OMK_PROGRESS 4")
    assert lines.latest is None
    lines.receive_data(b"0\n")
    assert lines.latest == WorkerProgress(worker_id="coder", percent=40.0, message=None)  # type: ignore[arg-type]  # F32


def test_progress_lines_are_no_part_of_the_summary() -> None:
    text = "one\nOMK_PROGRESS 40 half way\ntwo OMK_PROGRESS 3\nOMK_PROGRESS\nthree\nOMK_PROGRESS 90"
    assert without_progress(text) == "one\ntwo OMK_PROGRESS 3\nthree\n"


def test_what_a_command_says_of_its_progress_becomes_events_the_last_of_a_second(space: Workspace) -> None:
    os.mkfifo(space.project / "go")
    space.shell("echo OMK_PROGRESS 10 begun; cat go; for n in 20 30 40; do echo OMK_PROGRESS $n; done; echo did it")
    space.send()
    space.start()
    space.wait(lambda: len(space.events()) == 2, "the first progress")
    (space.project / "go").write_text("")
    result = space.result()
    assert (result["status"], result["summary"]) == ("success", "did it")
    assert space.events() == [
        {"TaskStarted": {"task_id": "t1", "handout": 1}},
        {"WorkerProgress": {"worker_id": "coder", "percent": 10.0, "message": "begun"}},
        {"WorkerProgress": {"worker_id": "coder", "percent": 40.0, "message": None}},
    ]


def test_progress_goes_on_after_a_flood_and_after_a_cut(space: Workspace) -> None:
    files = RunFiles(space.worker.run(TaskId("t1"), HandoutId("t1")))
    files.path.mkdir(parents=True)
    output = Output(space.worker, files, LIMIT)
    for text in ("OMK_PROGRESS 10\n" + "x" * READ_BYTES + "\nOMK_PROGRESS 20\n", "OMK_PROGRESS 30\n"):
        files.stdout.write_text(text)
        files.stderr.write_text("")
        output.look()
    assert [event["WorkerProgress"]["percent"] for event in space.events()] == [20, 30]


def test_output_that_is_taken_away_is_logged_and_no_harm(space: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    Output(space.worker, RunFiles(space.worker.run(TaskId("t1"), HandoutId("t1"))), LIMIT).finish()
    assert "output of t1 not looked at" in caplog.text


def test_who_sent_a_task_is_told_to_its_command(space: Workspace) -> None:
    space.shell('echo "${OMK_TASK_BY-nobody said}"')
    space.send("t1", by="worker:lead")
    space.send("t2")
    space.start(OMK_TASK_BY="somebody else")
    assert [result["summary"] for result in space.results(2)] == ["worker:lead", "nobody said"]


# --- the size limit ----------------------------------------------------------------------------------------------


@given(st.integers(0, 10**12), st.integers(1, 10**9))
def test_never_more_than_the_limit_is_kept(size: int, limit: int) -> None:
    kept = kept_of(size, limit)
    if kept is None:
        assert size <= limit
    else:
        assert kept.head + kept.tail == limit
        assert kept.left_out == size - limit > 0


def numbered(size: int) -> bytes:
    return b"".join(b"%07d\n" % number for number in range(size // 8))


@pytest.fixture
def output(tmp_path: Path) -> Path:
    path = tmp_path / "stdout.log"
    path.write_bytes(numbered(4 * LIMIT))
    return path


def test_a_long_output_is_trimmed_to_head_a_line_and_tail(output: Path) -> None:
    whole = output.read_bytes()
    assert trim(output, LIMIT) == 3 * LIMIT
    assert output.read_bytes() == whole[: LIMIT // 4] + left_out_line(3 * LIMIT) + whole[-LIMIT * 3 // 4 :]
    assert trim(output, 2 * LIMIT) == 0


def test_a_hole_gives_back_what_is_left_out_and_nothing_else(output: Path) -> None:
    """On a file system without holes nothing happens, and it is said."""
    whole, blocks = output.read_bytes(), output.stat().st_blocks
    if not give_back(output, LIMIT):
        assert output.read_bytes() == whole
        return
    assert output.stat().st_blocks < blocks
    assert output.stat().st_size == len(whole)
    left = output.read_bytes()
    assert left[: LIMIT // 4] == whole[: LIMIT // 4]
    assert left[-LIMIT * 3 // 4 :] == whole[-LIMIT * 3 // 4 :]
    assert left[LIMIT // 4 : -LIMIT * 3 // 4].strip(b"\0") == b""
    trim(output, LIMIT)
    assert output.read_bytes() == whole[: LIMIT // 4] + left_out_line(3 * LIMIT) + whole[-LIMIT * 3 // 4 :]


def test_what_is_just_over_the_limit_has_no_whole_block_to_give_back(output: Path) -> None:
    whole = output.read_bytes()
    assert give_back(output, len(whole) - BLOCK_BYTES + 1)
    assert output.read_bytes() == whole


def test_the_output_of_a_run_over_its_limit_keeps_head_and_tail(space: Workspace) -> None:
    """The hole is there while the command still runs, and the command goes on writing behind it."""
    os.mkfifo(space.project / "go")
    space.shell(
        "echo first; i=0; while [ $i -lt 8192 ]; do echo $i 0123456789012345678901234567890123456789; i=$((i+1)); done;"
        "cat go; echo last; echo short >&2",
        output_bytes=LIMIT,
    )
    space.send()
    space.start()
    log = space.run() / "stdout.log"
    wait_until(lambda: log.exists() and log.stat().st_size > 3 * LIMIT, "no output")
    wait_until(lambda: log.stat().st_blocks * 512 < 2 * LIMIT or "no holes" in space.log(), "no hole")
    (space.project / "go").write_text("")
    result = space.result()
    kept = log.read_bytes()
    assert kept.startswith(b"first\n0 0123")
    assert kept.endswith(b"last\n")
    assert len(kept) < LIMIT + 100
    assert " bytes left out …\n" in kept.decode()
    assert (space.run() / "stderr.log").read_text() == "short\n"
    assert result["summary"].endswith("\nlast")


def test_output_of_a_run_whose_host_died_is_trimmed_by_the_next(space: Workspace) -> None:
    space.shell("echo ran", output_bytes=LIMIT)
    space.send()
    run = space.run()
    run.mkdir(parents=True)
    (run / "run.json").write_bytes(b"")
    (run / "stdout.log").write_bytes(numbered(4 * LIMIT))
    space.start()
    assert space.result()["outcome"] == "interrupted"
    assert (run / "stdout.log").stat().st_size < LIMIT + 100


# --- how many runs are kept --------------------------------------------------------------------------------------


def lay_runs(worker: WorkerDir, *names: str) -> list[Path]:
    """Directories of runs, oldest first."""
    runs = []
    for age, name in enumerate(names):
        run = worker.runs / name.partition(".")[0] / name
        run.mkdir(parents=True)
        (run / "result.json").write_text("{}")
        os.utime(run, (10**9 + age, 10**9 + age))
        runs.append(run)
    return runs


def test_the_newest_runs_are_kept_whatever_task_they_are_of(space: Workspace) -> None:
    runs = lay_runs(space.worker, "t1", "t2", "t1.2", "t3")
    assert remove_old_runs(space.worker, 2, frozenset()) == 2
    assert [run.exists() for run in runs] == [False, False, True, True]
    assert not (space.worker.runs / "t2").exists()
    assert (space.worker.runs / "t1").exists()


def test_a_run_that_is_not_reported_is_kept(space: Workspace) -> None:
    runs = lay_runs(space.worker, "t1", "t2", "t3")
    assert remove_old_runs(space.worker, 1, {"t1"}) == 1
    assert [run.exists() for run in runs] == [True, False, True]


def test_a_worker_that_never_ran_has_nothing_to_remove(space: Workspace) -> None:
    assert remove_old_runs(space.worker, 1, frozenset()) == 0


def test_runs_are_looked_at_now_and_then(space: Workspace) -> None:
    retention = Retention(space.worker, keep=1)
    lay_runs(space.worker, "t1", "t2")
    retention.run_ended(frozenset())
    assert len(list(space.worker.runs.iterdir())) == 1
    lay_runs(space.worker, "t3")
    retention.run_ended(frozenset())
    assert len(list(space.worker.runs.iterdir())) == 2


# --- host.log ----------------------------------------------------------------------------------------------------


def test_a_full_host_log_is_set_aside_when_a_host_starts(space: Workspace) -> None:
    space.runner("true")
    append(space.worker.host_log, "old\n" * 300_000)
    space.start()
    space.wait_status("ready")
    assert "omk-worker" in space.log()
    assert "old" not in space.log()
    assert (space.worker.path / "host.log.1").read_text().startswith("old\n")


def test_a_host_in_a_terminal_leaves_host_log_alone(space: Workspace) -> None:
    space.runner("true", idle_exit_secs=1)
    append(space.worker.host_log, "old\n" * 300_000)
    done = subprocess.run(
        [sys.executable, "-m", "omkd.worker", "--dir", str(space.worker.path)],
        capture_output=True,
        timeout=DEADLINE_S,
        check=True,
    )
    assert b"omk-worker" in done.stderr
    assert not (space.worker.path / "host.log.1").exists()


def test_the_inbox_line_is_kept_as_it_came(space: Workspace) -> None:
    space.runner("true")
    space.send(by="client")
    space.start()
    space.result()
    assert json.loads((space.run() / "task.json").read_bytes())["by"] == "client"
