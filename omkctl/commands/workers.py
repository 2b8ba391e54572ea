"""`omkctl worker list`, and `omkctl workers`, which is shorter."""

import click

from omkctl.invocation import Invocation
from omkctl.shapes import WorkerList
from omkctl.verb import Verb
from omkctl.workers_text import NO_WORKERS, table


def show_list(invocation: Invocation) -> None:
    found = invocation.client().call("worker.list", {}, WorkerList)
    if invocation.out.as_json:
        invocation.out.json(found)
    elif found["workers"]:
        table(found["workers"], invocation.out)
    else:
        invocation.out.line(NO_WORKERS)


@click.command("list", cls=Verb)
@click.pass_obj
def list_(invocation: Invocation) -> None:
    """The workers, their state, and what they have in hand."""
    show_list(invocation)


@click.command("workers", cls=Verb)
@click.pass_obj
def command(invocation: Invocation) -> None:
    """The workers, their state, and what they have in hand (`worker list`)."""
    show_list(invocation)
