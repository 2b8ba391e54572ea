"""Each verb: what it asks the daemon, what it prints, how it ends."""

import base64
import errno
import json
import os
import subprocess
from contextlib import closing
from typing import Any

import pytest
from ctl_calls import Ended, Omkctl, Scripted
from ctl_person import COMMAND
from ctl_things import TS, escalation, log_of, task, unit, worker
from scripted_daemon import Hangup, Silence, Stream, always, fail, in_turn

from omkctl.cli import run
from omkctl.client import Client, Unreachable
from omkctl.commands.send_task import send
from omkctl.locate import Address
from omkctl.run_output import start_of_lines
from omkd.protocol.errors import ApiError, ErrorKind

# --- send-task ---------------------------------------------------------------------------------------------------


def test_send_task_says_where_the_task_went(scripted: Scripted, omkctl: Omkctl) -> None:
    daemon = scripted({"task.send": always(task("t12"))})
    assert omkctl("send-task", "coder", "fix it") == Ended(0, "t12 queued for coder\n", "")
    assert omkctl("send-task", "coder", "fix it", "--print-id") == Ended(0, "t12\n", "")
    assert json.loads(omkctl("send-task", "coder", "fix it", "--json").out) == task("t12")
    keys = [params.pop("key") for _, params in daemon.asked]
    assert len(set(keys)) == 3
    assert daemon.asked[0] == ("task.send", {"target": {"worker": "coder"}, "task": {"task": "fix it"}})


def test_send_task_passes_on_what_was_said(scripted: Scripted, omkctl: Omkctl, tmp_path: Any) -> None:
    daemon = scripted({"task.send": always(task())})
    (tmp_path / "context").write_text("know\n")
    options = ["--criterion", "a", "--criterion", "b", "--context", f"@{tmp_path}/context", "--budget", "1h30m"]
    omkctl("send-task", "role:r", *options, "--id", "mine", "--key", "k", "--", "--force", "it")
    expected = {
        "task": "--force it",
        "id": "mine",
        "acceptance_criteria": ["a", "b"],
        "context": "know\n",
        "budget_secs": 5400,
    }
    assert daemon.asked == [("task.send", {"target": {"role": "r"}, "task": expected, "key": "k"})]


def test_a_text_from_a_file_comes_byte_for_byte(scripted: Scripted, omkctl: Omkctl, tmp_path: Any) -> None:
    daemon = scripted({"task.send": always(task())})
    (tmp_path / "task").write_bytes("grün\r\n\n".encode())
    assert omkctl("send-task", "any", "--file", f"{tmp_path}/task").status == 0
    assert daemon.asked[0][1]["task"] == {"task": "grün\r\n\n"}
    (tmp_path / "task").write_bytes(b"\xff")
    assert "not UTF-8" in omkctl("send-task", "any", "--file", f"{tmp_path}/task").err
    (tmp_path / "task").write_bytes(b"a\0b")
    assert "NUL" in omkctl("send-task", "any", "--file", f"{tmp_path}/task").err


@pytest.mark.parametrize("arguments", [["--wait"], ["--wait", "done"], ["--wait=done"]])
@pytest.mark.parametrize(("state", "status"), [("success", 0), ("partial", 1), ("failed", 1)])
def test_with_wait_the_summary_is_all_on_stdout_and_the_outcome_the_exit_status(
    scripted: Scripted, omkctl: Omkctl, arguments: list[str], state: str, status: int
) -> None:
    daemon = scripted(
        {"task.send": always(task()), "task.wait": in_turn(fail(Hangup()), always({"tasks": [task("t1", state)]}))}
    )
    ended = omkctl("send-task", *arguments, "coder", "fix it")
    assert (ended.status, ended.out) == (status, "did it\n")
    assert f"t1 {state} (coder)" in ended.err
    assert daemon.asked[-1] == ("task.wait", {"ids": ["t1"], "until": "done", "any": False, "timeout": 10.0})


def test_wait_started_ends_when_it_runs(scripted: Scripted, omkctl: Omkctl) -> None:
    daemon = scripted({"task.send": always(task()), "task.wait": always({"tasks": [task("t1", "running")]})})
    assert omkctl("send-task", "coder", "x", "--wait", "started") == Ended(
        0, "", "omkctl: t1 queued for coder\nomkctl: t1 running (coder)\n"
    )
    assert daemon.asked[-1][1]["until"] == "started"


