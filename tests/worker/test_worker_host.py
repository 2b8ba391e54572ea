"""omk-worker as a process: what it does with the lines of its inbox."""

import json
import os
import signal
import subprocess
import sys
from contextlib import AsyncExitStack
from datetime import datetime

import pytest
from trio.testing import MockClock
from worker_kit import DEADLINE_S, Workspace, append, is_alive

from omkd.store.locks import take_lock
from omkd.store.session import WorkerDir
from omkd.worker.acp_keeper import open_keeper
from omkd.worker.children import Children
from omkd.worker.host import is_needed, next_look, watcher_of
from omkd.worker.processes import RunProcesses, agent_marks_of
from omkd.worker.settings import load_settings
from omkd.worker.work import Work

BLOCK = "tail -f /dev/null"
"""A command that never ends by itself and writes nothing."""


# --- a run and its result ----------------------------------------------------------------------------------------


def test_the_end_of_stdout_is_the_summary_of_a_success(space: Workspace) -> None:
    space.runner("wc", "-w")
    space.send(task="one two three")
    space.start()
    assert space.result() == {
        "task_id": "t1", "status": "success", "summary": "3", "artifacts": [], "elapsed_secs": 0, "outcome": "done",
    }  # fmt: skip


def test_a_run_leaves_its_files(space: Workspace) -> None:
    space.shell("cat; echo oops >&2")
    line = '{"task":"fix it",  "id":"t7.2"}'
    append(space.worker.inbox, line + "\n")
    space.start()
    space.result()
    run = space.run("t7.2")
    assert (run / "task.json").read_text() == line
    assert (run / "prompt.md").read_text() == "fix it"
    assert (run / "stdout.log").read_text() == "fix it"
    assert (run / "stderr.log").read_text() == "oops\n"
    assert (run / "result.json").read_bytes() + b"\n" == space.worker.outbox.read_bytes()
    record = json.loads((run / "run.json").read_bytes())
    assert (record["handout"], record["session"], record["worker"]) == ("t7.2", "s1", "coder")
    assert record["host_pid"] == space.hosts[0].pid
    assert record["pid"] > 0
    assert record["start_time"] >= record["host_start_time"] > 0
    assert {path.stat().st_mode & 0o777 for path in run.iterdir()} == {0o600}
    assert run.stat().st_mode & 0o777 == 0o700


def test_the_start_is_an_event(space: Workspace) -> None:
    space.runner("true")
    space.send("t7.2")
    space.start()
    space.result()
    assert space.events() == [{"TaskStarted": {"task_id": "t7.2", "handout": 2}}]


@pytest.mark.parametrize(
    ("script", "summary"),
    [
        ("exit 3", "exit status 3"),
        ("echo no such branch >&2; exit 3", "exit status 3: no such branch"),
        ("echo said so; echo oops >&2; exit 1", "said so"),
        ("kill -9 $$", "killed by signal 9 (SIGKILL)"),
    ],
)
def test_a_failure_says_how_it_ended(space: Workspace, script: str, summary: str) -> None:
    space.shell(script)
    space.send()
    space.start()
    result = space.result()
    assert (result["status"], result["outcome"], result["summary"]) == ("failed", "done", summary)


def test_exit_status_75_is_later(space: Workspace) -> None:
    space.shell("echo no network >&2; exit 75")
    space.send()
    space.start()
    result = space.result()
    assert (result["status"], result["outcome"], result["summary"]) == ("failed", "later", "exit status 75: no network")
    assert datetime.fromisoformat(result["not_before"]).timestamp() > os.stat(space.worker.outbox).st_mtime + 50


def test_exit_statuses_are_not_stolen_by_the_reaping_of_orphans(space: Workspace) -> None:
    """A waitpid(-1) reaper under trio read 62 of 200 `exit 3` as success. Each command here also leaves two orphans."""
    space.shell("(exit 1 &); (exit 2 &); exit 3")
    for number in range(1, 41):
        space.send(f"t{number}")
    space.start()
    assert {result["summary"] for result in space.results(40)} == {"exit status 3"}


