"""`omkctl demo`: the whole way of a task, with real commands, in a session that leaves nothing behind."""

import shlex
import signal
import sys
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
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
from omkctl.shapes import Escalation, Status, Task, Tasks, Worker
from omkctl.stream import ESCALATION_LOG
from omkctl.subscriptions import follow
from omkctl.throwaway import open_throwaway_session
from omkctl.verb import Verb

SESSION: Final = "demo"
WATCH_SECS: Final = 13.0
"""For all tasks to end; the longest is run again five seconds after its failure."""

ENDS_WITH: Final = ("worker_completed", "cancelled")
"""The kinds of escalation that come with the end of a task."""

PYTHON: Final = sys.executable
LONG_TEXT: Final = "wait for a review that nobody writes"


@dataclass(frozen=True, kw_only=True)
class Hand:
    """A worker, as one would add it. `{here}` in its command is a directory of the session."""

    name: str
    role: str
    command: tuple[str, ...]
    budget_secs: int = 30


@dataclass(frozen=True, kw_only=True)
class Job:
    """A task, and how it is to end. `after` is the job that it waits for, by its text."""

    worker: str
    text: str
    ends: str
    retries: int = 0
    after: str | None = None
    handouts: int = 1


HANDS: Final = (
    Hand(name="flaky", role="fetcher", command=("sh", "-c", "mkdir {here}/seen || exec echo here; exit 1")),
    Hand(name="wc", role="counter", command=("wc", "-w")),
    Hand(
        name="asker",
        role="architect",
        command=(PYTHON, "-m", "omkctl", "escalate", "Which of the two schemas is the right one?"),
    ),
    Hand(
        name="broken",
        role="builder",
        command=("sh", "-c", "echo compiling {task_id}; echo no compiler here >&2; exit 3"),
    ),
    Hand(name="slow", role="dreamer", command=("sleep", "60"), budget_secs=1),
    Hand(name="steps", role="releaser", command=("sh", "-c", "echo 'OMK_PROGRESS 50 half way'; echo done: {task}")),
    Hand(name="patient", role="reviewer", command=("sleep", "60")),
)

JOBS: Final = (
    Job(worker="flaky", text="fetch the sources", ends="success", retries=1, handouts=2),
    Job(worker="wc", text="count the words of this very task", ends="success"),
    Job(worker="asker", text="design the schema", ends="success"),
    Job(worker="broken", text="build it", ends="failed"),
    Job(worker="slow", text="take your time", ends="failed"),
    Job(worker="patient", text=LONG_TEXT, ends="cancelled"),
)

ORDERED: Final = (
    Job(worker="steps", text="compile", ends="success"),
    Job(worker="steps", text="test", ends="success", after="compile"),
    Job(worker="steps", text="publish", ends="success", after="test"),
)
"""Sent to a paused worker; each waits for the one before."""


