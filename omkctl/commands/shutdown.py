"""`omkctl shutdown`: ends the daemon, and the work only when told to. Returns when the daemon has gone."""

import time
from datetime import datetime
from typing import Final, cast

import click

from omkctl import options
from omkctl.client import Client
from omkctl.failures import Exit, Failure
from omkctl.invocation import Invocation
from omkctl.link import Deadline, Late, Lost
from omkctl.live_line import LiveLine
from omkctl.locate import Address, lock_is_held
from omkctl.lock_holders import text_of
from omkctl.render import say
from omkctl.shapes import Ending, Hello, Status
from omkctl.values import duration_text
from omkctl.verb import Verb

ENDED_SECS: Final = 20.0
"""For the daemon to sync what it has and to close its connections."""

HOST_SECS: Final = 10.0
"""For a host to end, beyond twice its grace time."""

LOOK_EVERY_SECS: Final = 1.0

LOCK_LOOK_SECS: Final = 0.02
"""Nobody tells when a lock is let go, and to wait for it as its next holder would keep out the next daemon."""

SLACK_SECS: Final = 0.2
"""The daemon's clock for a drain began so much earlier than ours, at most."""


@click.command("shutdown", cls=Verb)
@click.option("--drain", type=options.WHOLE_DURATION, metavar="DUR", help="Wait for what runs, at most so long.")
@click.option("--workers", is_flag=True, help="End the workers' hosts too; what runs then is interrupted.")
@click.pass_obj
def command(invocation: Invocation, drain: int | None, workers: bool) -> None:
    """End the daemon. Returns when it has gone; hosts and agents at work go on, and the next daemon finds them.

    With --drain nothing more is handed out, and the daemon ends when nothing runs: what it waits for is said. With
    --workers the hosts end as well: each finishes what it runs within its grace time, or it is run again later.
    """
    client = invocation.client(check_version=False)
    hello = client.call("omkd.hello", {}, Hello)
    grace = longest_grace(client) if workers else 0.0
    asked = {"drain_secs": drain, "workers": workers or None}
    given = {name: value for name, value in asked.items() if value is not None}  # an older daemon knows neither
    waits_for = client.call("omkd.shutdown", given, Ending, repeatable=False).get("waits_for", [])
    limit = (drain or 0) + grace + ENDED_SECS
    deadline, ran_out = Deadline.after(limit), Deadline.after((drain or 0) - SLACK_SECS)
    try:
        if waits_for:
            say(f"waits for {' '.join(waits_for)}, at most {duration_text(drain or 0)}")
        left = until_gone(client, waits_for, deadline)
        until_at_rest(invocation.address, hello["pid"], deadline)
    except Late:
        text = f"omkd (pid {hello['pid']}) was asked to end and is still there after {limit:g} s"
        raise Failure(Exit.NEGATIVE, "still_there", text, data={"pid": hello["pid"]}) from None
    except KeyboardInterrupt:
        say(f"omkd (pid {hello['pid']}) ends all the same, once nothing runs")
        raise
    if left and ran_out.passed:
        say(f"the time ran out for {' '.join(left)}: " + ("interrupted" if workers else "its host goes on"))
    if invocation.out.as_json:
        invocation.out.json({"session": hello["session"], "pid": hello["pid"]})
    else:
        invocation.out.line(f"omkd for session {hello['session']} (pid {hello['pid']}) has ended")


def longest_grace(client: Client) -> float:
    """How long hosts may take to end, in seconds."""
    workers = client.call("omkd.status", {}, Status)["workers"]
    graces = [worker["runner"]["grace_secs"] for worker in workers if worker["runner"]]
    return 2 * max(graces, default=0) + HOST_SECS


def until_gone(client: Client, waits_for: list[str], deadline: Deadline) -> list[str]:
    """Returns when the daemon has closed the connection: what it still waited for. Raises Late.

    Says meanwhile, when it changes, what that is.
    """
    link = client.link(Deadline.after(0))
    began = datetime.now()
    with LiveLine() as line:
        while waits_for:
            try:
                link.wait_closed(deadline.or_after(LOOK_EVERY_SECS))
                return waits_for
            except Late:
                deadline.left_s()
            try:
                left = cast(Status, link.ask("omkd.status", {}, deadline))["draining"] or []
            except Lost:
                return waits_for
            if left != waits_for and left:
                line.say(f"waits for {' '.join(left)}")
            waits_for = left
            elapsed = duration_text((datetime.now() - began).total_seconds())
            line.draw(f"{elapsed}: waits for {' '.join(waits_for) or 'the hosts and the disk'}")
        link.wait_closed(deadline)
    return []


def until_at_rest(address: Address, pid: int, deadline: Deadline) -> None:
    """Returns when that daemon holds no lock any more. Raises Late.

    It closes its connections first, then writes its last snapshot: until it is done a copy of the session would catch
    it at that, and the next daemon would find the session held.
    """
    while any(lock_is_held(lock) and text_of(lock).get("pid") == pid for lock in address.locks):
        deadline.left_s()
        time.sleep(LOCK_LOOK_SECS)
