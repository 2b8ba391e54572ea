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


@frozen(kw_only=True)
class RealAgent:
    """`set_up` writes its configuration into a new home and says what its environment needs."""

    name: str
    argv: tuple[str, ...]
    set_up: Callable[[Path, str], dict[str, str]]
    shell: str
    writer: str
    path_key: str

    def run(self, command: str) -> Call:
        return Call(self.shell, {"command": command, "description": "a step of the test"})

    def write(self, path: Path, content: str) -> Call:
        return Call(self.writer, {self.path_key: str(path), "content": content})

    def command(self, installed: Path) -> list[str]:
        return [str(installed / "node_modules" / ".bin" / self.argv[0]), *self.argv[1:]]


def environment(installed: Path, home: Path) -> dict[str, str]:
    """Nothing of this machine's but the programs; the pinned node first."""
    node = installed / "node_modules" / "node" / "bin"
    return {"HOME": str(home), "PATH": f"{node}{os.pathsep}{os.environ['PATH']}", "LANG": "C.UTF-8", "NO_COLOR": "1"}


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
    RealAgent(
        name="qwen",
        argv=("qwen", "--acp"),
        set_up=set_up_qwen,
        shell="run_shell_command",
        writer="write_file",
        path_key="file_path",
    ),
)
"""Not installed by `make agents`: run by hand, with OMK_TEST_AGENTS naming where they are and OMK_TEST_MORE set."""
