"""The options of `omkd.toml`: name, type, default, unit, what each says. Everything else about them is made from here.

An option that nothing reads does not belong here.
"""

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final, TypeAlias, cast

import attrs
from attrs import field, frozen

from omkd.core.vitals import STALLED_AFTER_S
from omkd.logs import LOG_FORMATS, LOG_LEVELS
from omkd.protocol.escalation import EscalationKind
from omkd.protocol.limits import MAX_QUEUED_BYTES, MAX_QUEUED_TASKS
from omkd.services.notice_rules import NoticeRule

PRESETS: Final = ("desktop", "webhook")

LONGEST_SECS: Final = 10 * 365 * 24 * 3600
"""Ten years: more is a slip of the keyboard."""

LARGEST: Final = 2**53
"""Of other numbers; what JSON carries exactly everywhere."""


class Kind(Enum):
    """The value is what a person is told that it must be."""

    NUMBER = "a whole number"
    TEXT = "a text"
    TEXTS = "a list of texts"


@frozen(kw_only=True)
class Option:
    """`one_of` empty: any value of the kind; `restart`: a change is in force after a restart only."""

    kind: Kind
    says: str
    unit: str = ""
    at_least: int = 0
    at_most: int = LARGEST
    one_of: tuple[str, ...] = ()
    restart: bool = False


Value: TypeAlias = int | str | tuple[str, ...]


def number(default: int, says: str, *, unit: str = "", at_least: int = 0, restart: bool = False) -> Any:
    at_most = LONGEST_SECS if unit == "s" else LARGEST
    option = Option(kind=Kind.NUMBER, says=says, unit=unit, at_least=at_least, at_most=at_most, restart=restart)
    return field(default=default, metadata={"option": option})


def text(default: str, says: str, *, one_of: tuple[str, ...] = (), restart: bool = False) -> Any:
    return field(
        default=default, metadata={"option": Option(kind=Kind.TEXT, says=says, one_of=one_of, restart=restart)}
    )


def texts(says: str, *, one_of: tuple[str, ...] = ()) -> Any:
    return field(default=(), metadata={"option": Option(kind=Kind.TEXTS, says=says, one_of=one_of)})


@frozen(kw_only=True)
class Settings:
    """The values in force, all of them; the fields are the options. `notify` has a table of its own, `NotifyTable`."""

    log_level: str = text("info", "what is logged, and all that is graver", one_of=LOG_LEVELS)
    log_format: str = text(
        "text", "a line of text, or one JSON object a line; one run has one form", one_of=LOG_FORMATS, restart=True
    )
    look_secs: int = number(10, "how often workers' signs of life and the queue are looked at", unit="s", at_least=1)
    stalled_after_secs: int = number(
        int(STALLED_AFTER_S),
        "silence after which a worker is stalled, outside of what its task may take; omk-worker beats every 10 s",
        unit="s",
        at_least=1,
    )
    queued_warn_secs: int = number(
        15 * 60,
        "how long the oldest task of a target may wait before a person is told",
        unit="s",
        at_least=1,
    )
    max_restarts: int = number(
        5, "of a worker's host that ends again and again, within a minute each; then the worker is dead"
    )
    max_queued_tasks: int = number(
        MAX_QUEUED_TASKS, "waiting in the daemon at once; what is sent beyond is refused (`queue_full`)", at_least=1
    )
    max_queued_bytes: int = number(
        MAX_QUEUED_BYTES,
        "of the texts of waiting tasks together; what is sent beyond is refused",
        unit="bytes",
        at_least=1,
    )
    keep_bytes: int = number(
        0,
        "of the event log, whole segments of 64 MiB, the oldest go first; what a start needs stays; 0: everything",
        unit="bytes",
    )
    keep_days: int = number(0, "of the event log, likewise; 0: everything", unit="days")
    notify: tuple[NoticeRule, ...] = ()


@frozen(kw_only=True)
class NotifyTable:
    """A `[[notify]]`: who is told of which escalations, and how."""

    name: str = text("", "in `status` and in the log; by default the preset's or the command's")
    preset: str = text("", "`desktop`: notify-send; `webhook`: curl posts to `url`", one_of=PRESETS)
    command: tuple[str, ...] = texts("argv instead of a preset; no shell; the escalation as JSON on its stdin")
    url: str = text("", "of the webhook, `https://…` or `http://…`")
    kinds: tuple[str, ...] = texts(
        "kinds of escalation; by default whatever needs a person", one_of=tuple(kind.value for kind in EscalationKind)
    )
    workers: tuple[str, ...] = texts("only what is about these; by default all")
    timeout_secs: int = number(30, "for one attempt; then it is ended, with all that it started", unit="s", at_least=1)
    attempts: int = number(5, "before it is given up; pauses of 1 s, doubled each time, 60 s at most", at_least=1)
    repeat_after_secs: int = number(600, "the same again within this is counted, not sent", unit="s")
    remind_after_secs: int = number(
        120, "a question that still waits is told again each time so much has passed; 0: never", unit="s"
    )
    reminders: int = number(2, "of each question, at most")


def options_of(cls: type) -> Mapping[str, Option]:
    """The options of a table class, in order."""
    fields = attrs.fields(cls)
    return {each.name: each.metadata["option"] for each in fields if "option" in each.metadata}


def default_of(cls: type, name: str) -> Value:
    return cast(Value, attrs.fields_dict(cls)[name].default)


OPTIONS: Final = options_of(Settings)
NOTIFY_OPTIONS: Final = options_of(NotifyTable)
