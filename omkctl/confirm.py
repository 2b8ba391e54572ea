"""A question before something is destroyed: on a terminal only, and `--yes` answers it."""

import sys

import click

from .failures import Exit, Failure
from .render import one_line

yes = click.option("-y", "--yes", is_flag=True, help="Do not ask, on a terminal, whether it is meant.")


def ask(question: str, *, answered: bool) -> None:
    """Returns when it is meant. Raises Failure when it is not: nothing was done then."""
    if answered or not (sys.stdin.isatty() and sys.stderr.isatty()):
        return
    if not click.confirm(f"omkctl: {one_line(question)}", err=True):
        raise Failure(Exit.NEGATIVE, "declined", "nothing was done")