def test_in_a_pipe_a_wait_says_why_nothing_comes_and_says_it_once(scripted: Scripted, omkctl: Omkctl) -> None:
    late = fail(ApiError(ErrorKind.TIMEOUT, "nothing ended"))
    scripted(
        {
            "task.wait": in_turn(late, late, late, always({"tasks": [task("t1", "success")]})),
            "task.get": in_turn(
                always(task("t1", "running")), always(task("t1", "dispatched", why="worker coder is dead"))
            ),
        }
    )
    assert omkctl("wait", "t1").err.count("omkctl: t1 dispatched (coder): worker coder is dead\n") == 1


def test_when_the_waiting_times_out_the_task_stays(scripted: Scripted, omkctl: Omkctl) -> None:
    scripted({"task.send": always(task()), "task.wait": fail(Silence())})
    ended = omkctl("send-task", "coder", "x", "--wait", "--timeout", "0.1")
    assert ended.status == 124
    assert "t1 stays with the daemon: omkctl wait t1" in ended.err


def test_when_the_answer_is_lost_sending_again_is_said_to_be_safe(
    scripted: Scripted, address: Address, capfd: pytest.CaptureFixture[str]
) -> None:
    scripted({"task.send": fail(Hangup())})
    with closing(Client(address, patience_s=0.1)) as client, pytest.raises(Unreachable):
        send(client, {"key": "k"})
    assert "--key k is safe" in capfd.readouterr().err


def test_follow_shows_the_run_and_then_how_it_ended(scripted: Scripted, omkctl: Omkctl) -> None:
    chunk = log_of(b"one\n")({})
    live = Stream({**chunk, "subscription": 3}, [note(3, b"two\n", 8, end=False), note(3, b"", 8, end=True)])
    daemon = scripted(
        {
            "task.send": always(task()),
            "task.wait": in_turn(always({"tasks": [task("t1", "running")]}), always({"tasks": [task("t1", "failed")]})),
            "task.log": always(live),
        }
    )
    ended = omkctl("send-task", "coder", "x", "--follow")
    assert (ended.status, ended.out) == (1, "one\ntwo\n")
    assert "t1 failed (coder)" in ended.err
    assert ("task.log", {"id": "t1", "stream": "stdout", "handout": 1, "offset": 0, "follow": True}) in daemon.asked


def note(subscription: int, data: bytes, offset: int, *, end: bool) -> tuple[str, dict[str, object]]:
    encoded = base64.b64encode(data).decode()
    return ("task_log", {"subscription": subscription, "data": encoded, "offset": offset, "end": end})


def test_a_refused_task_is_said(scripted: Scripted, omkctl: Omkctl) -> None:
    scripted({"task.send": fail(ApiError(ErrorKind.CONFLICT, "key 'k' is task t1, with another body"))})
    assert omkctl("send-task", "coder", "x").status == 6


# --- wait, show, tasks, results ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("states", "status"), [(["success", "success"], 0), (["success", "failed"], 1), (["cancelled", "lost"], 1)]
)
def test_wait_ends_in_0_only_if_all_succeeded(
    scripted: Scripted, omkctl: Omkctl, states: list[str], status: int
) -> None:
    tasks = [task(f"t{number}", state) for number, state in enumerate(states)]
    daemon = scripted({"task.wait": always({"tasks": tasks})})
    ended = omkctl("wait", "t0", "t1")
    assert (ended.status, ended.err) == (status, "")
    assert ended.out == "".join(f"t{number} {state} (coder)\n" for number, state in enumerate(states))
    assert daemon.asked == [("task.wait", {"ids": ["t0", "t1"], "until": "done", "any": False, "timeout": 10.0})]
    assert json.loads(omkctl("wait", "t0", "--json").out) == {"tasks": tasks}


def test_wait_any_is_judged_by_those_that_ended(scripted: Scripted, omkctl: Omkctl) -> None:
    daemon = scripted({"task.wait": always({"tasks": [task("t0", "running"), task("t1", "success")]})})
    assert omkctl("wait", "--any", "t0", "t1") == Ended(0, "t1 success (coder)\n", "")
    assert daemon.asked[0][1]["any"] is True


def test_wait_times_out_with_124(scripted: Scripted, omkctl: Omkctl) -> None:
    scripted({"task.wait": fail(Silence())})
    assert omkctl("wait", "t0", "--timeout", "0.1") == Ended(124, "", "omkctl: not ended within 0.1 s: t0\n")


