"""`omkctl deny`: a person says no."""

import click

from omkctl import completers
from omkctl.deciding import REJECT_ONCE, decide_by_kind, show_decided
from omkctl.invocation import Invocation
from omkctl.verb import Verb


@click.command("deny", cls=Verb)
@click.argument("id", metavar="ID", shell_complete=completers.questions)
@click.option("--note", default="", metavar="TEXT", help="Why, or what to do instead: it reaches the agent.")
@click.pass_obj
def command(invocation: Invocation, id: str, note: str) -> None:
    """Say no to question ID of `omkctl inbox`, this once. The first answer counts (see `omkctl approve --help`)."""
    show_decided(decide_by_kind(invocation.client(), id, REJECT_ONCE, note), invocation.out)