def test_the_result_file_wins_over_exit_status_and_output(space: Workspace) -> None:
    written = {"status": "partial", "summary": "half", "artifacts": ["a.py", "b.py"]}
    space.shell(f"echo '{json.dumps(written)}' > $OMK_RESULT_FILE; echo talk; exit 1")
    space.send()
    space.start()
    result = space.result()
    assert (result["status"], result["summary"], result["artifacts"]) == ("partial", "half", ["a.py", "b.py"])


def test_a_result_file_may_say_a_part(space: Workspace) -> None:
    space.shell("""echo '{"artifacts":["a.py"]}' > $OMK_RESULT_FILE; echo talk""")
    space.send()
    space.start()
    result = space.result()
    assert (result["status"], result["summary"], result["artifacts"]) == ("success", "talk", ["a.py"])


def test_an_invalid_result_file_is_said(space: Workspace) -> None:
    space.shell("""echo '{"status":"great"}' > $OMK_RESULT_FILE; echo talk""")
    space.send()
    space.start()
    result = space.result()
    assert result["status"] == "success"
    assert result["summary"].startswith("talk\n(the result file agent-result.json was not used: ")


# --- the command -------------------------------------------------------------------------------------------------


def test_placeholders_are_filled_in_and_stdin_is_empty_then(space: Workspace) -> None:
    script = 'cat; for a; do echo "[$a]"; done'
    paths = ["{task_file}", "{prompt_file}", "{project_dir}"]
    space.runner("/bin/sh", "-c", script, "sh", "x{task}y", "{task_id}", *paths, "{other}", "{}")
    space.send("t7.2", task="do {task_id}")
    space.start()
    run = space.run("t7.2").resolve()
    expected = ["xdo {task_id}y", "t7", f"{run}/task.json", f"{run}/prompt.md", str(space.project), "{other}", "{}"]
    assert space.result()["summary"] == "\n".join(f"[{text}]" for text in expected)


def test_the_environment_says_what_the_run_is(space: Workspace) -> None:
    space.runner("env", env={"COLOR": "green", "OMK_WORKER": "nobody"})
    space.send("t7.2")
    systemds = {"NOTIFY_SOCKET": "/n", "LISTEN_FDS": "1", "LISTEN_PID": "1", "WATCHDOG_USEC": "1"}
    space.start(**systemds, OMK_TASK_BY="x", OMKD_SOCKET="/s", COLOR="red")
    space.result()
    env = dict(line.split("=", 1) for line in (space.run("t7.2") / "stdout.log").read_text().splitlines())
    run = space.run("t7.2").resolve()
    assert {name: value for name, value in env.items() if name.startswith("OMK")} == {
        "OMK_SESSION": "s1",
        "OMK_WORKER": "coder",
        "OMK_TASK_ID": "t7",
        "OMK_HANDOUT": "t7.2",
        "OMK_TASK_FILE": f"{run}/task.json",
        "OMK_RESULT_FILE": f"{run}/agent-result.json",
        "OMKD_SOCKET": "/s",
    }
    assert env["COLOR"] == "green"
    assert not [name for name in env if name.startswith(("NOTIFY_", "LISTEN_", "WATCHDOG_"))]


def test_the_prompt_is_the_text_or_markdown_of_text_context_and_criteria(space: Workspace) -> None:
    space.shell("cat")
    space.send("t1", task="fix it \n", acceptance_criteria=["tests pass", "no\nnew deps"], context="In a hurry.")
    space.send("t2", task=" as it is \n\n")
    space.start()
    space.results(2)
    assert (space.run("t1") / "stdout.log").read_text() == (
        "fix it \n\n## Context\n\nIn a hurry.\n\n## Acceptance criteria\n\n- tests pass\n- no\n  new deps\n"
    )
    assert (space.run("t2") / "stdout.log").read_text() == " as it is \n\n"


