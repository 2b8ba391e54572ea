"""The table of known agents: who is who, how each is made to ask, and which policies are refused."""

import json

import pytest

from omkd.protocol.records import ApprovalPolicy, Never, Pattern, Safe, Yolo
from omkd.worker.acp_agents import (
    KNOWN,
    AcpSettings,
    CannotAsk,
    Profile,
    command_fault,
    profile_of_agent,
    profile_of_command,
    readback_command,
    readback_fault,
    reading_of,
    session_plan,
)
from omkd.worker.acp_events import AgentInfo

ASKING = [Never(), Safe(), Pattern(patterns=["^ls$"])]


def info(profile: Profile, version: str = "9.9") -> AgentInfo:
    return AgentInfo(name=profile.agent_name, version=version)


@pytest.mark.parametrize("profile", KNOWN, ids=lambda profile: profile.name)
@pytest.mark.parametrize("policy", [*ASKING, Yolo()], ids=lambda policy: policy.TAG)
def test_a_policy_that_asks_is_refused_for_an_agent_that_cannot_be_made_to(
    profile: Profile, policy: ApprovalPolicy
) -> None:
    can_ask = profile.asks_in is not None or bool(profile.readback)
    if can_ask or isinstance(policy, Yolo):
        assert session_plan(info(profile), policy, AcpSettings(), "/p").mode == profile.asks_in
    else:
        with pytest.raises(CannotAsk, match="cannot be made to ask, so the policy cannot hold"):
            session_plan(info(profile), policy, AcpSettings(), "/p")


def test_a_person_can_say_that_an_unknown_agent_asks_and_in_which_mode() -> None:
    unknown = AgentInfo(name="new", version="1")
    assert session_plan(unknown, Never(), AcpSettings(asks_anyway=True), "/p").mode is None
    assert session_plan(unknown, Never(), AcpSettings(asks_in="careful"), "/p").mode == "careful"


def test_what_a_person_says_wins_over_the_table() -> None:
    codex = profile_of_command(["codex-acp"])
    assert codex is not None
    assert session_plan(info(codex), Never(), AcpSettings(asks_in="workspace-write"), "/p").mode == "workspace-write"


@pytest.mark.parametrize("profile", KNOWN, ids=lambda profile: profile.name)
def test_an_agent_is_known_by_what_it_answers(profile: Profile) -> None:
    assert profile_of_agent(info(profile)) == profile
    assert profile_of_agent(AgentInfo(name=profile.agent_name + "x", version="9.9")) is None


def test_the_last_kimi_cli_is_not_taken_for_its_successor() -> None:
    assert profile_of_agent(AgentInfo(name="Kimi Code CLI", version="1.51.0")) is None
    assert profile_of_agent(AgentInfo(name="Kimi Code CLI", version="2.1.0")) is not None


def test_how_messages_are_read_depends_on_the_agent() -> None:
    assert reading_of(AgentInfo(name="gemini-cli", version="1"), "/p").title_is_command
    assert reading_of(AgentInfo(name="Kimi Code CLI", version="2"), "/p").arguments_in_text
    unknown = reading_of(AgentInfo(), "/p")
    assert not unknown.title_is_command
    assert not unknown.arguments_in_text


@pytest.mark.parametrize(
    ("argv", "name"),
    [
        (["kimi", "acp"], "Kimi Code"),
        (["/opt/bin/kimi", "acp"], "Kimi Code"),
        (["npx", "-y", "@moonshot-ai/kimi-code@2.1.0", "acp"], "Kimi Code"),
        (["npx", "opencode-ai@1.18", "acp"], "opencode"),
        (["node", "/x/node_modules/.bin/gemini", "--acp"], "Gemini CLI"),
        (["claude-agent-acp"], "Claude agent"),
        (["sh", "-c", "true"], None),
        ([], None),
    ],
)
def test_an_agent_is_known_by_its_command(argv: list[str], name: str | None) -> None:
    profile = profile_of_command(argv)
    assert (profile.name if profile else None) == name


def test_what_is_read_back_is_the_same_command_with_other_arguments() -> None:
    argv = ["npx", "opencode-ai", "acp", "--print-logs"]
    opencode = profile_of_command(argv)
    assert opencode is not None
    assert readback_command(opencode, argv) == ["npx", "opencode-ai", "debug", "config"]
    assert readback_command(opencode, ["other"]) is None
    kimi = profile_of_command(["kimi", "acp"])
    assert kimi is not None
    assert readback_command(kimi, ["kimi", "acp"]) is None


@pytest.mark.parametrize(
    ("config", "fault"),
    [
        ({"permission": {"*": "ask", "bash": "ask"}}, None),
        ({"permission": {"*": "ask", "read": "allow", "bash": {"git *": "deny"}}}, None),
        ({"permission": {"bash": {"git *": "allow"}}}, "its configuration allows permission.bash.git * beforehand"),
        (
            {"permission": {"*": "ask"}, "agent": {"build": {"permission": {"edit": "allow"}}}},
            "its configuration allows agent.build.permission.edit beforehand",
        ),
        ({"permission": {}}, "its configuration has no permissions: it would not ask"),
        ({"permission": "allow"}, "its configuration has no permissions: it would not ask"),
        ([], "its configuration has no permissions: it would not ask"),
    ],
)
def test_a_configuration_that_grants_beforehand_is_found(config: object, fault: str | None) -> None:
    assert readback_fault(json.dumps(config).encode()) == fault


def test_a_configuration_that_is_not_printed_as_json_is_not_believed() -> None:
    assert readback_fault(b"Error: no config") == "it does not print its configuration as JSON"


@pytest.mark.parametrize(
    ("argv", "words"),
    [(["kimi"], "installs software"), (["/usr/bin/kimi"], "installs software"), (["kimi", "--wire"], "use Kimi Code")],
)
def test_a_command_that_does_not_speak_acp_is_refused_before_it_is_run(argv: list[str], words: str) -> None:
    assert words in (command_fault(argv) or "")


def test_a_command_that_may_speak_acp_is_not() -> None:
    assert command_fault(["kimi", "acp"]) is None
    assert command_fault(["my-agent"]) is None
