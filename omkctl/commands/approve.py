"""`omkctl approve`: a person says yes."""

import click

from omkctl import completers
from omkctl.deciding import ALLOW_ALWAYS, ALLOW_ONCE, decide_by_kind, show_decided
from omkctl.invocation import Invocation
from omkctl.verb import Verb


@click.command("approve", cls=Verb)
@click.argument("id", metavar="ID", shell_complete=completers.questions)
@click.option("--always", is_flag=True, help="Not only this once: the choice that allows it for good.")
@click.option("--note", default="", metavar="TEXT", help="The record keeps it, and who asked is told.")
@click.pass_obj
def command(invocation: Invocation, id: str, always: bool, note: str) -> None:
    """Say yes to question ID of `omkctl inbox`. The first answer counts; a second is told what was decided (6).

    From inside a worker it is refused (5): only a person decides.
    """
    kind = ALLOW_ALWAYS if always else ALLOW_ONCE
    show_decided(decide_by_kind(invocation.client(), id, kind, note), invocation.out)
