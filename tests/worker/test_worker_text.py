"""Prompt, arguments, environment, summary and report: no process."""

import json
from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from omkd.protocol.limits import SUMMARY_BYTES, TASK_BYTES
from omkd.protocol.records import Outcome, ResultStatus, Runner, WorkerSpec, WorkerTask
from omkd.protocol.scalars import U64
from omkd.worker.command import budget_secs_for, command_for, directory_for, filled, prompt_for
from omkd.worker.files import RunFiles
from omkd.worker.host import run_idle_exit
from omkd.worker.report import Cancelled, Exited, Interrupted, NotStarted, OutOfBudget, report_for
from omkd.worker.settings import Settings
from omkd.worker.summary import end_of_output, last_bytes, plain_text


def task(text: str = "fix it", **more: object) -> WorkerTask:
    return WorkerTask(id="t1", task=text, **more)  # type: ignore[arg-type]  # keywords of several types


def spec(project_dir: str | None = None) -> WorkerSpec:
    return WorkerSpec(name="coder", role="dev", inbox="", outbox="", heartbeat="", project_dir=project_dir)


# --- prompt and command ------------------------------------------------------------------------------------------


@given(st.text())
def test_a_text_alone_is_the_prompt_byte_for_byte(text: str) -> None:
    assert prompt_for(task(text)) == text
    assert prompt_for(task(text, context="")) == text


def test_context_alone_makes_markdown() -> None:
    assert prompt_for(task(context="why\n")) == "fix it\n\n## Context\n\nwhy\n"


def test_criteria_alone_make_markdown() -> None:
    assert prompt_for(task(acceptance_criteria=["a", "b"])) == "fix it\n\n## Acceptance criteria\n\n- a\n- b\n"


@pytest.mark.parametrize(
    ("own", "workers", "expected"), [(None, 60, 60), (5, 60, 5), (0, 60, 300), (None, 0, 300), (0, 0, 300)]
)
def test_the_budget_is_the_tasks_else_the_workers_and_0_means_300(own: int | None, workers: int, expected: int) -> None:
    assert budget_secs_for(task(budget_secs=own), Runner(command=["x"], budget_secs=U64(workers))) == expected


def test_what_is_filled_in_is_not_looked_at_again() -> None:
    assert filled("{task}{task_id}{x}{{task}}", {"task": "{task_id}", "task_id": "t1"}) == "{task_id}t1{x}{{task_id}}"


@pytest.mark.parametrize(
    ("argument", "reads"), [("{task}", False), ("@{prompt_file}", False), ("{task_file}", True), ("{task_id}", True)]
)
def test_stdin_is_the_prompt_unless_an_argument_has_it(argument: str, reads: bool, tmp_path: Path) -> None:
    settings = Settings(runner=Runner(command=["x", argument]), spec=spec())
    assert command_for(task(), "t1", settings, RunFiles(tmp_path), {}, {}).reads_prompt is reads


def test_without_project_and_home_the_run_directory_is_the_commands(tmp_path: Path) -> None:
    files = RunFiles(tmp_path)
    for env in ({}, {b"HOME": b""}, {b"HOME": b"not/absolute"}, {b"HOME": b"/nowhere/at/all"}):
        assert directory_for(spec(), files, env) == tmp_path
    assert directory_for(spec("/gone"), files, {}) == Path("/gone")


