"""What the ACP driver tells its owner, and what its owner gives it. Only types."""

from collections.abc import Mapping
from typing import TypeAlias

from attrs import Factory, frozen

from omkd.protocol.jsonrpc import Id

from .acp_facts import Option, ToolFacts


@frozen(kw_only=True)
class AgentInfo:
    """Who answered `initialize`. Empty where the agent does not say. `closes`: it takes session/close."""

    name: str = ""
    version: str = ""
    closes: bool = False

    def __str__(self) -> str:
        return f"{self.name or 'an agent without a name'} {self.version}".strip()


@frozen(kw_only=True)
class SessionPlan:
    """How a session is to be opened. `mode` None: whatever the agent starts with; else it is set and read back."""

    cwd: str
    mode: str | None = None
    meta: Mapping[str, object] = Factory(dict)


@frozen(kw_only=True)
class Initialized:
    """The agent speaks version 1; a session can be opened."""

    agent: AgentInfo


@frozen(kw_only=True)
class AgentError:
    """An agent's JSON-RPC error. `message` holds its details, where there are some."""

    code: int
    message: str

    def __str__(self) -> str:
        return f"{self.message} (error {self.code})"


@frozen(kw_only=True)
class SessionRefused:
    """No session was opened; the agent can be asked again."""

    error: AgentError


@frozen(kw_only=True)
class AgentReady:
    """The session is open and takes a prompt. `mode` as the agent said it itself, None if it has none."""

    session_id: str
    mode: str | None


@frozen(kw_only=True)
class SessionClosed:
    """The session is gone, and what it took with it; another can be opened. `error`: the agent did not close it."""

    error: AgentError | None = None


@frozen(kw_only=True)
class ModeUnconfirmed:
    """The agent agreed to the mode, which proves nothing yet. AgentReady follows if it says so; see `give_up_mode`."""

    wanted: str


@frozen(kw_only=True)
class ModeNotSet:
    """The session is open, but not in the mode that was asked for: `why` says what the agent did or has."""

    wanted: str
    mode: str | None
    why: str


@frozen(kw_only=True)
class ModeChanged:
    """The open session is in another mode now, not by our doing."""

    mode: str


@frozen(kw_only=True)
class ToolCallSeen:
    """A tool call began, or more is known of it."""

    facts: ToolFacts
    is_new: bool


@frozen(kw_only=True)
class PermissionAsked:
    """To be answered with `allow`, `reject` or `choose`. `request_id` is the agent's own: 0, or a UUID."""

    request_id: Id
    facts: ToolFacts
    options: tuple[Option, ...]


@frozen(kw_only=True)
class PermissionWithdrawn:
    """The agent does not want the answer any more."""

    request_id: Id


@frozen(kw_only=True)
class FileReadAsked:
    """To be answered with `answer_file` or `refuse_file`. `line` counts from 1."""

    request_id: Id
    path: str
    line: int | None
    limit: int | None


@frozen(kw_only=True)
class FileWriteAsked:
    request_id: Id
    path: str
    content: str


@frozen(kw_only=True)
class Progress:
    """What it is at, in words; `percent` of its plan, 0 to 100."""

    text: str
    percent: float | None = None


@frozen(kw_only=True)
class AgentText:
    """A piece of what the agent says. `message_id` None: the agent does not number its messages."""

    text: str
    message_id: str | None


@frozen(kw_only=True)
class Usage:
    """Of one turn, just before its end. `usd` None: the agent does not say."""

    tokens_in: int
    tokens_out: int
    usd: float | None


@frozen(kw_only=True)
class TurnEnded:
    """The answer to the prompt: a stop reason, or an error. It proves nothing of what was done."""

    stop_reason: str | None
    error: AgentError | None


@frozen(kw_only=True)
class JunkLine:
    """A line that is no message; ignored."""

    text: str


@frozen(kw_only=True)
class ProtocolFault:
    """The agent cannot be talked to any more; `why` says what to do. Nothing follows."""

    why: str


AcpEvent: TypeAlias = (
    Initialized
    | SessionRefused
    | AgentReady
    | SessionClosed
    | ModeUnconfirmed
    | ModeNotSet
    | ModeChanged
    | ToolCallSeen
    | PermissionAsked
    | PermissionWithdrawn
    | FileReadAsked
    | FileWriteAsked
    | Progress
    | AgentText
    | Usage
    | TurnEnded
    | JunkLine
    | ProtocolFault
)
