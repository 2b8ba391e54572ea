"""`omkctl events`: everything that happened."""

from typing import cast

import click

from omkctl import completers, options
from omkctl.events_text import unit_line
from omkctl.invocation import Invocation
from omkctl.json_text import Object
from omkctl.shapes import Unit
from omkctl.stream import EVENT_LOG, Part, print_part
from omkctl.verb import Verb


@click.command("events", cls=Verb)
@options.follow
@options.lines("units")
@options.since
@options.after
@click.option(
    "--type",
    "types",
    metavar="TYPE",
    multiple=True,
    shell_complete=completers.event_types,
    help="Only units with one, as TaskFinished. Repeatable.",
)
@options.worker
@options.count
@options.timeout
@click.pass_obj
def command(
    invocation: Invocation,
    follow: bool,
    lines: int | None,
    since: str | None,
    after: int | None,
    types: tuple[str, ...],
    worker: str | None,
    count: int | None,
    timeout: float | None,
) -> int:
    """The event log: everything that happened, one unit (what is true together) a line.

    Exit status 1: none matched.
    """
    filters: dict[str, object] = {"filter": {"types": list(types), "workers": [worker] if worker else []}}
    part = Part(follow=follow, lines=lines, since=since, after=after, count=count, timeout=timeout, filters=filters)
    out = invocation.out

    def show(item: Object) -> None:
        if out.as_json:
            out.json(item)
        else:
            out.line(unit_line(cast(Unit, item), out))

    return print_part(invocation.client(), EVENT_LOG, part, show)
