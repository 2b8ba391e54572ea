"""What ACP's answers and updates say, read leniently: a field that is missing or odd counts as not said. No I/O.

Source: Agent Client Protocol, version 1, and what recorded agents send beside it.
"""

import json
import re
from collections.abc import Mapping
from typing import Final

from attrs import frozen

from .acp_events import AgentError, AgentInfo, Progress, Usage
from .acp_facts import JsonObject, Option, object_of, objects_of, one_line, text_of

MODE: Final = "mode"
"""The category (and usually the id) of the configuration option that stands for the session's mode."""

LONE_SURROGATE: Final = re.compile("[\ud800-\udfff]")
ERROR_CHARS: Final = 600


def parse_line(line: bytes) -> object:
    """A line of an agent. JavaScript cuts strings within a character: what is left of one becomes U+FFFD, so that a
    lone surrogate costs a letter and not the answer it stands in. Raises ValueError, whose text has the line."""
    text = line.decode(errors="replace")
    try:
        parsed: object = json.loads(text, parse_constant=not_json)
        return mended(parsed) if b"\\ud" in line.lower() else parsed
    except (ValueError, RecursionError) as error:
        raise ValueError(repr(one_line(text))) from error


def not_json(name: str) -> object:
    raise ValueError(f"{name} is not JSON")


def mended(value: object) -> object:
    match value:
        case str():
            return LONE_SURROGATE.sub("\ufffd", value)
        case list():
            return [mended(item) for item in value]
        case dict():
            return {mended(key): mended(item) for key, item in value.items()}
        case _:
            return value


def encode(value: object) -> bytes:
    return LONE_SURROGATE.sub("\ufffd", json.dumps(value, ensure_ascii=False, separators=(",", ":"))).encode()


def agent_of(answer: JsonObject) -> AgentInfo:
    info = object_of(answer.get("agentInfo"))
    capabilities = object_of(object_of(answer.get("agentCapabilities")).get("sessionCapabilities"))
    closes = isinstance(capabilities.get("close"), dict)
    return AgentInfo(name=text_of(info.get("name")), version=text_of(info.get("version")), closes=closes)


@frozen(kw_only=True)
class Modes:
    """The modes a session has: by its `modes`, by a configuration option, or by both. `current` None: not said."""

    current: str | None = None
    listed: tuple[str, ...] = ()
    option_id: str | None = None
    option_values: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys([*self.listed, *self.option_values]))


def modes_of(answer: JsonObject) -> Modes:
    """Of the result of session/new."""
    modes = object_of(answer.get("modes"))
    option = mode_option(answer)
    return Modes(
        current=mode_value(answer) or text_of(modes.get("currentModeId")) or None,
        listed=tuple(text_of(mode.get("id")) for mode in objects_of(modes.get("availableModes"))),
        option_id=text_of(option.get("id")) or None,
        option_values=tuple(text_of(value.get("value")) for value in objects_of(option.get("options"))),
    )


def mode_option(message: JsonObject) -> JsonObject:
    """The configuration option that stands for the mode, of a message with `configOptions`; empty if there is none."""
    options = objects_of(message.get("configOptions"))
    return next((option for option in options if MODE in (option.get("category"), option.get("id"))), {})


def mode_value(message: JsonObject) -> str | None:
    return text_of(mode_option(message).get("currentValue")) or None


def options_of(params: JsonObject) -> tuple[Option, ...]:
    """The options of a session/request_permission that have an id."""
    return tuple(
        Option(id=text_of(option.get("optionId")), name=text_of(option.get("name")), kind=text_of(option.get("kind")))
        for option in objects_of(params.get("options"))
        if isinstance(option.get("optionId"), str)
    )


def plan_progress(update: JsonObject) -> Progress | None:
    """Of a `plan` update: what is in progress, and how much is done."""
    entries = objects_of(update.get("entries"))
    if not entries:
        return None
    done = sum(entry.get("status") == "completed" for entry in entries)
    current = next(
        (entry for entry in entries if entry.get("status") == "in_progress"), entries[min(done, len(entries) - 1)]
    )
    return Progress(text=one_line(text_of(current.get("content"))), percent=100 * done / len(entries))


def cost_of(update: JsonObject) -> float | None:
    """What the session cost so far, in US dollars; of a `usage_update`."""
    cost = object_of(update.get("cost"))
    amount = number_of(cost.get("amount"))
    return amount if cost.get("currency") == "USD" else None


def usage_of(answer: JsonObject, usd: float | None) -> Usage | None:
    """Of the answer to a prompt. Gemini has the counts in `_meta` only."""
    counts = object_of(answer.get("usage"))
    if not counts:
        counts = object_of(object_of(object_of(answer.get("_meta")).get("quota")).get("token_count"))
    tokens_in = count_of(counts, "inputTokens", "input_tokens")
    tokens_out = count_of(counts, "outputTokens", "output_tokens")
    if not counts and usd is None:
        return None
    return Usage(tokens_in=tokens_in, tokens_out=tokens_out, usd=usd)


def count_of(counts: JsonObject, *names: str) -> int:
    found = next((number for name in names if (number := number_of(counts.get(name))) is not None), 0)
    return max(0, int(found))


def number_of(value: object) -> float | None:
    """None for what is no number, or none that a counter holds."""
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) >= 2**53:
        return None
    return float(value)


def error_of(error: Mapping[str, object]) -> AgentError:
    """With the details of `data`, where the message does not have them already."""
    code = error.get("code")
    message, data = text_of(error.get("message")), object_of(error.get("data"))
    details = text_of(data.get("details")) or text_of(error.get("data"))
    text = f"{message}: {details}" if details and details not in message else message
    return AgentError(code=code if isinstance(code, int) else 0, message=one_line(text, ERROR_CHARS))