def test_without_a_project_the_command_runs_in_the_home_directory(space: Workspace) -> None:
    space.write_spec(project_dir=None)
    space.runner("pwd")
    space.send()
    space.start(HOME=str(space.project))
    assert space.result()["summary"] == str(space.project)


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["no-such-command-here"], "command not found: no-such-command-here"),
        (["/etc/passwd"], "command is not executable: /etc/passwd"),
        (
            ["true", "{task}"],
            "the argument list is too long: the longest argument has 200000 bytes",
        ),
    ],
)
def test_a_command_that_cannot_be_started_fails_the_task_and_says_what_to_do(
    space: Workspace, command: list[str], said: str
) -> None:
    space.runner(*command)
    space.send(task="x" * 200_000)
    space.start()
    result = space.result()
    assert (result["status"], result["outcome"]) == ("failed", "done")
    assert result["summary"].startswith(said)


def test_a_text_with_nul_is_a_failure_not_the_end_of_the_host(space: Workspace) -> None:
    space.runner("echo", "{task}")
    space.send("t1", task="a\0b")
    space.send("t2", task="ok")
    space.start()
    first, second = space.results(2)
    assert first["summary"] == "the command cannot be started: embedded null byte in an argument or in its environment"
    assert second["summary"] == "ok"


@pytest.mark.parametrize(
    ("project", "said"),
    [
        ("/nowhere/at/all", "is not there: make it"),
        ("/etc/passwd", "is no directory: make one"),
        (f"/{'x' * 256}", "cannot be entered (File name too long)"),  # as for what omkd's user may not enter
        ("/a\0b", "is no path (a NUL is in it)"),
    ],
)
def test_a_project_directory_that_cannot_be_one_is_said(space: Workspace, project: str, said: str) -> None:
    space.write_spec(project_dir=project)
    space.runner("true")
    space.send()
    space.start()
    assert space.result()["summary"].startswith(f"project directory {project} {said}")


def test_settings_are_read_again_before_each_run(space: Workspace) -> None:
    space.runner("echo", "one")
    space.send("t1")
    space.start()
    space.result()
    space.runner("echo", "two")
    space.send("t2")
    assert [result["summary"] for result in space.results(2)] == ["one", "two"]
    space.worker.runner.write_text("{")
    space.send("t3")
    assert space.results(3)[2]["summary"] == "two"


# --- the inbox ---------------------------------------------------------------------------------------------------


def test_hand_outs_are_worked_one_after_another_in_order(space: Workspace) -> None:
    space.shell("cat >> order; echo >> order")
    for number in range(1, 6):
        space.send(f"t{number}", task=f"task {number}")
    space.start()
    assert [result["task_id"] for result in space.results(5)] == ["t1", "t2", "t3", "t4", "t5"]
    assert (space.project / "order").read_text().split("\n") == [*(f"task {number}" for number in range(1, 6)), ""]


def test_a_line_that_comes_while_busy_waits_its_turn(space: Workspace) -> None:
    space.shell("read word; echo began >> began; [ $word = second ] || cat go")
    os.mkfifo(space.project / "go")
    space.send("t1", task="first\n")
    space.start()
    space.wait_file("began")
    space.send("t2", task="second\n")
    (space.project / "go").write_text("went on")
    assert [result["summary"] for result in space.results(2)] == ["went on", ""]


def test_a_half_written_line_is_waited_for(space: Workspace) -> None:
    space.runner("wc", "-w")
    line = '{"id":"t2","task":"a b c d"}\n'
    space.send("t1", task="one")
    append(space.worker.inbox, line[:9])
    space.start()
    space.results(1)
    append(space.worker.inbox, line[9:])
    assert [result["summary"] for result in space.results(2)] == ["1", "4"]


def test_a_bad_line_is_skipped_alone_and_its_text_is_not_logged(space: Workspace) -> None:
    space.runner("wc", "-w")
    space.send("t1", task="a")
    append(space.worker.inbox, '{"id":"t2","task":5,"context":"xyzzy"}\nnot json xyzzy\n\n')
    space.send("t3", task="a b")
    offset = space.worker.inbox.read_bytes().index(b"\n") + 1
    space.start()
    assert [result["task_id"] for result in space.results(2)] == ["t1", "t3"]
    assert f"inbox.jsonl: line at byte {offset} skipped: task: " in space.log()
    assert "xyzzy" not in space.log()


