"""`omkctl worker add` and `omkctl worker update`: how one worker is."""

import click

from omkctl import completers
from omkctl.failures import usage
from omkctl.invocation import Invocation
from omkctl.shapes import Worker
from omkctl.verb import Verb
from omkctl.worker_options import Settings, settings


@click.command("add", cls=Verb)
@click.argument("name")
@click.argument("command", nargs=-1)
@click.option("--role", metavar="ROLE", default="worker", show_default=True, help="What it is for: target role:ROLE.")
@settings
@click.pass_obj
def add(invocation: Invocation, name: str, command: tuple[str, ...], role: str, given: Settings) -> None:
    """Add worker NAME, which runs COMMAND for each task (after `--`, without a shell).

    The task's text is the command's stdin, or stands in its arguments in place of {task}. Without a command, some
    other program plays the worker, by its files.

    \b
    omkctl worker add wc --role counter -- sh -c 'wc -w'
    """
    params: dict[str, object] = {"name": name, "role": role, **given.spec_fields()}
    runner = given.runner_fields(command)
    if runner and not command:
        raise usage("options for a command need a command: give it after -- (see omkctl worker add --help)")
    if runner:
        params["runner"] = runner
    added = invocation.client().call("worker.add", params, Worker)
    if invocation.out.as_json:
        invocation.out.json(added)
    else:
        invocation.out.line(f"worker {added['name']} added ({added['role']})")


@click.command("update", cls=Verb)
@click.argument("name", shell_complete=completers.workers)
@click.argument("command", nargs=-1)
@click.option("--role", metavar="ROLE", help="What it is for: target role:ROLE.")
@settings
@click.pass_obj
def update(invocation: Invocation, name: str, command: tuple[str, ...], role: str | None, given: Settings) -> None:
    """Change the settings of worker NAME; what is not named stays as it is. The next run has them.

    --env and --external-tool stand for all that it had of them.

    \b
    omkctl worker update coder --budget 1h --retries 2
    """
    changed = {**({} if role is None else {"role": role}), **given.spec_fields(), **given.runner_fields(command)}
    if not changed:
        raise usage("nothing to change: give an option or a command (see omkctl worker update --help)")
    worker = invocation.client().call("worker.update", {"name": name, **changed}, Worker)
    if invocation.out.as_json:
        invocation.out.json(worker)
    else:
        invocation.out.line(f"worker {worker['name']}: {' '.join(changed)} as given, from its next run on")
