"""The Agent Client Protocol, version 1, from the client's side, without I/O: bytes in, events out, bytes out.

One agent, one session at a time, one prompt at a time. No bytes of an agent make it raise; a command at the wrong time
does (AcpMisuse: our bug). Neither fs nor terminal is offered. What an agent asks all the same is answered: files by the
owner, the rest with -32601. Updates of another session, unknown notifications and lines that are no message are
ignored. Source: https://agentclientprotocol.com, schema of version 1.
"""

from collections import deque
from collections.abc import Mapping
from enum import Enum, auto
from typing import Final

from omkd.protocol.jsonrpc import (
    ErrorResponse,
    Id,
    LineTooLong,
    Malformed,
    Message,
    Notification,
    Params,
    Request,
    Response,
)
from omkd.protocol.version import __version__

from .acp_events import (
    AcpEvent,
    AgentReady,
    AgentText,
    FileReadAsked,
    FileWriteAsked,
    Initialized,
    JunkLine,
    ModeNotSet,
    PermissionAsked,
    PermissionWithdrawn,
    ProtocolFault,
    SessionClosed,
    SessionPlan,
    SessionRefused,
    ToolCallSeen,
    TurnEnded,
)
from .acp_facts import JsonObject, Option, Reading, ToolFacts, facts_with, object_of, one_line, text_of
from .acp_peer import INVALID_PARAMS, METHOD_NOT_FOUND, Answer, Peer
from .acp_reading import (
    agent_of,
    cost_of,
    error_of,
    mode_value,
    options_of,
    plan_progress,
    usage_of,
)
from .acp_session import Session

PROTOCOL_VERSION: Final = 1
CANCELLED: Final = {"outcome": {"outcome": "cancelled"}}

KIMI_STUB: Final = (
    "kimi-cli from 1.52 on prints a notice and exits: install Kimi Code (npm @moonshot-ai/kimi-code) and use `kimi acp`"
)


class State(Enum):
    NEW = auto()
    INITIALIZING = auto()
    IDLE = auto()
    OPENING = auto()
    READY = auto()
    CLOSING = auto()
    PROMPTING = auto()
    CLOSED = auto()


LEGAL: Final = {
    "start": frozenset({State.NEW}),
    "open_session": frozenset({State.IDLE, State.READY}),
    "prompt": frozenset({State.READY}),
    "close_session": frozenset({State.READY}),
}
"""When a command is in order. Answers and `cancel` are so always: what they are about may be over by then."""

WAITING_FOR: Final = {
    State.INITIALIZING: "its answer to initialize",
    State.CLOSING: "its answer to session/close",
    State.PROMPTING: "the end of its turn",
}


class AcpMisuse(Exception):
    """A command that is not in order in this state: a bug of the caller."""


