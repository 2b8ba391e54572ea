"""`omkctl service install` and `uninstall`: say each thing they do, and do nothing twice."""

import os
import subprocess
import sys

import click

from omkctl.client import Unreachable
from omkctl.failures import Exit, Failure, usage
from omkctl.invocation import Invocation
from omkctl.render import say
from omkctl.service_manager import Systemd, is_lingering, own_name, unit_dir
from omkctl.service_plan import Installed, Step, Wanted, install_steps, look, uninstall_steps
from omkctl.service_units import units_for
from omkctl.shapes import Hello
from omkctl.verb import Verb
from omkd.protocol.version import __version__

dry_run_option = click.option("--dry-run", is_flag=True, help="Say what would be done; do nothing.")


@click.command("install", cls=Verb)
@click.option(
    "--now", is_flag=True, help="Start it, too, or start it again if something changed; wait until it serves."
)
@click.option(
    "--socket-activated", is_flag=True, help="systemd holds the socket: clients wait while the daemon is restarted."
)
@dry_run_option
@click.pass_obj
def install(invocation: Invocation, now: bool, socket_activated: bool, dry_run: bool) -> int:
    """Make omkd a systemd user service: writes the units, enables the session's, and with --now starts it.

    The units hold this omkctl's Python, the PATH of this shell (agents are looked up there), and XDG_STATE_HOME,
    XDG_CONFIG_HOME and OMKD_CONFIG if they are set. Again, after an upgrade or with another PATH, it brings the
    units up to date; what is right already is left alone. Agents at work go on in any case.

    \b
    omkctl service install --now
    """
    check_place(invocation)
    texts = units_for(sys.executable, os.environ)
    check_interpreter()
    systemd = Systemd(invocation.session)
    systemd.check()
    found = look(systemd, unit_dir(os.environ), invocation.session)
    stale = now and is_stale(invocation, found)
    wanted = Wanted(session=invocation.session, texts=texts, now=now, socket_activated=socket_activated, stale=stale)
    steps = install_steps(systemd, found, wanted)
    waiting = [] if now or not found.runs or not steps else [f"systemctl --user restart {found.service_unit}"]
    warnings = [f"what runs is as it was before; to have it anew: {command}" for command in waiting]
    if not found.runs and not now and not (socket_activated and found.listens):
        unit = found.socket_unit if socket_activated else found.service_unit
        warnings.append(f"it is not started: systemctl --user start {unit}")
    if not is_lingering():
        warnings.append(
            f"lingering is off for {own_name()}: the service ends when you log out, and does not start at boot: "
            "loginctl enable-linger"
        )
    return carry_out(invocation, steps, warnings, found, dry_run=dry_run)


@click.command("uninstall", cls=Verb)
@dry_run_option
@click.pass_obj
def uninstall(invocation: Invocation, dry_run: bool) -> int:
    """Stop and disable the session's service; the units go with the last session that has one.

    The session with its log and results stays where it is. Agents at work go on; to end them, before:
    omkctl shutdown --workers.
    """
    check_place(invocation)
    systemd = Systemd(invocation.session)
    systemd.check()
    found = look(systemd, unit_dir(os.environ), invocation.session)
    steps = uninstall_steps(systemd, found)
    warnings = [f"the session stays, in {invocation.address.session_dir}"] if steps else []
    return carry_out(invocation, steps, warnings, found, dry_run=dry_run)


def check_place(invocation: Invocation) -> None:
    """Raises Failure (usage): the units are the same for all sessions."""
    for name, value in (("--state-dir", invocation.state_dir), ("--socket", invocation.socket)):
        if value is not None and name[2:].replace("-", "_") in invocation.typed:
            raise usage(f"a service has no {name}: it finds its session by XDG_STATE_HOME, its socket by the session")


def check_interpreter() -> None:
    """Raises Failure when a service could not import omkd: it runs elsewhere, and without this shell's PYTHONPATH."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    argv = [sys.executable, "-P", "-m", "omkd", "--version"]
    done = subprocess.run(argv, cwd="/", env=env, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["no word"])[-1]
        text = f"{sys.executable} cannot run omkd from elsewhere ({said}): install it, as with pipx install ."
        raise Failure(Exit.REFUSED, "not_installed", text)


def is_stale(invocation: Invocation, found: Installed) -> bool:
    """Whether the daemon that serves is of another version.

    Raises Failure (conflict) for one that is not the service: the service could not start beside it.
    """
    try:
        hello = invocation.client(check_version=False, patience_s=0).call("omkd.hello", {}, Hello)
    except Unreachable:
        return False
    if found.service["MainPID"] != str(hello["pid"]) and not found.listens:
        session = invocation.session
        text = f"session {session} is served by omkd, pid {hello['pid']}, which is not the service: end it first"
        raise Failure(Exit.CONFLICT, "conflict", f"{text}: omkctl --session {session} shutdown")
    return hello["omkd"] != __version__


def carry_out(
    invocation: Invocation, steps: list[Step], warnings: list[str], found: Installed, *, dry_run: bool
) -> int:
    """Does the steps, or says them. What was done before one fails has been said."""
    out = invocation.out
    said = []
    for step in steps:
        if not dry_run:
            try:
                step.act()
            except Failure as failure:
                raise with_advice(failure, found) from failure
        said.append(step.will if dry_run else step.did)
        if not out.as_json:
            out.line(f"would {step.will}" if dry_run else step.did)
    if out.as_json:
        out.json({"unit": found.service_unit, "dry_run": dry_run, "steps": said, "warnings": warnings})
        return Exit.DONE
    if not steps:
        out.line("nothing to do")
    for warning in warnings:
        say(warning)
    return Exit.DONE


def with_advice(failure: Failure, found: Installed) -> Failure:
    advice = f"see omkctl --session {found.session} service logs -n 20, and omkctl --session {found.session} doctor"
    return Failure(failure.status, failure.name, f"{failure.message} ({advice})", data=failure.data)
