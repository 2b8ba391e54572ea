"""Who decides what an agent asks: the interface between a turn and the record of questions. Only types."""

from enum import Enum
from typing import Protocol, TypeAlias

from attrs import frozen

from omkd.protocol.jsonrpc import Id

from .acp_events import Usage
from .acp_facts import Option, ToolFacts


@frozen(kw_only=True)
class Question:
    """What a person is to decide. `request_id` is the agent's; `why` says why it is asked."""

    request_id: Id
    facts: ToolFacts
    options: tuple[Option, ...]
    why: str
    timeout_s: float


@frozen(kw_only=True)
class Approved:
    """`always` takes the agent's lasting yes; `option_id` one of its options by name. `by` says who, in words."""

    by: str
    always: bool = False
    option_id: str | None = None


@frozen(kw_only=True)
class Denied:
    """A `note` reaches the agent."""

    by: str
    note: str = ""


Answer: TypeAlias = Approved | Denied


class Closing(Enum):
    """Why a question is over without an answer."""

    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"


class Desk(Protocol):
    """What a turn tells and asks the worker's host. Only `ask` waits."""

    async def ask(self, question: Question) -> Answer | None:
        """A person's answer; None: it is recorded that nobody decided in time.

        Cancelled when the question is over without either; `closed` follows.
        """
        ...

    def closed(self, question: Question, how: Closing) -> None: ...

    def allowed(self, facts: ToolFacts, why: str) -> None:
        """The policy allowed it, unasked."""
        ...

    def said(self, text: str) -> None:
        """A piece of what the agent says."""
        ...

    def progress(self, text: str, percent: float | None) -> None: ...

    def usage(self, usage: Usage) -> None: ...
