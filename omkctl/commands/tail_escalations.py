"""`omkctl tail-escalations`: what a person ought to see."""

from typing import cast

import click

from omkctl import options
from omkctl.events_text import escalation_line, escalation_object
from omkctl.invocation import Invocation
from omkctl.json_text import Object
from omkctl.shapes import Escalation
from omkctl.stream import ESCALATION_LOG, Part, print_part
from omkctl.verb import Verb

KINDS = (
    "router_escalation",
    "worker_started",
    "worker_completed",
    "goal_created",
    "gate_transition",
    "proof_ready",
    "cancelled",
    "failed",
    "refused",
)


@click.command("tail-escalations", cls=Verb)
@options.follow
@options.lines("lines")
@options.since
@options.after
@click.option("--kind", "kinds", type=click.Choice(KINDS), multiple=True, help="Only these. May be repeated.")
@options.worker
@click.option("--unacked", is_flag=True, help="All that needs a person and was not acknowledged (omkctl ack).")
@options.count
@options.timeout
@click.pass_obj
def command(
    invocation: Invocation,
    follow: bool,
    lines: int | None,
    since: str | None,
    after: int | None,
    kinds: tuple[str, ...],
    worker: str | None,
    unacked: bool,
    count: int | None,
    timeout: float | None,
) -> int:
    """The escalation log: what a person ought to see.

    With --json each line is the log's own, and then `seq`. Exit status 1: none matched.
    """
    filters: dict[str, object] = {"kinds": list(kinds), "workers": [worker] if worker else []}
    if unacked:
        filters["unacked"] = True
    part = Part(
        follow=follow,
        lines=lines,
        since=since,
        after=after,
        count=count,
        timeout=timeout,
        whole=unacked,
        filters=filters,
    )
    out = invocation.out

    def show(item: Object) -> None:
        if out.as_json:
            out.json(escalation_object(item))
        else:
            out.line(escalation_line(cast(Escalation, item), out))

    return print_part(invocation.client(), ESCALATION_LOG, part, show)