def test_show_says_all_that_is_known(scripted: Scripted, omkctl: Omkctl) -> None:
    shown = task("t1", "failed", why="gave up")
    shown["task"] |= {"acceptance_criteria": ["tests pass"], "context": "much", "budget_secs": 60}
    scripted({"task.get": always(shown)})
    out = omkctl("show", "t1").out
    for part in ("task t1", "failed: gave up", "fix it", "tests pass", "much", "60 s", "did it", "a.py", "pid 4711"):
        assert part in out
    assert json.loads(omkctl("show", "t1", "--json").out) == shown


def test_tasks_are_a_table_and_the_older_ones_are_named(scripted: Scripted, omkctl: Omkctl) -> None:
    daemon = scripted({"task.list": always({"tasks": [task("t1"), task("t2", "success")], "next": "t1"})})
    ended = omkctl("tasks", "--worker", "coder", "--state", "queued", "--state", "success")
    lines = ended.out.splitlines()
    assert lines[0].split() == ["ID", "STATE", "WORKER", "QUEUED", "TASK"]
    assert lines[1].split(None, 4) == ["t1", "queued", "coder", TS, "fix it"]
    assert "-n all" in ended.err
    asked = daemon.asked[0][1]
    assert (asked["worker"], asked["states"], asked["limit"]) == ("coder", ["queued", "success"], 10)


def test_all_tasks_are_paged_through(scripted: Scripted, omkctl: Omkctl) -> None:
    pages = [{"tasks": [task("t3")], "next": "t3"}, {"tasks": [task("t1"), task("t2")], "next": None}]
    daemon = scripted({"task.list": in_turn(*map(always, pages))})
    found = json.loads(omkctl("tasks", "-n", "all", "--json").out)
    assert ([task["id"] for task in found["tasks"]], found["next"]) == (["t1", "t2", "t3"], None)
    assert [params["before"] for _, params in daemon.asked] == [None, "t3"]


def test_no_tasks_are_said_on_stderr(scripted: Scripted, omkctl: Omkctl) -> None:
    scripted({"task.list": always({"tasks": [], "next": None}), "worker.get": always(worker())})
    yet = omkctl("tasks")
    assert (yet.status, yet.err.startswith("omkctl: no tasks yet")) == (0, True)
    assert omkctl("results") == Ended(0, "", "omkctl: no task has ended yet\n")
    for filter in (["--worker", "coder"], ["--role", "x"], ["--state", "running"], ["--since", "2h"]):
        assert omkctl("tasks", *filter) == Ended(1, "", "omkctl: no such tasks\n")
    assert omkctl("tasks", "--state", "running", "--json") == Ended(1, '{"tasks":[],"next":null}\n', "")
    assert omkctl("results", "--worker", "coder") == Ended(1, "", "omkctl: no such task has ended\n")
    assert omkctl("results", "--since", "2h", "--json") == Ended(1, "", "")


@pytest.mark.parametrize("verb", [["tasks"], ["results"], ["results", "-f"]])
def test_a_worker_that_is_not_known_and_has_no_tasks_is_a_miss(
    scripted: Scripted, omkctl: Omkctl, status: dict[str, Any], verb: list[str]
) -> None:
    says = "no worker 'codr' (did you mean 'coder'?)"
    answers = {
        "omkd.status": always(status),
        "task.list": always({"tasks": [], "next": None}),
        "worker.get": fail(ApiError(ErrorKind.NOT_FOUND, says)),
    }
    daemon = scripted(answers)
    assert omkctl(*verb, "--worker", "codr") == Ended(3, "", f"omkctl: {says}\n")
    assert daemon.asked[-1] == ("worker.get", {"name": "codr"})


@pytest.mark.parametrize("verb", ["tasks", "results"])
def test_a_worker_that_was_removed_has_its_tasks_still(scripted: Scripted, omkctl: Omkctl, verb: str) -> None:
    daemon = scripted({"task.list": always({"tasks": [task("t1", "success")], "next": None})})
    assert omkctl(verb, "--worker", "gone").status == 0
    assert [method for method, _ in daemon.asked] == ["task.list"]


def test_results_are_finished_tasks(scripted: Scripted, omkctl: Omkctl) -> None:
    daemon = scripted({"task.list": always({"tasks": [task("t1", "failed")], "next": None})})
    assert omkctl("results", "--since", "2026-05-25").out.splitlines()[1].split() == [
        *("t1", "failed", "coder", TS, "3", "did", "it", "a.py")
    ]
    asked = daemon.asked[0][1]
    assert asked["finished_since"] == "2026-05-25T00:00:00Z"
    assert "queued" not in asked["states"]
    assert [json.loads(line)["id"] for line in omkctl("results", "--json").out.splitlines()] == ["t1"]