@click.command("demo", cls=Verb)
@click.option("--keep", is_flag=True, help="Keep the session's files.")
@click.pass_obj
def command(invocation: Invocation, keep: bool) -> int:
    """Real commands doing real tasks, through a daemon of their own, in a session that is thrown away.

    One task fails, one runs out of its budget, one is run again after a failure, one is cancelled; three are done in
    their order by a worker that was paused at first; one agent asks for a person. Takes about eight seconds.
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
    for hand in HANDS:
        add(client, out, hand)
    chapter(out, "A task for each; it is on disk when send-task returns:")
    sent: dict[str, Task] = {}
    for job in JOBS:
        sent[job.text] = send(client, out, job, sent)
    waiting = order(client, out, sent)
    chapter(out, "What a person ought to see, as it happens (omkctl tail-escalations -f):")
    tasks = watch(watcher, client, out, [task["id"] for task in sent.values()])
    chapter(out, "What became of them (omkctl results):")
    if out.as_json:
        out.json({"session_dir": str(address.session_dir), "tasks": tasks})
    else:
        out.table(tasks_text.RESULT_HEADER, [tasks_text.result_row(task, out) for task in tasks])
    person(client, out)
    where_it_is(address, out, keep=keep)
    return judged(tasks, waiting)


def order(client: Client, out: Output, sent: dict[str, Task]) -> list[Task]:
    """A pause, an order with dependencies, a cancel; the tasks as they waited while their worker was paused."""
    chapter(out, "A worker that is paused is handed nothing; --after makes an order:")
    typed(out, "worker", "pause", "steps")
    client.call("worker.pause", {"name": "steps"}, Worker)
    for job in ORDERED:
        sent[job.text] = send(client, out, job, sent)
    waiting = [client.call("task.get", {"id": sent[job.text]["id"]}, Task) for job in ORDERED]
    if not out.as_json:
        for task in waiting:
            out.line(f"  {tasks_text.line_and_why(task)}")
    typed(out, "worker", "resume", "steps")
    client.call("worker.resume", {"name": "steps"}, Worker)
    chapter(out, "A task that nobody wants any more is ended with all that its command has started:")
    cancelled = sent[LONG_TEXT]["id"]
    client.wait("task.wait", {"ids": [cancelled], "until": "started"}, Tasks, Deadline.after(WATCH_SECS))
    typed(out, "cancel", cancelled, "--reason", "written by somebody else")
    client.call("task.cancel", {"ids": [cancelled], "reason": "written by somebody else"}, Tasks)
    return waiting


def person(client: Client, out: Output) -> None:
    """What is left for a person to look at."""
    left = client.call("omkd.status", {}, Status)["unacked"]
    if not out.as_json:
        out.line(f"\n{left} things need a person: omkctl tail-escalations --unacked, then omkctl ack --all-shown")


def chapter(out: Output, text: str) -> None:
    if not out.as_json:
        out.line(f"\n{text}")


def typed(out: Output, *words: str) -> None:
    """The command that a person would have typed for this."""
    if not out.as_json:
        out.line(f"  $ omkctl {shlex.join(words)}")


def add(client: Client, out: Output, hand: Hand) -> None:
    here = str(client.address.session_dir.parents[1])
    argv = [part.replace("{here}", here) for part in hand.command]
    shown = ["omkctl", *argv[3:]] if argv[0] == PYTHON else argv
    typed(out, "worker", "add", hand.name, "--role", hand.role, "--budget", f"{hand.budget_secs}s", "--", *shown)
    runner = {"command": argv, "budget_secs": hand.budget_secs, "grace_secs": 1}
    client.call("worker.add", {"name": hand.name, "role": hand.role, "runner": runner}, Worker)


def send(client: Client, out: Output, job: Job, sent: dict[str, Task]) -> Task:
    after = [] if job.after is None else [sent[job.after]["id"]]
    options = [*(["--retries", str(job.retries)] if job.retries else []), *(["--after", *after] if after else [])]
    typed(out, "send-task", job.worker, job.text, *options)
    params = {"target": {"worker": job.worker}, "task": {"task": job.text}, "after": after, "retries": job.retries}
    task = client.call("task.send", params, Task)
    if not out.as_json:
        out.line(f"  {tasks_text.line(task)}")
    return task


def watch(watcher: Client, client: Client, out: Output, ids: list[str]) -> list[Task]:
    """Prints the escalations until all tasks have ended; the tasks then."""
    deadline = Deadline.after(WATCH_SECS)
    notes = follow(watcher, ESCALATION_LOG.subscribe, {"after": 0}, ESCALATION_LOG.seq_of, deadline, say)
    try:
        for note in notes:
            escalation = cast(Escalation, note)
            if not out.as_json:
                out.line(escalation_line(escalation, out))
            if escalation["entry"]["kind"] in ENDS_WITH:
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


def judged(tasks: list[Task], waiting: list[Task]) -> int:
    """0 only if each task ended as it should, as often handed out as it should be, and in its order."""
    pairs = zip(tasks, (*JOBS, *ORDERED), strict=True)
    wrong = [tasks_text.line(task) for task, job in pairs if not as_told(task, job)]
    wrong += [f"not kept waiting by a pause: {tasks_text.line(task)}" for task in waiting if task["state"] != "queued"]
    wrong += [
        f"begun before {before['id']} had ended: {tasks_text.line(task)}"
        for before, task in pairwise(tasks[-len(ORDERED) :])
        if (task["started"] or "").rstrip("Z") < (before["finished"] or "~").rstrip("Z")
    ]
    for text in wrong:
        say(f"not as it should be: {text}")
    return Exit.NEGATIVE if wrong else Exit.DONE


def as_told(task: Task, job: Job) -> bool:
    return task["state"] == job.ends and task["handout"] == job.handouts
