"""The options that say how a worker is: the same for `worker add` and `worker update`, and the keys of a team file."""

import os
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from typing import Any, Final

import click

from . import json_text, options, values
from .failures import usage
from .text_input import checked

ON_INTERRUPT: Final = ("rerun", "hold", "fail")
ACP_SESSION: Final = ("task", "worker")

SETTINGS: Final = (
    click.option("--project-dir", metavar="DIR", type=click.Path(), help="Where its command runs."),
    click.option("--window", metavar="N", type=click.IntRange(min=0), help="Tasks in its inbox at a time; 0: any."),
    click.option("--env", metavar="K=V", type=options.ENV_PAIR, multiple=True, help="For its command. Repeatable."),
    click.option("--budget", metavar="DUR", type=options.WHOLE_DURATION, help="For a task without. [default: 5m]"),
    click.option("--grace", metavar="DUR", type=options.DURATION, help="From SIGTERM to SIGKILL. [default: 10s]"),
    click.option(
        "--on-interrupt",
        type=click.Choice(ON_INTERRUPT),
        help="What becomes of a task whose host or machine died. [default: rerun]",
    ),
    click.option("--retries", metavar="N", type=click.IntRange(min=0), help="Runs after failures. [default: 0]"),
    click.option(
        "--stall", metavar="DUR", type=options.WHOLE_DURATION, help="Stalled when a run says nothing for so long."
    ),
    click.option(
        "--idle-exit", metavar="DUR", type=options.WHOLE_DURATION, help="The host's end without daemon and work."
    ),
    click.option(
        "--output-bytes", metavar="N", type=click.IntRange(min=1), help="Kept of a run's output. [default: 16 MiB]"
    ),
    click.option("--approval", metavar="POLICY", multiple=True, help="never, safe, yolo, pattern:REGEX (repeatable)."),
    click.option("--approval-timeout", metavar="DUR", type=options.WHOLE_DURATION, help="For a person to answer."),
    click.option("--acp/--no-acp", default=None, help="The command is an ACP agent: a task is a prompt turn of it."),
    click.option("--acp-asks/--no-acp-asks", default=None, help="An agent unknown to omkd asks before it acts."),
    click.option("--acp-mode", metavar="MODE", help="The mode in which an agent unknown to omkd asks."),
    click.option(
        "--acp-session", type=click.Choice(ACP_SESSION), help="A session for each task or for all. [default: task]"
    ),
    click.option("--external-tool", metavar="JSON", multiple=True, help="Kept in its spec. Repeatable."),
)

RUNNER_FIELDS: Final = {
    "budget": "budget_secs",
    "grace": "grace_secs",
    "idle_exit": "idle_exit_secs",
    "on_interrupt": "on_interrupt",
    "retries": "retries",
    "stall": "stall_secs",
    "output_bytes": "output_bytes",
    "acp": "acp",
    "acp_asks": "acp_asks",
    "acp_mode": "acp_mode",
    "acp_session": "acp_session",
}
"""Option -> field of runner.json."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What was given; None or empty: not named."""

    project_dir: str | None
    window: int | None
    env: tuple[tuple[str, str], ...]
    budget: int | None
    grace: float | None
    on_interrupt: str | None
    retries: int | None
    stall: int | None
    idle_exit: int | None
    output_bytes: int | None
    acp: bool | None
    acp_asks: bool | None
    acp_mode: str | None
    acp_session: str | None
    approval: tuple[str, ...]
    approval_timeout: int | None
    external_tool: tuple[str, ...]

    def spec_fields(self) -> dict[str, object]:
        """Fields of the call for what was given of the worker's spec, but for its role."""
        fields = {
            "project_dir": None if self.project_dir is None else os.path.abspath(self.project_dir),
            "window": self.window,
            "approval_policy": policy(self.approval) if self.approval else None,
            "approval_timeout_secs": self.approval_timeout,
            "external_tools": list(map(tool, self.external_tool)) or None,
        }
        return {name: value for name, value in fields.items() if value is not None}

    def runner_fields(self, command: tuple[str, ...]) -> dict[str, object]:
        """Fields of the runner for what was given; the daemon knows the rest."""
        fields: dict[str, object] = {
            "command": [checked(part, "the command") for part in command] or None,
            "env": {checked(key, "--env"): checked(value, "--env") for key, value in self.env} or None,
            "grace_secs": None if self.grace is None else int(self.grace),
        }
        fields |= {name: getattr(self, option) for option, name in RUNNER_FIELDS.items() if option != "grace"}
        return {name: value for name, value in fields.items() if value is not None}


def settings(command: Callable[..., object]) -> Callable[..., object]:
    """Adds all of the options; the command gets them as `given`."""

    @wraps(command)
    def with_settings(*args: object, **values: Any) -> object:
        given = Settings(**{field.name: values.pop(field.name) for field in fields(Settings)})
        return command(*args, given=given, **values)

    found: Callable[..., object] = with_settings
    for option in reversed(SETTINGS):
        found = option(found)
    return found


def policy(choices: tuple[str, ...]) -> object:
    try:
        return values.approval_policy(choices)
    except ValueError as fault:
        raise usage(f"--approval: {fault}") from fault


def tool(text: str) -> object:
    try:
        return json_text.parse(text)
    except ValueError as fault:
        raise usage(f"--external-tool is not JSON: {fault}") from fault
