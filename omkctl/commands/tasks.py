"""`omkctl tasks`: a list of tasks."""

import click

from omkctl import options, tasks_text
from omkctl.failures import Exit
from omkctl.history import newest_tasks, refuse_unknown_worker
from omkctl.invocation import Invocation
from omkctl.render import say
from omkctl.shapes import STATES
from omkctl.verb import Verb


@click.command("tasks", cls=Verb)
@options.worker
@click.option("--role", metavar="ROLE", help="Only those for this role.")
@click.option("--state", "states", type=click.Choice(STATES), multiple=True, help="Only these. May be repeated.")
@options.since
@options.lines("tasks")
@click.pass_obj
def command(
    invocation: Invocation,
    worker: str | None,
    role: str | None,
    states: tuple[str, ...],
    since: str | None,
    lines: int | None,
) -> int:
    """The tasks, the newest at the end; with the last progress of those that run. Exit status 1: none matched."""
    filters = {"worker": worker, "role": role, "states": list(states), "since": since}
    wanted = options.some_lines(options.DEFAULT_LINES if lines is None else lines)
    client, out = invocation.client(), invocation.out
    page = newest_tasks(client, filters, wanted)
    if worker is not None and not page["tasks"]:
        refuse_unknown_worker(client, worker)
    if out.as_json:
        out.json(page)
    elif page["tasks"]:
        tasks_text.table(page["tasks"], out)
    else:
        say("no such tasks" if any(filters.values()) else "no tasks yet (omkctl send-task WORKER TEXT)")
    if page["next"] is not None and lines is None:
        say(f"the newest {wanted}; -n all shows the older ones")
    return Exit.NEGATIVE if any(filters.values()) and not page["tasks"] else Exit.DONE
