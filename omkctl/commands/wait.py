"""`omkctl wait`: until tasks end."""

import click

from omkctl import completers, options, tasks_text
from omkctl.failures import timed_out
from omkctl.invocation import Invocation
from omkctl.link import Deadline, Late
from omkctl.live_line import LiveLine
from omkctl.progress import Progress
from omkctl.verb import Verb
from omkctl.waiting import wait_for


@click.command("wait", cls=Verb)
@click.argument("ids", nargs=-1, required=True, metavar="ID...", shell_complete=completers.unfinished_tasks)
@click.option("--any/--all", "any_", default=False, help="Until one has ended, or (the default) all have.")
@options.timeout
@click.pass_obj
def command(invocation: Invocation, ids: tuple[str, ...], any_: bool, timeout: float | None) -> int:
    """Wait until tasks have ended. Exit status 0 if those that ended succeeded, 1 if one did not.

    Outlives a restart of the daemon. On a terminal a line says how far they are.
    """
    try:
        with LiveLine() as line:
            tasks = wait_for(invocation.client(), list(ids), Deadline.after(timeout), Progress(line), any_=any_)
    except Late:
        raise timed_out(f"not ended within {timeout:g} s: {' '.join(ids)}") from None
    ended = [task for task in tasks if tasks_text.is_final(task)]
    if invocation.out.as_json:
        invocation.out.json({"tasks": tasks})
    else:
        for task in ended:
            invocation.out.line(tasks_text.line(task))
    return tasks_text.status_of(ended)
