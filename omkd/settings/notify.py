"""`[[notify]]` -> NoticeRule: the rules beyond types."""

from pathlib import PurePath
from typing import Any, Protocol

from omkd.protocol.escalation import EscalationKind
from omkd.protocol.names import worker_name_fault
from omkd.protocol.nearest import hint
from omkd.services.notice_rules import Means, NoticeRule, PostTo, RunCommand, ShowOnDesktop

from .table import NOTIFY_OPTIONS, NotifyTable, Option, Value
from .toml_lines import Path


class Checks(Protocol):
    """What reads a file, as it is seen from here. Raises ConfigError."""

    def checked(self, at: Path, value: Any, option: Option) -> Value:
        """`value` as what the option holds."""

    def fault(self, at: Path, reason: str) -> Exception:
        """What is wrong, and where."""


def rules_in(reading: Checks, at: Path, tables: list[dict[str, Any]]) -> tuple[NoticeRule, ...]:
    rules: list[NoticeRule] = []
    for number, table in enumerate(tables):
        here = (*at, number)
        values: dict[str, Any] = {}
        for name, value in table.items():
            if name not in NOTIFY_OPTIONS:
                raise reading.fault((*here, name), f"there is no such option{hint(name, NOTIFY_OPTIONS, '')}")
            values[name] = reading.checked((*here, name), value, NOTIFY_OPTIONS[name])
            check_meant(reading, (*here, name), values[name])
        rule = rule_for(reading, here, NotifyTable(**values))
        if any(rule.name == other.name for other in rules):
            raise reading.fault((*here, "name"), f"{rule.name!r} is the name of another one: give this one its own")
        rules.append(rule)
    return tuple(rules)


def check_meant(reading: Checks, at: Path, value: Value) -> None:
    """What is of the right type and yet cannot be meant: left away it is the default, which is not what it says."""
    match at[-1], value:
        case "name", "":
            raise reading.fault(at, "it is empty: leave it away for the preset's or the command's name")
        case "kinds", ():
            raise reading.fault(at, "it is empty: leave it away for whatever needs a person")
        case "workers", ():
            raise reading.fault(at, "it is empty: leave it away for all")
        case "workers", tuple():
            for number, worker in enumerate(value):
                if (fault := worker_name_fault(worker)) is not None:
                    raise reading.fault((*at, number), fault)
        case _:
            pass


def rule_for(reading: Checks, at: Path, table: NotifyTable) -> NoticeRule:
    means = means_of(reading, at, table)
    return NoticeRule(
        name=table.name or default_name(means),
        means=means,
        kinds=frozenset(EscalationKind(kind) for kind in table.kinds),
        workers=table.workers,
        timeout_secs=table.timeout_secs,
        attempts=table.attempts,
        repeat_after_secs=table.repeat_after_secs,
        remind_after_secs=table.remind_after_secs,
        reminders=table.reminders,
    )


def means_of(reading: Checks, at: Path, table: NotifyTable) -> Means:
    if bool(table.preset) == bool(table.command):
        raise reading.fault(at, "it needs either `preset` or `command`, one of them")
    if table.command and not table.command[0]:
        raise reading.fault((*at, "command"), "its first part is empty: give the program")
    if table.url and table.preset != "webhook":
        raise reading.fault((*at, "url"), 'it is for preset = "webhook" only')
    if table.preset == "webhook" and not table.url.startswith(("https://", "http://")):
        raise reading.fault((*at, "url") if table.url else at, 'a webhook needs url = "https://…" (or http://…)')
    if any(not character.isprintable() or character == " " for character in table.url):
        raise reading.fault((*at, "url"), "it holds a space or a control character")
    match table.preset:
        case "desktop":
            return ShowOnDesktop()
        case "webhook":
            return PostTo(url=table.url)
        case _:
            return RunCommand(argv=table.command)


def default_name(means: Means) -> str:
    match means:
        case RunCommand(argv=argv):
            return PurePath(argv[0]).name
        case ShowOnDesktop():
            return "desktop"
        case PostTo():
            return "webhook"
