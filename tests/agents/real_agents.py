"""The real agents that are tested: how each is started, set up without an account, and what its tools are called.

`make agents` installs them, pinned by `package-lock.json`. Each talks to a scripted model on the loopback interface.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path

from attrs import frozen
from scripted_model import Call

KEY = "not-a-key"

INSTALLED = os.environ.get("OMK_TEST_AGENTS")
"""Where they are; absolute, since they run elsewhere."""


@frozen(kw_only=True)
class RealAgent:
    """`set_up` writes its configuration into a new home and says what its environment needs.

    `another_mode` is one that it does not start in, `refusal` what it says of a key that is refused.
    """

    name: str
    argv: tuple[str, ...]
    set_up: Callable[[Path, str], dict[str, str]]
    shell: str
    writer: str
    path_key: str
    another_mode: str = "plan"
    refusal: str = "this key is not one"

    def run(self, command: str) -> Call:
        return Call(self.shell, {"command": command})

    def write(self, path: Path, content: str) -> Call:
        return Call(self.writer, {self.path_key: str(path), "content": content})

    def command(self) -> list[str]:
        return [str(modules() / ".bin" / self.argv[0]), *self.argv[1:]]

    def environment(self, home: Path, model: str) -> dict[str, str]:
        """Nothing of this machine's but the programs; the pinned node first. Its configuration is in the new `home`."""
        path = f"{modules() / 'node' / 'bin'}{os.pathsep}{os.environ['PATH']}"
        home.mkdir(exist_ok=True)
        return {"HOME": str(home), "PATH": path, "LANG": "C.UTF-8", "NO_COLOR": "1", **self.set_up(home, model)}


class Codex(RealAgent):
    """It runs what it is told in a sandbox, unasked, and asks when the model wants out of it.

    It writes by a command of its own, which it knows from others.
    """

    def run(self, command: str) -> Call:
        why = {"sandbox_permissions": "require_escalated", "justification": "a step of the test"}
        return Call(self.shell, {"cmd": command, **why})

    def write(self, path: Path, content: str) -> Call:
        lines = [f"+{line}" for line in content.splitlines()]
        patch = ["*** Begin Patch", f"*** Add File: {path}", *lines, "*** End Patch"]
        return self.run("\n".join(["apply_patch <<'EOF'", *patch, "EOF"]))


def modules() -> Path:
    assert INSTALLED is not None
    return Path(INSTALLED) / "node_modules"


def set_up_kimi(home: Path, model: str) -> dict[str, str]:
    (home / "config.toml").write_text(
        f"""
default_model = "scripted"
[providers.scripted]
type = "openai"
base_url = "{model}/v1"
api_key = "{KEY}"
[models.scripted]
provider = "scripted"
model = "scripted"
max_context_size = 200000
"""
    )
    return {"KIMI_CODE_HOME": str(home), "KIMI_DISABLE_TELEMETRY": "1"}


def set_up_claude(home: Path, model: str) -> dict[str, str]:
    return {
        "ANTHROPIC_BASE_URL": model,
        "ANTHROPIC_API_KEY": KEY,
        "CLAUDE_CONFIG_DIR": str(home),
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "DISABLE_AUTOUPDATER": "1",
    }


def set_up_gemini(home: Path, model: str) -> dict[str, str]:
    (home / ".gemini").mkdir()
    settings = {"security": {"auth": {"selectedType": "gemini-api-key"}}, "general": {"disableAutoUpdate": True}}
    (home / ".gemini" / "settings.json").write_text(json.dumps(settings))
    return {"GEMINI_API_KEY": KEY, "GOOGLE_GEMINI_BASE_URL": model, "GEMINI_CLI_TRUST_WORKSPACE": "true"}


def set_up_opencode(home: Path, model: str) -> dict[str, str]:
    """Its own configuration does not make it ask: the driver does."""
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": "scripted",
        "options": {"baseURL": f"{model}/v1", "apiKey": KEY},
        "models": {"scripted": {"name": "scripted", "tool_call": True, "limit": {"context": 200000, "output": 8000}}},
    }
    config = {"provider": {"scripted": provider}, "model": "scripted/scripted", "small_model": "scripted/scripted"}
    (home / "opencode.json").write_text(json.dumps(config))
    switches = ("AUTOUPDATE", "MODELS_FETCH", "LSP_DOWNLOAD")
    return {"OPENCODE_CONFIG": str(home / "opencode.json"), **{f"OPENCODE_DISABLE_{name}": "1" for name in switches}}


