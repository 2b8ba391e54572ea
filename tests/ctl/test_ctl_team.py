"""A team file: what it means, and how each fault in it is said."""

from pathlib import Path
from typing import Any

import pytest

from omkctl.failures import Failure
from omkctl.team import named, workers_in

WHOLE = """
[[worker]]
name = "coder"
role = "builder"
project_dir = "api"
window = 2
command = ["agent", "-p", "{task}"]
env = {LANG = "C"}
budget = "1h30m"
grace = 0
idle_exit = 60
on_interrupt = "hold"
retries = 2
stall = "10m"
output_bytes = 1_000_000
acp = true
acp_asks = false
acp_mode = "ask"
acp_session = "worker"
approval = ["pattern:^git ", "pattern:^ls"]
approval_timeout = "5m"
external_tools = [{name = "browser"}]

[[worker]]
name = "docs"
project_dir = "/srv/docs"
approval = "safe"
"""


def read(tmp_path: Path, text: str) -> list[dict[str, Any]]:
    file = tmp_path / "team.toml"
    file.write_text(text)
    return workers_in(str(file))


def test_a_worker_has_the_options_of_worker_add_as_keys(tmp_path: Path) -> None:
    coder, docs = read(tmp_path, WHOLE)
    assert coder == {
        "name": "coder",
        "role": "builder",
        "project_dir": str(tmp_path / "api"),
        "window": 2,
        "approval_policy": {"pattern": {"patterns": ["^git ", "^ls"]}},
        "approval_timeout_secs": 300,
        "external_tools": [{"name": "browser"}],
        "runner": {
            "command": ["agent", "-p", "{task}"],
            "env": {"LANG": "C"},
            "budget_secs": 5400,
            "grace_secs": 0,
            "idle_exit_secs": 60,
            "on_interrupt": "hold",
            "retries": 2,
            "stall_secs": 600,
            "output_bytes": 1_000_000,
            "acp": True,
            "acp_asks": False,
            "acp_mode": "ask",
            "acp_session": "worker",
        },
    }
    assert docs == {"name": "docs", "role": "worker", "project_dir": "/srv/docs", "approval_policy": "safe"}


def test_a_file_without_workers_declares_none(tmp_path: Path) -> None:
    assert read(tmp_path, "# nobody yet\n") == []


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[[worker]\n", "is not TOML"),
        ("[[workers]]\n", "unknown key 'workers' (did you mean 'worker'?)"),
        ("worker = 3\n", "under [[worker]]"),
        ("[worker]\nname = 'a'\n", "under [[worker]]"),
        ("[[worker]]\nrole = 'x'\n", "worker 1: it has no name"),
        ("[[worker]]\nname = 7\n", "worker 1: name: needs a text in quotes, this is 7"),
        ("[[worker]]\nname = 'a'\n[[worker]]\nname = 'a'\n", "worker 2 ('a'): worker 1 has this name already"),
        (
            "[[worker]]\nname = 'a'\nbudget_secs = 3\n",
            "worker 1 ('a'): unknown key 'budget_secs' (did you mean 'budget'?)",
        ),
        ("[[worker]]\nname = 'a'\nxyz = 3\n", "unknown key 'xyz' (known: name, role,"),
        ("[[worker]]\nname = 'a'\ncommand = 'wc -w'\n", 'command: needs its arguments as an array of texts, as ["wc"'),
        ("[[worker]]\nname = 'a'\ncommand = []\n", "command: needs its arguments"),
        ('[[worker]]\nname = "a"\ncommand = ["a\\u0000"]\n', "command: it holds a NUL byte"),
        ("[[worker]]\nname = 'a'\nbudget = 0\n", "budget: needs a duration"),
        ("[[worker]]\nname = 'a'\nbudget = '0s'\n", "budget: '0s': this needs whole seconds"),
        ("[[worker]]\nname = 'a'\nbudget = 1.5\n", "budget: needs a duration"),
        ("[[worker]]\nname = 'a'\nbudget = 'soon'\n", "budget: 'soon' is no duration"),
        ("[[worker]]\nname = 'a'\nbudget = 5\n", "worker 1 ('a'): budget is for a worker with a command"),
        ("[[worker]]\nname = 'a'\nwindow = -1\n", "window: needs a whole number from 0 on, this is -1"),
        ("[[worker]]\nname = 'a'\nretries = true\n", "retries: needs a whole number from 0 on, this is true or false"),
        ("[[worker]]\nname = 'a'\nenv = ['A=b']\n", "env: needs a table of texts"),
        ("[[worker]]\nname = 'a'\non_interrupt = 'again'\n", "on_interrupt: is one of rerun, hold, fail, not 'again'"),
        ("[[worker]]\nname = 'a'\napproval = 'perhaps'\n", "approval: an approval policy is never"),
        ("[[worker]]\nname = 'a'\napproval = [3]\n", "approval: needs never, safe or yolo"),
        ("[[worker]]\nname = 'a'\nexternal_tools = 3\n", "external_tools: needs an array, this is 3"),
        ("[[worker]]\nname = 'a'\nexternal_tools = [2026-01-01]\n", "external_tools: holds a date"),
        ("[[worker]]\nname = 'a'\nexternal_tools = [nan]\n", "worker 1 ('a'): external_tools: holds nan or inf"),
        ("[[worker]]\nname = 'a'\nexternal_tools = [{a = [-inf]}]\n", "external_tools: holds nan or inf"),
    ],
)
def test_a_fault_names_file_worker_and_key(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(Failure) as raised:
        read(tmp_path, text)
    assert raised.value.status == 2
    assert raised.value.message.startswith((str(tmp_path / "team.toml"), "cannot read"))
    assert says in raised.value.message
    assert "\n" not in raised.value.message


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(Failure, match=r"cannot read .*No such file"):
        workers_in(str(tmp_path / "none.toml"))
    (tmp_path / "latin").write_bytes(b"name = '\xe4'")
    with pytest.raises(Failure, match="is not UTF-8"):
        workers_in(str(tmp_path / "latin"))


def test_what_the_daemon_refuses_is_said_with_file_and_worker() -> None:
    workers: list[dict[str, object]] = [{"name": "a"}, {"name": "b"}]
    told = named(Failure(2, "invalid_params", "workers[1].runner.command[0]: no command 'x'"), "t.toml", workers)
    assert told.message == "t.toml: worker 2 ('b'): runner.command[0]: no command 'x'"
    assert (
        named(Failure(5, "refused", "worker b is foreign"), "t.toml", workers).message == "t.toml: worker b is foreign"
    )
