"""`omkctl doctor`: what is wrong, and the command that mends it."""

import os
from collections.abc import Callable, Iterator
from typing import Final

import click

from omkctl import doctor_commands, doctor_daemon, doctor_files, doctor_omkd, doctor_service
from omkctl.doctor_facts import Facts, Finding, Surroundings, gather, prefix_for
from omkctl.failures import Exit
from omkctl.invocation import Invocation
from omkctl.verb import Verb

NEED_A_DAEMON: Final = ("versions", "workers", "writes", "notices")
"""Not looked at without one."""

Check = Callable[[Facts], Iterator[Finding]]

CHECKS: Final[dict[str, tuple[Check, str]]] = {
    "daemon": (doctor_daemon.check_daemon, "one answers"),
    "socket": (doctor_files.check_socket, "ours, for nobody else, omkd behind it"),
    "locks": (doctor_files.check_locks, "held by the daemon that answers, and by nobody else"),
    "modes": (doctor_files.check_modes, "the session's files are for nobody else"),
    "disk": (doctor_files.check_disk, "there is room"),
    "clock": (doctor_files.check_clock, "the log's times are not in the future"),
    "versions": (doctor_daemon.check_versions, "client, daemon and hosts are of one build"),
    "log": (doctor_omkd.check_log, "the session is consistent"),
    "config": (doctor_omkd.check_config, "omkd.toml is good"),
    "workers": (doctor_daemon.check_workers, "none is stalled, dead or not valid"),
    "commands": (doctor_commands.check_commands, "each worker's command is found"),
    "writes": (doctor_daemon.check_writes, "omkd can write all it wants to"),
    "notices": (doctor_daemon.check_notices, "those who are to be told are told"),
    "units": (doctor_service.check_units, "as this omkctl would write them, or none"),
    "linger": (doctor_service.check_linger, "an enabled service outlives the logout"),
}
"""Name -> (the check, what holds when it finds nothing)."""


@click.command("doctor", cls=Verb)
@click.pass_obj
def command(invocation: Invocation) -> int:
    """What is wrong with this session, and the command that mends it. Exit status 1 if anything is.

    Works without a daemon, too; commands are looked up in the environment of the daemon, not in this shell's.
    Changes nothing.
    """
    typed = invocation.typed
    prefix = prefix_for(
        invocation.session,
        invocation.socket if "socket" in typed else None,
        invocation.state_dir if "state_dir" in typed else None,
    )
    facts = gather(invocation.address, prefix, Surroundings(env=os.environ))
    skipped = NEED_A_DAEMON if facts.hello is None else ()
    found = {name: list(check(facts)) for name, (check, _) in CHECKS.items() if name not in skipped}
    if invocation.out.as_json:
        invocation.out.json(as_object(found))
    else:
        show(invocation, found)
    return Exit.NEGATIVE if any(found.values()) else Exit.DONE


def as_object(found: dict[str, list[Finding]]) -> dict[str, object]:
    """`{"well":false,"checked":["daemon",…],"findings":[{"check":"socket","what":"…","mend":"…"}]}`"""
    findings = [
        {"check": name, "what": finding.what, "mend": finding.mend}
        for name, findings in found.items()
        for finding in findings
    ]
    return {"well": not findings, "checked": list(found), "findings": findings}


def show(invocation: Invocation, found: dict[str, list[Finding]]) -> None:
    out = invocation.out
    for name in CHECKS:
        findings = found.get(name)
        if findings is None:
            out.line(f"{out.styled('--', 4)}{name}: not without a daemon")
        elif not findings:
            out.line(f"{out.styled('ok', 4)}{name}: {CHECKS[name][1]}")
        for finding in findings or ():
            out.text(f"{out.styled('!!', 4)}{name}: {finding.what}")
            out.text(f"    mend: {finding.mend}")
