"""Waiting for tasks, across restarts of the daemon, with a line on a terminal that says how far they are."""

from .client import Client
from .failures import DaemonError
from .link import Deadline, Lost
from .progress import TICK_SECS, Progress
from .shapes import Task, Tasks


def wait_for(
    client: Client, ids: list[str], deadline: Deadline, progress: Progress, *, until: str = "done", any_: bool = False
) -> list[Task]:
    """The tasks that are there: all of `ids`, or with `any_` at least one. Raises Late at the deadline."""
    params: dict[str, object] = {"ids": ids, "until": until, "any": any_}
    if not progress.is_live:
        return client.wait("task.wait", params, Tasks, deadline)["tasks"]
    while True:
        try:
            return client.wait("task.wait", {**params, "timeout": TICK_SECS}, Tasks, deadline)["tasks"]
        except DaemonError as fault:
            if fault.name != "timeout":
                raise
        try:
            progress.look(client.link_until(deadline), ids)
        except Lost:
            client.drop()