def test_results_are_followed_from_where_the_past_ends(
    scripted: Scripted, omkctl: Omkctl, status: dict[str, Any]
) -> None:
    def ended(seq: int, id: str) -> tuple[str, dict[str, object]]:
        finished = {"TaskFinished": {"task_id": id, "handout": 1, "result": {}, "outcome": "done"}}
        return ("event", {"subscription": 1, "unit": {**unit(seq), "events": [finished]}})

    stream = Stream({"subscription": 1, "seq": 42}, [ended(43, "t1"), ended(44, "t2"), ended(45, "t3")])
    states = {"t1": "success", "t2": "queued", "t3": "failed"}
    answers = iter(["t1", "t2", "t3"])

    def get(params: dict[str, object]) -> object:
        id = str(params["id"])
        assert id == next(answers)
        if id == "t3":
            raise ApiError(ErrorKind.INTERNAL_ERROR, "that is the end of this test")
        return task(id, states[id])

    daemon = scripted(
        {
            "omkd.status": always(status),
            "task.list": always({"tasks": [], "next": None}),
            "event.subscribe": always(stream),
            "task.get": get,
        }
    )
    followed = omkctl("results", "-f", "--json")
    assert followed.status == 1
    assert json.loads(followed.out.splitlines()[0])["id"] == "t1"
    assert daemon.asked[2] == (
        "event.subscribe",
        {"after": 42, "filter": {"types": ["TaskFinished", "TaskCancelled", "TaskLost"], "workers": []}},
    )


# --- logs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "wanted", "start"),
    [(b"", 3, 0), (b"a\nb\nc\n", 2, 2), (b"a\nb\nc", 2, 2), (b"a\nb\n", 5, 0), (b"a\n", 0, 2), (b"a\n\n\n", 2, 2)],
)
def test_the_last_lines_begin_where_they_begin(text: bytes, wanted: int, start: int) -> None:
    assert start_of_lines(text, wanted) == start


@pytest.mark.parametrize(
    ("options", "out"), [([], "a\nb\nc\n"), (["-n", "2"], "b\nc\n"), (["-n", "0"], ""), (["-n", "all"], "a\nb\nc\n")]
)
def test_log_prints_lines_of_a_run(scripted: Scripted, omkctl: Omkctl, options: list[str], out: str) -> None:
    scripted({"task.log": log_of(b"a\nb\nc\n", chunk_bytes=4)})
    assert omkctl("log", "t1", *options) == Ended(0, out, "")


def test_log_finds_last_lines_in_a_long_output(scripted: Scripted, omkctl: Omkctl) -> None:
    content = b"".join(b"%0999d\n" % number for number in range(300))
    scripted({"task.log": log_of(content, chunk_bytes=50_000)})
    assert omkctl("log", "t1", "-n", "200").out.encode() == content[100 * 1000 :]
    assert omkctl("log", "t1").out.encode() == content


def test_log_passes_on_which_run_and_stream(scripted: Scripted, omkctl: Omkctl) -> None:
    daemon = scripted({"task.log": log_of(b"\xff\n")})
    assert json.loads(omkctl("log", "t1", "--stderr", "--handout", "2", "--json").out) == {
        "offset": 0,
        "text": "\ufffd\n",
    }
    assert daemon.asked == [("task.log", {"id": "t1", "stream": "stderr", "handout": 2, "offset": 0})]


def test_a_followed_log_goes_on_behind_what_was_read(scripted: Scripted, omkctl: Omkctl) -> None:
    cut = Stream({**log_of(b"one\n")({}), "subscription": 1}, [note(1, b"two\n", 8, end=False)], hang_up=True)
    rest = Stream(
        {**log_of(b"")({}), "offset": 8, "size": 8, "subscription": 2},
        [note(1, b"of another", 8, end=False), note(2, b"three\n", 14, end=True)],
    )
    daemon = scripted(
        {
            "task.wait": always({"tasks": [task("t1", "running")]}),
            "task.log": in_turn(always(cut), always(rest)),
        }
    )
    ended = omkctl("log", "t1", "-f")
    assert (ended.status, ended.out) == (0, "one\ntwo\nthree\n")
    assert daemon.asked[-1][1]["offset"] == 8


