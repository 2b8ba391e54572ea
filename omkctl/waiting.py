"""Waiting for tasks, across restarts of the daemon, and saying how far they are."""

from .client import Client
from .failures import DaemonError
from .link import Deadline, Lost
from .parts import in_parts
from .progress import Progress
from .shapes import Task, Tasks


def wait_for(
    client: Client, ids: list[str], deadline: Deadline, progress: Progress, *, until: str = "done", any_: bool = False
) -> list[Task]:
    """The tasks that are there: all of `ids`, or with `any_` at least one. Raises Late at the deadline."""
    return in_parts(ids, lambda some: wait_for_some(client, some, deadline, progress, until=until, any_=any_))


def wait_for_some(
    client: Client, ids: list[str], deadline: Deadline, progress: Progress, *, until: str, any_: bool
) -> list[Task]:
    params: dict[str, object] = {"ids": ids, "until": until, "any": any_}
    while True:
        try:
            return client.wait("task.wait", {**params, "timeout": progress.every_secs}, Tasks, deadline)["tasks"]
        except DaemonError as fault:
            if fault.name != "timeout":
                raise
        try:
            progress.look(client.link_until(deadline), ids)
        except Lost:
            client.drop()
