"""A session of an agent: opened, its mode set and read back. Without I/O.

A configuration option comes first: its answer says what the mode is now. session/set_mode answers nothing, so an update
must say it. That an agent agreed to a mode proves nothing.
"""

from collections.abc import Callable

from attrs import evolve

from omkd.protocol.jsonrpc import ErrorResponse

from .acp_events import (
    AcpEvent,
    AgentReady,
    ModeChanged,
    ModeNotSet,
    ModeUnconfirmed,
    ProtocolFault,
    SessionPlan,
    SessionRefused,
)
from .acp_facts import object_of
from .acp_peer import Answer, Peer
from .acp_reading import Modes, error_of, mode_value, modes_of


class Session:
    """`tell` takes how the opening ends (AgentReady, ModeNotSet, SessionRefused or ProtocolFault), then ModeChanged."""

    def __init__(self, peer: Peer, plan: SessionPlan, tell: Callable[[AcpEvent], None]) -> None:
        self._peer = peer
        self._plan = plan
        self._tell = tell
        self._modes = Modes()
        self._id: str | None = None
        self._is_open = False
        meta = {"_meta": dict(plan.meta)} if plan.meta else {}
        peer.call("session/new", {"cwd": plan.cwd, "mcpServers": [], **meta}, self._on_session)

    @property
    def id(self) -> str | None:
        """None until the agent gave one."""
        return self._id

    @property
    def mode(self) -> str | None:
        """As the agent said it last; None if it has none."""
        return self._modes.current

    @property
    def waiting_for(self) -> str:
        return "its answer to session/new" if self._id is None else "the session's mode to be set and confirmed"

    def note_mode(self, mode: str | None) -> None:
        """What an update says the mode is now."""
        if mode is None:
            return
        before, self._modes = self._modes.current, evolve(self._modes, current=mode)
        if self._is_open and mode != before:
            self._tell(ModeChanged(mode=mode))
        elif mode == self._plan.mode:
            self._ready()

    def give_up_mode(self) -> None:
        """No update is waited for any more."""
        self._ready("it agreed, but does not say that it is in it now")

    def _on_session(self, answer: Answer) -> None:
        if isinstance(answer, ErrorResponse):
            self._tell(SessionRefused(error=error_of(answer.error)))
            return
        result = object_of(answer.result)
        session_id = result.get("sessionId")
        if not isinstance(session_id, str):
            self._tell(ProtocolFault(why="the agent's answer to session/new has no sessionId"))
            return
        self._id, self._modes = session_id, modes_of(result)
        self._set_mode()

    def _set_mode(self, *, by_option: bool = True) -> None:
        wanted, modes = self._plan.mode, self._modes
        if wanted is None or modes.current == wanted:
            self._ready()
        elif by_option and wanted in modes.option_values:
            params = {"sessionId": self._id, "configId": modes.option_id, "value": wanted}
            self._peer.call("session/set_config_option", params, self._on_option_set)
        elif wanted in modes.listed:
            self._peer.call("session/set_mode", {"sessionId": self._id, "modeId": wanted}, self._on_mode_set)
        else:
            self._ready(f"it has no such mode (it has: {', '.join(modes.all) or 'none'})")

    def _on_option_set(self, answer: Answer) -> None:
        """Without success the other way is tried. An update may have said it before."""
        if not isinstance(answer, ErrorResponse):
            self.note_mode(mode_value(object_of(answer.result)))
        if not self._is_open:
            self._set_mode(by_option=False)

    def _on_mode_set(self, answer: Answer) -> None:
        if self._is_open:
            return
        if isinstance(answer, ErrorResponse):
            self._ready(f"the agent refused it: {error_of(answer.error)}")
        else:
            self._tell(ModeUnconfirmed(wanted=self._plan.mode or ""))

    def _ready(self, fault: str = "") -> None:
        if self._is_open:
            return
        self._is_open = True
        if fault:
            self._tell(ModeNotSet(wanted=self._plan.mode or "", mode=self._modes.current, why=fault))
        else:
            self._tell(AgentReady(session_id=self._id or "", mode=self._modes.current))
