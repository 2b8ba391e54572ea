"""`omkctl send-task`: the task is on disk when this returns; what is waited for, follows from the options."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import click

from omkctl import completers, options, tasks_text
from omkctl.client import Client, Unreachable
from omkctl.failures import Exit, Failure, timed_out, usage
from omkctl.invocation import Invocation
from omkctl.link import Deadline, Late, Link
from omkctl.live_line import LiveLine
from omkctl.progress import Progress
from omkctl.render import say
from omkctl.run_output import RunOutput
from omkctl.run_text import RunText
from omkctl.shapes import Task
from omkctl.text_input import criteria_of, text_of, text_or_file
from omkctl.verb import Verb
from omkctl.waiting import wait_for

WAITS = ("started", "done")


class SendTask(Verb):
    """`--wait` may stand without its value: what follows it is one only if it is one."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        end = args.index("--") if "--" in args else len(args)
        for place in range(end):
            if args[place] == "--wait" and (place + 1 == end or args[place + 1] not in WAITS):
                args = [*args[:place], "--wait=done", *args[place + 1 :]]
        return super().parse_args(ctx, args)


@click.command("send-task", cls=SendTask)
@click.argument("target", type=options.TARGET, shell_complete=completers.targets)
@click.argument("words", nargs=-1, metavar="[TEXT | -- TEXT...]")
@click.option("--file", type=click.Path(allow_dash=True), metavar="F|-", help="The text is in F, or comes on stdin.")
@click.option("--criterion", "criteria", metavar="TEXT", multiple=True, help="What must hold at the end. Repeatable.")
@click.option("--context", metavar="TEXT|@F", help="What to know beside the task; @F: what is in F.")
@click.option(
    "--budget", type=options.WHOLE_DURATION, metavar="DUR", help="How long it may take. [default: the worker's]"
)
@click.option("--priority", type=options.I32, metavar="N", help="Higher goes first; may be negative. [default: 0]")
@click.option(
    "--after",
    metavar="ID",
    multiple=True,
    shell_complete=completers.unfinished_tasks,
    help="Not before this task succeeded. Repeatable.",
)
@click.option("--not-before", type=options.LATER_MOMENT, metavar="TIME", help="RFC 3339, a date, `10m`, `tomorrow`.")
@click.option(
    "--retries", type=click.IntRange(min=0), metavar="N", help="Runs after a failure. [default: the worker's]"
)
@click.option("--hold", is_flag=True, help="It waits until it is released (omkctl release).")
@click.option("--id", metavar="ID", help="Its id; otherwise the daemon makes one.")
@click.option("--key", metavar="KEY", help="The same key and text again is the same task. [default: a new one]")
@click.option("--wait", type=click.Choice(WAITS), metavar="[started|done]", help="Wait for that. [default: done]")
@click.option("--follow", is_flag=True, help="Show the run's output as it comes, then how it ended.")
@click.option("--print-id", is_flag=True, help="Only the task's id on stdout.")
@options.timeout
@click.pass_obj
def command(
    invocation: Invocation,
    target: object,
    words: tuple[str, ...],
    file: str | None,
    criteria: tuple[str, ...],
    context: str | None,
    budget: int | None,
    priority: int | None,
    after: tuple[str, ...],
    not_before: str | None,
    retries: int | None,
    hold: bool,
    id: str | None,
    key: str | None,
    wait: str | None,
    follow: bool,
    print_id: bool,
    timeout: float | None,
) -> int:
    """Send a task to TARGET: a worker's name, role:ROLE, or any.

    With --wait the summary is all that goes to stdout; the exit status is 0 for success and 1 otherwise.

    \b
    omkctl send-task coder "fix the tests in api/" --wait
    omkctl send-task role:reviewer --file task.md --budget 30m
    omkctl send-task any "publish it" --after t12 --after t13 --retries 2
    """
    if timeout is not None and not (wait or follow):
        raise usage("--timeout goes with --wait or --follow")
    task: dict[str, object] = {"task": text_of(words, file)}
    if id is not None:
        task["id"] = id
    if criteria:
        task["acceptance_criteria"] = criteria_of(criteria)
    if context is not None:
        task["context"] = text_or_file(context, "--context")
    if budget is not None:
        task["budget_secs"] = budget
    order: dict[str, object] = {"priority": priority, "not_before": not_before, "retries": retries}
    params = {"target": target, "task": task, "key": key or os.urandom(16).hex()}
    params |= {name: value for name, value in order.items() if value is not None}
    if after:
        params["after"] = list(after)
    if hold:
        params["hold"] = True
    client = invocation.client()
    sent = send(client, params)
    if not (wait or follow):
        announce(invocation, sent, waits=False, print_id=print_id)
        return Exit.DONE
    with telling_that_it_stays(sent):
        announce(invocation, sent, waits=True, print_id=print_id)
        return outcome(invocation, client, sent, "done" if follow else str(wait), follow, print_id, timeout)