def test_an_id_that_cannot_name_a_directory_is_a_failure(space: Workspace) -> None:
    space.runner("true")
    space.send("../../../escaped")
    space.start()
    result = space.result()
    assert (result["task_id"], result["status"]) == ("../../../escaped", "failed")
    assert not space.worker.runs.exists()


def test_a_hand_out_with_an_outbox_line_or_a_done_is_not_run(space: Workspace) -> None:
    space.shell("cat >> ran; echo >> ran")
    append(space.worker.outbox, '{"task_id":"t1","status":"success"}\n')
    for number in (1, 2, 3):
        space.send(f"t{number}", task=f"task {number}")
    space.control(done={"id": "t2"})
    space.start()
    assert [result["task_id"] for result in space.results(2)] == ["t1", "t3"]
    assert (space.project / "ran").read_text() == "task 3\n"


# --- cancelling --------------------------------------------------------------------------------------------------


def test_a_cancel_ends_the_running_hand_out(space: Workspace) -> None:
    space.shell(f"echo began > began; {BLOCK}")
    space.send()
    space.start()
    space.wait_file("began")
    space.control(cancel={"id": "t1", "reason": "not needed"})
    result = space.result()
    assert (result["status"], result["outcome"], result["summary"]) == ("failed", "cancelled", "cancelled: not needed")
    assert space.alive() == []


def test_a_cancel_of_a_waiting_hand_out_is_reported_without_waiting_for_the_running_one(space: Workspace) -> None:
    space.shell(f"echo began > began; {BLOCK}")
    space.send("t1")
    space.send("t2")
    space.start()
    space.wait_file("began")
    space.control(cancel={"id": "t2"})
    result = space.result()
    assert (result["task_id"], result["outcome"], result["summary"]) == ("t2", "cancelled", "cancelled")
    assert not space.run("t2").exists()
    assert space.alive() != []  # t1 goes on


def test_a_cancel_that_was_there_at_start_is_reported(space: Workspace) -> None:
    space.runner("true")
    space.send()
    space.control(cancel={"id": "t1", "reason": "late"})
    space.start()
    assert space.result()["outcome"] == "cancelled"


def test_a_command_that_ends_well_when_it_is_cancelled_is_cancelled(space: Workspace) -> None:
    # A child that is forked behind the trap would pass over a SIGTERM that comes before its exec.
    space.shell(f"{BLOCK} & trap 'echo wound up; exit 0' TERM; echo began > began; wait", grace_secs=30)
    space.send()
    space.start()
    space.wait_file("began")
    space.control(cancel={"id": "t1"})
    assert space.result()["outcome"] == "cancelled"


def test_a_cancel_that_comes_after_the_result_changes_nothing(space: Workspace) -> None:
    space.runner("wc", "-w")
    space.send("t1")
    space.start()
    space.results(1)
    space.control(cancel={"id": "t1"})
    space.send("t2", task="one")
    assert [(result["task_id"], result["summary"]) for result in space.results(2)] == [("t1", "3"), ("t2", "1")]


def test_an_unknown_control_line_is_skipped(space: Workspace) -> None:
    space.runner("true")
    space.control(answer={"id": "t1"})
    space.control(done={"id": "t1"})
    space.send("t1")
    space.send("t2")
    space.start()
    assert space.result()["task_id"] == "t2"


# --- the budget --------------------------------------------------------------------------------------------------


def test_out_of_budget_ends_every_descendant_whatever_it_does_to_hide(space: Workspace) -> None:
    """Ignores SIGTERM; one descendant forked twice into a session of its own; one has an empty environment besides."""
    space.shell(
        "trap '' TERM; echo words;"
        f"(setsid sh -c 'echo $$ > hidden; {BLOCK}' &);"
        f"(env -i setsid sh -c 'echo $$ > bare; exec {BLOCK}' &);"
        f"{BLOCK}"
    )
    space.send(budget_secs=1)
    space.start()
    hidden, bare = int(space.wait_file("hidden")), int(space.wait_file("bare"))
    result = space.result()
    assert (result["status"], result["outcome"], result["summary"]) == ("failed", "done", "budget of 1s ran out\nwords")
    assert result["elapsed_secs"] >= 2  # budget and grace time
    assert not is_alive(hidden)
    assert not is_alive(bare)
    assert space.alive() == []


