"""The ACP driver, line by line: what it writes, what it tells, and that no bytes of an agent make it raise."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omkd.worker.acp import LEGAL, AcpClient, AcpMisuse, State
from omkd.worker.acp_events import (
    AcpEvent,
    AgentError,
    AgentInfo,
    AgentReady,
    AgentText,
    Initialized,
    JunkLine,
    ModeChanged,
    ModeNotSet,
    ModeUnconfirmed,
    PermissionAsked,
    PermissionWithdrawn,
    Progress,
    ProtocolFault,
    SessionClosed,
    SessionPlan,
    SessionRefused,
    TurnEnded,
)
from omkd.worker.acp_facts import Option, Reading
from omkd.worker.acp_peer import LINE_BYTES

YES = Option(id="y", name="Yes", kind="allow_once")
NO = Option(id="n", name="No", kind="reject_once")
OPTIONS = [{"optionId": option.id, "name": option.name, "kind": option.kind} for option in (YES, NO)]
UUID = "3016f154-0263-4082-9a06-c962674c0348"


class Bench:
    """A driver and what it wrote."""

    def __init__(self) -> None:
        self.client = AcpClient()

    def feed(self, **message: Any) -> list[AcpEvent]:
        return self.feed_line(json.dumps({"jsonrpc": "2.0", **message}).encode())

    def feed_line(self, line: bytes) -> list[AcpEvent]:
        self.client.receive_data(line + b"\n")
        return self.events()

    def events(self) -> list[AcpEvent]:
        found = []
        while (event := self.client.next_event()) is not None:
            found.append(event)
        return found

    def sent(self) -> list[Any]:
        return [json.loads(line) for line in self.client.data_to_send().splitlines()]

    def update(self, kind: str, session: str = "s1", **fields: Any) -> list[AcpEvent]:
        return self.feed(
            method="session/update", params={"sessionId": session, "update": {"sessionUpdate": kind, **fields}}
        )

    def ask(self, id: Any, session: str = "s1", **call: Any) -> list[AcpEvent]:
        params = {"sessionId": session, "toolCall": {"toolCallId": "c1", **call}, "options": OPTIONS}
        return self.feed(id=id, method="session/request_permission", params=params)

    def initialized(self) -> "Bench":
        self.client.start()
        self.feed(id=1, result={"protocolVersion": 1})
        return self

    def opening(self, mode: str | None = None, **result: Any) -> list[AcpEvent]:
        self.initialized()
        self.client.open_session(SessionPlan(cwd="/p", mode=mode), Reading(cwd="/p"))
        self.sent()
        return self.feed(id=2, result={"sessionId": "s1", **result})

    def prompted(self) -> "Bench":
        self.opening()
        self.client.prompt("do it")
        self.sent()
        return self


# --- initialize --------------------------------------------------------------------------------------------------


def test_version_1_is_offered_and_neither_files_nor_terminals() -> None:
    bench = Bench()
    bench.client.start()
    (sent,) = bench.sent()
    assert sent["method"] == "initialize"
    assert sent["params"]["protocolVersion"] == 1
    assert sent["params"]["clientCapabilities"] == {
        "fs": {"readTextFile": False, "writeTextFile": False},
        "terminal": False,
    }
    info = {"name": "kimi", "version": "2"}
    events = bench.feed(id=1, result={"protocolVersion": 1, "agentInfo": info})
    assert events == [Initialized(agent=AgentInfo(name="kimi", version="2"))]


@pytest.mark.parametrize("version", [0, 2, "1", True, None, [1]])
def test_any_other_version_is_refused(version: object) -> None:
    bench = Bench()
    bench.client.start()
    (fault,) = bench.feed(id=1, result={"protocolVersion": version})
    assert isinstance(fault, ProtocolFault)
    assert bench.client.state is State.CLOSED


def test_an_error_for_initialize_is_the_end() -> None:
    bench = Bench()
    bench.client.start()
    assert bench.feed(id=1, error={"code": -32603, "message": "no"}) == [
        ProtocolFault(why="the agent refused initialize: no (error -32603)")
    ]


def test_an_end_before_the_answer_names_what_was_said_and_the_stub() -> None:
    bench = Bench()
    bench.client.start()
    assert isinstance(bench.feed_line(b"kimi-cli has moved")[0], JunkLine)
    bench.client.receive_eof()
    (fault,) = bench.events()
    assert isinstance(fault, ProtocolFault)
    assert "kimi-cli has moved" in fault.why
    assert "use `kimi acp`" in fault.why
    assert bench.client.fault == fault.why


# --- the session and its mode ------------------------------------------------------------------------------------

CONFIG = {"id": "mode", "category": "mode", "currentValue": "free", "options": [{"value": "free"}, {"value": "ask"}]}
MODES = {"currentModeId": "free", "availableModes": [{"id": "free"}, {"id": "ask"}]}


def options(mode: str) -> dict[str, Any]:
    return {"configOptions": [{**CONFIG, "currentValue": mode}]}


def test_a_session_in_the_right_mode_is_ready_at_once() -> None:
    assert Bench().opening("free", modes=MODES) == [AgentReady(session_id="s1", mode="free")]


def test_a_mode_is_set_by_the_option_whose_answer_says_what_it_is() -> None:
    bench = Bench()
    assert bench.opening("ask", modes=MODES, configOptions=[CONFIG]) == []
    (sent,) = bench.sent()
    assert (sent["method"], sent["params"]["configId"], sent["params"]["value"]) == (
        "session/set_config_option",
        "mode",
        "ask",
    )
    assert bench.feed(id=3, result=options("ask")) == [AgentReady(session_id="s1", mode="ask")]


@pytest.mark.parametrize("answer", [{"error": {"code": -32601, "message": "no"}}, {"result": options("free")}])
def test_without_success_by_the_option_the_mode_is_set_by_its_own_method(answer: dict[str, Any]) -> None:
    bench = Bench()
    bench.opening("ask", modes=MODES, configOptions=[CONFIG])
    bench.sent()
    assert bench.feed(id=3, **answer) == []
    assert [sent["method"] for sent in bench.sent()] == ["session/set_mode"]
    assert bench.feed(id=4, result={}) == [ModeUnconfirmed(wanted="ask")]
    assert bench.update("current_mode_update", currentModeId="ask") == [AgentReady(session_id="s1", mode="ask")]


def test_a_mode_that_no_update_confirms_is_not_set() -> None:
    bench = Bench()
    bench.opening("ask", modes=MODES)
    bench.feed(id=3, result={})
    bench.client.give_up_mode()
    (event,) = bench.events()
    assert isinstance(event, ModeNotSet)
    assert (event.wanted, event.mode) == ("ask", "free")
    assert bench.client.state is State.READY
    bench.client.give_up_mode()
    assert bench.events() == []


def test_an_update_of_another_session_confirms_nothing() -> None:
    bench = Bench()
    bench.opening("ask", modes=MODES)
    assert bench.update("current_mode_update", session="s0", currentModeId="ask") == []


def test_a_mode_that_changes_by_itself_is_told() -> None:
    bench = Bench().prompted()
    assert bench.update("current_mode_update", currentModeId="free") == [ModeChanged(mode="free")]
    assert bench.update("config_option_update", **options("free")) == []
    assert bench.update("config_option_update", **options("ask")) == [ModeChanged(mode="ask")]


def test_a_refused_session_can_be_asked_for_again() -> None:
    bench = Bench().initialized()
    bench.client.open_session(SessionPlan(cwd="/p", meta={"x": 1}), Reading(cwd="/p"))
    assert bench.sent()[-1]["params"] == {"cwd": "/p", "mcpServers": [], "_meta": {"x": 1}}
    (event,) = bench.feed(id=2, error={"code": -32000, "message": "Authentication required"})
    assert isinstance(event, SessionRefused)
    assert bench.client.state is State.IDLE


def test_an_answer_without_a_session_is_a_fault() -> None:
    (event,) = Bench().opening(sessionId=None)
    assert event == ProtocolFault(why="the agent's answer to session/new has no sessionId")


# --- permissions -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("id", [0, UUID, -1, "", 2.5])
def test_the_id_of_a_request_is_echoed_as_it_came(id: Any) -> None:
    bench = Bench().prompted()
    *_, asked = bench.ask(id, kind="execute")
    assert isinstance(asked, PermissionAsked)
    assert asked.options == (YES, NO)
    assert bench.client.allow(asked.request_id, YES)
    (sent,) = bench.sent()
    assert sent == {"jsonrpc": "2.0", "id": id, "result": {"outcome": {"outcome": "selected", "optionId": "y"}}}
    assert type(sent["id"]) is type(id)
    assert not bench.client.allow(asked.request_id, YES)
    assert bench.sent() == []


def test_a_refusal_has_its_reason_beside_it() -> None:
    bench = Bench().prompted()
    bench.ask(0)
    assert bench.client.reject(0, NO, "too late")
    (sent,) = bench.sent()
    assert sent["result"]["_meta"] == {"omkd": {"reason": "too late"}}


def test_a_cancel_answers_what_waits_and_whatever_is_asked_after_it() -> None:
    bench = Bench().prompted()
    bench.ask(0)
    bench.client.cancel()
    assert bench.events() == [PermissionWithdrawn(request_id=0)]
    assert bench.ask(1) == []
    bench.client.cancel()
    sent = bench.sent()
    assert sent[0]["method"] == "session/cancel"
    assert [(line["id"], line["result"]) for line in sent[1:]] == [
        (id, {"outcome": {"outcome": "cancelled"}}) for id in (0, 1)
    ]
    assert bench.feed(id=3, result={"stopReason": "cancelled"}) == [TurnEnded(stop_reason="cancelled", error=None)]


def test_the_end_of_a_turn_withdraws_what_waits() -> None:
    bench = Bench().prompted()
    bench.ask(0)
    events = bench.feed(id=3, result={"stopReason": "end_turn"})
    assert events == [PermissionWithdrawn(request_id=0), TurnEnded(stop_reason="end_turn", error=None)]
    assert not bench.client.allow(0, YES)


def test_a_request_outside_a_turn_or_of_another_session_is_cancelled() -> None:
    bench = Bench()
    bench.opening()
    assert bench.ask(0) == []
    bench.client.prompt("do it")
    assert bench.ask(1, session="s0") == []
    outcomes = [line["result"]["outcome"]["outcome"] for line in bench.sent() if "result" in line]
    assert outcomes == ["cancelled", "cancelled"]


def test_files_are_there_during_a_turn_only() -> None:
    bench = Bench()
    bench.opening()
    assert bench.feed(id=0, method="fs/read_text_file", params={"path": "/p/a"}) == []
    assert bench.sent()[-1]["error"]["code"] == -32601


def test_what_is_asked_wrongly_is_refused() -> None:
    bench = Bench().prompted()
    bench.feed(id=0, method="session/request_permission", params={"sessionId": "s1"})
    bench.feed(id=1, method="fs/read_text_file", params={"path": 5})
    bench.feed(id=2, method="fs/write_text_file", params={"path": "/x"})
    bench.feed(id=3, method="craft/drainMidTurnQueue")
    bench.feed(id=4, method="fs/read_text_file", params=None)
    assert [line["error"]["code"] for line in bench.sent()] == [-32602, -32602, -32602, -32601, -32600]


# --- updates, junk, ends -----------------------------------------------------------------------------------------


def test_unknown_updates_and_notifications_are_ignored() -> None:
    bench = Bench().prompted()
    assert bench.update("notice", text="x") == []
    assert bench.update("agent_message_chunk", content={"type": "image"}) == []
    assert bench.feed(method="_auth/status_update", params={"authStatus": {}}) == []
    assert bench.feed(method="session/update", params=[1]) == []
    assert bench.feed(method="$/cancel_request", params={"requestId": 7}) == []
    assert bench.feed(id=99, result={}) == []
    assert bench.sent() == []


def test_the_plan_is_progress() -> None:
    bench = Bench().prompted()
    entries = [{"content": "a", "status": "completed"}, {"content": "b", "status": "in_progress"}]
    assert bench.update("plan", entries=entries) == [Progress(text="b", percent=50.0)]
    assert bench.update("plan", entries=entries[:1]) == [Progress(text="a", percent=100.0)]
    assert bench.update("plan", entries=[]) == []


def test_a_character_that_was_cut_in_two_costs_that_character_only() -> None:
    bench = Bench().prompted()
    line = json.dumps({"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": "a\ud83d"}})
    message = '{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"s1","update":' + line + "}}"
    assert bench.feed_line(message.encode()) == [AgentText(text="a\ufffd", message_id=None)]


def test_a_batch_comes_apart() -> None:
    bench = Bench().prompted()
    calls = [{"jsonrpc": "2.0", "id": id, "method": "x"} for id in (1, 2)]
    bench.feed_line(json.dumps(calls).encode())
    assert [line["id"] for line in bench.sent()] == [1, 2]


def test_an_error_ends_the_turn_with_its_details() -> None:
    bench = Bench().prompted()
    error = {"code": -32603, "message": "Internal error", "data": {"details": "401 invalid api key"}}
    (end,) = bench.feed(id=3, error=error)
    assert isinstance(end, TurnEnded)
    assert str(end.error) == "Internal error: 401 invalid api key (error -32603)"
    bench.client.prompt("again")


def test_a_line_over_the_limit_is_the_end() -> None:
    bench = Bench().prompted()
    bench.client.receive_data(b"x" * (LINE_BYTES + 1))
    (fault,) = bench.events()
    assert isinstance(fault, ProtocolFault)
    assert bench.feed(id=3, result={"stopReason": "end_turn"}) == []


def test_after_the_end_nothing_is_told() -> None:
    bench = Bench().prompted()
    bench.client.receive_eof()
    assert bench.events() == [ProtocolFault(why="the agent ended while we waited for the end of its turn")]
    assert bench.ask(0) == []
    bench.client.receive_eof()
    assert bench.events() == []


# --- the end of a session ----------------------------------------------------------------------------------------


def test_that_it_takes_session_close_stands_in_its_capabilities() -> None:
    bench = Bench()
    bench.client.start()
    capabilities = {"sessionCapabilities": {"close": {}, "list": {}}}
    (event,) = bench.feed(id=1, result={"protocolVersion": 1, "agentCapabilities": capabilities})
    assert event == Initialized(agent=AgentInfo(closes=True))


def test_a_session_that_is_closed_makes_room_for_another() -> None:
    bench = Bench()
    bench.opening()
    bench.client.close_session()
    (sent,) = bench.sent()
    assert (sent["method"], sent["params"]) == ("session/close", {"sessionId": "s1"})
    assert bench.feed(id=3, result={}) == [SessionClosed()]
    assert bench.client.session_id is None
    assert bench.update("agent_message_chunk", content={"type": "text", "text": "late"}) == []
    bench.client.open_session(SessionPlan(cwd="/p"), Reading(cwd="/p"))


def test_a_session_that_the_agent_does_not_close_is_said_as_that() -> None:
    bench = Bench()
    bench.opening()
    bench.client.close_session()
    (event,) = bench.feed(id=3, error={"code": -32601, "message": "what?"})
    assert event == SessionClosed(error=AgentError(code=-32601, message="what?"))


# --- commands ----------------------------------------------------------------------------------------------------


def benches() -> dict[State, Bench]:
    found = {State.NEW: Bench(), State.IDLE: Bench().initialized(), State.PROMPTING: Bench().prompted()}
    found[State.INITIALIZING] = Bench()
    found[State.INITIALIZING].client.start()
    found[State.OPENING] = Bench().initialized()
    found[State.OPENING].client.open_session(SessionPlan(cwd="/p"), Reading(cwd="/p"))
    found[State.READY] = Bench()
    found[State.READY].opening()
    found[State.CLOSING] = Bench()
    found[State.CLOSING].opening()
    found[State.CLOSING].client.close_session()
    found[State.CLOSED] = Bench()
    found[State.CLOSED].client.receive_eof()
    return found


@pytest.mark.parametrize("state", list(State))
@pytest.mark.parametrize("command", sorted(LEGAL))
def test_a_command_is_in_order_as_the_table_says(state: State, command: str) -> None:
    client = benches()[state].client
    assert client.state is state
    arguments: dict[str, tuple[object, ...]] = {
        "start": (),
        "open_session": (SessionPlan(cwd="/p"), Reading(cwd="/p")),
        "prompt": ("do it",),
        "close_session": (),
    }
    if state in LEGAL[command]:
        getattr(client, command)(*arguments[command])
    else:
        with pytest.raises(AcpMisuse, match=f"{command} is not in order while {state.name}"):
            getattr(client, command)(*arguments[command])


@pytest.mark.parametrize("state", list(State))
def test_cancel_and_answers_are_always_in_order(state: State) -> None:
    client = benches()[state].client
    client.cancel()
    assert not client.allow(0, YES)
    assert not client.reject(0, None, "")


# --- whatever an agent writes ------------------------------------------------------------------------------------

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
)
METHODS = ["session/update", "session/request_permission", "fs/read_text_file", "$/cancel_request", "initialize"]
UPDATES = ["tool_call", "tool_call_update", "plan", "usage_update", "agent_message_chunk", "config_option_update"]
updates = st.fixed_dictionaries(
    {"sessionUpdate": st.sampled_from(UPDATES)},
    optional={
        "toolCallId": st.just("c1"),
        **dict.fromkeys(("content", "entries", "cost", "configOptions", "locations", "rawInput", "kind"), values),
    },
)
params = st.fixed_dictionaries(
    {"sessionId": st.sampled_from(["s1", "s2"])},
    optional={"update": updates | values, "toolCall": values, "options": values, "requestId": values, "path": values},
)
messages = st.fixed_dictionaries(
    {"jsonrpc": st.just("2.0")},
    optional={
        "id": st.sampled_from([0, 1, 2, 3, UUID]) | values,
        "method": st.sampled_from(METHODS) | values,
        "params": params | values,
        "result": values | st.fixed_dictionaries({"stopReason": values, "usage": values, "_meta": values}),
        "error": values | st.fixed_dictionaries({"code": st.integers(), "message": st.text(), "data": values}),
    },
)


@given(st.sampled_from([*State, "setting the mode"]), st.lists(messages | values, max_size=5), st.binary(max_size=40))
def test_no_bytes_of_an_agent_make_it_raise(state: State | str, lines: list[object], junk: bytes) -> None:
    bench = benches()[state] if isinstance(state, State) else Bench()
    if not isinstance(state, State):
        bench.opening("ask", modes=MODES, configOptions=[CONFIG])
    for line in lines:
        bench.feed_line(json.dumps(line).encode())
        for answer in bench.sent():
            assert answer["jsonrpc"] == "2.0"
    bench.feed_line(junk)
    bench.client.receive_eof()
