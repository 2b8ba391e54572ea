"""`omkctl log`: what a task's command wrote."""

import codecs
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from omkctl import completers, options
from omkctl.failures import timed_out
from omkctl.invocation import Invocation
from omkctl.link import Deadline, Late
from omkctl.live_line import LiveLine
from omkctl.progress import Progress
from omkctl.render import Output, say
from omkctl.run_output import RunOutput
from omkctl.run_text import RunText
from omkctl.verb import Verb
from omkctl.waiting import wait_for


@click.command("log", cls=Verb)
@click.argument("id", shell_complete=completers.tasks)
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
    """The output of task ID's run, without escape sequences; on a terminal with its colours.

    With -f it goes on live, across a restart of the daemon. With --json a line for each piece, as it was written:
    {"offset":0,"text":"…"}. `omkctl show` and the run's own directory have the rest.
    """
    client = invocation.client()
    deadline = Deadline.after(timeout)
    try:
        if follow and handout is None:
            with LiveLine() as line:
                wait_for(client, [id], deadline, Progress(line), until="started")
        output = RunOutput(client, id, stream="stderr" if stderr else "stdout", handout=handout)
        with pieces_shown(invocation.out, output) as show:
            wanted = options.ALL_LINES if lines is None else lines
            if not follow or wanted != options.ALL_LINES:
                for data in output.last_lines(wanted):
                    show(data)
            if follow:
                for data in output.follow(deadline, say):
                    show(data)
    except Late:
        raise timed_out(f"the run of {id} did not end within {timeout:g} s") from None


@contextmanager
def pieces_shown(out: Output, output: RunOutput) -> Iterator[Callable[[bytes], None]]:
    """Takes what was read of `output`, piece by piece."""
    if out.as_json:
        decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

        def show(data: bytes) -> None:
            begun = len(decoder.getstate()[0])
            if text := decoder.decode(data):
                out.json({"offset": output.offset - len(data) - begun, "text": text})

        yield show
        return
    text = RunText(out)
    try:
        yield text.write
    finally:
        text.end()
