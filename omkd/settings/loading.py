"""`omkd.toml` -> Settings: strict, all of it or nothing. An error names file, line and field."""

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

from attrs import Factory, frozen

from omkd.protocol.address import AddressError, checked_session
from omkd.protocol.nearest import hint
from omkd.services.notice_rules import NoticeRule
from omkd.store.files import read_regular

from . import toml_lines
from .errors import ConfigError
from .notify import rules_in
from .table import OPTIONS, Kind, Option, Settings, Value

MAX_BYTES: Final = 1024 * 1024
"""Of the file; a person wrote it."""

SECTIONS: Final = ("notify", "session")


@frozen(kw_only=True)
class Override:
    """A value that does not come from the file: `source` is the option of the command line, or a variable."""

    value: Value
    source: str


@frozen(kw_only=True)
class Loaded:
    """`sources` says of each option where its value comes from."""

    settings: Settings
    sources: Mapping[str, str]
    exists: bool


@frozen(kw_only=True)
class ConfigFile:
    """Where the configuration is. `required`: it was named, so it must be there; `overrides` win over the file."""

    path: Path
    required: bool
    session: str
    overrides: Mapping[str, Override] = Factory(dict)

    def load(self) -> Loaded:
        """Reads the whole file. Raises ConfigError."""
        text = self._text()
        reading = Reading(self.path, text or "")
        values, sources = reading.values(self.session)
        for name, override in self.overrides.items():
            values[name], sources[name] = override.value, override.source
        return Loaded(
            settings=Settings(**values),
            sources={name: sources.get(name, "default") for name in (*OPTIONS, "notify")},
            exists=text is not None,
        )

    def _text(self) -> str | None:
        """None when there is no file and need not be one."""
        try:
            file = self.path.resolve(strict=True)  # a symlink is as good as the file: people link their dotfiles
            content = read_regular(file, MAX_BYTES)
        except FileNotFoundError as error:
            if self.path.is_symlink():
                self._fail(f"it is a symlink, and there is no {error.filename}")
            if not self.required:
                return None
            self._fail("there is no such file: make it, or leave --config and OMKD_CONFIG away")
        except OSError as error:
            self._fail(f"cannot be read: {error.strerror or error}")
        except (ValueError, RuntimeError) as error:  # no regular file, too large; a loop of links
            self._fail(f"cannot be read: {error}")
        try:
            return content.decode()
        except UnicodeDecodeError as fault:
            self._fail(f"not UTF-8 at byte {fault.start}", content[: fault.start].count(b"\n") + 1)

    def _fail(self, reason: str, line: int | None = None) -> NoReturn:
        raise ConfigError(self.path, line, "", reason) from None


class Reading:
    """One text of a configuration, and where everything stands in it. Raises ConfigError."""

    def __init__(self, path: Path, text: str) -> None:
        self.path = path
        try:
            self.document = tomllib.loads(text)
        except tomllib.TOMLDecodeError as fault:
            line = text.count("\n") + 1 if "end of document" in str(fault) else line_in(str(fault))
            raise ConfigError(path, line, "", f"this is no TOML: {fault}") from None
        self.lines = toml_lines.key_lines(text)

    def values(self, session: str) -> tuple[dict[str, Any], dict[str, str]]:
        """The options that the file sets for `session`, and where. Other sessions' tables are checked all the same."""
        values, sources = self._table(self.document, (), (*OPTIONS, *SECTIONS))
        sessions = self.document.get("session", {})
        if not isinstance(sessions, dict):
            raise self.fault(("session",), "write [session.NAME]")
        for name, table in sessions.items():
            at = ("session", name)
            if not isinstance(table, dict):
                raise self.fault(at, f"write [session.{name}]")
            try:
                checked_session(name)
            except AddressError as error:
                raise self.fault(at, str(error)) from None
            own_values, own_sources = self._table(table, at, (*OPTIONS, "notify"))
            if name == session:
                values |= own_values
                sources |= own_sources
        return values, sources

    def _table(
        self, table: dict[str, Any], at: toml_lines.Path, known: tuple[str, ...]
    ) -> tuple[dict[str, Any], dict[str, str]]:
        values: dict[str, Any] = {}
        for name, value in table.items():
            if name in OPTIONS:
                values[name] = self.checked((*at, name), value, OPTIONS[name])
            elif name == "notify":
                values[name] = self._rules((*at, name), value)
            elif name not in known:
                raise self.fault((*at, name), f"there is no such option{hint(name, known, '')}")
        return values, {name: self.source((*at, name)) for name in values}

    def _rules(self, at: toml_lines.Path, tables: Any) -> tuple[NoticeRule, ...]:
        if not isinstance(tables, list) or not all(isinstance(each, dict) for each in tables):
            raise self.fault(at, "write [[notify]], once for each")
        return rules_in(self, at, tables)

    def checked(self, at: toml_lines.Path, value: Any, option: Option) -> Value:
        """`value` as what the option holds."""
        match option.kind, value:
            case Kind.NUMBER, int() if not isinstance(value, bool):
                if not option.at_least <= value <= option.at_most:
                    unit = f" {option.unit}" if option.unit else ""
                    raise self.fault(at, f"it is {value}, and can be {option.at_least} to {option.at_most}{unit}")
                return value
            case Kind.TEXT, str():
                self._check_choice(at, value, option)
                return value
            case Kind.TEXTS, list() if all(isinstance(each, str) for each in value):
                for number, each in enumerate(value):
                    self._check_choice((*at, number), each, option)
                return tuple(value)
        raise self.fault(at, f"it must be {option.kind.value}, it is {kind_words(value)}")

    def _check_choice(self, at: toml_lines.Path, value: str, option: Option) -> None:
        if "\0" in value:
            raise self.fault(at, "it holds a NUL character")
        if option.one_of and value not in option.one_of:
            raise self.fault(at, f"{value!r} is none of its values{hint(value, option.one_of, '')}")

    def source(self, at: toml_lines.Path) -> str:
        return f"{self.path}:{toml_lines.line_of(self.lines, at)}"

    def fault(self, at: toml_lines.Path, reason: str) -> ConfigError:
        return ConfigError(self.path, toml_lines.line_of(self.lines, at), field_name(at), reason)


def field_name(at: toml_lines.Path) -> str:
    """`notify[0].kinds[1]`."""
    return "".join(name_parts(at)).lstrip(".")


def name_parts(at: toml_lines.Path) -> Iterator[str]:
    for part in at:
        yield f"[{part}]" if isinstance(part, int) else f".{part}"


def line_in(message: str) -> int | None:
    """tomllib's messages end with `(at line 3, column 5)`."""
    _, _, rest = message.rpartition("(at line ")
    digits = rest.partition(",")[0]
    return int(digits) if digits.isdigit() else None


def kind_words(value: Any) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return f"the number {value}"
        case str():
            return f"the text {value[:40]!r}"
        case list():
            return "a list"
        case dict():
            return "a table"
        case _:
            return f"{value}"
