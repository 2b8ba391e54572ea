"""`omkctl verify`: by the daemon, or, when none runs, by `python -m omkd verify`."""

import os
import subprocess
import sys

import click

from omkctl.client import Unreachable
from omkctl.failures import Exit
from omkctl.invocation import Invocation
from omkctl.render import say
from omkctl.shapes import Verified
from omkctl.verb import Verb


@click.command("verify", cls=Verb)
@click.pass_obj
def command(invocation: Invocation) -> int:
    """Prove the session consistent, or say what is not (exit status 1). Works without a daemon, too."""
    try:
        verified = invocation.client().call("omkd.verify", {}, Verified)
    except Unreachable:
        if invocation.address.daemon_lives():
            raise
        return offline(invocation)
    if invocation.out.as_json:
        invocation.out.json(verified)
    else:
        show(invocation, verified)
    return Exit.NEGATIVE if verified["findings"] else Exit.DONE


def show(invocation: Invocation, verified: Verified) -> None:
    out = invocation.out
    out.line("checked: " + ", ".join(f"{count} {what}" for what, count in verified["checked"].items()))
    for finding in verified["findings"]:
        out.text(f"{finding['kind']}: {finding['what']}")
        out.text(f"    {finding['mend']}")
    if not verified["findings"]:
        out.line("consistent")


def offline(invocation: Invocation) -> int:
    """The same by omkd itself; its exit status is ours."""
    if not invocation.out.as_json:
        say("no daemon runs; reading the session's files")
    argv = [sys.executable, "-m", "omkd", "--session", invocation.session]
    if invocation.state_dir is not None:
        argv += ["--state-dir", os.path.abspath(invocation.state_dir)]
    argv += ["verify", "--json"] if invocation.out.as_json else ["verify"]
    return subprocess.run(argv, check=False).returncode
