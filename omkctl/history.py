"""Pages of the past: of tasks, backwards; of the logs, forwards. Any number of items, whatever a page holds."""

from collections import deque
from collections.abc import Iterator, Mapping
from typing import cast

from omkd.protocol.limits import PAGE_LIMIT

from .client import Client
from .json_text import Object
from .options import ALL_LINES
from .shapes import Task, TaskList, Worker


def newest_tasks(client: Client, filters: Mapping[str, object], wanted: int) -> TaskList:
    """The newest `wanted` tasks (ALL_LINES: all), oldest first; `next` when there are older ones."""
    found: list[Task] = []
    before: str | None = None
    while True:
        limit = PAGE_LIMIT if wanted == ALL_LINES else min(PAGE_LIMIT, wanted - len(found))
        page = client.call("task.list", {**filters, "limit": max(1, limit), "before": before}, TaskList)
        found[:0] = page["tasks"]
        before = page["next"]
        if before is None or (wanted != ALL_LINES and len(found) >= wanted):
            return TaskList(tasks=found[-wanted:] if wanted > 0 else found if wanted == ALL_LINES else [], next=before)


def refuse_unknown_worker(client: Client, name: str) -> None:
    """Of a removed worker there may be tasks; of one that is not known and has none, a slip of the pen is likelier.

    Raises DaemonError (not_found, with the known ones).
    """
    client.call("worker.get", {"name": name}, Worker)


def log_items(
    client: Client, method: str, items: str, newest: str, params: Mapping[str, object], wanted: int
) -> Iterator[Object]:
    """Items of a `method` that pages with `after` and `next`: all, or the newest `wanted`, oldest first.

    `items` is the list's name in a page, `newest` the parameter that asks for the newest so many.
    """
    if 0 < wanted <= PAGE_LIMIT:
        return iter(newest_items(client, method, items, newest, params, wanted))
    everything = all_items(client, method, items, params)
    return everything if wanted == ALL_LINES else iter(deque(everything, maxlen=wanted))


def newest_items(
    client: Client, method: str, items: str, newest: str, params: Mapping[str, object], wanted: int
) -> list[Object]:
    """A page has fewer than asked for where they are large."""
    found: list[Object] = []
    asked = dict(params)
    while True:
        count = wanted - len(found)
        page = client.call(method, {**asked, newest: count, "limit": count}, dict[str, object])
        found[:0] = cast(list[Object], page[items])
        if page["next"] is None:
            return found
        asked["before"] = page["next"]


def all_items(client: Client, method: str, items: str, params: Mapping[str, object]) -> Iterator[Object]:
    asked = {**params, "limit": PAGE_LIMIT}
    while True:
        page = client.call(method, asked, dict[str, object])
        yield from cast(list[Object], page[items])
        if page["next"] is None:
            return
        asked["after"] = page["next"]
