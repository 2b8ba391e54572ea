"""`omkctl results`: what became of the tasks."""

from typing import cast

import click

from omkctl import options, tasks_text
from omkctl.client import Client
from omkctl.failures import Exit
from omkctl.history import newest_tasks, refuse_unknown_worker
from omkctl.invocation import Invocation
from omkctl.json_text import Object
from omkctl.link import NEVER
from omkctl.render import Output, one_line, say
from omkctl.shapes import FINAL_STATES, Status, Task, Unit
from omkctl.stream import EVENT_LOG
from omkctl.subscriptions import follow as follow_log
from omkctl.verb import Verb

ENDS = ("TaskFinished", "TaskCancelled", "TaskLost")
"""The events that may end a task."""


@click.command("results", cls=Verb)
@options.worker
@options.since
@click.option("-f", "--follow", is_flag=True, help="Go on with tasks as they end; outlives the daemon's restart.")
@options.lines("results")
@click.pass_obj
def command(invocation: Invocation, worker: str | None, since: str | None, follow: bool, lines: int | None) -> int:
    """Finished tasks, with summary and artifacts. With --json one task a line. Exit status 1: none matched."""
    wanted = lines if lines is not None else options.ALL_LINES if since else options.DEFAULT_LINES
    if not follow:
        options.some_lines(wanted)
    client, out = invocation.client(), invocation.out
    seq = client.call("omkd.status", {}, Status)["seq"] if follow else 0
    filters = {"worker": worker, "states": list(FINAL_STATES), "finished_since": since}
    finished = sorted(newest_tasks(client, filters, wanted)["tasks"], key=lambda task: task["finished"] or "")
    if worker is not None and not finished:
        refuse_unknown_worker(client, worker)
    narrows = worker is not None or since is not None
    show_past(finished, out, "no such task has ended" if narrows else "no task has ended yet")
    if follow:
        follow_results(client, out, worker, after=seq, known={task["id"] for task in finished})
    return Exit.NEGATIVE if narrows and not finished else Exit.DONE


def show_past(finished: list[Task], out: Output, or_else: str) -> None:
    if out.as_json:
        for task in finished:
            out.json(task)
    elif finished:
        out.table(tasks_text.RESULT_HEADER, [tasks_text.result_row(task, out) for task in finished])
    else:
        say(or_else)


def follow_results(client: Client, out: Output, worker: str | None, *, after: int, known: set[str]) -> None:
    """Tasks as they end, for good; those in `known` were shown."""
    params = {"after": after, "filter": {"types": list(ENDS), "workers": [worker] if worker else []}}
    for note in follow_log(client, EVENT_LOG.subscribe, params, EVENT_LOG.seq_of, NEVER, say):
        for id in ended_in(cast(Unit, note["unit"])):
            task = client.call("task.get", {"id": id}, Task)
            if id not in known and tasks_text.is_final(task):
                known.add(id)
                show_one(task, out)


def ended_in(unit: Unit) -> list[str]:
    """The tasks whose end the unit tells."""
    events = [event for event in unit["events"] if isinstance(event, dict)]
    bodies = [cast(Object, event[name]) for event in events for name in ENDS if name in event]
    return [str(body["task_id"]) for body in bodies]


def show_one(task: Task, out: Output) -> None:
    if out.as_json:
        out.json(task)
    else:
        id, state, *rest = tasks_text.result_row(task, out)
        cells = [one_line(cell) for cell in rest if cell]
        out.line("  ".join([id, out.styled(state), *cells]))