# --- plain text --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "plain"),
    [
        ("\x1b[1;31mred\x1b[0m\n", "red"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1bPdcs\x1b\\a\x1b(Bb\x1b=c\x9b1md", "abcd"),
        ("10%\r20%\r\ndone", "10%\n20%\ndone"),
        ("a\x00\x07\x08b\x7fc\x85d\te", "abcd\te"),
        ("  3\n\n", "3"),
        ("\x1b", ""),
        ("\x1b]never ended", ""),
    ],
)
def test_escapes_and_controls_are_removed(raw: str, plain: str) -> None:
    assert plain_text(raw) == plain


@given(st.text())
def test_plain_text_has_nothing_a_terminal_obeys(text: str) -> None:
    plain = plain_text(text)
    assert not [c for c in plain if c not in "\n\t" and (c < " " or "\x7f" <= c <= "\x9f")]
    assert plain_text(plain) == plain


@given(st.text(), st.integers(min_value=0, max_value=40))
def test_the_cut_keeps_whole_characters_of_the_end(text: str, limit: int) -> None:
    cut = last_bytes(text, limit)
    assert text.endswith(cut)
    assert len(cut.encode()) <= limit
    assert cut == text or len(cut.encode()) > limit - 4


def test_the_summary_is_the_end_of_a_long_output(tmp_path: Path) -> None:
    path = tmp_path / "stdout.log"
    path.write_bytes("é".encode() * 100_000 + b"end\n")
    summary = end_of_output(path)
    assert summary.strip("é") == "end"
    assert SUMMARY_BYTES - 1 <= len(summary.encode()) <= SUMMARY_BYTES


def test_output_that_is_no_utf8_is_shown_as_well_as_it_can_be(tmp_path: Path) -> None:
    path = tmp_path / "stdout.log"
    path.write_bytes(b"caf\xe9\n")
    assert end_of_output(path) == "caf\ufffd"
    assert end_of_output(tmp_path / "missing") == ""


# --- the report --------------------------------------------------------------------------------------------------


def write_output(files: RunFiles, *, stdout: str = "", stderr: str = "", result: str | None = None) -> None:
    files.stdout.write_text(stdout)
    files.stderr.write_text(stderr)
    if result is not None:
        files.agent_result.write_text(result)


def test_no_summary_is_longer_than_its_limit(tmp_path: Path) -> None:
    files = RunFiles(tmp_path)
    write_output(files, stderr="x" * 10_000)
    assert len(report_for("t1", Exited(status=1), files, elapsed_secs=0, now_ns=0).summary) == SUMMARY_BYTES
    write_output(files, stdout="x" * 10_000)
    for end in (Exited(status=0), Exited(status=1), OutOfBudget(budget_secs=2)):
        assert len(report_for("t1", end, files, elapsed_secs=0, now_ns=0).summary) == SUMMARY_BYTES


def test_a_later_result_says_when(tmp_path: Path) -> None:
    write_output(RunFiles(tmp_path))
    for end in (Exited(status=75), NotStarted(why="no memory", is_passing=True)):
        line = report_for("t1", end, RunFiles(tmp_path), elapsed_secs=7, now_ns=10**18)
        assert (line.outcome, line.not_before) == (Outcome.LATER, 10**18 + 60 * 10**9)
        assert (line.status, line.elapsed_secs) == (ResultStatus.FAILED, 7)


def test_status_75_with_a_status_of_the_agents_is_done(tmp_path: Path) -> None:
    write_output(RunFiles(tmp_path), result='{"status":"success"}')
    line = report_for("t1", Exited(status=75), RunFiles(tmp_path), elapsed_secs=0, now_ns=0)
    assert (line.outcome, line.status, line.not_before) == (Outcome.DONE, ResultStatus.SUCCESS, None)


def test_an_agents_success_does_not_stand_against_the_budget_or_a_cancel(tmp_path: Path) -> None:
    files = RunFiles(tmp_path)
    write_output(files, stdout="talk", result='{"status":"success","summary":"half \\u001b[1mway","artifacts":["a"]}')
    budget = report_for("t1", OutOfBudget(budget_secs=2), files, elapsed_secs=2, now_ns=0)
    assert (budget.status, budget.outcome) == (ResultStatus.FAILED, Outcome.DONE)
    assert (budget.summary, budget.artifacts) == ("budget of 2s ran out\nhalf way", ["a"])
    cancelled = report_for("t1", Cancelled(reason=""), files, elapsed_secs=2, now_ns=0)
    assert (cancelled.status, cancelled.outcome, cancelled.summary) == (
        ResultStatus.FAILED,
        Outcome.CANCELLED,
        "cancelled",
    )
    interrupted = report_for("t1", Interrupted(why="host died"), files, elapsed_secs=2, now_ns=0)
    assert (interrupted.outcome, interrupted.summary) == (Outcome.INTERRUPTED, "interrupted: host died")


@pytest.mark.parametrize("written", ["", "[]", "{", '{"artifacts":"a"}', json.dumps({"summary": "x" * TASK_BYTES})])
def test_a_result_file_that_cannot_be_used_changes_nothing_but_is_said(tmp_path: Path, written: str) -> None:
    files = RunFiles(tmp_path)
    write_output(files, stdout="talk", result=written)
    line = report_for("t1", Exited(status=0), files, elapsed_secs=0, now_ns=0)
    assert line.status == ResultStatus.SUCCESS
    assert line.summary.startswith("talk\n(the result file agent-result.json was not used: ")


def test_a_symlink_as_result_file_is_not_followed(tmp_path: Path) -> None:
    files = RunFiles(tmp_path)
    write_output(files)
    (tmp_path / "other").write_text('{"status":"partial"}')
    files.agent_result.symlink_to("other")
    line = report_for("t1", Exited(status=0), files, elapsed_secs=0, now_ns=0)
    assert line.status == ResultStatus.SUCCESS
    assert "was not used" in line.summary


# --- idle --------------------------------------------------------------------------------------------------------


async def test_idle_time_counts_from_when_the_host_was_last_needed(autojump_clock: MockClock) -> None:
    """Needed for the first 600 s, looked at each 60 s; 1800 s later it leaves."""
    stopped: list[float] = []
    begun = autojump_clock.current_time()
    await run_idle_exit(1800, lambda: trio.current_time() - begun <= 600, lambda: stopped.append(trio.current_time()))
    assert stopped == [begun + 2400.0]


async def test_idle_exit_0_is_never(autojump_clock: MockClock) -> None:
    begun = autojump_clock.current_time()
    await run_idle_exit(0, lambda: False, lambda: pytest.fail("stopped"))
    assert autojump_clock.current_time() == begun
