"""Where each key of a TOML text stands. tomllib says where a text is no TOML, not where a value came from.

Works on texts that tomllib has read already, so it need not find faults itself: strings, comments and brackets are
skipped, the rest are headers (`[a.b]`, `[[a]]`) and `key = …`. A key inside an inline table is at the line where the
table's own key stands.
"""

import re
import tomllib
from collections.abc import Iterator
from typing import Final, TypeAlias

Path: TypeAlias = tuple[str | int, ...]
"""Keys, and after the name of an array of tables the number of its element: `("notify", 0, "command")`."""

TOKEN: Final = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}'
    r"|'''.*?'{3,5}"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'"
    r"|\#[^\n]*"
    r"|\n"
    r"|[\[\]{}]"
    r"|[^\[\]{}\"'\#\n]+",
    re.DOTALL,
)
KEY: Final = re.compile(r"""\s*((?:"(?:\\.|[^"\\])*"|'[^']*'|[^"'=])+?)\s*=""")


def key_lines(text: str) -> dict[Path, int]:
    """The line, from 1, on which each key and each table begins."""
    lines: dict[Path, int] = {}
    elements: dict[Path, int] = {}
    table: Path = ()
    for number, statement in statements(text):
        if statement.startswith("[["):
            name = keys_in(statement[2 : statement.rindex("]]")])
            array = resolved(name, elements, whole=False)
            elements[array] = elements.get(array, -1) + 1
            table = (*array, elements[array])
            note(lines, table, number)
        elif statement.startswith("["):
            table = resolved(keys_in(statement[1 : statement.rindex("]")]), elements, whole=True)
            note(lines, table, number)
        elif (key := KEY.match(statement)) is not None:
            note(lines, (*table, *keys_in(key[1])), number)
    return lines


def line_of(lines: dict[Path, int], path: Path) -> int | None:
    """The line of `path`, or of what holds it."""
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path)


def statements(text: str) -> Iterator[tuple[int, str]]:
    """Each statement without its comments, and the line on which it begins."""
    number, began, depth, parts = 1, 1, 0, list[str]()
    for match in TOKEN.finditer(text):
        token = match[0]
        if token == "\n" and depth == 0:
            yield began, "".join(parts).strip()
            parts.clear()
        elif not token.startswith("#"):
            if not "".join(parts).strip():
                began = number
            parts.append(token)
            depth += (token in "[{") - (token in "]}")
        number += token.count("\n")
    yield began, "".join(parts).strip()


def keys_in(dotted: str) -> tuple[str, ...]:
    """`a."b c".d` as its parts; tomllib knows how they are quoted."""
    found: list[str] = []
    level: object = tomllib.loads(f"{dotted} = 0")
    while isinstance(level, dict):
        ((key, level),) = level.items()
        found.append(key)
    return tuple(found)


def resolved(name: tuple[str, ...], elements: dict[Path, int], *, whole: bool) -> Path:
    """A header's name with the numbers of the elements that it speaks of: the newest of each array on the way."""
    path: Path = ()
    for place, key in enumerate(name):
        path = (*path, key)
        if path in elements and (whole or place < len(name) - 1):
            path = (*path, elements[path])
    return path


def note(lines: dict[Path, int], path: Path, number: int) -> None:
    """A table's own line, and that of each table that its name implies."""
    for end in range(1, len(path) + 1):
        lines.setdefault(path[:end], number)
