"""`omkctl verify`: by the daemon, or, when none runs, by `python -m omkd verify`."""

import os
import subprocess
import sys
from typing import cast

import click

from omkctl import json_text
from omkctl.client import Unreachable
from omkctl.failures import Exit, Failure
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
    tell(invocation, verified)
    return Exit.NEGATIVE if verified["findings"] else Exit.DONE


def tell(invocation: Invocation, verified: Verified) -> None:
    out = invocation.out
    if out.as_json:
        out.json(verified)
        return
    out.line("checked: " + ", ".join(f"{count} {what}" for what, count in verified["checked"].items()))
    for finding in verified["findings"]:
        out.text(f"{finding['kind']}: {finding['what']}")
        out.text(f"    {finding['mend']}")
    count = len(verified["findings"])
    out.line("consistent" if not count else "1 finding" if count == 1 else f"{count} findings")


def offline(invocation: Invocation) -> int:
    """The same by omkd itself; its exit status is ours, and what it says when there is nothing to verify."""
    if not invocation.out.as_json:
        say("no daemon runs; reading the session's files")
    argv = [sys.executable, "-m", "omkd", "--session", invocation.session]
    if invocation.state_dir is not None:
        argv += ["--state-dir", os.path.abspath(invocation.state_dir)]
    done = subprocess.run([*argv, "verify", "--json"], capture_output=True, check=False)
    if not done.stdout:
        name = "not_found" if done.returncode == Exit.NOT_FOUND else "unreadable"
        raise Failure(done.returncode, name, done.stderr.decode(errors="replace").strip().removeprefix("omkd: "))
    tell(invocation, cast(Verified, json_text.parse(done.stdout)))
    return done.returncode
