"""The agents that are known, and what each needs so that it asks before it acts. A table; no I/O.

Some agents decide by themselves unless told otherwise. All policies use the mode that asks: `yolo` allows each request,
so that each is logged. A policy that asks is refused where the mode cannot be set and read back. Versions change what
agents do: `docs/acp.md` says with which each row was run.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from typing import Final

from attrs import Factory, frozen

from omkd.protocol.records import ApprovalPolicy, Yolo

from .acp_events import AgentInfo, SessionPlan
from .acp_facts import Reading, object_of

OPENCODE_ASK: Final = dict.fromkeys(("*", "bash", "edit", "webfetch", "external_directory", "doom_loop"), "ask")
HARMLESS: Final = frozenset({"read", "glob", "grep", "list", "todoread", "todowrite"})
"""opencode's tools that change no file: granting them beforehand is what other agents do unasked."""


@frozen(kw_only=True)
class Profile:
    """One agent. Its command tells it before it is started, its `agentInfo.name` afterwards.

    `asks_in` is the mode that asks. `env` is added to its environment; where that makes it ask, `readback`, arguments
    of the command, prints what came of it. With neither it cannot be made to ask, and `why_not` says more.
    """

    name: str
    commands: tuple[str, ...]
    agent_name: str
    asks_in: str | None = None
    readback: tuple[str, ...] = ()
    why_not: str = ""
    env: Mapping[str, str] = Factory(dict)
    meta: Mapping[str, object] = Factory(dict)
    arguments_in_text: bool = False
    title_is_command: bool = False
    not_versions: tuple[str, ...] = ()


@frozen(kw_only=True)
class AcpSettings:
    """What a person says of an agent that is not known: the mode in which it asks, or that it asks in any."""

    asks_in: str | None = None
    asks_anyway: bool = False


class CannotAsk(ValueError):
    """The policy needs an agent that asks, and this one cannot be made to; the text says what can be done."""


KNOWN: Final = (
    Profile(
        name="Kimi Code",
        commands=("kimi", "kimi-code"),
        agent_name="Kimi Code CLI",
        asks_in="default",
        arguments_in_text=True,
        env={"KIMI_CODE_NO_AUTO_UPDATE": "1"},
        not_versions=("0.", "1."),
    ),
    Profile(
        name="Claude agent",
        commands=("claude-agent-acp",),
        agent_name="@agentclientprotocol/claude-agent-acp",
        asks_in="default",
        meta={"claudeCode": {"options": {"allowDangerouslySkipPermissions": False}}},
    ),
    Profile(
        name="Codex",
        commands=("codex-acp",),
        agent_name="@agentclientprotocol/codex-acp",
        asks_in="read-only",
    ),
    Profile(
        name="Gemini CLI",
        commands=("gemini", "gemini-cli"),
        agent_name="gemini-cli",
        asks_in="default",
        title_is_command=True,
    ),
    Profile(
        name="opencode",
        commands=("opencode", "opencode-ai"),
        agent_name="OpenCode",
        readback=("debug", "config"),
        env={"OPENCODE_PERMISSION": json.dumps(OPENCODE_ASK)},
    ),
    Profile(
        name="Qwen Code",
        commands=("qwen", "qwen-code"),
        agent_name="qwen-code",
        asks_in="default",
    ),
    Profile(
        name="Mistral Vibe",
        commands=("vibe-acp",),
        agent_name="@mistralai/mistral-vibe",
        asks_in="ask",
    ),
    Profile(
        name="fast-agent",
        commands=("fast-agent-acp",),
        agent_name="fast-agent-acp",
        why_not="it runs its shell unasked unless the client offers a terminal, which omkd does not",
    ),
    Profile(
        name="codex-acp of Zed",
        commands=("codex-acp",),
        agent_name="codex-acp",
        why_not="whether it asks stands in its own config.toml and cannot be read back; use @agentclientprotocol's",
    ),
)


def profile_of_agent(agent: AgentInfo) -> Profile | None:
    """By what it answered to initialize. kimi-cli 1.51 and Kimi Code 2 have one name."""
    for profile in KNOWN:
        if agent.name == profile.agent_name and not agent.version.startswith(profile.not_versions or ("-",)):
            return profile
    return None


def profile_of_command(argv: Sequence[str]) -> Profile | None:
    """By a word of the command: `kimi acp`, `npx opencode-ai@1.18 acp`, `node /opt/x/bin/kimi acp`."""
    return next((profile for profile in KNOWN for word in argv if is_command_of(profile, word)), None)


def readback_command(profile: Profile, argv: Sequence[str]) -> list[str] | None:
    """The command that prints what the agent's configuration comes to; None where nothing is to be read back."""
    if not profile.readback:
        return None
    end = next((index for index, word in enumerate(argv) if is_command_of(profile, word)), None)
    return None if end is None else [*argv[: end + 1], *profile.readback]


def is_command_of(profile: Profile, word: str) -> bool:
    return PurePath(word).name.partition("@")[0] in profile.commands


def command_fault(argv: Sequence[str]) -> str | None:
    """What is wrong with a command that is to speak ACP, as far as one sees without running it."""
    words = [PurePath(word).name for word in argv]
    if words == ["kimi"]:
        return "`kimi` alone installs software: the ACP agent is `kimi acp`"
    if "--wire" in words:
        return "`--wire` is the protocol of kimi-cli, which is no longer made: use Kimi Code, `kimi acp`"
    return None


def session_plan(agent: AgentInfo, policy: ApprovalPolicy, settings: AcpSettings, cwd: str) -> SessionPlan:
    """How to open its session so that the policy holds. Raises CannotAsk."""
    profile = profile_of_agent(agent)
    mode = settings.asks_in or (profile.asks_in if profile else None)
    asks = mode is not None or settings.asks_anyway or bool(profile and profile.readback)
    if not asks and not isinstance(policy, Yolo):
        why = profile.why_not if profile else "it is not known to omkd"
        raise CannotAsk(
            f"{agent} cannot be made to ask, so the policy cannot hold: {why}. "
            "Use the policy yolo, or, if you know that it asks, say so with `--acp-asks` or `--acp-mode MODE`"
        )
    return SessionPlan(cwd=cwd, mode=mode, meta=profile.meta if profile else {})


def reading_of(agent: AgentInfo, cwd: str) -> Reading:
    profile = profile_of_agent(agent)
    if profile is None:
        return Reading(cwd=cwd)
    return Reading(cwd=cwd, arguments_in_text=profile.arguments_in_text, title_is_command=profile.title_is_command)


def readback_fault(printed: bytes) -> str | None:
    """Of opencode's `debug config`: a permission that is granted beforehand, by name; None if all are asked or denied.

    The configuration of a user, a project or one of its agents may grant more than ours asks for.
    """
    try:
        config = object_of(json.loads(printed))
    except (ValueError, RecursionError):
        return "it does not print its configuration as JSON"
    if not object_of(config.get("permission")) or config.get("permission") == {}:
        return "its configuration has no permissions: it would not ask"
    granted = list(granted_in(config, ""))
    return f"its configuration allows {', '.join(granted)} beforehand" if granted else None


def granted_in(value: object, path: str, *, in_permission: bool = False) -> Iterator[str]:
    if in_permission and value == "allow":
        yield path
    for key, inner in object_of(value).items():
        if not (in_permission and key in HARMLESS):
            at = f"{path}.{key}" if path else key
            yield from granted_in(inner, at, in_permission=in_permission or key == "permission")