def set_up_qwen(home: Path, model: str) -> dict[str, str]:
    (home / ".qwen").mkdir()
    (home / ".qwen" / "settings.json").write_text(json.dumps({"security": {"auth": {"selectedType": "openai"}}}))
    return {"OPENAI_BASE_URL": f"{model}/v1", "OPENAI_API_KEY": KEY, "OPENAI_MODEL": "scripted"}


def set_up_codex(home: Path, model: str) -> dict[str, str]:
    (home / "config.toml").write_text(
        f"""
model = "scripted"
model_provider = "scripted"
[model_providers.scripted]
name = "scripted"
base_url = "{model}/v1"
wire_api = "responses"
env_key = "SCRIPTED_KEY"
"""
    )
    return {"CODEX_HOME": str(home), "SCRIPTED_KEY": KEY}


def set_up_vibe(home: Path, model: str) -> dict[str, str]:
    (home / "config.toml").write_text(
        f"""
active_model = "scripted"
enable_telemetry = false
enable_update_checks = false
[[providers]]
name = "scripted"
api_base = "{model}/v1"
api_key_env_var = "SCRIPTED_KEY"
backend = "generic"
[[models]]
name = "scripted"
provider = "scripted"
alias = "scripted"
"""
    )
    return {"VIBE_HOME": str(home), "SCRIPTED_KEY": KEY}


def set_up_fast_agent(home: Path, model: str) -> dict[str, str]:
    """Tests run it in a directory beside its home."""
    settings = {"default_model": "generic.scripted", "generic": {"api_key": KEY, "base_url": f"{model}/v1"}}
    (home / "fast-agent.yaml").write_text(json.dumps(settings))
    return {}


AGENTS = (
    RealAgent(
        name="kimi-code", argv=("kimi", "acp"), set_up=set_up_kimi, shell="Bash", writer="Write", path_key="path"
    ),
    RealAgent(
        name="claude",
        argv=("claude-agent-acp",),
        set_up=set_up_claude,
        shell="Bash",
        writer="Write",
        path_key="file_path",
    ),
    RealAgent(
        name="gemini",
        argv=("gemini", "--acp", "-m", "scripted"),
        set_up=set_up_gemini,
        shell="run_shell_command",
        writer="write_file",
        path_key="file_path",
    ),
    RealAgent(
        name="opencode",
        argv=("opencode", "acp"),
        set_up=set_up_opencode,
        shell="bash",
        writer="write",
        path_key="filePath",
    ),
)

MORE_AGENTS = (
    Codex(
        name="codex",
        argv=("codex-acp",),
        set_up=set_up_codex,
        shell="exec_command",
        writer="",
        path_key="",
        another_mode="workspace-write",
        refusal="Authentication required",
    ),
    RealAgent(
        name="qwen",
        argv=("qwen", "--acp"),
        set_up=set_up_qwen,
        shell="run_shell_command",
        writer="write_file",
        path_key="file_path",
    ),
    RealAgent(
        name="vibe",
        argv=("vibe-acp",),
        set_up=set_up_vibe,
        shell="bash",
        writer="write_file",
        path_key="path",
        another_mode="auto-approve",
        refusal="Invalid API key",
    ),
    RealAgent(
        name="fast-agent",
        argv=("fast-agent-acp", "-c", "../home/fast-agent.yaml", "--model", "generic.scripted", "-x"),
        set_up=set_up_fast_agent,
        shell="bash",
        writer="write_text_file",
        path_key="path",
    ),
)
"""Not installed by `make agents`: run by hand, with OMK_TEST_AGENTS saying where they are and OMK_TEST_WHICH naming
them."""


def chosen(names: str | None) -> tuple[RealAgent, ...]:
    """Those that are named, a space between; all that `make agents` installs if none is. Raises KeyError."""
    if not names:
        return AGENTS
    known = {agent.name: agent for agent in (*AGENTS, *MORE_AGENTS)}
    return tuple(known[name] for name in names.split())
