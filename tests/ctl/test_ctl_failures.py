"""Each failure has one exit status, and one form as JSON."""

import json

import pytest
from ctl_calls import Ended, Omkctl, Scripted
from scripted_daemon import fail

from omkctl.failures import EXIT_MEANINGS, Exit, daemon_error
from omkd.protocol.errors import ApiError, ErrorKind


@pytest.mark.parametrize("kind", list(ErrorKind))
def test_an_error_of_the_daemon_becomes_its_exit_status(kind: ErrorKind) -> None:
    failure = daemon_error(ApiError(kind, "why", known=["a"]).as_object())
    assert failure.status == kind.exit_status
    assert failure.status in set(Exit)
    assert failure.as_object() == {
        "error": {"code": kind.code, "name": kind.wire_name, "message": "why", "data": {"known": ["a"]}}
    }


def test_a_code_that_is_not_known_ends_in_1() -> None:
    assert daemon_error({"code": -32099, "message": "new"}).status == 1


def test_each_exit_status_has_its_meaning() -> None:
    assert set(EXIT_MEANINGS) == set(Exit)


def test_a_refusal_is_said_on_stderr(scripted: Scripted, omkctl: Omkctl) -> None:
    scripted({"task.get": fail(ApiError(ErrorKind.NOT_FOUND, "no task 't9' (known: t1)", known=["t1"]))})
    assert omkctl("show", "t9") == Ended(3, "", "omkctl: no task 't9' (known: t1)\n")


@pytest.mark.parametrize("arguments", [("--json", "show", "t9"), ("show", "t9", "--json"), ("show", "--json", "t9")])
def test_with_json_a_refusal_is_one_object_on_stdout(
    scripted: Scripted, omkctl: Omkctl, arguments: tuple[str, ...]
) -> None:
    scripted({"task.get": fail(ApiError(ErrorKind.NOT_FOUND, "no task 't9'", known=["t1"]))})
    ended = omkctl(*arguments)
    assert (ended.status, ended.err) == (3, "")
    assert json.loads(ended.out) == {
        "error": {"code": -32001, "name": "not_found", "message": "no task 't9'", "data": {"known": ["t1"]}}
    }


@pytest.mark.parametrize(
    "arguments",
    [
        ("tasks", "--nope"),
        ("tusks",),
        ("worker", "ad"),
        ("worker",),
        ("show",),
        ("tasks", "-n", "x"),
        ("-S", "../x", "tasks"),
        ("send-task", "coder"),
        ("send-task", "coder", "x", "--timeout", "3"),
        ("send-task", "coder", "x", "--budget", "0"),
        ("send-task", "coder", "x", "--file", "y"),
        ("send-task", "coder", "--file", "/nonexistent/y"),
        ("send-task", "role:", "x"),
        ("send-task", "coder", "x", "--priority", "99999999999999999999999"),
        ("update", "t1", "--priority", "-2147483649"),
        ("worker", "add", "w", "--budget", "3"),
        ("worker", "add", "w", "--approval", "perhaps"),
        ("rpc", "task.get", "[1]"),
        ("rpc", "task.get", "{"),
        ("publish",),
        ("publish", "A", "b"),
        ("publish", "A", "b=1", "--json", "{}"),
        ("tail-escalations", "--kind", "other"),
        ("events", "-f", "-n", "3", "--after", "4"),
    ],
)
def test_a_wrong_command_line_is_2_with_json_too(omkctl: Omkctl, arguments: tuple[str, ...]) -> None:
    ended = omkctl(*arguments)
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith("omkctl: ")
    as_json = omkctl("--json", *arguments)
    assert as_json.status == 2
    assert json.loads(as_json.out)["error"]["name"] == "usage"


def test_a_number_that_is_too_large_is_answered_with_the_range(omkctl: Omkctl) -> None:
    said = omkctl("send-task", "coder", "x", "--priority", "99999999999999999999999").err
    assert "99999999999999999999999 is not in the range -2147483648<=x<=2147483647" in said


def test_an_unknown_verb_is_answered_with_the_nearest(omkctl: Omkctl) -> None:
    assert "did you mean 'send-task'?" in omkctl("send-tsk").err


def test_without_arguments_it_says_what_there_is(omkctl: Omkctl) -> None:
    ended = omkctl()
    assert ended.status == 2
    assert "tail-escalations" in ended.out
