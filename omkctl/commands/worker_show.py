"""`omkctl worker show` and `omkctl worker log`: one worker, and what its host says of itself."""

import click

from omkctl import completers
from omkctl.invocation import Invocation
from omkctl.shapes import HostLog, Worker
from omkctl.verb import Verb
from omkctl.workers_text import describe, describe_log

SHOWN_LINES = 10


@click.command("show", cls=Verb)
@click.argument("name", shell_complete=completers.workers)
@click.pass_obj
def show(invocation: Invocation, name: str) -> None:
    """All that is known of worker NAME, with the end of its host's log."""
    client, out = invocation.client(), invocation.out
    worker = client.call("worker.get", {"name": name}, Worker)
    if out.as_json:
        out.json(worker)
    else:
        describe(worker, out)
        describe_log(client.call("worker.log", {"name": name, "lines": SHOWN_LINES}, HostLog), out)


@click.command("log", cls=Verb)
@click.argument("name", shell_complete=completers.workers)
@click.option(
    "-n", "--lines", type=click.IntRange(0, 1000), default=20, show_default=True, metavar="N", help="The last so many."
)
@click.pass_obj
def log(invocation: Invocation, name: str, lines: int) -> None:
    """The end of host.log of worker NAME: what its host says of itself. (For a task's output: omkctl log ID.)"""
    out = invocation.out
    found = invocation.client().call("worker.log", {"name": name, "lines": lines}, HostLog)
    if out.as_json:
        out.json(found)
        return
    for line in found["lines"]:
        out.text(line)
