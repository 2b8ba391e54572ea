"""`omkctl send-task`: the task is on disk when this returns; what is waited for, follows from the options."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from omkctl import options, tasks_text, values
from omkctl.client import Client, Unreachable
from omkctl.failures import Exit, Failure, timed_out, usage
from omkctl.invocation import Invocation
from omkctl.link import Deadline, Late
from omkctl.render import say
from omkctl.run_output import RunOutput
from omkctl.shapes import Task, Tasks
from omkctl.verb import Verb

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
@click.argument("target", type=options.TARGET)
@click.argument("words", nargs=-1, metavar="[TEXT | -- TEXT...]")
@click.option("--file", type=click.Path(allow_dash=True), metavar="F|-", help="The text is in F, or comes on stdin.")
@click.option("--criterion", "criteria", metavar="TEXT", multiple=True, help="What must hold at the end. Repeatable.")
@click.option("--context", metavar="TEXT|@F", help="What to know beside the task; @F: what is in F.")
@click.option(
    "--budget", type=options.WHOLE_DURATION, metavar="DUR", help="How long it may take. [default: the worker's]"
)
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
    """
    if timeout is not None and not (wait or follow):
        raise usage("--timeout goes with --wait or --follow")
    task: dict[str, object] = {"task": text_of(words, file)}
    if id is not None:
        task["id"] = id
    if criteria:
        task["acceptance_criteria"] = [checked(criterion, "--criterion") for criterion in criteria]
    if context is not None:
        task["context"] = context_of(context)
    if budget is not None:
        task["budget_secs"] = budget
    client = invocation.client()
    sent = send(client, {"target": target, "task": task, "key": key or os.urandom(16).hex()})
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


def text_of(words: tuple[str, ...], file: str | None) -> str:
    if file is not None and words:
        raise usage("the text is given twice: as an argument and with --file")
    if file is not None:
        return read_text(file)
    if not words:
        raise usage("no text: give it as an argument, after --, with --file F, or on stdin with --file -")
    return checked(" ".join(words), "the text")


def context_of(context: str) -> str:
    return read_text(context[1:]) if context.startswith("@") else checked(context, "--context")


def read_text(path: str) -> str:
    """All of a file, `-` being stdin."""
    try:
        if path == "-":
            content = sys.stdin.buffer.read()
        else:
            with open(path, "rb") as opened:
                content = opened.read()
        return checked(content.decode(), path)
    except OSError as fault:
        raise usage(f"cannot read {path}: {fault.strerror}") from fault
    except UnicodeDecodeError as fault:
        raise usage(f"{path} is not UTF-8 (byte {fault.start})") from fault


def checked(text: str, what: str) -> str:
    try:
        return values.checked_text(text, what)
    except ValueError as fault:
        raise usage(str(fault)) from fault


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
        if follow:
            follow_runs(invocation, client, sent["id"], deadline)
        task = wait_for(client, sent["id"], until, deadline)
    except Late:
        raise timed_out(f"not {until} within {timeout:g} s") from None
    if invocation.out.as_json:
        invocation.out.json(task)
    else:
        say(tasks_text.line(task) + (f": {task['why']}" if task["why"] else ""))
        if task["result"] is not None and not print_id and not follow:
            invocation.out.text(task["result"]["summary"])
    return tasks_text.status_of([task])


def wait_for(client: Client, id: str, until: str, deadline: Deadline) -> Task:
    return client.wait("task.wait", {"ids": [id], "until": until}, Tasks, deadline)["tasks"][0]


def follow_runs(invocation: Invocation, client: Client, id: str, deadline: Deadline) -> None:
    """The first run live; should others follow it (a host died, say), theirs once the task has ended."""
    first = wait_for(client, id, "started", deadline)["handout"]
    if first:
        copy_run(invocation, RunOutput(client, id, stream="stdout", handout=first), deadline)
    last = wait_for(client, id, "done", deadline)["handout"]
    for handout in range(first + 1, last + 1):
        say(f"hand-out {handout} of {id}")
        copy_run(invocation, RunOutput(client, id, stream="stdout", handout=handout), deadline)


def copy_run(invocation: Invocation, output: RunOutput, deadline: Deadline) -> None:
    for data in output.follow(deadline, say):
        if not invocation.out.as_json:
            invocation.out.raw(data)
