"""`omkctl update`: a task that is not handed out, changed."""

import click

from omkctl import completers, options, tasks_text
from omkctl.failures import usage
from omkctl.invocation import Invocation
from omkctl.shapes import Task
from omkctl.text_input import criteria_of, text_or_file, text_or_none
from omkctl.verb import Verb


@click.command("update", cls=Verb)
@click.argument("id", shell_complete=completers.waiting_tasks)
@click.argument("words", nargs=-1, metavar="[TEXT | -- TEXT...]")
@click.option("--file", type=click.Path(allow_dash=True), metavar="F|-", help="The text is in F, or comes on stdin.")
@click.option(
    "--target",
    type=options.TARGET,
    metavar="TARGET",
    shell_complete=completers.targets,
    help="A worker's name, role:ROLE, or any.",
)
@click.option("--criterion", "criteria", metavar="TEXT", multiple=True, help="In place of those it had. Repeatable.")
@click.option("--context", metavar="TEXT|@F", help="What to know beside the task; @F: what is in F.")
@click.option("--budget", type=options.WHOLE_DURATION, metavar="DUR", help="How long it may take.")
@click.option("--priority", type=options.I32, metavar="N", help="Higher goes first; may be negative.")
@click.option("--after", metavar="ID", multiple=True, help="In place of those it waited for. Repeatable.")
@click.option("--no-after", is_flag=True, help="It waits for no other task.")
@click.option("--not-before", type=options.LATER_MOMENT, metavar="TIME", help="As for send-task; `now`: at once.")
@click.option("--retries", type=click.IntRange(min=0), metavar="N", help="How often it runs again after failures.")
@click.pass_obj
def command(
    invocation: Invocation,
    id: str,
    words: tuple[str, ...],
    file: str | None,
    target: object,
    criteria: tuple[str, ...],
    context: str | None,
    budget: int | None,
    priority: int | None,
    after: tuple[str, ...],
    no_after: bool,
    not_before: str | None,
    retries: int | None,
) -> None:
    """Change task ID while it is queued or held; what is not named stays as it is.

    \b
    omkctl update t12 --priority 10 --target role:reviewer
    """
    if after and no_after:
        raise usage("--after and --no-after contradict each other")
    changed: dict[str, object] = {
        "target": target,
        "task": text_or_none(words, file),
        "acceptance_criteria": criteria_of(criteria) or None,
        "context": None if context is None else text_or_file(context, "--context"),
        "budget_secs": budget,
        "priority": priority,
        "after": list(after) if after or no_after else None,
        "not_before": not_before,
        "retries": retries,
    }
    changed = {name: value for name, value in changed.items() if value is not None}
    if not changed:
        raise usage("nothing to change: give a text or an option (see omkctl update --help)")
    task = invocation.client().call("task.update", {"id": id, **changed}, Task)
    if invocation.out.as_json:
        invocation.out.json(task)
    else:
        invocation.out.line(tasks_text.line_and_why(task))
