"""`omkctl health`: whether all is well, for monitors and scripts."""

from pathlib import Path
from typing import Final

import click

from omkctl import options
from omkctl.disk_room import shortage
from omkctl.failures import Exit
from omkctl.invocation import Invocation
from omkctl.shapes import Status
from omkctl.verb import Verb
from omkctl.vitality import complaints

ANSWER_SECS: Final = 10.0
"""A daemon that takes longer for its status is not well."""


@click.command("health", cls=Verb)
@click.option("--timeout", type=options.DURATION, metavar="DUR", help="For the daemon to answer. [default: 10s]")
@click.pass_obj
def command(invocation: Invocation, timeout: float | None) -> int:
    """Whether all is well: exit status 0; 1: degraded; 4: the daemon does not answer within --timeout (10 s).

    Degraded: a worker is stalled, dead or not valid, a write is retried, a notice does not reach anybody, the disk is
    nearly full. What waits for a person is no fault of the daemon and does not count; it is in `omkctl status`.
    """
    secs = ANSWER_SECS if timeout is None else timeout
    status = invocation.client(patience_s=secs, answer_s=secs).call("omkd.status", {}, Status)
    found = complaints(status)
    if (room := shortage(Path(status["session_dir"]))) is not None:
        found.append(room)
    if invocation.out.as_json:
        invocation.out.json(
            {"state": "degraded" if found else "well", "complaints": found, "unacked": status["unacked"]}
        )
    else:
        invocation.out.line("degraded" if found else "well")
        for complaint in found:
            invocation.out.line(f"  {complaint}")
    return Exit.NEGATIVE if found else Exit.DONE
