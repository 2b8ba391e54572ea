"""The tables of `omkd.toml` in docs/operations.md, from the one table of options."""

import json

from tables import code, table

from omkd.settings.table import NOTIFY_OPTIONS, OPTIONS, Kind, Option, Settings, Value, default_of
from omkd.settings.table import NotifyTable as Notify


def options() -> str:
    rows = [
        [code(name), kind_words(option), default_words(default_of(Settings, name)), option.unit, restart_words(option)]
        for name, option in OPTIONS.items()
    ]
    return table(["option", "type", "default", "unit", "says"], rows)


def notify_options() -> str:
    rows = [
        [code(name), kind_words(option), default_words(default_of(Notify, name)), option.unit, option.says]
        for name, option in NOTIFY_OPTIONS.items()
    ]
    return table(["option", "type", "default", "unit", "says"], rows)


def kind_words(option: Option) -> str:
    if option.one_of:
        choices = ", ".join(code(choice) for choice in option.one_of)
        return f"list of {choices}" if option.kind is Kind.TEXTS else choices
    kinds = {Kind.NUMBER: "number", Kind.TEXT: "text", Kind.TEXTS: "list of texts"}
    least = f", at least {option.at_least}" if option.at_least else ""
    return kinds[option.kind] + least


def default_words(default: Value) -> str:
    return code(json.dumps(default)) if default not in ("", ()) else "none"


def restart_words(option: Option) -> str:
    return option.says + (" (needs a restart)" if option.restart else "")