def test_a_followed_log_times_out(scripted: Scripted, omkctl: Omkctl) -> None:
    scripted({"task.wait": fail(Silence())})
    assert omkctl("log", "t1", "-f", "--timeout", "0.1").status == 124


def test_escalations_are_lines_and_with_json_the_logs_own(scripted: Scripted, omkctl: Omkctl) -> None:
    daemon = scripted({"escalation.list": always({"escalations": [escalation(7)], "next": None})})
    assert omkctl("tail-escalations") == Ended(0, f"     7  {TS}  worker_completed   coder completed\n", "")
    entry = escalation(7)["entry"]
    assert omkctl("tail-escalations", "--json").out == json.dumps({**entry, "seq": 7}, separators=(",", ":")) + "\n"
    assert daemon.asked[0] == ("escalation.list", {"kinds": [], "workers": [], "lines": 10, "limit": 10})


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        (
            ["-n", "3", "--worker", "w", "--kind", "failed"],
            {"lines": 3, "limit": 3, "workers": ["w"], "kinds": ["failed"]},
        ),
        (["-n", "all"], {"limit": 1000}),
        (["--after", "5"], {"limit": 1000, "after": 5}),
        (["--since", "2026-05-25"], {"limit": 1000, "since": "2026-05-25T00:00:00Z"}),
        (["--after", "5", "-n", "2"], {"lines": 2, "limit": 2, "after": 5}),
    ],
)
def test_which_part_of_the_escalations_is_asked_for(
    scripted: Scripted, omkctl: Omkctl, options: list[str], asked: dict[str, object]
) -> None:
    daemon = scripted({"escalation.list": always({"escalations": [escalation(7)], "next": None})})
    assert omkctl("tail-escalations", *options).status == 0
    assert daemon.asked == [("escalation.list", {"kinds": [], "workers": [], **asked})]


def test_everything_is_paged_through(scripted: Scripted, omkctl: Omkctl) -> None:
    pages = [{"units": [unit(1), unit(2)], "next": 2}, {"units": [unit(3)], "next": None}]
    daemon = scripted({"event.list": in_turn(*map(always, pages))})
    out = omkctl("events", "-n", "all", "--json").out
    assert [json.loads(line) for line in out.splitlines()] == [unit(1), unit(2), unit(3)]
    assert daemon.asked[1][1]["after"] == 2


def test_more_than_a_page_of_the_newest_are_the_newest(scripted: Scripted, omkctl: Omkctl) -> None:
    pages = [
        {"units": [unit(number) for number in range(1, 1001)], "next": 1000},
        {"units": [unit(1001), unit(1002)], "next": None},
    ]
    scripted({"event.list": in_turn(*map(always, pages))})
    lines = omkctl("events", "-n", "1001").out.splitlines()
    assert (len(lines), lines[0].split()[0], lines[-1].split()[0]) == (1001, "2", "1002")


@pytest.mark.parametrize("verb", ["tasks", "results", "events", "tail-escalations"])
def test_no_lines_at_all_are_a_slip(scripted: Scripted, omkctl: Omkctl, verb: str) -> None:
    daemon = scripted({})
    ended = omkctl(verb, "-n", "0")
    assert (ended.status, ended.out, "at least 1, or all" in ended.err) == (2, "", True)
    assert daemon.asked == []


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["events"], 0),
        (["events", "--type", "TaskLost"], 1),
        (["events", "--worker", "coder", "--json"], 1),
        (["events", "--since", "2h"], 1),
        (["events", "--after", "42"], 1),
        (["tail-escalations", "-n", "all"], 0),
        (["tail-escalations", "--kind", "failed"], 1),
        (["tail-escalations", "--unacked"], 1),
    ],
)
def test_nothing_of_what_was_chosen_is_1(scripted: Scripted, omkctl: Omkctl, arguments: list[str], status: int) -> None:
    scripted(
        {
            "event.list": always({"units": [], "next": None}),
            "escalation.list": always({"escalations": [], "next": None}),
        }
    )
    assert omkctl(*arguments) == Ended(status, "", "")


def test_a_unit_is_a_line(scripted: Scripted, omkctl: Omkctl) -> None:
    daemon = scripted({"event.list": always({"units": [unit(3)], "next": None})})
    expected = f"     3  {TS}  coder  WorkerProgress worker_id=coder percent=40.0\n"
    assert omkctl("events", "--type", "WorkerProgress", "--worker", "coder") == Ended(0, expected, "")
    assert daemon.asked[0][1]["filter"] == {"types": ["WorkerProgress"], "workers": ["coder"]}


