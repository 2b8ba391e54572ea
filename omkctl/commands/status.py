"""`omkctl status`: one screen."""

import click

from omkctl import workers_text
from omkctl.invocation import Invocation
from omkctl.render import Output, one_line
from omkctl.shapes import STATES, Status
from omkctl.verb import Verb


@click.command("status", cls=Verb)
@click.pass_obj
def command(invocation: Invocation) -> None:
    """What the daemon is doing: tasks, workers, and what is wrong."""
    status = invocation.client().call("omkd.status", {}, Status)
    if invocation.out.as_json:
        invocation.out.json(status)
    else:
        show(status, invocation.out)


def show(status: Status, out: Output) -> None:
    out.line(
        f"omkd {status['omkd']}, session {status['session']}, pid {status['pid']}, since {out.time(status['started'])}"
    )
    out.line(f"  files   {status['session_dir']}")
    out.line(f"  socket  {status['socket']} ({status['connections']} connected)")
    out.line(f"  log     {status['seq']} units")
    counts = [f"{status['tasks'][state]} {out.styled(state)}" for state in STATES if status["tasks"].get(state)]
    out.line(f"  tasks   {', '.join(counts) or 'none yet'}")
    if status["rejected_lines"]:
        out.line(
            f"  lines of workers that were skipped: {status['rejected_lines']} (omkctl events --type LineRejected)"
        )
    for write in status["retried_writes"]:
        out.line(f"  cannot write {write['path']} since {out.time(write['since'])}: {one_line(write['error'])}")
    for invalid in status["invalid_workers"]:
        out.line(f"  worker {one_line(invalid['worker'])} is not valid: {one_line(invalid['error'])}")
    out.line()
    if status["workers"]:
        workers_text.table(status["workers"], out)
    else:
        out.line("no workers (omkctl worker add NAME -- COMMAND)")
