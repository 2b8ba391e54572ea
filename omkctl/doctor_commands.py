"""Doctor's check of the workers' commands: each is looked up as its host would, in the environment of the host and of
the daemon, not in that of the shell. PATH under `systemd --user` is not the shell's.
"""

import os
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import cast

from . import json_text, processes
from .doctor_facts import Facts, Finding
from .service_units import SERVICE, environment_in
from .shapes import Runner, Worker

DEFAULT_PATH = "/usr/local/bin:/usr/bin:/bin"
"""What a process without PATH is looked up in, near enough (execvp(3))."""


def check_commands(facts: Facts) -> Iterator[Finding]:
    for name, runner, project_dir, pid in runners(facts):
        if project_dir is not None:
            yield from directory_findings(name, project_dir)
        yield from command_findings(facts, name, runner, project_dir, pid)


def directory_findings(name: str, directory: str) -> Iterator[Finding]:
    try:
        os.stat(f"{directory}/.")
    except FileNotFoundError:
        what = f"worker {name} works in {directory}, which is not there"
        yield Finding(what=what, mend=f"mkdir -p {shlex.quote(directory)}")
    except (OSError, ValueError) as fault:
        what = f"worker {name} works in {directory}, which cannot be entered: {fault}"
        yield Finding(what=what, mend=f"namei -l {shlex.quote(directory)}")


def command_findings(
    facts: Facts, name: str, runner: Runner, project_dir: str | None, pid: int | None
) -> Iterator[Finding]:
    """On the daemon's PATH, for the next host, and on that of the host that runs, for the next task."""
    program, own = runner["command"][0], runner["env"].get("PATH")
    daemon_path = own or path_of(daemon_env(facts))
    host_path = own or path_of(processes.environ_of(pid)) if pid is not None else daemon_path
    if "{" in program or all(found_in(program, path, project_dir) for path in (daemon_path, host_path)):
        return
    quoted = shlex.quote(program)
    here = found_in(program, facts.around.env.get("PATH", ""), project_dir)
    if found_in(program, daemon_path, project_dir):
        what = f"worker {name}: {quoted} is not on the PATH of its host, which began with another than the daemon's"
        yield Finding(what=what, mend=facts.omkctl(f"worker restart {name}"))
    elif here is not None and own is None:
        what = f"worker {name}: {quoted} is not on the daemon's PATH ({daemon_path}); here it is {here}"
        yield Finding(what=what, mend=mend_path(facts, name, runner, here, daemon_path))
    else:
        where = (
            "" if "/" in program else f" on the worker's own PATH ({own})" if own else " on the daemon's PATH or here"
        )
        what = f"worker {name}: there is no command {quoted}{where}"
        yield Finding(what=what, mend=f"install it, or: {facts.omkctl(f'worker update {name} -- COMMAND')}")


def mend_path(facts: Facts, name: str, runner: Runner, place: str, daemon_path: str) -> str:
    """The service takes this shell's PATH; a daemon that was started by hand cannot, but the worker can."""
    if facts.has_unit:
        return f"{facts.omkctl('service install --now')} && {facts.omkctl(f'worker restart {name}')}"
    pairs = {**runner["env"], "PATH": f"{os.path.dirname(place)}:{daemon_path}"}
    options = " ".join(f"--env {shlex.quote(f'{key}={value}')}" for key, value in pairs.items())
    return facts.omkctl(f"worker update {name} {options}")


def runners(facts: Facts) -> Iterator[tuple[str, Runner, str | None, int | None]]:
    """Of each worker with a command: name, runner, project directory, the host's pid. From the daemon, or the files."""
    if facts.status is not None:
        for worker in facts.status["workers"]:
            if worker["runner"] is not None and not worker["foreign"]:
                yield worker["name"], worker["runner"], project_of(worker), worker["pid"]
        return
    for path in sorted(facts.address.session_dir.glob("workers/*/runner.json")):
        runner = read_object(path)
        if isinstance(runner.get("command"), list) and runner["command"]:
            project = read_object(path.with_name("worker-spec.json")).get("project_dir")
            made = cast(Runner, {"env": {}, **runner})
            yield path.parent.name, made, project if isinstance(project, str) else None, None


def project_of(worker: Worker) -> str | None:
    return worker["spec"].get("project_dir")


def daemon_env(facts: Facts) -> Mapping[str, str] | None:
    """Of the daemon that answers, else of the one that the unit would start."""
    if facts.daemon_env is not None:
        return facts.daemon_env
    unit = facts.installed.texts.get(SERVICE) if facts.installed is not None else None
    return environment_in(unit) if unit is not None else facts.around.env


def path_of(env: Mapping[str, str] | None) -> str:
    return (env or {}).get("PATH") or DEFAULT_PATH


def found_in(program: str, path: str, project_dir: str | None) -> str | None:
    """Where the program is, as exec would find it for a process in `project_dir`."""
    directories = [""] if "/" in program else path.split(":")
    base = project_dir or "/"
    for directory in directories:
        place = os.path.join(base, directory, program)
        if os.path.isfile(place) and os.access(place, os.X_OK):
            return place
    return None


def read_object(path: Path) -> dict[str, object]:
    try:
        value = json_text.parse(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return cast(dict[str, object], value) if isinstance(value, dict) else {}
