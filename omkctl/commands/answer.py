"""`omkctl answer`: a person takes one of a question's choices."""

import click

from omkctl import completers
from omkctl.deciding import decide, show_decided
from omkctl.invocation import Invocation
from omkctl.verb import Verb


@click.command("answer", cls=Verb)
@click.argument("id", metavar="ID", shell_complete=completers.questions)
@click.argument("choice", metavar="CHOICE", shell_complete=completers.choices)
@click.option("--note", default="", metavar="TEXT", help="The record keeps it, and who asked is told.")
@click.pass_obj
def command(invocation: Invocation, id: str, choice: str, note: str) -> None:
    """Answer question ID with CHOICE, one of those that `omkctl inbox` shows. The first answer counts."""
    show_decided(decide(invocation.client(), id, choice, note), invocation.out)