class AcpClient:
    """Feed with `receive_data`, take `next_event` until None, write `data_to_send`; at EOF `receive_eof`."""

    def __init__(self) -> None:
        self._peer = Peer()
        self._events: deque[AcpEvent] = deque()
        self._state = State.NEW
        self._fault: str | None = None
        self._first_junk = ""
        self._session: Session | None = None
        self._reading = Reading(cwd="/")
        self._calls: dict[str, ToolFacts] = {}
        self._asked: dict[Id, tuple[Option, ...]] = {}
        self._is_cancelling = False
        self._cost: float | None = None
        self._counted_cost = 0.0

    @property
    def state(self) -> State:
        return self._state

    @property
    def fault(self) -> str | None:
        """Why it is CLOSED."""
        return self._fault

    @property
    def waiting_for(self) -> str:
        """What the agent owes us, in words."""
        if self._state is State.OPENING and self._session is not None:
            return self._session.waiting_for
        return WAITING_FOR.get(self._state, "nothing")

    @property
    def session_id(self) -> str | None:
        """Of the session that is open, or being opened; None before the agent gave it one."""
        return None if self._session is None else self._session.id

    @property
    def mode(self) -> str | None:
        """Of the session, as the agent said it last."""
        return None if self._session is None else self._session.mode

    @property
    def calls(self) -> tuple[ToolFacts, ...]:
        """The tool calls of this prompt, in the order they were seen."""
        return tuple(self._calls.values())

    # --- commands ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        self._expect("start")
        self._state = State.INITIALIZING
        self._peer.call(
            "initialize",
            {
                "protocolVersion": PROTOCOL_VERSION,
                "clientCapabilities": {"fs": {"readTextFile": False, "writeTextFile": False}, "terminal": False},
                "clientInfo": {"name": "omkd", "version": __version__},
            },
            self._on_initialized,
        )

    def open_session(self, plan: SessionPlan, reading: Reading) -> None:
        """A new session; the one before is left alone."""
        self._expect("open_session")
        self._state = State.OPENING
        self._reading = reading
        self._cost, self._counted_cost = None, 0.0
        self._session = Session(self._peer, plan, self._on_opening)

    def give_up_mode(self) -> None:
        """After ModeUnconfirmed: no update says what the mode is, and none is waited for any more."""
        if self._state is State.OPENING and self._session is not None:
            self._session.give_up_mode()

    def prompt(self, text: str) -> None:
        self._expect("prompt")
        self._state = State.PROMPTING
        self._is_cancelling = False
        self._calls = {}
        blocks = [{"type": "text", "text": text}]
        self._peer.call("session/prompt", {"sessionId": self.session_id, "prompt": blocks}, self._on_turn_end)

    def close_session(self) -> None:
        """The agent frees what belongs to it. Only for one that says it takes session/close."""
        self._expect("close_session")
        self._state = State.CLOSING
        self._peer.call("session/close", {"sessionId": self.session_id}, self._on_session_closed)

    def allow(self, request_id: Id, option: Option) -> bool:
        """Chooses an option of the request. False: it does not wait for an answer any more."""
        return self._decide(request_id, {"outcome": {"outcome": "selected", "optionId": option.id}})

    def reject(self, request_id: Id, option: Option | None, reason: str) -> bool:
        """As `allow`; without an option that says no it is `cancelled`. ACP has no field for the reason but `_meta`."""
        outcome: Mapping[str, object] = CANCELLED
        if option is not None:
            outcome = {"outcome": {"outcome": "selected", "optionId": option.id}}
        return self._decide(request_id, {**outcome, "_meta": {"omkd": {"reason": reason}}})

    def answer_file(self, request_id: Id, content: str | None) -> None:
        """Of a file that was read; None: it was written."""
        self._peer.answer(request_id, {} if content is None else {"content": content})

    def refuse_file(self, request_id: Id, code: int, message: str) -> None:
        self._peer.refuse(request_id, code, message)

    def cancel(self) -> None:
        """Ends the turn; nothing if there is none. What waits for a decision, or asks for one later, is `cancelled`."""
        if self._state is State.PROMPTING and not self._is_cancelling:
            self._is_cancelling = True
            self._peer.notify("session/cancel", {"sessionId": self.session_id})
            self._withdraw_all()

    # --- bytes ---------------------------------------------------------------------------------------------------

    def data_to_send(self) -> bytes:
        return self._peer.data_to_send()

    def receive_data(self, data: bytes) -> None:
        """In chunks of any size."""
        for message in self._peer.receive(data):
            if isinstance(message, LineTooLong):
                self._fail(f"the agent wrote a line of more than {message.limit_bytes} bytes")
            else:
                self._on_message(message)

    def receive_eof(self) -> None:
        """The agent closed its output: it ended, or is about to."""
        if self._state in (State.NEW, State.INITIALIZING):
            said = f" ({self._first_junk})" if self._first_junk else " and said nothing"
            self._fail(f"the agent ended before it answered initialize{said}. Is this an ACP command? {KIMI_STUB}")
        else:
            self._fail(f"the agent ended while we waited for {self.waiting_for}")

    def next_event(self) -> AcpEvent | None:
        return self._events.popleft() if self._events else None

    # --- what the agent says -------------------------------------------------------------------------------------

    def _on_message(self, message: Message) -> None:
        if self._state is State.CLOSED:
            return
        match message:
            case Request(id, method, params):
                self._on_request(id, method, object_of(params))
            case Notification(method, params):
                self._on_notification(method, params)
            case Response() | ErrorResponse():
                self._peer.take_answer(message)
            case Malformed(None, error):
                self._first_junk = self._first_junk or error.message
                self._events.append(JunkLine(text=error.message))
            case Malformed(id, error):
                self._peer.refuse(id, error.kind.code, error.message)

    def _on_request(self, id: Id, method: str, params: JsonObject) -> None:
        match method:
            case "session/request_permission":
                self._on_permission(id, params)
            case "fs/read_text_file" | "fs/write_text_file":
                self._on_file(id, method, params)
            case _:
                self._peer.refuse(id, METHOD_NOT_FOUND, f"{one_line(method)} is not offered")

    def _on_notification(self, method: str, params: Params) -> None:
        said = object_of(params)
        if method == "$/cancel_request":
            self._withdraw(said.get("requestId"))
        elif method == "session/update" and self._session is not None and self._is_of_session(said):
            self._on_update(object_of(said.get("update")), self._session)

    def _is_of_session(self, said: JsonObject) -> bool:
        return self.session_id is not None and said.get("sessionId") == self.session_id

    def _on_update(self, update: JsonObject, session: Session) -> None:
        match update.get("sessionUpdate"):
            case "tool_call" | "tool_call_update":
                self._note_call(update)
            case "agent_message_chunk":
                self._on_text(update)
            case "plan":
                if (progress := plan_progress(update)) is not None:
                    self._events.append(progress)
            case "usage_update":
                self._cost = self._cost if (cost := cost_of(update)) is None else cost
            case "current_mode_update":
                session.note_mode(text_of(update.get("currentModeId")) or None)
            case "config_option_update":
                session.note_mode(mode_value(update))

    def _on_text(self, update: JsonObject) -> None:
        content, message_id = object_of(update.get("content")), update.get("messageId")
        if self._state is State.PROMPTING and (text := text_of(content.get("text"))):
            self._events.append(AgentText(text=text, message_id=message_id if isinstance(message_id, str) else None))

    def _note_call(self, call: JsonObject) -> ToolFacts | None:
        """None outside a turn: what comes after its end changes nothing."""
        identity = call.get("toolCallId")
        if self._state is not State.PROMPTING or not isinstance(identity, str):
            return None
        known = self._calls.get(identity)
        facts = facts_with(known, call, self._reading)
        if facts is not None:
            self._calls[identity] = facts
            self._events.append(ToolCallSeen(facts=facts, is_new=known is None))
        return facts

    def _on_permission(self, id: Id, params: JsonObject) -> None:
        is_ours = self._state is State.PROMPTING and self._is_of_session(params)
        if not is_ours or self._is_cancelling:
            self._peer.answer(id, CANCELLED)
            return
        facts = self._note_call(object_of(params.get("toolCall")))
        if facts is None:
            self._peer.refuse(id, INVALID_PARAMS, "toolCall.toolCallId is missing")
            return
        self._asked[id] = options_of(params)
        self._events.append(PermissionAsked(request_id=id, facts=facts, options=self._asked[id]))

    def _on_file(self, id: Id, method: str, params: JsonObject) -> None:
        path, content = params.get("path"), params.get("content")
        if self._state is not State.PROMPTING:
            self._peer.refuse(id, METHOD_NOT_FOUND, f"{method} is not offered")
        elif not isinstance(path, str):
            self._peer.refuse(id, INVALID_PARAMS, "path must be a string")
        elif method == "fs/read_text_file":
            line, limit = (count if type(count) is int else None for count in (params.get("line"), params.get("limit")))
            self._events.append(FileReadAsked(request_id=id, path=path, line=line, limit=limit))
        elif isinstance(content, str):
            self._events.append(FileWriteAsked(request_id=id, path=path, content=content))
        else:
            self._peer.refuse(id, INVALID_PARAMS, "content must be a string")

    # --- answers to our requests ---------------------------------------------------------------------------------

    def _on_initialized(self, answer: Answer) -> None:
        if isinstance(answer, ErrorResponse):
            self._fail(f"the agent refused initialize: {error_of(answer.error)}")
            return
        result = object_of(answer.result)
        version = result.get("protocolVersion")
        if version != PROTOCOL_VERSION or isinstance(version, bool):
            self._fail(f"the agent speaks version {version!r} of the protocol, omkd speaks {PROTOCOL_VERSION} only")
            return
        self._state = State.IDLE
        self._events.append(Initialized(agent=agent_of(result)))

    def _on_opening(self, event: AcpEvent) -> None:
        """What the session tells of itself."""
        match event:
            case ProtocolFault(why=why):
                self._fail(why)
                return
            case SessionRefused():
                self._state = State.IDLE
            case AgentReady() | ModeNotSet():
                self._state = State.READY
        self._events.append(event)

    def _on_session_closed(self, answer: Answer) -> None:
        self._state, self._session = State.IDLE, None
        error = error_of(answer.error) if isinstance(answer, ErrorResponse) else None
        self._events.append(SessionClosed(error=error))

    def _on_turn_end(self, answer: Answer) -> None:
        self._withdraw_all()
        self._state = State.READY
        if isinstance(answer, ErrorResponse):
            self._events.append(TurnEnded(stop_reason=None, error=error_of(answer.error)))
            return
        result = object_of(answer.result)
        if (usage := usage_of(result, self._new_cost())) is not None:
            self._events.append(usage)
        self._events.append(TurnEnded(stop_reason=text_of(result.get("stopReason")), error=None))

    def _new_cost(self) -> float | None:
        """What this turn cost: agents say the sum of the session."""
        if self._cost is None:
            return None
        new, self._counted_cost = max(0.0, self._cost - self._counted_cost), self._cost
        return new

    # --- helpers -------------------------------------------------------------------------------------------------

    def _expect(self, command: str) -> None:
        if self._state not in LEGAL[command]:
            raise AcpMisuse(f"{command} is not in order while {self._state.name}")

    def _decide(self, request_id: Id, result: Mapping[str, object]) -> bool:
        if self._asked.pop(request_id, None) is None:
            return False
        self._peer.answer(request_id, result)
        return True

    def _withdraw(self, request_id: object) -> None:
        if isinstance(request_id, str | int | float) and self._decide(request_id, CANCELLED):
            self._events.append(PermissionWithdrawn(request_id=request_id))

    def _withdraw_all(self) -> None:
        for request_id in list(self._asked):
            self._withdraw(request_id)

    def _fail(self, why: str) -> None:
        if self._state is not State.CLOSED:
            self._state, self._fault = State.CLOSED, why
            self._peer.forget_calls()
            self._asked.clear()
            self._events.append(ProtocolFault(why=why))
