"""A team file: many workers, declared. TOML, a `[[worker]]` table each, with the keys that `worker add` has as options.

Each fault names the file, the worker and the key. What only the daemon can know (does the command exist?) it says.
"""

import json
import os
import tomllib
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Final

from . import values
from .failures import Failure, usage
from .worker_options import ACP_SESSION, ON_INTERRUPT, RUNNER_FIELDS

TABLE: Final = "worker"


class Wrong(Exception):
    """A value that cannot be; the text says what would be right."""


def workers_in(path: str) -> list[dict[str, object]]:
    """Parameters of `worker.apply`, in the file's order. Raises Failure (usage)."""
    document = parsed(path)
    for key in document:
        if key != TABLE:
            raise usage(f"{path}: unknown key {key!r}{nearest(key, [TABLE])}: workers are [[worker]] tables")
    tables = document.get(TABLE, [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise usage(f"{path}: each worker is a table of its own, under [[worker]] with two brackets")
    directory = Path(os.path.abspath(path)).parent
    found: dict[str, int] = {}
    workers = []
    for number, table in enumerate(tables, 1):
        where = place(path, number, table)
        worker = worker_of(table, where, directory)
        if (first := found.setdefault(str(worker["name"]), number)) != number:
            raise usage(f"{where}: worker {first} has this name already; a name is for one worker")
        workers.append(worker)
    return workers


def parsed(path: str) -> dict[str, object]:
    try:
        with open(path, "rb") as opened:
            return tomllib.load(opened)
    except OSError as fault:
        raise usage(f"cannot read {path}: {fault.strerror}") from fault
    except UnicodeDecodeError as fault:
        raise usage(f"{path} is not UTF-8 (byte {fault.start})") from fault
    except tomllib.TOMLDecodeError as fault:
        raise usage(f"{path} is not TOML: {fault}") from fault


def place(path: str, number: int, table: Mapping[str, object]) -> str:
    """`team.toml: worker 2 ('docs')`."""
    name = table.get("name")
    return f"{path}: worker {number} ({name!r})" if isinstance(name, str) else f"{path}: worker {number}"


def worker_of(table: Mapping[str, object], where: str, directory: Path) -> dict[str, object]:
    """One worker's parameters."""
    worker: dict[str, object] = {"role": "worker"}
    runner: dict[str, object] = {}
    for key, value in table.items():
        if key not in KEYS:
            raise usage(f"{where}: unknown key {key!r}{nearest(key, KEYS)}")
        name, read = KEYS[key]
        try:
            found = read(value)
        except (Wrong, ValueError) as fault:
            raise usage(f"{where}: {key}: {fault}") from fault
        (runner if key in OF_RUNNER else worker)[name] = found
    if "name" not in worker:
        raise usage(f"{where}: it has no name")
    if "project_dir" in worker:
        worker["project_dir"] = os.path.normpath(directory / os.path.expanduser(str(worker["project_dir"])))
    for key in table if "command" not in table else ():
        if key in OF_RUNNER:
            raise usage(f"{where}: {key} is for a worker with a command, and it has none")
    return {**worker, "runner": runner} if runner else worker


def nearest(wrong: str, known: Mapping[str, object] | list[str]) -> str:
    near = get_close_matches(wrong, list(known), 1)
    return f" (did you mean {near[0]!r}?)" if near else f" (known: {', '.join(known)})"


def text(value: object) -> str:
    if not isinstance(value, str):
        raise Wrong(f"needs a text in quotes, this is {kind(value)}")
    return values.checked_text(value, "it")


def number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise Wrong(f"needs a whole number from 0 on, this is {kind(value)}")
    return value


def yes_or_no(value: object) -> bool:
    if not isinstance(value, bool):
        raise Wrong(f"is true or false, this is {kind(value)}")
    return value


def duration(value: object) -> int:
    """`"10m"`, or seconds."""
    if isinstance(value, str):
        return values.whole_secs(value)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise Wrong(f'needs a duration, as "10m", or whole seconds from 1 on; this is {kind(value)}')
    return value


def grace(value: object) -> int:
    """May be none at all."""
    return 0 if value == 0 and not isinstance(value, bool) else duration(value)


def command(value: object) -> list[str]:
    if not isinstance(value, list) or not value or not all(isinstance(part, str) for part in value):
        raise Wrong('needs its arguments as an array of texts, as ["wc", "-w"]; no shell reads it')
    return [values.checked_text(part, "it") for part in value]


def environment(value: object) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise Wrong('needs a table of texts, as {LANG = "C"}')
    return {values.checked_text(key, "it"): values.checked_text(item, key) for key, item in value.items()}


def one_of(choices: tuple[str, ...]) -> Callable[[object], str]:
    def checked(value: object) -> str:
        if value not in choices:
            raise Wrong(f"is one of {', '.join(choices)}, not {value!r}")
        return str(value)

    return checked


def approval(value: object) -> object:
    """One word, or patterns: as `--approval`."""
    given = value if isinstance(value, list) else [value]
    choices = [choice for choice in given if isinstance(choice, str)]
    if choices != given:
        raise Wrong('needs never, safe or yolo, or an array as ["pattern:^git "]')
    return values.approval_policy(tuple(choices))


def tools(value: object) -> list[object]:
    if not isinstance(value, list):
        raise Wrong(f"needs an array, this is {kind(value)}")
    try:
        json.dumps(value, allow_nan=False)
    except TypeError as fault:
        raise Wrong("holds a date or time, which JSON does not have: put it in quotes") from fault
    except ValueError as fault:
        raise Wrong("holds nan or inf, which JSON does not have: put it in quotes") from fault
    return value


def kind(value: object) -> str:
    """What a person would call a TOML value."""
    names = {bool: "true or false", str: "a text", float: "a number with a point", list: "an array", dict: "a table"}
    return names.get(type(value), str(value))


KEYS: Final[dict[str, tuple[str, Callable[[object], object]]]] = {
    "name": ("name", text),
    "role": ("role", text),
    "project_dir": ("project_dir", text),
    "window": ("window", number),
    "command": ("command", command),
    "env": ("env", environment),
    "budget": (RUNNER_FIELDS["budget"], duration),
    "grace": (RUNNER_FIELDS["grace"], grace),
    "idle_exit": (RUNNER_FIELDS["idle_exit"], duration),
    "on_interrupt": (RUNNER_FIELDS["on_interrupt"], one_of(ON_INTERRUPT)),
    "retries": (RUNNER_FIELDS["retries"], number),
    "stall": (RUNNER_FIELDS["stall"], duration),
    "output_bytes": (RUNNER_FIELDS["output_bytes"], number),
    "acp": (RUNNER_FIELDS["acp"], yes_or_no),
    "acp_asks": (RUNNER_FIELDS["acp_asks"], yes_or_no),
    "acp_mode": (RUNNER_FIELDS["acp_mode"], text),
    "acp_session": (RUNNER_FIELDS["acp_session"], one_of(ACP_SESSION)),
    "approval": ("approval_policy", approval),
    "approval_timeout": ("approval_timeout_secs", duration),
    "external_tools": ("external_tools", tools),
}
"""Key of the file -> (field of the call, what reads it)."""

OF_RUNNER: Final = frozenset({"command", "env", *RUNNER_FIELDS})


def named(failure: Failure, path: str, workers: list[dict[str, object]]) -> Failure:
    """A refusal of the daemon, with the file and the worker in place of `workers[1]`."""
    for number, worker in enumerate(workers, 1):
        prefix = f"workers[{number - 1}]"
        if failure.message.startswith(prefix):
            failure.message = place(path, number, worker) + ": " + failure.message.removeprefix(prefix).lstrip(".: ")
            return failure
    failure.message = f"{path}: {failure.message}"
    return failure
