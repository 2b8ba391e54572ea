"""`omkctl shutdown`: ends the daemon, not the work."""

import click

from omkctl.failures import Exit, Failure
from omkctl.invocation import Invocation
from omkctl.link import Deadline, Late
from omkctl.shapes import Hello
from omkctl.verb import Verb

ENDED_SECS = 20.0
"""For the daemon to sync what it has and to close its connections."""


@click.command("shutdown", cls=Verb)
@click.pass_obj
def command(invocation: Invocation) -> None:
    """End the daemon. Returns when it has gone; hosts and agents at work go on, and the next daemon finds them."""
    client = invocation.client(check_version=False)
    hello = client.call("omkd.hello", {}, Hello)
    client.call("omkd.shutdown", {}, dict[str, object], repeatable=False)
    try:
        client.link(Deadline.after(0)).wait_closed(Deadline.after(ENDED_SECS))
    except Late:
        text = f"omkd (pid {hello['pid']}) was asked to end and is still there after {ENDED_SECS:g} s"
        raise Failure(Exit.NEGATIVE, "still_there", text, data={"pid": hello["pid"]}) from None
    if invocation.out.as_json:
        invocation.out.json({"session": hello["session"], "pid": hello["pid"]})
    else:
        invocation.out.line(f"omkd for session {hello['session']} (pid {hello['pid']}) has ended")
