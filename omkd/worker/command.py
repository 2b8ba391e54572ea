"""What a hand-out's command is: prompt, arguments, environment, directory. No process is started here."""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from attrs import frozen

from omkd.protocol.records import DEFAULT_BUDGET_SECS, Runner, WorkerSpec, WorkerTask

from .files import RunFiles
from .settings import Settings

PLACEHOLDER: Final = re.compile(r"\{(task|task_id|task_file|prompt_file|project_dir)\}")
PROMPT_PLACEHOLDERS: Final = ("{task}", "{prompt_file}")

NOT_THE_AGENTS: Final = re.compile(rb"NOTIFY_SOCKET|LISTEN_.*|WATCHDOG_.*|OMK_TASK_BY")
"""What speaks of the host itself: an agent that used it would report to systemd in our name."""


@frozen(kw_only=True)
class Command:
    """What is started. Arguments and environment are UTF-8 whatever the locale."""

    argv: list[bytes]
    env: dict[bytes, bytes]
    cwd: Path
    reads_prompt: bool


def prompt_for(task: WorkerTask) -> str:
    """The task's text as it is if it is all there is, else Markdown of text, context and acceptance criteria."""
    if not task.context and not task.acceptance_criteria:
        return task.task
    parts = [task.task]
    if task.context:
        parts.append(f"## Context\n\n{task.context}")
    if task.acceptance_criteria:
        items = "\n".join("- " + criterion.replace("\n", "\n  ") for criterion in task.acceptance_criteria)
        parts.append(f"## Acceptance criteria\n\n{items}")
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def budget_secs_for(task: WorkerTask, runner: Runner) -> int:
    """The task's, else the worker's; 0 means 300, as upstream has it."""
    chosen = runner.budget_secs if task.budget_secs is None else task.budget_secs
    return chosen or DEFAULT_BUDGET_SECS


def directory_for(spec: WorkerSpec, files: RunFiles, env: Mapping[bytes, bytes]) -> Path:
    """Where the command runs: the project's directory, else the user's home, else (no home) the run's directory."""
    if spec.project_dir is not None:
        return Path(spec.project_dir)
    home = Path(os.fsdecode(env.get(b"HOME", b"")))
    return home if home.is_absolute() and directory_fault(home) is None else files.path


def directory_fault(directory: Path) -> str | None:
    """Why no command can run in it, and the next step, as the end of a sentence on it; None if one can."""
    try:
        os.stat(f"{directory}/.")  # what is in it can be named by who may enter it only
    except FileNotFoundError:
        return "is not there: make it"
    except NotADirectoryError:
        return "is no directory: make one"
    except OSError as error:
        return f"cannot be entered ({error.strerror}): let omkd's user do so"
    except ValueError:
        return "is no path (a NUL is in it): correct it"
    return None


def command_for(
    task: WorkerTask,
    task_id: str,
    settings: Settings,
    files: RunFiles,
    host_env: Mapping[bytes, bytes],
    marks: Mapping[str, str],
) -> Command:
    """`marks` are the run's OMK_ variables; they win over the worker's own, which win over the host's."""
    cwd = directory_for(settings.spec, files, host_env)
    values = {
        "task": prompt_for(task),
        "task_id": task_id,
        "task_file": str(files.task),
        "prompt_file": str(files.prompt),
        "project_dir": str(cwd),
    }
    arguments = settings.runner.command
    uses_placeholder = any(name in argument for name in PROMPT_PLACEHOLDERS for argument in arguments)
    env = {name: value for name, value in host_env.items() if not NOT_THE_AGENTS.fullmatch(name)}
    env |= {name.encode(): value.encode() for name, value in {**settings.runner.env, **marks}.items()}
    env[b"PWD"] = os.fsencode(cwd)  # a directory that is not where it runs misleads agents that go by it (opencode)
    return Command(
        argv=[filled(argument, values).encode() for argument in arguments],
        env=env,
        cwd=cwd,
        reads_prompt=not uses_placeholder,
    )


def filled(argument: str, values: Mapping[str, str]) -> str:
    """Each placeholder once: what is filled in is not looked at again; other braces stay."""
    return PLACEHOLDER.sub(lambda match: values[match[1]], argument)
