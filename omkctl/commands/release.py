"""`omkctl release`: held tasks, queued again."""

import click

from omkctl import completers
from omkctl.invocation import Invocation
from omkctl.task_verb import steer
from omkctl.verb import Verb


@click.command("release", cls=Verb)
@click.argument("ids", nargs=-1, required=True, metavar="ID...", shell_complete=completers.held_tasks)
@click.pass_obj
def command(invocation: Invocation, ids: tuple[str, ...]) -> None:
    """Let held tasks be handed out, in their old place in the queue."""
    steer(invocation, "task.release", ids, repeatable=False)
