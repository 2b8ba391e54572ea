"""What is known of a tool call, put together from everything an agent says about it. No I/O.

An agent tells of one call in up to three places, each with other fields: `tool_call`, its `tool_call_update`s and
`session/request_permission`. What is not understood stays unknown; no value of an agent makes these functions raise.
"""

import json
import posixpath
import shlex
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from typing import Final, TypeAlias

from attrs import evolve, frozen

JsonObject: TypeAlias = Mapping[str, object]

COMMAND_KEYS: Final = ("command", "cmd")
PATH_KEYS: Final = (
    "path",
    "paths",
    "file_path",
    "filePath",
    "filepath",
    "absolute_path",
    "notebook_path",
    "old_path",
    "new_path",
)
"""As the tools of the recorded agents call them in `rawInput`."""

EXECUTE: Final = "execute"
SHELLS: Final = frozenset({"sh", "bash", "zsh", "dash"})
TEXT_CHARS: Final = 2000
"""Of a call's words, where a person is shown them."""


class CallStatus(Enum):
    PENDING = "pending"
    IN_PROGRESS = "in_progress"
    COMPLETED = "completed"
    FAILED = "failed"


@frozen(kw_only=True)
class Reading:
    """How this agent's messages are to be read. `cwd` is absolute.

    `arguments_in_text`: before the tool runs, the text of its content is the JSON of its arguments (Kimi Code).
    `title_is_command`: the title of an execute call is the command, and nothing else has it (Gemini).
    """

    cwd: str
    arguments_in_text: bool = False
    title_is_command: bool = False


@frozen(kw_only=True)
class ToolFacts:
    """One tool call. `kinds` are all that were said, in order: an agent that changes its mind is not believed.

    `paths` are absolute and normalised, symlinks not resolved. `text` is the latest prose about the call.
    """

    tool_call_id: str
    kinds: tuple[str, ...] = ()
    title: str = ""
    command: str | None = None
    paths: tuple[str, ...] = ()
    changes_files: bool = False
    text: str = ""
    raw_input: str = ""
    status: CallStatus | None = None

    @property
    def kind(self) -> str:
        """The last that was said; empty if none was."""
        return self.kinds[-1] if self.kinds else ""

    def in_words(self) -> str:
        """What it wants to do, in one line: the command, the paths, else the title."""
        if self.command is not None:
            return one_line(self.command)
        if self.paths:
            return one_line(f"{self.kind or self.title}: {', '.join(self.paths)}")
        return one_line(self.title or self.kind or f"tool call {self.tool_call_id}")


@frozen(kw_only=True)
class Option:
    """`{"optionId":"approve_once","name":"Approve once","kind":"allow_once"}`"""

    id: str
    name: str
    kind: str


def facts_with(known: ToolFacts | None, call: JsonObject, reading: Reading) -> ToolFacts | None:
    """`known` and what a `tool_call`, a `tool_call_update` or a request's `toolCall` adds; None if it names no call."""
    identity = call.get("toolCallId")
    if not isinstance(identity, str):
        return known
    before = known or ToolFacts(tool_call_id=identity)
    status = status_of(call.get("status")) or before.status
    is_waiting = status in (None, CallStatus.PENDING)
    texts = list(texts_of(call.get("content")))
    arguments = object_of(call.get("rawInput"))
    if not arguments and reading.arguments_in_text and is_waiting and len(texts) == 1:
        arguments = object_in(texts[0])
    kinds = with_new(before.kinds, [call.get("kind")])
    title = text_of(call.get("title")) or before.title
    return evolve(
        before,
        kinds=kinds,
        title=title,
        command=command_of(arguments) or before.command or command_in_title(title, kinds, reading),
        paths=with_new(before.paths, [absolute(path, reading.cwd) for path in paths_of(call, arguments)]),
        changes_files=before.changes_files or any(it.get("type") == "diff" for it in objects_of(call.get("content"))),
        text="\n".join(texts)[:TEXT_CHARS] if texts and not arguments else before.text,
        raw_input=json.dumps(arguments, ensure_ascii=False)[:TEXT_CHARS] if arguments else before.raw_input,
        status=status,
    )


def command_of(arguments: JsonObject) -> str | None:
    """The command of a tool's arguments; an argument list as a shell would take it, what a shell is given as it is."""
    for key in COMMAND_KEYS:
        match arguments.get(key):
            case str(command) if command.strip():
                return command
            case [str(shell), "-c" | "-lc", str(command)] if shell.rpartition("/")[2] in SHELLS:
                return command
            case [*words] if words and all(isinstance(word, str) for word in words):
                return shlex.join(str(word) for word in words)
    return None


def command_in_title(title: str, kinds: tuple[str, ...], reading: Reading) -> str | None:
    return title if reading.title_is_command and title and kinds == (EXECUTE,) else None


def paths_of(call: JsonObject, arguments: JsonObject) -> Iterator[str]:
    """Every path that a message names, in its locations, its diffs and its arguments."""
    for located in (*objects_of(call.get("locations")), *objects_of(call.get("content"))):
        yield from texts_in(located.get("path"))
    for key in PATH_KEYS:
        yield from texts_in(arguments.get(key))


def absolute(path: str, cwd: str) -> str:
    """`~` and URLs stay as they are: what the tool makes of them is not known here, and they are not below `cwd`."""
    is_plain = not path.startswith("~") and "://" not in path
    return posixpath.normpath(posixpath.join(cwd, path)) if is_plain else path


def texts_of(content: object) -> Iterator[str]:
    """The texts of a call's content blocks."""
    for block in objects_of(content):
        inner = object_of(block.get("content"))
        if block.get("type") == "content" and inner.get("type") == "text":
            yield text_of(inner.get("text"))


def object_in(text: str) -> JsonObject:
    try:
        return object_of(json.loads(text))
    except (ValueError, RecursionError):
        return {}


def status_of(value: object) -> CallStatus | None:
    try:
        return CallStatus(value)
    except ValueError:
        return None


def with_new(known: tuple[str, ...], values: Iterable[object]) -> tuple[str, ...]:
    """`known` and each text that is not in it yet."""
    return tuple(dict.fromkeys([*known, *(value for value in values if isinstance(value, str) and value)]))


def object_of(value: object) -> JsonObject:
    return value if isinstance(value, dict) else {}


def objects_of(value: object) -> list[JsonObject]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def text_of(value: object) -> str:
    return value if isinstance(value, str) else ""


def texts_in(value: object) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [item for item in values if isinstance(item, str) and item]


def one_line(text: str, limit_chars: int = 200) -> str:
    joined = " ".join(text.split())
    return joined if len(joined) <= limit_chars else joined[: limit_chars - 1] + "…"