def test_sigterm_at_the_end_of_the_budget_lets_a_command_end_by_itself(space: Workspace) -> None:
    space.shell(f"{BLOCK} & trap 'echo bye > bye; exit' TERM; wait", grace_secs=30)
    space.send(budget_secs=1)
    space.start()
    assert space.result()["summary"] == "budget of 1s ran out"
    assert space.wait_file("bye") == "bye"


def test_what_a_command_leaves_has_a_moment_to_end_by_itself(space: Workspace) -> None:
    """Codex starts its `notify` and exits: ended at once, what that says would never arrive."""
    mark = space.worker.path / "said"
    space.shell(f"(sleep 0.3; echo yes > {mark}) & exit 0")
    space.send()
    space.start()
    assert space.result()["status"] == "success"
    assert mark.read_text() == "yes\n"


def test_what_a_command_leaves_in_the_background_ends_with_it(space: Workspace) -> None:
    space.shell(f"setsid {BLOCK} & echo done")
    space.send()
    space.start()
    result = space.result()
    assert (result["status"], result["summary"]) == ("success", "done")
    assert space.alive() == []


# --- stopping ----------------------------------------------------------------------------------------------------


def test_sigterm_with_nothing_in_hand_ends_the_host(space: Workspace) -> None:
    space.runner("true")
    host = space.start()
    space.wait_status("ready")
    assert space.stop(host) == 0
    assert space.heartbeat()["status"] == "stopped"


def test_sigterm_lets_the_run_finish_within_the_grace_time_and_begins_no_other(space: Workspace) -> None:
    os.mkfifo(space.project / "go")
    space.shell("echo began > began; cat go", grace_secs=30)
    space.send("t1")
    space.send("t2")
    host = space.start()
    space.wait_file("began")
    host.send_signal(signal.SIGTERM)
    space.wait_logged("told to stop by SIGTERM")
    (space.project / "go").write_text("finished")
    assert host.wait(DEADLINE_S) == 0
    (result,) = space.outbox()
    assert (result["task_id"], result["summary"], result["outcome"]) == ("t1", "finished", "done")
    assert not space.run("t2").exists()


def test_sigterm_interrupts_a_run_that_goes_on_after_the_grace_time(space: Workspace) -> None:
    space.shell(f"echo began > began; {BLOCK}")
    space.send()
    host = space.start()
    space.wait_file("began")
    assert space.stop(host) == 0
    (result,) = space.outbox()
    assert (result["status"], result["outcome"]) == ("failed", "interrupted")
    assert space.alive() == []


def test_a_second_sigterm_interrupts_at_once(space: Workspace) -> None:
    space.shell(f"trap '' TERM; echo began > began; {BLOCK}", grace_secs=3600)
    space.send()
    host = space.start()
    space.wait_file("began")
    host.send_signal(signal.SIGTERM)
    space.wait_logged("told to stop by SIGTERM")
    assert space.stop(host) == 0
    assert space.outbox()[0]["outcome"] == "interrupted"
    assert space.alive() == []


def test_sighup_is_ignored_by_the_host_and_not_by_the_agent(space: Workspace) -> None:
    space.shell("kill -HUP $$")
    host = space.start()
    space.wait_status("ready")
    host.send_signal(signal.SIGHUP)
    space.wait_logged("SIGHUP ignored")
    space.send()
    assert space.result()["summary"] == "killed by signal 1 (SIGHUP)"


def test_a_host_without_daemon_and_work_leaves_after_a_while(space: Workspace) -> None:
    space.runner("true", idle_exit_secs=1)
    space.send()
    host = space.start()
    assert host.wait(DEADLINE_S) == 0
    assert len(space.outbox()) == 1


async def test_a_host_is_needed_while_there_is_a_daemon(space: Workspace) -> None:
    """The daemon's lock is held here."""
    space.runner("true")
    lock = take_lock(space.session.lock)
    async with open_keeper(Children(), RunProcesses(marks=agent_marks_of(space.worker))) as keeper:
        work = Work(space.worker, load_settings(space.worker), keeper)
        assert is_needed(work, space.session)
        lock.release()
        assert not is_needed(work, space.session)


