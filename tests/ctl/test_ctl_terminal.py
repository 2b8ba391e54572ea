"""On a terminal: tables, colour, local times, and nothing of an agent's that the terminal would obey."""

import os
import re
import sys
from collections.abc import Callable

import pexpect
import pytest
from ctl_calls import Scripted
from ctl_things import decision, escalation, log_of, task, worker
from scripted_daemon import always

DEADLINE_S = 30
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
Terminal = Callable[..., str]


@pytest.fixture
def terminal(home: object) -> Terminal:
    """Runs `omkctl` on a terminal of 100 columns; all that appears there."""
    assert home

    def run(*arguments: str, status: int = 0, **env: str) -> str:
        child = pexpect.spawn(
            sys.executable,
            ["-m", "omkctl", *arguments],
            env={**os.environ, "TERM": "xterm", "COLUMNS": "100", **env},
            timeout=DEADLINE_S,
            encoding="utf-8",
            dimensions=(24, 100),
        )
        child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == status, child.before
        return str(child.before)

    return run


def test_a_table_has_colour_and_no_color_takes_it_away(scripted: Scripted, terminal: Terminal) -> None:
    scripted({"task.list": always({"tasks": [task("t1", "failed"), task("t2")], "next": None})})
    shown = terminal("tasks")
    assert "\x1b[31mfailed\x1b[0m" in shown
    assert COLOUR.sub("", shown).split("\r\n")[1].split()[:3] == ["t1", "failed", "coder"]
    for plain in (terminal("tasks", NO_COLOR="1"), terminal("tasks", "--color", "never")):
        assert "[31m" not in plain
        assert "failed" in plain


def test_a_pipes_plain_text_is_the_same_without_rich(scripted: Scripted, terminal: Terminal) -> None:
    scripted({"worker.list": always({"workers": [worker()]})})
    assert "sh -c 'wc -w'" in terminal("workers")


def test_a_table_may_hold_what_rich_would_read_as_markup(scripted: Scripted, terminal: Terminal) -> None:
    scripted({"task.list": always({"tasks": [task("t1", task={"task": "[bold]x[/bold] [/] :smile:"})], "next": None})})
    assert "[bold]x[/bold] [/] :smile:" in COLOUR.sub("", terminal("tasks"))


EVIL = "\x1b]0;owned\x07\x1b[2J\x9b2Jtext\r\nmore"


@pytest.mark.parametrize(
    "arguments",
    [
        ["tail-escalations"],
        ["tasks"],
        ["results"],
        ["show", "t1"],
        ["show", "t2"],
        ["log", "t1"],
        ["send-task", "coder", "x", "--wait"],
        ["approve", EVIL],
        ["deny", EVIL],
        ["answer", EVIL, EVIL],
    ],
)
def test_what_an_agent_wrote_does_not_reach_the_terminal_as_it_is(
    scripted: Scripted, terminal: Terminal, arguments: list[str]
) -> None:
    evil = task("t1", "success", task={"task": EVIL})
    evil["result"]["summary"] = EVIL
    choices = [{"id": EVIL, "label": EVIL, "kind": kind} for kind in ("allow_once", "reject_once")]
    question = decision(EVIL, choices=choices, choice=EVIL, summary=EVIL)
    scripted(
        {
            "escalation.list": always({"escalations": [escalation(1, EVIL)], "next": None}),
            "task.list": always({"tasks": [evil], "next": None}),
            "task.get": lambda params: evil if params["id"] == "t1" else task("t2", why=EVIL),
            "task.send": always(evil),
            "task.wait": always({"tasks": [evil]}),
            "decision.list": always({"decisions": [question]}),
            "decision.answer": always(question),
            "task.log": log_of(EVIL.encode()),
        }
    )
    shown = COLOUR.sub("", terminal(*arguments))
    assert "text" in shown
    assert not re.search("[\x1b\x07\x9b]", shown)


def test_json_on_a_terminal_is_json(scripted: Scripted, terminal: Terminal) -> None:
    scripted({"escalation.list": always({"escalations": [escalation(1, "a\x1b[2J")], "next": None})})
    assert '"summary":"a\\u001b[2J"' in terminal("tail-escalations", "--json")


def test_the_result_of_rpc_is_readable_on_a_terminal(scripted: Scripted, terminal: Terminal) -> None:
    scripted({"task.get": always({"id": "t1"})})
    assert terminal("rpc", "task.get") == '{\r\n  "id": "t1"\r\n}\r\n'


def test_a_failure_is_said_on_a_terminal(terminal: Terminal) -> None:
    assert "no daemon answers" in terminal("status", status=4)