@contextmanager
def telling_that_it_stays(sent: Task) -> Iterator[None]:
    """Whatever ends the waiting, Ctrl-C too, does not end the task."""
    try:
        yield
    except (KeyboardInterrupt, Failure):
        say(f"{sent['id']} stays with the daemon: omkctl wait {sent['id']}")
        raise


def send(client: Client, params: dict[str, object]) -> Task:
    try:
        return client.call("task.send", params, Task)
    except Unreachable as failure:
        if failure.sent:
            say(f"whether it was accepted is not known; sending it again with --key {params['key']} is safe")
        raise


def announce(invocation: Invocation, sent: Task, *, waits: bool, print_id: bool) -> None:
    out = invocation.out
    if out.as_json:
        if not waits:
            out.json(sent)
    elif print_id:
        out.line(sent["id"])
    elif waits:
        say(tasks_text.line(sent))
    else:
        out.line(tasks_text.line(sent))


def outcome(
    invocation: Invocation, client: Client, sent: Task, until: str, follow: bool, print_id: bool, timeout: float | None
) -> int:
    """Waits; prints what came of it."""
    deadline = Deadline.after(timeout)
    try:
        with LiveLine() as live:
            progress = Progress(live)
            if follow:
                follow_runs(invocation, client, sent["id"], deadline, progress)
            (task,) = wait_for(client, [sent["id"]], deadline, progress, until=until)
    except Late:
        raise timed_out(f"not {until} within {timeout:g} s") from None
    if invocation.out.as_json:
        invocation.out.json(task)
    else:
        say(tasks_text.line_and_why(task))
        if task["result"] is not None and not print_id and not follow:
            invocation.out.text(task["result"]["summary"])
    return tasks_text.status_of([task])


def follow_runs(invocation: Invocation, client: Client, id: str, deadline: Deadline, progress: Progress) -> None:
    """The first run live; should others follow (a retry, a host that died), theirs once the task has ended."""
    first = wait_for(client, [id], deadline, progress, until="started")[0]["handout"]
    if first:
        copy_run(invocation, RunOutput(client, id, stream="stdout", handout=first), id, deadline, progress)
    last = wait_for(client, [id], deadline, progress)[0]["handout"]
    for handout in range(first + 1, last + 1):
        progress.line.say(f"hand-out {handout} of {id}")
        copy_run(invocation, RunOutput(client, id, stream="stdout", handout=handout), id, deadline, progress)


def copy_run(invocation: Invocation, output: RunOutput, id: str, deadline: Deadline, progress: Progress) -> None:
    """To stdout, and between its lines how far it is."""
    out = invocation.out
    text = RunText(out)

    def tick(link: Link) -> None:
        if text.at_line_start or not out.is_terminal:
            progress.look(link, [id])

    try:
        for data in output.follow(deadline, progress.line.say, tick if progress.is_live else None):
            if data and not out.as_json:
                progress.line.clear()
                text.write(data)
    finally:
        progress.line.clear()
        text.end()
