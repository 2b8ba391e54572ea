"""`omkctl reload`: the configuration is read again, whole or not at all."""

import click

from omkctl.invocation import Invocation
from omkctl.json_text import to_text
from omkctl.render import say
from omkctl.shapes import Reloaded
from omkctl.verb import Verb


@click.command("reload", cls=Verb)
@click.pass_obj
def command(invocation: Invocation) -> None:
    """Read omkd.toml again, and say what changed.

    A fault anywhere in it, and nothing is taken: file, line and field are named, the exit status is 5.
    """
    reloaded = invocation.client().call("omkd.reload", {}, Reloaded)
    out = invocation.out
    if out.as_json:
        out.json(reloaded)
        return
    for change in reloaded["changed"]:
        out.line(f"{change['name']}: {to_text(change['before'])} -> {to_text(change['after'])}")
    if not reloaded["changed"]:
        out.line(f"{reloaded['path']}: nothing changed")
    if reloaded["needs_restart"]:
        say(f"in force after a restart of the daemon only: {', '.join(reloaded['needs_restart'])}")
