"""`omkctl worker …`: who does the tasks."""

import os

import click

from omkctl import options, values
from omkctl.failures import usage
from omkctl.invocation import Invocation
from omkctl.render import Output
from omkctl.shapes import Worker, WorkerList, WorkerRemoved
from omkctl.verb import Verb, VerbGroup
from omkctl.workers_text import describe, table

group = VerbGroup("worker", no_args_is_help=False, help="Add, list, show and remove workers.")


@group.command("add", cls=Verb)
@click.argument("name")
@click.argument("command", nargs=-1)
@click.option("--role", metavar="ROLE", default="worker", show_default=True, help="What it is for: target role:ROLE.")
@click.option("--project-dir", metavar="DIR", type=click.Path(), help="Where its command runs.")
@click.option("--window", metavar="N", type=click.IntRange(min=0), help="Tasks in its inbox at a time; 0: no limit.")
@click.option("--budget", metavar="DUR", type=options.WHOLE_DURATION, help="For a task that brings none. [default: 5m]")
@click.option("--grace", metavar="DUR", type=options.DURATION, help="From SIGTERM to SIGKILL. [default: 10s]")
@click.option("--env", metavar="K=V", type=options.ENV_PAIR, multiple=True, help="For its command. May be repeated.")
@click.option("--approval", metavar="POLICY", multiple=True, help="never, safe, yolo, or pattern:REGEX (repeatable).")
@click.pass_obj
def add(
    invocation: Invocation,
    name: str,
    command: tuple[str, ...],
    role: str,
    project_dir: str | None,
    window: int | None,
    budget: int | None,
    grace: float | None,
    env: tuple[tuple[str, str], ...],
    approval: tuple[str, ...],
) -> None:
    """Add worker NAME, which runs COMMAND for each task (after `--`, without a shell).

    The task's text is the command's stdin, or stands in its arguments in place of {task}. Without a command, some
    other program plays the worker, by its files.

    \b
    omkctl worker add wc --role counter -- sh -c 'wc -w'
    """
    params: dict[str, object] = {"name": name, "role": role}
    if project_dir is not None:
        params["project_dir"] = os.path.abspath(project_dir)
    if window is not None:
        params["window"] = window
    if approval:
        params["approval_policy"] = policy(approval)
    if command:
        params["runner"] = runner(command, env, budget, grace)
    elif env or budget is not None or grace is not None:
        raise usage("--env, --budget and --grace are for a worker with a command: give it after --")
    added = invocation.client().call("worker.add", params, Worker)
    if invocation.out.as_json:
        invocation.out.json(added)
    else:
        invocation.out.line(f"worker {added['name']} added ({added['role']})")


def runner(
    command: tuple[str, ...], env: tuple[tuple[str, str], ...], budget: int | None, grace: float | None
) -> dict[str, object]:
    """What of `runner.json` was said; the daemon knows the rest."""
    made: dict[str, object] = {"command": [checked(part, "the command") for part in command]}
    if env:
        made["env"] = {checked(key, "--env"): checked(value, "--env") for key, value in env}
    if budget is not None:
        made["budget_secs"] = budget
    if grace is not None:
        made["grace_secs"] = int(grace)
    return made


def checked(text: str, what: str) -> str:
    try:
        return values.checked_text(text, what)
    except ValueError as fault:
        raise usage(str(fault)) from fault


def policy(choices: tuple[str, ...]) -> object:
    try:
        return values.approval_policy(choices)
    except ValueError as fault:
        raise usage(str(fault)) from fault


def show_list(invocation: Invocation) -> None:
    found = invocation.client().call("worker.list", {}, WorkerList)
    if invocation.out.as_json:
        invocation.out.json(found)
    elif found["workers"]:
        table(found["workers"], invocation.out)
    else:
        invocation.out.line("no workers (omkctl worker add NAME -- COMMAND)")


@group.command("list", cls=Verb)
@click.pass_obj
def list_(invocation: Invocation) -> None:
    """The workers, their state, and what they have in hand."""
    show_list(invocation)


@click.command("workers", cls=Verb)
@click.pass_obj
def list_workers(invocation: Invocation) -> None:
    """The workers, their state, and what they have in hand (`worker list`)."""
    show_list(invocation)


@group.command("show", cls=Verb)
@click.argument("name")
@click.pass_obj
def show(invocation: Invocation, name: str) -> None:
    """All that is known of worker NAME."""
    worker = invocation.client().call("worker.get", {"name": name}, Worker)
    out: Output = invocation.out
    if out.as_json:
        out.json(worker)
    else:
        describe(worker, out)


@group.command("remove", cls=Verb)
@click.argument("name")
@click.option("--force", is_flag=True, help="Even with tasks in hand: they become `lost`.")
@click.pass_obj
def remove(invocation: Invocation, name: str, force: bool) -> None:
    """End worker NAME's host and move its directory aside; nothing is deleted."""
    removed = invocation.client().call("worker.remove", {"name": name, "force": force}, WorkerRemoved, repeatable=False)
    if invocation.out.as_json:
        invocation.out.json(removed)
    else:
        invocation.out.line(f"worker {removed['name']} removed; its files are in {removed['moved_to']}")
