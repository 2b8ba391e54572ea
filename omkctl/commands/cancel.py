"""`omkctl cancel`: the end of tasks. Says what has ended, and who was asked to end the rest."""

import click

from omkctl import completers, confirm, tasks_text
from omkctl.client import Client
from omkctl.failures import Exit
from omkctl.invocation import Invocation
from omkctl.parts import in_parts
from omkctl.shapes import Task, Tasks, WorkerList
from omkctl.verb import Verb


@click.command("cancel", cls=Verb)
@click.argument("ids", nargs=-1, required=True, metavar="ID...", shell_complete=completers.unfinished_tasks)
@click.option("--reason", default="", metavar="TEXT", help="Why; the record and the worker get it.")
@click.option(
    "--force",
    is_flag=True,
    help="What nobody will confirm (a worker of another program; the log lost its result) becomes `lost` at once.",
)
@confirm.yes
@click.pass_obj
def command(invocation: Invocation, ids: tuple[str, ...], reason: str, force: bool, yes: bool) -> int:
    """End tasks: those that wait, or whose worker is dead, at once; the others by their worker, which ends everything
    the agent started.

    A result that comes first wins. Exit status 1 if one had ended already, and not by being cancelled.
    `omkctl wait ID` waits for the worker's word.
    """
    if force:
        confirm.ask(
            f"force the end of {' '.join(ids)}? What a worker of another program still does of it is lost",
            answered=yes,
        )
    client = invocation.client()

    def some(ids: list[str]) -> list[Task]:
        return client.call("task.cancel", {"ids": ids, "reason": reason, "force": force}, Tasks)["tasks"]

    tasks = in_parts(list(ids), some)
    if invocation.out.as_json:
        invocation.out.json({"tasks": tasks})
    else:
        foreign = played_by_others(client) if any(task["worker"] and not ended(task) for task in tasks) else set()
        for task in tasks:
            invocation.out.line(what_is_asked(task, foreign))
    return Exit.NEGATIVE if any(ended(task) and not is_cancelled(task) for task in tasks) else Exit.DONE


def ended(task: Task) -> bool:
    return tasks_text.is_final(task)


def is_cancelled(task: Task) -> bool:
    """Also by force; a task can be lost otherwise."""
    by_force = task["state"] == "lost" and (task["why"] or "").startswith("cancelled by force")
    return by_force or task["state"] == "cancelled"


def played_by_others(client: Client) -> set[str]:
    """Workers whose word omkd can only wait for."""
    workers = client.call("worker.list", {}, WorkerList)["workers"]
    return {worker["name"] for worker in workers if worker["foreign"] or worker["runner"] is None}


def what_is_asked(task: Task, foreign: set[str]) -> str:
    """`t1 cancelled for coder`, `t2 running (coder): coder was told to end it`."""
    name = task["worker"]
    if ended(task):
        return tasks_text.line(task) + ("" if is_cancelled(task) else ": it had ended already")
    if name not in foreign:
        return f"{tasks_text.line(task)}: {name} was told to end it"
    return (
        f"{tasks_text.line(task)}: {name} was asked to end it, and is another program's: "
        "until it confirms, the task stays its own (--force gives it up as lost)"
    )
