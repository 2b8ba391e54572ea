"""What the verbs that take several tasks share: one call for all of them, then a line for each."""

from . import tasks_text
from .invocation import Invocation
from .parts import in_parts
from .shapes import Task, Tasks


def steer(invocation: Invocation, method: str, ids: tuple[str, ...], *, repeatable: bool) -> None:
    """All of it happens or nothing, as far as one call may name them. Not `repeatable`: done twice it would be refused,
    so it is sent once.
    """
    client = invocation.client()

    def some(ids: list[str]) -> list[Task]:
        return client.call(method, {"ids": ids}, Tasks, repeatable=repeatable)["tasks"]

    done = Tasks(tasks=in_parts(list(ids), some))
    if invocation.out.as_json:
        invocation.out.json(done)
        return
    for task in done["tasks"]:
        invocation.out.line(tasks_text.line_and_why(task))
