"""`omkctl ack`: a person has seen it."""

from collections.abc import Iterator
from itertools import islice
from typing import Final, cast

import click

from omkctl import completers
from omkctl.client import Client
from omkctl.events_text import escalation_line
from omkctl.failures import Exit, usage
from omkctl.history import all_items
from omkctl.invocation import Invocation
from omkctl.render import say
from omkctl.shapes import Escalation, Published
from omkctl.stream import ESCALATION_LOG
from omkctl.verb import Verb

SEQS_AT_ONCE: Final = 1000
"""In one call: far below what a line of the API takes."""


@click.command("ack", cls=Verb)
@click.argument("seqs", nargs=-1, type=click.IntRange(min=1), metavar="[SEQ...]", shell_complete=completers.unacked)
@click.option("--all-shown", is_flag=True, help="All that `tail-escalations --unacked` shows now.")
@click.option("--note", default="", metavar="TEXT", help="What came of it; the record keeps it.")
@click.pass_obj
def command(invocation: Invocation, seqs: tuple[int, ...], all_shown: bool, note: str) -> int:
    """Mark what needed a person as seen. SEQ is the number in front of each line of `tail-escalations`.

    With --all-shown the lines are printed: so one knows what was acknowledged. Exit status 1 if there was nothing.
    """
    if bool(seqs) == all_shown:
        raise usage("say which: SEQ..., or --all-shown")
    client, out = invocation.client(), invocation.out
    shown = unacked(client) if all_shown else []
    wanted = sorted({line["seq"] for line in shown} if all_shown else set(seqs))
    for part in batches(wanted):
        client.call("escalation.ack", {"seqs": part, "note": note}, Published)
    if out.as_json:
        out.json({"acked": wanted})
    elif not all_shown:
        out.line(f"seen: {' '.join(map(str, wanted))}")
    for line in [] if out.as_json else shown:
        out.line(escalation_line(line, out))
    if not wanted:
        say("nothing needs a person")
    return Exit.DONE if wanted else Exit.NEGATIVE


def unacked(client: Client) -> list[Escalation]:
    found = all_items(client, ESCALATION_LOG.listing, ESCALATION_LOG.items, {"unacked": True})
    return [cast(Escalation, item) for item in found]


def batches(seqs: list[int]) -> Iterator[list[int]]:
    left = iter(seqs)
    while part := list(islice(left, SEQS_AT_ONCE)):
        yield part
