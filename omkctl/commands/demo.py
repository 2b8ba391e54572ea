"""`omkctl demo`: the whole way of a task, with real commands, in a session that leaves nothing behind."""

import shlex
import signal
import sys
from contextlib import closing
from dataclasses import dataclass
from typing import Final, NoReturn, cast

import click

from omkctl import tasks_text
from omkctl.client import Client
from omkctl.events_text import escalation_line
from omkctl.failures import Exit, Failure
from omkctl.invocation import Invocation
from omkctl.link import Deadline, Late
from omkctl.locate import Address
from omkctl.render import Output, say
from omkctl.shapes import Escalation, Task, Worker
from omkctl.stream import ESCALATION_LOG
from omkctl.subscriptions import follow
from omkctl.throwaway import open_throwaway_session
from omkctl.verb import Verb

SESSION: Final = "demo"
WATCH_SECS: Final = 12.0
"""For all tasks to end; the longest has a budget of one second."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A worker, a task for it, and how the task is to end."""

    worker: str
    role: str
    command: tuple[str, ...]
    text: str
    ends: str
    budget_secs: int = 30


PYTHON: Final = sys.executable

JOBS: Final = (
    Job(worker="wc", role="counter", command=("wc", "-w"), text="count the words of this very task", ends="success"),
    Job(
        worker="asker",
        role="architect",
        command=(PYTHON, "-m", "omkctl", "publish", "PersonNeeded", "text=Which of the two schemas is the right one?"),
        text="design the schema",
        ends="success",
    ),
    Job(
        worker="broken",
        role="builder",
        command=("sh", "-c", "echo compiling {task_id}; echo no compiler here >&2; exit 3"),
        text="build it",
        ends="failed",
    ),
    Job(worker="slow", role="dreamer", command=("sleep", "60"), text="take your time", ends="failed", budget_secs=1),
)


@click.command("demo", cls=Verb)
@click.option("--keep", is_flag=True, help="Keep the session's files.")
@click.pass_obj
def command(invocation: Invocation, keep: bool) -> int:
    """Real commands doing real tasks, through a daemon of their own, in a session that is thrown away.

    One task fails, one runs out of its budget, one agent asks for a person. Takes a few seconds.
    """
    signal.signal(signal.SIGTERM, interrupted)
    with (
        open_throwaway_session(SESSION, keep=keep) as address,
        closing(Client(address)) as client,
        closing(Client(address)) as watcher,
    ):
        return play(client, watcher, invocation.out, keep=keep)


def interrupted(*_: object) -> NoReturn:
    """SIGTERM ends the demo as Ctrl-C does: in order."""
    raise KeyboardInterrupt


def play(client: Client, watcher: Client, out: Output, *, keep: bool) -> int:
    address = client.address
    chapter(out, f"A daemon runs; its files are in {address.session_dir}. Workers:")
    for job in JOBS:
        add(client, out, job)
    chapter(out, "A task for each; it is on disk when send-task returns:")
    ids = [send(client, out, job) for job in JOBS]
    chapter(out, "What a person ought to see, as it happens (omkctl tail-escalations -f):")
    tasks = watch(watcher, client, out, ids)
    chapter(out, "What became of them (omkctl results):")
    if out.as_json:
        out.json({"session_dir": str(address.session_dir), "tasks": tasks})
    else:
        out.table(tasks_text.RESULT_HEADER, [tasks_text.result_row(task, out) for task in tasks])
    where_it_is(address, out, keep=keep)
    return judged(tasks)


def chapter(out: Output, text: str) -> None:
    if not out.as_json:
        out.line(f"\n{text}")


def typed(out: Output, *words: str) -> None:
    """The command that a person would have typed for this."""
    if not out.as_json:
        out.line(f"  $ omkctl {shlex.join(words)}")


def add(client: Client, out: Output, job: Job) -> None:
    command = ("omkctl", *job.command[3:]) if job.command[0] == PYTHON else job.command
    typed(out, "worker", "add", job.worker, "--role", job.role, "--budget", f"{job.budget_secs}s", "--", *command)
    runner = {"command": list(job.command), "budget_secs": job.budget_secs, "grace_secs": 1}
    client.call("worker.add", {"name": job.worker, "role": job.role, "runner": runner}, Worker)


def send(client: Client, out: Output, job: Job) -> str:
    typed(out, "send-task", job.worker, job.text)
    sent = client.call("task.send", {"target": {"worker": job.worker}, "task": {"task": job.text}}, Task)
    if not out.as_json:
        out.line(f"  {tasks_text.line(sent)}")
    return sent["id"]


def watch(watcher: Client, client: Client, out: Output, ids: list[str]) -> list[Task]:
    """Prints the escalations until all tasks have ended; the tasks then."""
    deadline = Deadline.after(WATCH_SECS)
    notes = follow(watcher, ESCALATION_LOG.subscribe, {"after": 0}, ESCALATION_LOG.seq_of, deadline, say)
    try:
        for note in notes:
            escalation = cast(Escalation, note)
            if not out.as_json:
                out.line(escalation_line(escalation, out))
            if escalation["entry"]["kind"] == "worker_completed":
                tasks = [client.call("task.get", {"id": id}, Task) for id in ids]
                if all(map(tasks_text.is_final, tasks)):
                    return tasks
    except Late:
        pass
    raise Failure(Exit.NEGATIVE, "not_ended", f"not all tasks ended within {WATCH_SECS:g} s")


def where_it_is(address: Address, out: Output, *, keep: bool) -> None:
    if out.as_json:
        return
    root = address.session_dir
    chapter(out, "All of it is in plain files:" if keep else "All of it was in plain files (--keep keeps them):")
    out.line(f"  {root}/events/                    everything that happened")
    out.line(f"  {root}/pending_escalations.jsonl  what a person ought to see")
    out.line(f"  {root}/workers/wc/                inbox, outbox, and runs/ with prompt and output of each run")
    if keep:
        out.line(f"\n  To go on: omkd --session {SESSION} --state-dir {root.parent} &")


def judged(tasks: list[Task]) -> int:
    """0 only if each task ended as it should."""
    wrong = [task for task, job in zip(tasks, JOBS, strict=True) if task["state"] != job.ends]
    for task in wrong:
        say(f"not as it should be: {tasks_text.line(task)}")
    return Exit.NEGATIVE if wrong else Exit.DONE
