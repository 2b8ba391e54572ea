"""A question to a person from a script or an agent: asked once, then waited for across restarts of the daemon."""

import re
from typing import Final

from .client import Client
from .deciding import ALLOW_ALWAYS, ALLOW_ONCE, REJECT_ONCE, REJECTIONS
from .failures import Exit
from .link import NEVER, Deadline
from .shapes import Choice, Decision

MEANS: Final = {
    **dict.fromkeys(("allow", "yes", "approve", "accept", "ok"), ALLOW_ONCE),
    **dict.fromkeys(("always",), ALLOW_ALWAYS),
    **dict.fromkeys(("deny", "no", "reject", "cancel"), REJECT_ONCE),
}
"""What a choice's id says of its meaning; any other id is just an answer."""

CHOICE: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9_.-]*)(?:=(.+))?", re.DOTALL)


def choice(text: str) -> Choice:
    """`ID=LABEL`, or `ID`. Raises ValueError."""
    found = CHOICE.fullmatch(text)
    if found is None:
        raise ValueError(f'{text!r}: write ID=LABEL, as in later="ask me later"')
    return Choice(id=found[1], label=found[2] or found[1], kind=MEANS.get(found[1], "other"))


def ask(client: Client, summary: str, detail: str, choices: list[Choice], timeout_s: int) -> Decision:
    """The question as it was recorded. Sent once: two questions for one thing would confuse whoever answers."""
    params = {"summary": summary, "detail": detail, "choices": choices, "timeout_secs": timeout_s}
    return client.call("decision.ask", params, Decision, repeatable=False)


def wait(client: Client, asked: Decision, deadline: Deadline = NEVER) -> Decision:
    """The question once it is over. Raises Late. Who stops waiting changes nothing."""
    return client.wait("decision.wait", {"id": asked["id"]}, Decision, deadline)


def kind_of(decided: Decision) -> str | None:
    """What the answer means; None: nobody answered."""
    return next((each["kind"] for each in decided["choices"] if each["id"] == decided["choice"]), None)


def status_of(decided: Decision) -> Exit:
    """0 for a yes and for any other answer, 1 for a no, 124 when nobody decided."""
    match kind_of(decided):
        case None:
            return Exit.TIMEOUT
        case kind if kind in REJECTIONS:
            return Exit.NEGATIVE
        case _:
            return Exit.DONE
