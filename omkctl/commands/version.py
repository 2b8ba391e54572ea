"""`omkctl version`: who speaks what."""

import click

from omkctl.client import Unreachable
from omkctl.invocation import Invocation
from omkctl.shapes import Hello
from omkctl.verb import Verb
from omkd.protocol.version import PROTOCOL_VERSION, __version__


@click.command("version", cls=Verb)
@click.pass_obj
def command(invocation: Invocation) -> None:
    """The versions of client and daemon, and of the protocol each speaks. Does not fail without a daemon."""
    try:
        client = invocation.client(check_version=False, patience_s=0)
        hello = client.call("omkd.hello", {}, Hello)
    except Unreachable:
        hello = None
    out = invocation.out
    if out.as_json:
        out.json(
            {
                "omkctl": __version__,
                "protocol": PROTOCOL_VERSION,
                "daemon": {"omkd": hello["omkd"], "protocol": hello["protocol"]} if hello else None,
            }
        )
        return
    out.line(f"omkctl {__version__} (protocol {PROTOCOL_VERSION})")
    if hello:
        out.line(
            f"omkd   {hello['omkd']} (protocol {hello['protocol']}), session {hello['session']}, pid {hello['pid']}"
        )
    else:
        out.line(f"omkd   does not answer for session {invocation.session}")