# --- a disk that does not take it --------------------------------------------------------------------------------


def test_a_result_that_cannot_be_written_is_tried_again(space: Workspace) -> None:
    """A directory stands in the outbox's place for a while."""
    space.shell(f"mkdir {space.worker.outbox}; echo did it")
    space.send()
    space.start()
    space.wait_logged("Is a directory")
    space.worker.outbox.rmdir()
    assert space.result()["summary"] == "did it"


def test_a_host_that_cannot_write_a_result_and_is_told_to_stop_leaves_it_for_the_next(space: Workspace) -> None:
    space.shell(f"mkdir {space.worker.outbox}; echo did it")
    space.send()
    host = space.start()
    space.wait_logged("again in 1s")
    assert space.stop(host) == 1
    assert "ERROR [Errno 21] Is a directory" in space.log()
    space.worker.outbox.rmdir()
    space.start()
    assert space.result()["summary"] == "did it"
    assert len(space.events()) == 1


async def test_without_inotify_the_mailbox_is_looked_at_each_second(
    space: Workspace, autojump_clock: MockClock
) -> None:
    begun = autojump_clock.current_time()
    async with AsyncExitStack() as opened:
        watcher = await watcher_of(space.session.worker("nobody"), opened)
        await next_look(watcher, space.worker)
    assert autojump_clock.current_time() == begun + 1


# --- the heartbeat, the lock, the settings -----------------------------------------------------------------------


def test_the_heartbeat_says_what_the_host_does(space: Workspace) -> None:
    space.shell(f"echo began > began; {BLOCK}")
    host = space.start()
    ready = space.wait_status("ready")
    assert list(ready) == ["status", "name", "ts", "pid", "version"]
    assert (ready["name"], ready["pid"]) == ("coder", host.pid)
    assert ready["ts"].endswith("+00:00")
    space.send()
    assert space.wait_status("busy")["handout"] == "t1"
    space.control(cancel={"id": "t1"})
    space.result()
    assert "handout" not in space.wait_status("ready")


def test_a_worker_has_one_host(space: Workspace) -> None:
    space.runner("true")
    first = space.start()
    space.wait_status("ready")
    second = space.start()
    assert second.wait(DEADLINE_S) == 6
    assert f"is held by pid {first.pid}" in space.log()


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("runner.json", None, "runner.json is missing"),
        ("runner.json", "{", "runner.json cannot be used"),
        ("runner.json", '{"command":[]}', "`command` is empty"),
        ("worker-spec.json", None, "worker-spec.json is missing"),
        ("worker-spec.json", '{"name":"other","role":"","inbox":"","outbox":"","heartbeat":""}', "`name` is 'other'"),
    ],
)
def test_settings_that_cannot_be_used_are_exit_78(space: Workspace, file: str, text: str | None, said: str) -> None:
    space.runner("true")
    path = space.worker.path / file
    path.unlink() if text is None else path.write_text(text)
    assert space.start().wait(DEADLINE_S) == 78
    assert said in space.log()


def test_a_directory_that_is_not_there_is_not_made(space: Workspace) -> None:
    space.worker = WorkerDir(space.worker.path.with_name("nobody"))
    said = subprocess.run(
        [sys.executable, "-m", "omkd.worker", "--dir", str(space.worker.path)], capture_output=True, timeout=DEADLINE_S
    )
    assert said.returncode == 78
    assert b"is no worker's directory" in said.stderr
    assert not space.worker.path.exists()


def test_the_output_of_a_run_needs_no_host(space: Workspace) -> None:
    """A pipe through the host would end the agent by SIGPIPE when the host dies."""
    os.mkfifo(space.project / "go")
    space.shell("echo began > began; cat go; echo still here > alive")
    space.send()
    host = space.start()
    space.wait_file("began")
    host.kill()
    host.wait(DEADLINE_S)
    (space.project / "go").write_text("talk")
    assert space.wait_file("alive") == "still here"
    assert (space.run() / "stdout.log").read_text() == "talk"
