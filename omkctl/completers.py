"""What completes a word on the command line: asked of the daemon, in little time, and silent when it does not answer.

click calls these with what was typed so far (`shell_complete`), in a process that the shell waits for at each TAB.
"""

from collections.abc import Callable, Iterator
from typing import Any, Final, TypedDict, TypeVar

import click
from click.shell_completion import CompletionItem

from .client import Client
from .invocation import Invocation
from .shapes import FINAL_STATES, Decision, Decisions, Escalations, TaskList, Worker, WorkerList

PATIENCE_SECS: Final = 1.0
"""For the daemon's answer: a person who pressed TAB waits for it."""

NEWEST: Final = 100
"""Tasks that are offered."""

WAITING: Final = ("queued", "held")
UNFINISHED: Final = (*WAITING, "dispatched", "running")


class Named(TypedDict):
    name: str


class Components(TypedDict):
    schemas: dict[str, dict[str, Any]]


class Description(TypedDict):
    """Of the OpenRPC document what is looked at here; JSON Schema has many forms."""

    methods: list[Named]
    components: Components


Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]
T = TypeVar("T")


def ask(ctx: click.Context, method: str, params: object, shape: type[T]) -> T | None:
    """None for whatever goes wrong: a shell has no place to say it."""
    invocation = ctx.find_object(Invocation)
    if invocation is None:
        return None
    try:
        client = Client(invocation.address, check_version=False, patience_s=0, answer_s=PATIENCE_SECS)
        try:
            return client.call(method, params, shape)
        finally:
            client.close()
    except Exception:
        return None


def workers(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    return [item for item in worker_items(ctx) if str(item.value).startswith(incomplete)]


def targets(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Workers, `role:R` of each role, `any`."""
    known = known_workers(ctx)
    roles = sorted({f"role:{worker['role']}" for worker in known})
    names = [*(worker["name"] for worker in known), *roles, "any"]
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def worker_items(ctx: click.Context) -> Iterator[CompletionItem]:
    for worker in known_workers(ctx):
        yield CompletionItem(worker["name"], help=f"{worker['role']}, {worker['state']}")


def known_workers(ctx: click.Context) -> list[Worker]:
    found = ask(ctx, "worker.list", {}, WorkerList)
    return found["workers"] if found is not None else []


def tasks_in(*states: str) -> Complete:
    """Ids of tasks in one of these states, the newest first; without any, of all."""

    def complete(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        given = ctx.params.get(str(param.name)) or ()
        found = ask(ctx, "task.list", {"states": list(states), "limit": NEWEST}, TaskList)
        return [
            CompletionItem(task["id"], help=f"{task['state']}: {task['task'].get('task', '')}".split("\n")[0][:60])
            for task in reversed(found["tasks"] if found is not None else [])
            if task["id"].startswith(incomplete) and task["id"] not in given
        ]

    return complete


tasks: Final = tasks_in()
held_tasks: Final = tasks_in("held")
queued_tasks: Final = tasks_in("queued")
waiting_tasks: Final = tasks_in(*WAITING)
unfinished_tasks: Final = tasks_in(*UNFINISHED)
ended_tasks: Final = tasks_in(*FINAL_STATES)


def questions(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Ids of those that wait for an answer, oldest first."""
    return [
        CompletionItem(each["id"], help=each["summary"].split("\n")[0][:60])
        for each in open_questions(ctx)
        if each["id"].startswith(incomplete)
    ]


def choices(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Of the question whose id stands before."""
    return [
        CompletionItem(choice["id"], help=choice["label"])
        for each in open_questions(ctx)
        for choice in each["choices"]
        if each["id"] == ctx.params.get("id") and choice["id"].startswith(incomplete)
    ]


def open_questions(ctx: click.Context) -> list[Decision]:
    found = ask(ctx, "decision.list", {}, Decisions)
    return found["decisions"] if found is not None else []


def unacked(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The numbers of escalations that nobody acknowledged, oldest first."""
    given = ctx.params.get(str(param.name)) or ()
    found = ask(ctx, "escalation.list", {"unacked": True, "limit": NEWEST}, Escalations)
    return [
        CompletionItem(str(each["seq"]), help=each["entry"]["summary"].split("\n")[0][:60])
        for each in (found["escalations"] if found is not None else [])
        if str(each["seq"]).startswith(incomplete) and each["seq"] not in given
    ]


def event_types(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The names of the events, from the daemon's description of itself."""
    return [CompletionItem(name) for name in variants(ctx, "Event") if name.startswith(incomplete)]


def published_types(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Of those that a client may publish."""
    return [CompletionItem(name) for name in variants(ctx, "PublishedEvent") if name.startswith(incomplete)]


def methods(ctx: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
    found = ask(ctx, "rpc.discover", {}, Description)
    names = [method["name"] for method in found["methods"]] if found is not None else []
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def variants(ctx: click.Context, union: str) -> list[str]:
    """Of a tagged union in the OpenRPC document: the one field that each variant requires."""
    found = ask(ctx, "rpc.discover", {}, Description)
    schema = found["components"]["schemas"].get(union, {}) if found is not None else {}
    return sorted(name for variant in schema.get("oneOf", []) for name in variant.get("required", []))
