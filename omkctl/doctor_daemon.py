"""Doctor's checks of the daemon: whether it answers, who is of which version, what it cannot write, who is told."""

import shlex
from collections.abc import Iterator
from pathlib import Path

from omkd.protocol.version import PROTOCOL_VERSION, __version__

from . import processes
from .doctor_facts import Facts, Finding
from .lock_holders import holder_of
from .render import one_line
from .vitality import is_sick


def check_daemon(facts: Facts) -> Iterator[Finding]:
    """One answers. What keeps it from starting is another check's finding."""
    if facts.hello is None and not facts.holders:
        yield from failed_service(facts)
        yield Finding(what=facts.silence.partition(". To start")[0], mend=facts.start)
    elif facts.hello is not None and facts.status is None and is_same_version(facts):
        yield Finding(what=f"the daemon does not say how it is: {facts.misunderstood}", mend=restart(facts))


WHY_IT_ENDED = {
    "6": "another daemon has the session or the socket",
    "7": "the log is of a newer omkd",
    "78": "the log is damaged, or the configuration or a path cannot be used",
}


def failed_service(facts: Facts) -> Iterator[Finding]:
    if facts.installed is None or facts.installed.service["ActiveState"] != "failed":
        return
    shown, unit = facts.installed.service, facts.installed.service_unit
    why = WHY_IT_ENDED.get(shown["ExecMainStatus"], f"result {shown['Result']}")
    what = f"{unit} has failed with exit status {shown['ExecMainStatus']}: {why}"
    mend = f"{facts.omkctl('service logs -n 20')}; when that is mended: systemctl --user restart {unit}"
    yield Finding(what=what, mend=mend)


def is_same_version(facts: Facts) -> bool:
    return facts.hello is not None and (facts.hello["omkd"], facts.hello["protocol"]) == (__version__, PROTOCOL_VERSION)


def restart(facts: Facts) -> str:
    if facts.has_unit:
        return f"systemctl --user restart omkd@{facts.address.session}"
    return f"{facts.omkctl('shutdown')}; {facts.start}"


def check_versions(facts: Facts) -> Iterator[Finding]:
    """Client, daemon and hosts are of one build."""
    hello = facts.hello
    if hello is None:
        return
    if not is_same_version(facts):
        mine = f"this omkctl is {__version__} (protocol {PROTOCOL_VERSION})"
        what = f"{mine}, the daemon, pid {hello['pid']}, is omkd {hello['omkd']} (protocol {hello['protocol']})"
        yield Finding(what=what, mend=mend_versions(facts))
    for directory in sorted((Path(hello["session_dir"]) / "workers").glob("*")):
        holder = holder_of(directory / "worker.lock")
        if holder is not None and holder.version not in ("", hello["omkd"]):
            name = directory.name
            what = f"the host of worker {name} is omk-worker {holder.version}, the daemon is omkd {hello['omkd']}"
            mend = facts.omkctl(f"worker restart --drain {name}")
            yield Finding(what=f"{what}: replaced when it has nothing in hand", mend=mend)


def mend_versions(facts: Facts) -> str:
    """An older daemon is started again, of this build; an older omkctl gives way to the daemon's own."""
    assert facts.hello is not None
    if version_key(facts.hello["omkd"]) < version_key(__version__):
        return facts.omkctl("service install --now") if facts.has_unit else restart(facts)
    arguments = processes.arguments_of(facts.hello["pid"])
    if arguments and arguments[0].startswith("/"):
        own = Path(arguments[0]).parent / "omkctl"
        rest = facts.prefix.removeprefix("omkctl")
        return f"{shlex.quote(str(own))}{rest} doctor" if own.exists() else f"{arguments[0]} -m omkctl{rest} doctor"
    return f"use the omkctl of omkd {facts.hello['omkd']}"


def version_key(version: str) -> tuple[int, ...]:
    return tuple(int(part) if part.isdecimal() else 0 for part in version.split("."))


def check_workers(facts: Facts) -> Iterator[Finding]:
    """None is stalled, dead or not valid."""
    if facts.status is None:
        return
    for worker in facts.status["workers"]:
        name = worker["name"]
        if not is_sick(worker["state"]):
            continue
        if worker["runner"] is None or worker["foreign"]:
            what = f"worker {name} is {worker['state']}, and another program plays it: start that again"
            yield Finding(what=what, mend=f"or: {facts.omkctl(f'worker remove {name}')}")
        elif worker["state"] == "dead":
            what = f"worker {name} is dead: its host ended too often{host_says(facts, name)}"
            yield Finding(what=what, mend=facts.omkctl(f"worker restart {name}"))
        else:
            what = f"worker {name} is stalled: no sign of life{host_says(facts, name)}"
            yield Finding(what=what, mend=facts.omkctl(f"worker restart --force {name}"))
    for invalid in facts.status["invalid_workers"]:
        what = f"worker {one_line(invalid['worker'])} is not valid: {one_line(invalid['error'])}"
        yield Finding(what=what, mend=f"correct {facts.status['session_dir']}/workers/{one_line(invalid['worker'])}/")


def host_says(facts: Facts, name: str) -> str:
    """The last line of its host.log."""
    try:
        lines = (facts.address.session_dir / "workers" / name / "host.log").read_text(errors="replace").splitlines()
    except OSError:
        return ""
    return f" (its host said: {one_line(lines[-1], 200)})" if lines else ""


def check_writes(facts: Facts) -> Iterator[Finding]:
    """omkd can write all it wants to."""
    for write in facts.status["retried_writes"] if facts.status is not None else []:
        what = f"omkd cannot use {write['path']} since {write['since']}: {one_line(write['error'])}"
        yield Finding(what=what, mend=f"ls -ld {shlex.quote(write['path'])}; df {shlex.quote(write['path'])}")


def check_notices(facts: Facts) -> Iterator[Finding]:
    """What needs a person reaches one."""
    for notice in facts.status["notices"] if facts.status is not None else []:
        if notice["last_error"] is not None:
            what = f"notice {notice['name']} failed: {one_line(notice['last_error'], 300)}"
            yield Finding(
                what=what, mend=f"correct it in $({facts.omkctl('config path')}), then {facts.omkctl('reload')}"
            )