@pytest.mark.parametrize(
    ("options", "asked"),
    [
        ([], {"last": 10}),
        (["-n", "0"], {}),
        (["-n", "all"], {"after": 0}),
        (["--after", "5"], {"after": 5}),
        (["--since", "2026-05-25"], {"since": "2026-05-25T00:00:00Z"}),
    ],
)
def test_following_begins_where_it_was_said(
    scripted: Scripted, omkctl: Omkctl, options: list[str], asked: dict[str, object]
) -> None:
    notes: list[tuple[str, dict[str, object]]] = [("event", {"subscription": 1, "unit": unit(8)})]
    daemon = scripted({"event.subscribe": always(Stream({"subscription": 1, "seq": 7}, notes))})
    assert omkctl("events", "-f", "--count", "1", *options).status == 0
    assert daemon.asked == [("event.subscribe", {"filter": {"types": [], "workers": []}, **asked})]


def test_fewer_lines_than_counted_on_are_124(scripted: Scripted, omkctl: Omkctl) -> None:
    notes: list[tuple[str, dict[str, object]]] = [("escalation", {"subscription": 1, **escalation(8)})]
    scripted({"escalation.tail": always(Stream({"subscription": 1, "seq": 7}, notes))})
    ended = omkctl("tail-escalations", "-f", "--count", "2", "--timeout", "0.2")
    assert ended.status == 124
    assert "1 of 2 lines" in ended.err
    assert "coder completed" in ended.out


# --- workers, the daemon -----------------------------------------------------------------------------------------


def test_worker_add_passes_on_what_was_said(scripted: Scripted, omkctl: Omkctl, home: Any) -> None:
    daemon = scripted({"worker.add": always(worker("wc", role="counter"))})
    assert omkctl("worker", "add", "wc", "--role", "counter", "--", "sh", "-c", "wc -w") == Ended(
        0, "worker wc added (counter)\n", ""
    )
    options = ["--budget", "2m", "--grace", "3s", "--env", "A=b=c", "--window", "0", "--approval", "pattern:^ls"]
    omkctl("worker", "add", "wc", "--project-dir", "sub/..", *options, "--", "cat")
    assert [params for _, params in daemon.asked] == [
        {"name": "wc", "role": "counter", "runner": {"command": ["sh", "-c", "wc -w"]}},
        {
            "name": "wc",
            "role": "worker",
            "project_dir": str(home),
            "window": 0,
            "approval_policy": {"pattern": {"patterns": ["^ls"]}},
            "runner": {"command": ["cat"], "env": {"A": "b=c"}, "budget_secs": 120, "grace_secs": 3},
        },
    ]


@pytest.mark.parametrize("verb", [["worker", "list"], ["workers"]])
def test_workers_are_a_table(scripted: Scripted, omkctl: Omkctl, verb: list[str]) -> None:
    scripted({"worker.list": always({"workers": [worker(), worker("docs", runner=None, foreign=True)]})})
    lines = omkctl(*verb).out.splitlines()
    assert lines[1].split(None, 5)[:3] == ["coder", "worker", "ready"]
    assert lines[1].endswith("sh -c 'wc -w'")
    assert lines[2].endswith("(foreign)")
    assert len(json.loads(omkctl(*verb, "--json").out)["workers"]) == 2


def test_a_worker_is_shown_and_removed(scripted: Scripted, omkctl: Omkctl) -> None:
    daemon = scripted(
        {
            "worker.get": always(worker()),
            "worker.log": always({"path": "/w/host.log", "lines": ["hello", "t1: running"]}),
            "worker.remove": always({"name": "coder", "moved_to": "removed/coder.9"}),
        }
    )
    out = omkctl("worker", "show", "coder").out
    for part in ("worker coder", "ready", "sh -c 'wc -w'", "5m, then 10s", "host.log\n    hello\n"):
        assert part in out
    assert "removed/coder.9" in omkctl("worker", "remove", "coder", "--force").out
    assert daemon.asked[-1] == ("worker.remove", {"name": "coder", "drain": False, "force": True})


