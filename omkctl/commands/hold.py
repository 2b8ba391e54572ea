"""`omkctl hold`: tasks that wait until they are released."""

import click

from omkctl import completers
from omkctl.invocation import Invocation
from omkctl.task_verb import steer
from omkctl.verb import Verb


@click.command("hold", cls=Verb)
@click.argument("ids", nargs=-1, required=True, metavar="ID...", shell_complete=completers.queued_tasks)
@click.pass_obj
def command(invocation: Invocation, ids: tuple[str, ...]) -> None:
    """Keep queued tasks from being handed out until `omkctl release`. What a worker has in hand cannot be held."""
    steer(invocation, "task.hold", ids, repeatable=True)
