"""Questions that wait for a person, and a person's answer to one."""

import shlex
from typing import Final

from .client import Client
from .failures import Exit, Failure
from .render import Output, one_line
from .shapes import Choice, Decision, Decisions
from .tasks_text import said_by

ALLOW_ONCE: Final = "allow_once"
ALLOW_ALWAYS: Final = "allow_always"
REJECT_ONCE: Final = "reject_once"
REJECTIONS: Final = (REJECT_ONCE, "reject_always")

WORDS: Final = {
    ALLOW_ONCE: "allow it this once",
    ALLOW_ALWAYS: "allow it for good",
    REJECT_ONCE: "refuse it this once",
}


def open_questions(client: Client) -> list[Decision]:
    """Oldest first."""
    return client.call("decision.list", {}, Decisions)["decisions"]


def question(client: Client, id: str) -> Decision | None:
    """The question, while it waits; None: the daemon's answer to an answer says why not."""
    return next((each for each in open_questions(client) if each["id"] == id), None)


def only_choice(asked: Decision, kind: str) -> Choice:
    """The one choice that means `kind`. Raises Failure that says which choices there are.

    It is looked up by what it means, and answered by its id: an id may be any word, also one that means something else.
    """
    wanted = [choice for choice in asked["choices"] if choice["kind"] == kind]
    if len(wanted) == 1:
        return wanted[0]
    how_many = "no choice" if not wanted else f"{len(wanted)} choices"
    text = (
        f"{asked['id']} has {how_many} to {WORDS[kind]}: there are {choices_text(asked)}. "
        f"To take one: {to_type('answer', asked['id'])} CHOICE"
    )
    known = [choice["id"] for choice in asked["choices"]]
    raise Failure(Exit.USAGE, "invalid_params", text, data={"id": asked["id"], "known": known})


def to_type(verb: str, *words: str) -> str:
    """`omkctl approve t1-1`, to be copied into a shell, which reads none of these words: whoever asks chose them."""
    dashes = ["--"] if any(word.startswith("-") for word in words) else []
    return shlex.join(["omkctl", verb, *dashes, *words])


def choices_text(asked: Decision) -> str:
    return ", ".join(f"{choice['id']} ({choice['label']}, {choice['kind']})" for choice in asked["choices"])


def decide(client: Client, id: str, choice: str, note: str) -> Decision:
    """Sent once: a second answer would be told of the first. Raises DaemonError."""
    return client.call("decision.answer", {"id": id, "choice": choice, "note": note}, Decision, repeatable=False)


def decide_by_kind(client: Client, id: str, kind: str, note: str) -> Decision:
    asked = question(client, id)
    return decide(client, id, kind if asked is None else only_choice(asked, kind)["id"], note)


def show_decided(decided: Decision, out: Output) -> None:
    if out.as_json:
        out.json(decided)
    else:
        out.line(one_line(f"{decided['id']}: {decided['choice']} ({decided['summary']})"))


def asker(asked: Decision) -> str:
    """Who asks, in words: `coder (t12)`."""
    task = f" ({asked['task_id']})" if asked["task_id"] else ""
    return (asked["worker"] or said_by(asked["asked_by"])) + task
