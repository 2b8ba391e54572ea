"""Every recorded conversation with a real agent plays through the driver.

The transcripts of `kimi --wire` are not here: the Kimi wire protocol is another one (methods `prompt`, `event`,
`request`), and the program that spoke it is no longer made.
"""

from typing import Any

import pytest
from acp_replay import Replay, load, names

from omkd.protocol.records import Pattern, ResultStatus, Safe
from omkd.worker.acp import State
from omkd.worker.acp_agents import profile_of_agent
from omkd.worker.acp_events import (
    AgentReady,
    JunkLine,
    ModeNotSet,
    PermissionAsked,
    ProtocolFault,
    SessionRefused,
    ToolCallSeen,
    TurnEnded,
    Usage,
)
from omkd.worker.acp_outcome import Decided, Evidence, Ruling, status_of_turn
from omkd.worker.policy import Allow, Ask, judge_for, option_to_allow, option_to_reject

COMMAND = "echo hello-from-agent > hello.txt && cat hello.txt"
BLOCKING_COMMAND = "tail -f /w/mark4321"


def replayed(name: str, **settings: Any) -> Replay:
    return Replay(name, **settings).run()


def test_all_transcripts_are_here() -> None:
    assert len(names()) == 49


@pytest.mark.parametrize("name", names())
def test_every_line_of_the_agent_is_taken_without_a_fault(name: str) -> None:
    replay = replayed(name)
    assert replay.of(JunkLine, ProtocolFault, ModeNotSet) == []
    assert replay.client.state is not State.CLOSED


@pytest.mark.parametrize("name", names())
def test_each_turn_ends_as_recorded(name: str) -> None:
    replay = replayed(name)
    recorded = [
        (line.message.get("result", {}).get("stopReason"), line.message.get("error", {}).get("code"))
        for line in load(name)
        if line.from_agent and ("stopReason" in line.message.get("result", {}) or "error" in line.message)
    ]
    ends = [(end.stop_reason, end.error and end.error.code) for end in replay.of(TurnEnded)]
    refused = [(None, event.error.code) for event in replay.of(SessionRefused)]
    assert refused + ends == recorded


@pytest.mark.parametrize("name", names())
def test_each_request_is_answered_as_recorded_its_id_echoed(name: str) -> None:
    """But for terminals: the recorded client offered one in two of them, ours refuses."""
    replay = replayed(name)
    ours = {repr(line["id"]): line for line in replay.sent if "method" not in line}
    for line in load(name):
        if line.from_agent or "method" in line.message:
            continue
        answer = ours.pop(repr(line.message["id"]))
        if answer.get("error", {}).get("code") == -32601:
            assert "terminal/" in answer["error"]["message"]
        else:
            assert answer.get("error") == line.message.get("error")
            assert (answer.get("result") or {}).get("outcome") == (line.message.get("result") or {}).get("outcome")
    assert ours == {}


@pytest.mark.parametrize("name", [name for name in names() if "two-prompts" in name or "fs" in name or "vibe" in name])
@pytest.mark.parametrize("chunk_bytes", [1, 3])
def test_chunks_of_any_size_give_the_same_events(name: str, chunk_bytes: int) -> None:
    assert replayed(name, chunk_bytes=chunk_bytes).events == replayed(name).events


@pytest.mark.parametrize("name", names())
def test_what_a_person_is_asked_about_is_known(name: str) -> None:
    """Also where the request has nothing but the call's id (vibe), or only prose (Kimi Code)."""
    for event in replayed(name).of(PermissionAsked):
        assert event.facts.kind in {"execute", "edit", "other"}
        match event.facts.kind:
            case "execute":
                assert event.facts.command in (COMMAND, BLOCKING_COMMAND)
            case "edit":
                assert [path.rpartition("/")[2] for path in event.facts.paths] == ["notes.md"]
            case _:
                assert "omkd" in event.facts.title
        assert option_to_allow(event.options) is not None
        reject = option_to_reject(event.options)
        assert reject is not None
        assert reject.kind == "reject_once"
        if event.facts.command == COMMAND:
            pattern = judge_for(Pattern(patterns=["^echo .* cat hello.txt$"]), cwd="/w/w").verdict(event.facts)
            assert isinstance(pattern, Allow)
            assert isinstance(judge_for(Pattern(patterns=["^echo"]), cwd="/w/w").verdict(event.facts), Ask)
        assert isinstance(judge_for(Safe(), cwd="/w/w").verdict(event.facts), Ask)


@pytest.mark.parametrize("name", [name for name in names() if "reject_once" in name])
def test_a_turn_in_which_all_was_refused_has_failed_whatever_it_says(name: str) -> None:
    replay = replayed(name)
    decided = tuple(
        Decided(tool_call_id=asked.facts.tool_call_id, words="", ruling=Ruling.DENIED, why="")
        for asked in replay.of(PermissionAsked)
    )
    (end,) = replay.of(TurnEnded)
    evidence = Evidence(stop_reason=end.stop_reason, decided=decided, calls=replay.client.calls, said="Done")
    assert status_of_turn(evidence) is ResultStatus.FAILED


@pytest.mark.parametrize("name", [name for name in names() if name.endswith("-allow_once") and "zed" not in name])
def test_a_turn_in_which_all_was_allowed_counts_by_what_its_calls_came_to(name: str) -> None:
    replay = replayed(name)
    (end,) = replay.of(TurnEnded)
    evidence = Evidence(stop_reason=end.stop_reason, calls=replay.client.calls, said="Done")
    last = replay.client.calls[-1].status
    assert last is not None
    assert (status_of_turn(evidence) is ResultStatus.SUCCESS) == (last.value == "completed")


def test_a_call_that_never_finished_is_no_success() -> None:
    replay = replayed("zed-codex-acp-0.16.0-allow_once")
    evidence = Evidence(stop_reason="end_turn", calls=replay.client.calls, said="Done: created hello.txt.")
    assert status_of_turn(evidence) is ResultStatus.FAILED


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("codex-acp-2.6.0-read-only-allow_once", "read-only"),
        ("codex-acp-2.6.0-workspace-write-hang", "workspace-write"),
        ("kimi-code-2.1.0-acp-mode-yolo", "yolo"),
    ],
)
def test_a_mode_is_set_and_read_back(name: str, mode: str) -> None:
    (ready,) = replayed(name, mode=mode).of(AgentReady)
    assert ready.mode == mode


@pytest.mark.parametrize("name", names())
def test_the_profile_of_every_recorded_agent_is_known(name: str) -> None:
    """All but the last kimi-cli, which is no longer made and has its successor's name."""
    agent = replayed(name).agent
    assert (profile_of_agent(agent) is None) == (agent.version == "1.51.0")


def test_usage_is_told_once_a_turn_and_cost_as_what_is_new() -> None:
    (usage,) = replayed("claude-agent-acp-0.100.0-allow_once").of(Usage)
    assert usage == Usage(tokens_in=30, tokens_out=15, usd=pytest.approx(0.00056))
    (usage,) = replayed("gemini-0.61.0-acp-allow_once").of(Usage)
    assert usage == Usage(tokens_in=30, tokens_out=15, usd=None)


def test_updates_after_the_end_of_a_turn_change_nothing() -> None:
    replay = replayed("kimi-code-2.1.0-acp-two-prompts")
    first_end = replay.events.index(replay.of(TurnEnded)[0])
    assert [event for event in replay.events[first_end:] if isinstance(event, ToolCallSeen)] == []
    assert len(replay.of(TurnEnded)) == 2
