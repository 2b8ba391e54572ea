"""What the verbs that take several tasks share: one call for all of them, then a line for each."""

from . import tasks_text
from .invocation import Invocation
from .shapes import Tasks


def steer(invocation: Invocation, method: str, ids: tuple[str, ...], *, repeatable: bool) -> None:
    """All of it happens or nothing. Not `repeatable`: done twice it would be refused, so it is sent once."""
    done = invocation.client().call(method, {"ids": list(ids)}, Tasks, repeatable=repeatable)
    if invocation.out.as_json:
        invocation.out.json(done)
        return
    for task in done["tasks"]:
        invocation.out.line(tasks_text.line_and_why(task))