@pytest.fixture
def status() -> dict[str, Any]:
    return {
        "omkd": "9.9.9",
        "session": "t",
        "session_dir": "/s/t",
        "socket": "/r/t.sock",
        "pid": 4711,
        "started": TS,
        "seq": 42,
        "tasks": {"queued": 2, "running": 0, "failed": 1},
        "oldest_queued": task("t8", why="waits for t9"),
        "last_failures": [task("t7", "failed")],
        "workers": [worker()],
        "invalid_workers": [{"worker": "bad", "error": "no role"}],
        "unacked": 4,
        "draining": None,
        "rejected_lines": 3,
        "retried_writes": [{"path": "/s/t/x", "error": "No space left on device", "since": TS}],
        "notices": [
            {
                "name": "phone",
                "sent": 0,
                "failed": 1,
                "suppressed": 0,
                "last_sent": None,
                "last_error": "exit status 22",
            }
        ],
        "connections": 1,
    }


def test_status_is_one_screen(scripted: Scripted, omkctl: Omkctl, status: dict[str, Any]) -> None:
    scripted({"omkd.status": always(status)})
    out = omkctl("status").out
    for part in (
        "2 queued, 1 failed",
        "/s/t",
        "42 units",
        "worker bad is not valid: no role",
        "No space left",
        "needs a person: 4",
        "t8 waits longest",
        ": waits for t9\n",
        "failed  t7 (coder, ",
        " ago): did it",
        "notice phone does not reach anybody: exit status 22",
        "the daemon 9.9.9",
        "coder",
    ):
        assert part in out
    assert "running" not in out
    assert json.loads(omkctl("status", "--json").out) == status


def test_verify_ends_in_1_when_something_was_found(scripted: Scripted, omkctl: Omkctl) -> None:
    finding = {"kind": "inbox", "what": "t1 is twice in coder's inbox", "mend": "do this"}
    good = {"checked": {"units": 42}, "findings": []}
    found = [always({**good, "findings": [finding] * count}) for count in (1, 2)]
    scripted({"omkd.verify": in_turn(always(good), *found)})
    assert omkctl("verify") == Ended(0, "checked: 42 units\nconsistent\n", "")
    ended = omkctl("verify")
    assert ended.status == 1
    assert ended.out.endswith("inbox: t1 is twice in coder's inbox\n    do this\n1 finding\n")
    assert omkctl("verify").out.endswith("\n2 findings\n")


def test_rpc_prints_the_result_and_is_sent_once(scripted: Scripted, omkctl: Omkctl) -> None:
    daemon = scripted({"task.get": in_turn(always({"f": 0.1}), fail(Hangup()))})
    assert omkctl("rpc", "task.get", '{"id":"t1"}') == Ended(0, '{"f":0.1}\n', "")
    assert omkctl("rpc", "task.get").status == 4
    assert daemon.asked == [("task.get", {"id": "t1"}), ("task.get", {})]


def test_version_says_both_and_does_not_need_a_daemon(scripted: Scripted, omkctl: Omkctl) -> None:
    assert json.loads(omkctl("version", "--json").out)["daemon"] is None
    assert "does not answer" in omkctl("version").out
    scripted({})
    assert "omkd   9.9.9 (protocol 1), session t, pid 4711" in omkctl("version").out
    assert json.loads(omkctl("version", "--json").out)["daemon"] == {"omkd": "9.9.9", "protocol": 1}


def test_shutdown_returns_when_the_daemon_has_gone(scripted: Scripted, omkctl: Omkctl) -> None:
    scripted({"omkd.shutdown": always(Stream({}, hang_up=True))})
    assert omkctl("shutdown") == Ended(0, "omkd for session t (pid 4711) has ended\n", "")


