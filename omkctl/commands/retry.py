"""`omkctl retry`: tasks that ended, run again."""

import click

from omkctl import completers
from omkctl.invocation import Invocation
from omkctl.task_verb import steer
from omkctl.verb import Verb


@click.command("retry", cls=Verb)
@click.argument("ids", nargs=-1, required=True, metavar="ID...", shell_complete=completers.ended_tasks)
@click.pass_obj
def command(invocation: Invocation, ids: tuple[str, ...]) -> None:
    """Queue tasks again that ended, whatever they ended as. Their earlier hand-outs and results stay on record."""
    steer(invocation, "task.retry", ids, repeatable=False)
