"""`omkctl service status` and `logs`."""

import os

import click

from omkctl.doctor_daemon import WHY_IT_ENDED
from omkctl.failures import Exit, Failure
from omkctl.invocation import Invocation
from omkctl.service_manager import Systemd, is_lingering, unit_dir
from omkctl.service_plan import ENABLED, Installed, look
from omkctl.service_units import SERVICE
from omkctl.verb import Verb


@click.command("status", cls=Verb)
@click.pass_obj
def status(invocation: Invocation) -> int:
    """What systemd says of the session's service. Exit status 0: it runs; 1: it does not; 3: it is not installed."""
    systemd = Systemd(invocation.session)
    systemd.check()
    found = look(systemd, unit_dir(os.environ), invocation.session)
    facts = facts_of(found)
    if invocation.out.as_json:
        invocation.out.json(facts)
    else:
        show(invocation, found, facts)
    if found.service["LoadState"] == "not-found":
        return Exit.NOT_FOUND
    return Exit.DONE if found.runs else Exit.NEGATIVE


def facts_of(found: Installed) -> dict[str, object]:
    shown = found.service
    return {
        "unit": found.service_unit,
        "file": str(found.directory / SERVICE) if SERVICE in found.texts else None,
        "active": shown["ActiveState"],
        "sub": shown["SubState"],
        "says": shown["StatusText"],
        "pid": int(shown["MainPID"] or 0) or None,
        "result": shown["Result"],
        "exit_status": int(shown["ExecMainStatus"] or 0),
        "restarts": int(shown["NRestarts"] or 0),
        "enabled": shown["UnitFileState"] in ENABLED,
        "socket": found.socket["ActiveState"],
        "socket_enabled": found.socket["UnitFileState"] in ENABLED,
        "lingering": is_lingering(),
    }


def show(invocation: Invocation, found: Installed, facts: dict[str, object]) -> None:
    out = invocation.out
    if found.service["LoadState"] == "not-found":
        out.line(f"{found.service_unit} is not installed: omkctl --session {found.session} service install --now")
        return
    pid = f", pid {facts['pid']}" if facts["pid"] else ""
    out.line(f"{found.service_unit}: {facts['active']} ({facts['sub']}{pid})")
    out.text(f"  {'says' if found.runs else 'said'}      {facts['says'] or 'nothing'}")
    if facts["result"] != "success":
        why = WHY_IT_ENDED.get(str(facts["exit_status"]), "omkctl service logs")
        out.line(f"  ended     {facts['result']}, exit status {facts['exit_status']}: {why}; see omkctl doctor")
    elif not found.runs:
        out.line(f"  start     systemctl --user start {found.service_unit}")
    out.line(f"  restarts  {facts['restarts']}")
    out.line(f"  login     {'starts with it' if facts['enabled'] else 'does not start with it'}")
    out.line(f"  logout    {'goes on' if facts['lingering'] else 'ends with it (loginctl enable-linger)'}")
    out.line(f"  socket    {'held by systemd' if found.listens else 'held by omkd while it runs'}")
    out.line(f"  unit      {facts['file'] or 'not in your configuration'}")


@click.command("logs", cls=Verb, context_settings={"ignore_unknown_options": True})
@click.argument("args", nargs=-1, type=click.UNPROCESSED, metavar="[JOURNALCTL-OPTION...]")
@click.pass_obj
def logs(invocation: Invocation, args: tuple[str, ...]) -> None:
    """What the session's service logged, as journalctl shows it; options are passed on.

    \b
    omkctl service logs -n 50 -f
    omkctl service logs --since today --grep restart
    """
    form = ["--output=json"] if invocation.out.as_json else []
    # Not --user --unit=: that reads the files of one user only, and root has none, its lines are in the system's.
    # --quiet: no hint that there is more in the journal than a user may see.
    argv = ["journalctl", "--quiet", f"--user-unit=omkd@{invocation.session}.service", *form, *args]
    try:
        os.execvp(argv[0], argv)
    except FileNotFoundError:
        raise Failure(Exit.NEGATIVE, "no_journal", "journalctl is not installed") from None
