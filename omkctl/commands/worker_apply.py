"""`omkctl worker apply`: the workers as a team file declares them."""

import click

from omkctl import confirm
from omkctl.client import Client
from omkctl.failures import DaemonError
from omkctl.invocation import Invocation
from omkctl.link import Deadline
from omkctl.render import Output
from omkctl.shapes import Applied
from omkctl.verb import Verb


@click.command("apply", cls=Verb)
@click.argument("file", type=click.Path())
@click.option("--prune", is_flag=True, help="Remove omkd's own workers that the file does not name.")
@click.option("--dry-run", is_flag=True, help="Say what would change; change nothing.")
@confirm.yes
@click.pass_obj
def command(invocation: Invocation, file: str, prune: bool, dry_run: bool, yes: bool) -> None:
    """Make the workers as FILE declares them, and say what changed. The same again changes nothing.

    FILE is TOML: a [[worker]] table each, with the options of `worker add` as keys. Durations are texts ("10m") or
    seconds; a project_dir that is not absolute is taken from the file's directory. The file is checked whole first.

    \b
    [[worker]]
    name = "wc"
    role = "counter"
    command = ["wc", "-w"]
    budget = "10m"
    env = {LANG = "C"}
    """
    from omkctl.team import named, workers_in

    workers = workers_in(file)
    client = invocation.client()
    try:
        if prune and not dry_run:
            goes = apply(client, workers, prune=True, dry_run=True)["removed"]
            if goes:
                confirm.ask(f"remove {', '.join(goes)}? Their files are moved to removed/", answered=yes)
        applied = apply(client, workers, prune=prune, dry_run=dry_run)
    except DaemonError as failure:
        raise named(failure, file, workers) from None
    if invocation.out.as_json:
        invocation.out.json(applied)
    else:
        show(applied, invocation.out, would=dry_run)


def apply(client: Client, workers: list[dict[str, object]], *, prune: bool, dry_run: bool) -> Applied:
    """May take its time: what is pruned has its grace time to end."""
    params = {"workers": workers, "prune": prune, "dry_run": dry_run}
    return client.wait("worker.apply", params, Applied, Deadline(None))


def show(applied: Applied, out: Output, *, would: bool) -> None:
    """A line for each that changed; one for the rest."""
    would_be = "would be " if would else ""
    for name in applied["added"]:
        out.line(f"worker {name} {would_be}added")
    for name, fields in applied["updated"].items():
        out.line(f"worker {name} {would_be}updated: {', '.join(fields)}")
    for name in applied["removed"]:
        out.line(f"worker {name} {would_be}removed")
    if applied["unchanged"]:
        out.line(f"unchanged: {' '.join(applied['unchanged'])}")
    elif not (applied["added"] or applied["updated"] or applied["removed"]):
        out.line("no workers are declared: nothing to do")
