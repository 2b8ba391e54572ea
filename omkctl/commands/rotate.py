"""`omkctl rotate`: the escalation log so far is kept under another name."""

import click

from omkctl.invocation import Invocation
from omkctl.render import say
from omkctl.shapes import Rotated
from omkctl.verb import Verb


@click.command("rotate", cls=Verb)
@click.pass_obj
def command(invocation: Invocation) -> None:
    """Begin a new pending_escalations.jsonl, and keep the old one beside it.

    `tail-escalations` reads the event log and still shows everything.
    """
    rotated = invocation.client().call("escalation.rotate", {}, Rotated, repeatable=False)
    if invocation.out.as_json:
        invocation.out.json(rotated)
    elif rotated["kept"] is None:
        say("there is no escalation log yet")
    else:
        invocation.out.line(rotated["kept"])
