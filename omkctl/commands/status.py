"""`omkctl status`: one screen; what needs a person comes first."""

from datetime import UTC, datetime
from typing import Final

import click

from omkctl import overview, workers_text
from omkctl.history import newest_tasks
from omkctl.invocation import Invocation
from omkctl.options import ALL_LINES
from omkctl.progress import how_far
from omkctl.render import Output, one_line
from omkctl.shapes import STATES, Status, Task, Worker
from omkctl.verb import Verb

STOPPED: Final = (
    ("stalled", "no sign of life from", "omkctl doctor"),
    ("dead", "given up", "omkctl doctor"),
    ("paused", "paused", "omkctl worker resume NAME"),
)
"""States of a worker that does nothing, what is said of them, and what to do next."""


@click.command("status", cls=Verb)
@click.pass_obj
def command(invocation: Invocation) -> None:
    """What the daemon is doing: what needs a person, tasks and how far they are, workers, and what is wrong."""
    client = invocation.client()
    status = client.call("omkd.status", {}, Status)
    if invocation.out.as_json:
        invocation.out.json(status)
        return
    runs = status["tasks"].get("running", 0)
    running = newest_tasks(client, {"states": ["running"]}, ALL_LINES)["tasks"] if runs else []
    show(status, running, invocation.out)


def show(status: Status, running: list[Task], out: Output) -> None:
    out.line(
        f"omkd {status['omkd']}, session {status['session']}, pid {status['pid']}, since {out.time(status['started'])}"
    )
    out.line(f"  files   {status['session_dir']}")
    out.line(f"  socket  {status['socket']} ({status['connections']} connected)")
    out.line(f"  log     {status['seq']} units, {overview.room(status['session_dir'])}")
    counts = [f"{status['tasks'][state]} {out.styled(state)}" for state in STATES if status["tasks"].get(state)]
    out.line(f"  tasks   {', '.join(counts) or 'none yet'}")
    show_running(running, status["workers"], out)
    for line in overview.waiting(status, datetime.now(UTC)):
        out.line(line)
    if status["unacked"]:
        out.line(f"  needs a person: {status['unacked']} (omkctl inbox)")
    if status["draining"] is not None:
        out.line(f"  it is to end, and waits for {' '.join(status['draining']) or 'nothing more'}")
    show_faults(status, out)
    for line in overview.failures(status, datetime.now(UTC)):
        out.line(line)
    out.line()
    if status["workers"]:
        workers_text.table(status["workers"], out)
    else:
        out.line(workers_text.NO_WORKERS)


def show_running(running: list[Task], workers: list[Worker], out: Output) -> None:
    budgets = {worker["name"]: worker["runner"]["budget_secs"] for worker in workers if worker["runner"]}
    for task in running:
        budget = task["task"].get("budget_secs") or budgets.get(task["worker"] or "")
        out.line(f"          {one_line(how_far(task, budget, datetime.now(UTC)))}")


def show_faults(status: Status, out: Output) -> None:
    for state, says, then in STOPPED:
        names = [worker["name"] for worker in status["workers"] if worker["state"] == state]
        if names:
            out.line(f"  {says}: {' '.join(names)} ({then})")
    if status["rejected_lines"]:
        out.line(
            f"  lines of workers that were skipped: {status['rejected_lines']} (omkctl events --type LineRejected)"
        )
    for write in status["retried_writes"]:
        out.line(f"  cannot use {write['path']} since {out.time(write['since'])}: {one_line(write['error'])}")
    for notice in status["notices"]:
        if notice["last_error"] is not None:
            out.line(f"  notice {notice['name']} does not reach anybody: {one_line(notice['last_error'])}")
    if (skew := overview.skew(status)) is not None:
        out.line(f"  {skew}")
    for invalid in status["invalid_workers"]:
        out.line(f"  worker {one_line(invalid['worker'])} is not valid: {one_line(invalid['error'])}")
