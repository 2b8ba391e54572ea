"""`omkctl log`: what a task's command wrote."""

import click

from omkctl import options
from omkctl.failures import timed_out
from omkctl.invocation import Invocation
from omkctl.link import Deadline, Late
from omkctl.render import say
from omkctl.run_output import RunOutput
from omkctl.shapes import Tasks
from omkctl.verb import Verb


@click.command("log", cls=Verb)
@click.argument("id")
@click.option("-f", "--follow", is_flag=True, help="Go on until the run ends; waits for one that has not begun.")
@click.option("-n", "--lines", type=options.LINES, metavar="N|all", help="The last so many lines. [default: all]")
@click.option("--stderr", is_flag=True, help="What it wrote to stderr.")
@click.option("--handout", type=click.IntRange(min=1), metavar="N", help="Which run. [default: the newest]")
@options.timeout
@click.pass_obj
def command(
    invocation: Invocation,
    id: str,
    follow: bool,
    lines: int | None,
    stderr: bool,
    handout: int | None,
    timeout: float | None,
) -> None:
    """The output of task ID's run, byte for byte into a pipe, with control characters made visible on a terminal.

    With --json a line for each piece: {"offset":0,"text":"…"}.
    """
    client = invocation.client()
    deadline = Deadline.after(timeout)
    try:
        if follow and handout is None:
            client.wait("task.wait", {"ids": [id], "until": "started"}, Tasks, deadline)
        output = RunOutput(client, id, stream="stderr" if stderr else "stdout", handout=handout)
        wanted = options.ALL_LINES if lines is None else lines
        if not follow or wanted != options.ALL_LINES:
            for data in output.last_lines(wanted):
                write_piece(invocation, output, data)
        if follow:
            for data in output.follow(deadline, say):
                write_piece(invocation, output, data)
    except Late:
        raise timed_out(f"the run of {id} did not end within {timeout:g} s") from None


def write_piece(invocation: Invocation, output: RunOutput, data: bytes) -> None:
    if not data:
        return
    if invocation.out.as_json:
        text = data.decode(errors="replace")
        invocation.out.json({"offset": output.offset - len(data), "text": text})
    else:
        invocation.out.raw(data)
