"""What Claude Code tells a PreToolUse hook, and what it is answered (`docs/agents.md`). Pure.

Said on stdin: `{"session_id":"…","cwd":"/p","tool_name":"Bash","tool_input":{"command":"make"},…}`; answered on stdout:
`{"hookSpecificOutput":{"hookEventName":"PreToolUse","permissionDecision":"allow","permissionDecisionReason":"…"}}`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from . import json_text
from .asking import kind_of
from .deciding import ALLOW_ALWAYS, ALLOW_ONCE
from .render import one_line
from .shapes import Decision
from .tasks_text import said_by

GIST_KEYS: Final = ("command", "file_path", "notebook_path", "path", "url", "pattern", "query", "prompt", "description")
"""Of a tool's input: which one says best what it is about."""

SUMMARY_CHARS: Final = 200
DETAIL_CHARS: Final = 32 * 1024
"""A person reads no more; a file that is to be written may be far longer."""


@dataclass(frozen=True)
class Asked:
    """What a person is to read."""

    summary: str
    detail: str


def question_of(text: bytes) -> Asked:
    """Raises ValueError for what is not a PreToolUse hook's input."""
    told = json_text.parse(text)
    if not isinstance(told, dict) or not isinstance(told.get("tool_name"), str):
        raise ValueError("this is no input of a PreToolUse hook: it has no tool_name")
    tool, given, where = told["tool_name"], told.get("tool_input"), told.get("cwd")
    summary = f"{tool}: {gist(given)}" if given else tool
    lines = [f"directory: {where}"] if isinstance(where, str) else []
    lines += [f"session: {told['session_id']}"] if isinstance(told.get("session_id"), str) else []
    return Asked(one_line(summary, SUMMARY_CHARS), cut("\n".join([*lines, tool, *input_lines(given)])))


def gist(given: object) -> str:
    if isinstance(given, Mapping):
        for key in GIST_KEYS:
            if isinstance(given.get(key), str) and given[key]:
                return str(given[key])
    return json_text.to_text(given)


def input_lines(given: object) -> list[str]:
    """`key: value`, texts as they are: a person reads the command, not its JSON."""
    if not isinstance(given, Mapping):
        return [] if given is None else [json.dumps(given, ensure_ascii=False)]
    return [f"{key}: {item if isinstance(item, str) else json_text.to_text(item)}" for key, item in given.items()]


def cut(text: str) -> str:
    left_out = len(text) - DETAIL_CHARS
    return text if left_out <= 0 else f"{text[:DETAIL_CHARS]}\n… {left_out} more characters"


def answer_for(decided: Decision) -> dict[str, object]:
    """Only a plain yes allows; that nobody decided in time does not."""
    allowed = kind_of(decided) in (ALLOW_ONCE, ALLOW_ALWAYS)
    return hook_output(allowed, reason_of(decided))


def reason_of(decided: Decision) -> str:
    note = f": {decided['note']}" if decided["note"] else ""
    if decided["choice"] is None:
        return f"omkd: nobody decided{note}"
    by = said_by(decided["ended_by"]) if decided["ended_by"] else "a person"
    return f"omkd: {decided['choice']}, by {by}{note}"


def hook_output(allowed: bool, reason: str) -> dict[str, object]:
    return {
        "hookSpecificOutput": {
            "hookEventName": "PreToolUse",
            "permissionDecision": "allow" if allowed else "deny",
            "permissionDecisionReason": reason,
        }
    }
