"""`omkctl show`: all that is known of a task."""

import click

from omkctl import completers, tasks_text
from omkctl.invocation import Invocation
from omkctl.shapes import Task
from omkctl.verb import Verb


@click.command("show", cls=Verb)
@click.argument("id", shell_complete=completers.tasks)
@click.pass_obj
def command(invocation: Invocation, id: str) -> None:
    """All that is known of task ID."""
    task = invocation.client().call("task.get", {"id": id}, Task)
    if invocation.out.as_json:
        invocation.out.json(task)
    else:
        tasks_text.describe(task, invocation.out)
