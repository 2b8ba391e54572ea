"""What the client imports, and that each verb and option is there and documented."""

import subprocess
import sys

import click
import pytest

from omkctl.cli import VERBS, root
from omkctl.commands.service import VERBS as SERVICE_VERBS
from omkctl.commands.worker import VERBS as WORKER_VERBS
from omkctl.verb import Verb

ALLOWED_OMKD = {
    "omkd",
    "omkd.protocol",
    *(f"omkd.protocol.{name}" for name in ("jsonrpc", "lines", "errors", "address", "limits", "version")),
}
NOT_AT_START = {"attr", "attrs", "cattrs", "rich", "trio", "asyncio", "difflib", "tempfile", "shutil"}

LIGHT = (
    "status",
    "events",
    "send-task x y",
    "cancel x",
    "tail-escalations",
    "publish A",
    "escalate a",
    "results",
)

LIST_IMPORTS = """
import sys
from omkctl.cli import run
run(sys.argv[1:])
print("\\n".join(sys.modules), file=sys.stderr)
"""


def imported_by(*arguments: str) -> set[str]:
    ran = subprocess.run(
        [sys.executable, "-c", LIST_IMPORTS, *arguments], capture_output=True, text=True, check=True, timeout=30
    )
    return set(ran.stderr.split("\n"))


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(
    "verb", ["status", "events", "send-task x y", "cancel x", "tail-escalations", "publish A", "results", "escalate a"]
)
def test_of_omkd_and_of_packages_only_little_is_imported_at_start(verb: str) -> None:
    modules = imported_by(*verb.split())
    assert {name for name in modules if name.split(".")[0] == "omkd"} <= ALLOWED_OMKD
    assert modules & NOT_AT_START == set()
    verbs = {name for name in modules if name.startswith("omkctl.commands.")}
    assert len(verbs) == 1


def commands(command: click.Command, path: str = "") -> list[tuple[str, click.Command]]:
    """Every command that can be run, with what one types for it."""
    if not isinstance(command, click.Group):
        return [(path, command)]
    ctx = click.Context(command)
    names = command.list_commands(ctx)
    return [
        leaf
        for name in names
        if (found := command.get_command(ctx, name)) is not None
        for leaf in commands(found, f"{path} {name}".strip())
    ]


ALL = dict(commands(root))


def test_the_verbs_of_this_release_are_there() -> None:
    assert len(VERBS) == 36
    assert {f"worker {verb}" for verb in WORKER_VERBS} <= set(ALL)
    assert {f"service {verb}" for verb in SERVICE_VERBS} <= set(ALL)
    assert len(WORKER_VERBS) == 12


@pytest.mark.parametrize("path", sorted(ALL))
def test_each_command_says_what_it_does_and_takes_the_options_of_all(path: str) -> None:
    command = ALL[path]
    assert isinstance(command, Verb)
    assert command.help
    options = {name for param in command.params if isinstance(param, click.Option) for name in param.opts}
    assert {"--session", "--socket", "--state-dir", "--json", "--color"} <= options
    assert all(param.help for param in command.params if isinstance(param, click.Option))


def test_a_verbs_own_option_has_a_variable_of_its_own(monkeypatch: pytest.MonkeyPatch, omkctl: object) -> None:
    monkeypatch.setenv("OMKCTL_TASKS_LINES", "several")
    assert callable(omkctl)
    ended = omkctl("tasks")
    assert ended.status == 2
    assert "'several'" in ended.err
