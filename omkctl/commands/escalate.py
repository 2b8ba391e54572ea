"""`omkctl escalate`: a person is needed. From an agent, its hooks, or a script; as quick as `publish`."""

import os

import click

from omkctl.invocation import Invocation
from omkctl.publishing import Publisher
from omkctl.text_input import text_of
from omkctl.verb import Verb


@click.command("escalate", cls=Verb)
@click.argument("words", nargs=-1, metavar="[TEXT | -- TEXT...]")
@click.option("--file", type=click.Path(allow_dash=True), metavar="F|-", help="The text is in F, or comes on stdin.")
@click.option(
    "--task",
    envvar=["OMKCTL_ESCALATE_TASK", "OMK_TASK_ID"],
    metavar="ID",
    help="What it is about. [default: the task this runs in]",
)
@click.pass_obj
def command(invocation: Invocation, words: tuple[str, ...], file: str | None, task: str | None) -> int:
    """Ask for a person, in words. They stand in the escalation log until somebody acknowledges them (`omkctl ack`).

    Inside a worker it speaks for that worker and its task. When no daemon answers there, the worker's own events file
    takes it, and the daemon finds it.
    """
    asked: dict[str, object] = {"text": text_of(words, file)}
    if worker := os.environ.get("OMK_WORKER"):
        asked["worker_id"] = worker
    if task:
        asked["task_id"] = task
    publisher = Publisher(invocation)
    publisher.publish({"PersonNeeded": asked})
    return publisher.status
