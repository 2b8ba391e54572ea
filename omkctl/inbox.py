"""Everything that waits for a person, from four lists of the daemon, as one: oldest first."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, cast

from .client import Client
from .deciding import ALLOW_ONCE, asker, open_questions, to_type
from .history import all_items, newest_tasks
from .options import ALL_LINES
from .shapes import Decision, Escalation, Task, Worker, WorkerList

CANNOT: Final = re.compile(
    r"(?:^|; )(there is no worker .+|worker \S+ is paused|no worker of role .+ is ready|no worker is ready)$"
)
"""Of a task's `why`: nobody could take it now. All else passes by itself: a turn, a time, a task before it."""

NEEDS_A_LOOK: Final = ("stalled", "dead")
"""States of a worker."""


@dataclass(frozen=True, kw_only=True)
class Item:
    """`ts`: since when, as the wire has it; empty: not known. `says`: a line; `next`: what a person can do."""

    id: str
    kind: str
    ts: str
    says: str
    next: str
    worker: str | None = None
    task_id: str | None = None
    decision: Decision | None = None
    escalation: Escalation | None = None

    def as_object(self) -> dict[str, object]:
        """The keys of every item, then those of its kind."""
        common: dict[str, object] = {
            "id": self.id,
            "kind": self.kind,
            "ts": self.ts or None,
            "summary": self.says,
            "worker": self.worker,
            "task_id": self.task_id,
        }
        if self.decision is not None:
            asked = self.decision
            return {**common, **{key: asked[key] for key in ("detail", "choices", "expires")}}
        if self.escalation is not None:
            return {**common, "seq": self.escalation["seq"], "escalation": self.escalation["entry"]["kind"]}
        return common


def waiting(client: Client) -> list[Item]:
    """Oldest first; what has no time comes last."""
    decisions = open_questions(client)
    escalations = all_items(client, "escalation.list", "escalations", {"unacked": True})
    workers = client.call("worker.list", {}, WorkerList)["workers"]
    tasks = newest_tasks(client, {"states": ["queued"]}, ALL_LINES)["tasks"]
    items = [
        *map(of_decision, decisions),
        *of_escalations(cast(Iterable[Escalation], escalations), {each["seq"] for each in decisions}),
        *of_workers(workers),
        *of_tasks(tasks),
    ]
    return sorted(items, key=lambda item: (not item.ts, item.ts))


def of_decision(asked: Decision) -> Item:
    return Item(
        id=asked["id"],
        kind="decision",
        ts=asked["asked"],
        says=question_text(asked),
        next=next_of(asked),
        worker=asked["worker"],
        task_id=asked["task_id"],
        decision=asked,
    )


def question_text(asked: Decision) -> str:
    """`kimi (t3) wants: npm test`: a name that the summary begins with is not said twice."""
    worker, summary = asked["worker"], asked["summary"]
    if worker is not None and summary.startswith(f"{worker} "):
        return f"{asker(asked)}{summary[len(worker) :]}"
    return f"{asker(asked)}: {summary}"


def next_of(asked: Decision) -> str:
    """A yes where that is one choice, else its choices by name, as one word: a shell must not read their `|`."""
    yes = [choice for choice in asked["choices"] if choice["kind"] == ALLOW_ONCE]
    if len(yes) == 1:
        return to_type("approve", asked["id"])
    return to_type("answer", asked["id"], "|".join(choice["id"] for choice in asked["choices"]))


def of_escalations(escalations: Iterable[Escalation], asked_in: set[int]) -> Iterator[Item]:
    """But for the lines of questions that wait: those are in the inbox as questions."""
    for each in escalations:
        if each["seq"] not in asked_in:
            entry, seq = each["entry"], str(each["seq"])
            says = f"{entry['kind']}: {entry['summary']}"
            yield Item(id=seq, kind="escalation", ts=entry["ts"], says=says, next=f"omkctl ack {seq}", escalation=each)


def of_workers(workers: Iterable[Worker]) -> Iterator[Item]:
    for worker in workers:
        if worker["state"] in NEEDS_A_LOOK:
            name = worker["name"]
            says = f"{name} {worker['state']}: {what_is_wrong(worker)}"
            yield Item(id=name, kind="worker", ts=worker["last_sign"] or "", says=says, next=mend(worker), worker=name)


def what_is_wrong(worker: Worker) -> str:
    return "given up after its restarts" if worker["state"] == "dead" and is_ours(worker) else "no sign of life from it"


def mend(worker: Worker) -> str:
    """Only omkd's own hosts can be restarted by it."""
    name = worker["name"]
    return f"omkctl worker restart {name}" if is_ours(worker) else f"start the program of {name} again"


def is_ours(worker: Worker) -> bool:
    return worker["runner"] is not None and not worker["foreign"]


def of_tasks(tasks: Iterable[Task]) -> Iterator[Item]:
    for task in tasks:
        if (found := CANNOT.search(task["why"] or "")) is not None:
            id = task["id"]
            says = f"{id} cannot be handed out: {found[1]}"
            update = f"omkctl update {id} --target TARGET"
            yield Item(id=id, kind="task", ts=task["queued"], says=says, next=update, task_id=id)
