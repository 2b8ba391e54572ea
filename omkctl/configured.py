"""The configuration: by the daemon, or, when none runs, by `python -m omkd --check-config`, which reads the file."""

import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TypedDict, cast

from . import json_text
from .client import Unreachable
from .failures import Exit, Failure
from .invocation import Invocation
from .shapes import Config


class ConfigFault(TypedDict):
    """`line` counts from 1; null and an empty field: the fault is not at one place of the file."""

    path: str
    line: int | None
    field: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What `omkd --check-config` says of the file: what it sets, or the first fault."""

    config: Config | None
    fault: ConfigFault | None


def of_daemon(invocation: Invocation) -> Config | None:
    """What the daemon has in force; None when none runs. Raises Failure."""
    try:
        return invocation.client().call("omkd.config", {}, Config)
    except Unreachable:
        if invocation.address.daemon_lives():
            raise
        return None


def in_force(invocation: Invocation) -> Config:
    """What the daemon has, or would have. Raises Failure: with the fault of the file."""
    config = of_daemon(invocation)
    if config is not None:
        return config
    checked = check_file(invocation.session)
    if checked.fault is not None:
        raise as_failure(checked.fault)
    assert checked.config is not None
    return checked.config


def check_file(session: str, path: str | None = None) -> Checked:
    """Reads the file as a daemon that starts now would; `path` instead of where it is expected. Raises Failure."""
    argv = [sys.executable, "-m", "omkd", "--session", session]
    argv += ["--config", os.path.abspath(path)] if path is not None else []
    done = subprocess.run([*argv, "--check-config", "--json"], capture_output=True, text=True, check=False)
    try:
        answer = cast(dict[str, object], json_text.parse(done.stdout))
    except ValueError:
        raise Failure(Exit.NEGATIVE, "omkd_failed", f"omkd --check-config: {done.stderr.strip()}") from None
    return Checked(
        config=cast(Config | None, answer.get("config")), fault=cast(ConfigFault | None, answer.get("fault"))
    )


def fault_text(fault: ConfigFault) -> str:
    """`/home/a/.config/omk/omkd.toml:3: max_restarts: it must be a whole number`"""
    line = f":{fault['line']}" if fault["line"] else ""
    field = f" {fault['field']}:" if fault["field"] else ""
    return f"{fault['path']}{line}:{field} {fault['reason']}"


def as_failure(fault: ConfigFault) -> Failure:
    return Failure(Exit.NEGATIVE, "config", fault_text(fault), data=dict(fault))
