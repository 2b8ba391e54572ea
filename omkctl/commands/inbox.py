"""`omkctl inbox`: everything that waits for a person."""

import click

from omkctl.failures import Exit, usage
from omkctl.inbox import Item, waiting
from omkctl.invocation import Invocation
from omkctl.render import Output, one_line
from omkctl.verb import Verb

HEADER = ("id", "since", "what", "says", "next")
SAYS_CHARS = 100


@click.command("inbox", cls=Verb)
@click.option("--count", is_flag=True, help="Only how many, for a prompt or a status bar.")
@click.option("--watch", is_flag=True, help="Ask on this terminal as questions arrive, one key each.")
@click.pass_obj
def command(invocation: Invocation, count: bool, watch: bool) -> int:
    """Everything that waits for a person, oldest first: questions, escalations that nobody acknowledged, workers that
    stall or are dead, and tasks that nobody can take.

    Exit status 1 if there is anything. With --json one object a line.
    """
    if watch:
        if count or invocation.json:
            raise usage("--watch asks on a terminal: it does not go together with --count or --json")
        from omkctl.inbox_watch import watch_inbox

        return watch_inbox(invocation)
    items = waiting(invocation.client())
    if count:
        invocation.out.line(str(len(items)))
    else:
        show(items, invocation.out)
    return Exit.NEGATIVE if items else Exit.DONE


def show(items: list[Item], out: Output) -> None:
    if out.as_json:
        for item in items:
            out.json(item.as_object())
    elif items:
        out.table(HEADER, (row(item, out) for item in items))
    else:
        out.line("nothing waits for a person")


def row(item: Item, out: Output) -> list[str]:
    return [item.id, out.time(item.ts or None), item.kind, one_line(item.says, SAYS_CHARS), item.next]