def test_a_reader_that_has_had_enough_is_no_error(
    scripted: Scripted, omkctl: Omkctl, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    assert callable(omkctl)
    scripted({"event.list": always({"units": [unit(1)], "next": None})})

    class Gone:
        encoding = "utf-8"

        def isatty(self) -> bool:
            return False

        def write(self, _: str) -> int:
            raise BrokenPipeError

        def flush(self) -> None:
            pass

        def fileno(self) -> int:
            return opened.fileno()

    with (tmp_path / "stdout").open("w") as opened:
        monkeypatch.setattr("sys.stdout", Gone())
        assert run(["events"]) == 0


@pytest.mark.parametrize("failing", ["write", "flush"])
def test_a_stdout_that_cannot_be_written_is_said_in_one_line(
    scripted: Scripted,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Any,
    failing: str,
) -> None:
    scripted({"event.list": always({"units": [unit(1)], "next": None})})

    class Full:
        encoding = "utf-8"

        def isatty(self) -> bool:
            return False

        def write(self, text: str) -> int:
            if failing == "write":
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return len(text)

        def flush(self) -> None:
            raise OSError(errno.EIO, os.strerror(errno.EIO))

        def fileno(self) -> int:
            return opened.fileno()

    with (tmp_path / "stdout").open("w") as opened:
        monkeypatch.setattr("sys.stdout", Full())
        assert run(["events"]) == 1
    assert capfd.readouterr().err == "omkctl: stdout cannot be written: Input/output error\n"


@pytest.mark.parametrize("arguments", [["events"], ["events", "--json"], ["--json", "nonsense"], ["--help"]])
def test_on_a_full_disk_nothing_else_is_said_at_exit(scripted: Scripted, arguments: list[str]) -> None:
    scripted({"event.list": always({"units": [unit(1)], "next": None})})
    with open("/dev/full", "w") as full:
        ran = subprocess.run([*COMMAND, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, timeout=30)
    says = "omkctl: stdout cannot be written: No space left on device\n"
    assert (ran.returncode, ran.stderr) == (1, says)


# --- how far, who, why -------------------------------------------------------------------------------------------

PROGRESS = {"percent": 40.0, "message": "half\x1b[31m way\n", "ts": TS}


def test_progress_of_what_runs_has_a_column(scripted: Scripted, omkctl: Omkctl) -> None:
    tasks = [task("t1", "success", progress=PROGRESS), task("t2", "running", progress=PROGRESS), task("t3", "running")]
    scripted({"task.list": in_turn(always({"tasks": tasks, "next": None}), always({"tasks": tasks[:1], "next": None}))})
    header, first, second, third = omkctl("tasks").out.splitlines()
    assert header.split() == ["ID", "STATE", "WORKER", "QUEUED", "PROGRESS", "TASK"]
    assert [line.endswith("  40 % half way  fix it") for line in (first, second, third)] == [False, True, False]
    assert "PROGRESS" not in omkctl("tasks").out


@pytest.mark.parametrize(
    ("by", "words"),
    [
        ({"kind": "client", "uid": 0, "pid": 7}, "root (pid 7)"),
        ({"kind": "client", "uid": 987_654, "pid": 7}, "uid 987654 (pid 7)"),
        ({"kind": "worker", "worker": "coder"}, "worker coder"),
        ({"kind": "unknown", "uid": 0, "pid": 7}, "unknown (pid 7)"),
        ({"kind": "omkd"}, "omkd"),
    ],
)
def test_show_says_who_sent_it(scripted: Scripted, omkctl: Omkctl, by: dict[str, object], words: str) -> None:
    scripted({"task.get": always(task(by=by, why="waits for t9", priority=3))})
    out = omkctl("show", "t1").out
    for line in (f"by:         {words}", "state:      queued: waits for t9", "priority:   3"):
        assert f"  {line}\n" in out
    assert "hand-outs" not in out


def test_status_says_what_runs_drains_and_has_trouble(
    scripted: Scripted, omkctl: Omkctl, status: dict[str, Any]
) -> None:
    status["tasks"]["running"] = 1
    status["workers"] = [worker(), worker("docs", state="stalled"), worker("web", state="paused")]
    status["draining"] = ["t2"]
    daemon = scripted(
        {
            "omkd.status": always(status),
            "task.list": always({"tasks": [task("t2", "running", started=TS, progress=PROGRESS)], "next": None}),
        }
    )
    out = omkctl("status").out
    for part in (
        "t2 running (coder)",
        " of 5m, 40 % half way",
        "waits for t2",
        "no sign of life from: docs",
        "paused: web",
    ):
        assert part in out
    assert daemon.asked[-1][1]["states"] == ["running"]


def test_what_may_be_done_once_only_is_sent_once(scripted: Scripted, omkctl: Omkctl) -> None:
    daemon = scripted(dict.fromkeys(("task.retry", "task.release", "worker.restart"), fail(Hangup())))
    for arguments in (["retry", "t1"], ["release", "t1"], ["worker", "restart", "coder"]):
        ran = omkctl(*arguments)
        assert ran.status == 4
    assert [method for method, _ in daemon.asked] == ["task.retry", "task.release", "worker.restart"]


def test_a_shutdown_of_an_older_daemon_is_asked_for_in_its_words(scripted: Scripted, omkctl: Omkctl) -> None:
    daemon = scripted({"omkd.shutdown": always(Stream({}, hang_up=True))})
    assert omkctl("shutdown").status == 0
    assert daemon.asked == [("omkd.shutdown", {})]
