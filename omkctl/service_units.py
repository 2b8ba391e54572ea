"""The units as `omkctl service install` writes them: those of systemd/, with an interpreter and an environment.

The packaged files are the templates; a directive is changed there, not here. How texts are quoted: systemd.syntax(7).
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from .failures import usage

SERVICE: Final = "omkd@.service"
SOCKET: Final = "omkd@.socket"
NAMES: Final = (SERVICE, SOCKET)

HEADER: Final = """\
# Written by `omkctl service install`, which writes it again. Settings of your own: systemctl --user edit omkd@SESSION
# The part behind the @ is the session.
"""
"""By its first line a unit is known for ours."""

KEPT: Final = ("XDG_STATE_HOME", "XDG_CONFIG_HOME", "OMKD_CONFIG")
"""Beside PATH, where the caller has them set: where session and omkd.toml are. Client and daemon must agree on that."""

UNWRITABLE: Final = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
"""What has no place in a line of a unit: control characters, bytes that are no UTF-8."""

UNSTARTABLE: Final = re.compile(r"""["'\\$]""")


def templates() -> dict[str, str]:
    """The units by name: from the package, or, in a checkout, from beside it."""
    here = Path(__file__).parent
    directory = next(found for found in (here / "units", here.parent / "systemd") if (found / SERVICE).is_file())
    return {name: (directory / name).read_text() for name in NAMES}


def units_for(interpreter: str, env: Mapping[str, str]) -> dict[str, str]:
    """The text of each unit. Raises Failure (usage) for what a unit cannot hold."""
    found = {name: own_header(text) for name, text in templates().items()}
    found[SERVICE] = with_start(found[SERVICE], interpreter, environment_of(env))
    return found


def own_header(template: str) -> str:
    """The template's first comment is for those who copy it by hand."""
    return HEADER + template[template.index("\n\n") + 1 :]


def with_start(template: str, interpreter: str, environment: Mapping[str, str]) -> str:
    """ExecStart, with the comment above it, is replaced. `-P`: a directory omkd/ in the home is not imported."""
    lines = [f"ExecStart={exec_path(interpreter)} -P -m omkd --session %i", "# Of the shell that installed it."]
    lines += [f"Environment={quoted(f'{name}={value}', name)}" for name, value in environment.items()]
    text, count = re.subn(r"(?m)^(?:#.*\n)*ExecStart=.*$", lambda _: "\n".join(lines), template)
    if count != 1:
        raise AssertionError(f"{SERVICE} has {count} lines ExecStart=")
    return text


def environment_of(env: Mapping[str, str]) -> dict[str, str]:
    """What is baked in. Raises Failure (usage) without a PATH: agents would not be found."""
    path = absolute_path(env.get("PATH", ""))
    if not path:
        raise usage("PATH is empty here, and the service would find no agent: set it and install again")
    return {"PATH": path, **{name: env[name] for name in KEPT if env.get(name)}}


def absolute_path(path: str) -> str:
    """PATH without what depends on the current directory, and each directory once."""
    return ":".join(dict.fromkeys(each for each in path.split(":") if each.startswith("/")))


def exec_path(path: str) -> str:
    """The program of ExecStart=. systemd takes no quote or backslash in its name, and a `$` once but not twice."""
    if (bad := UNSTARTABLE.search(path)) is not None:
        raise usage(f"{path}: a service cannot start what has a {bad[0]} in its path; install omkd elsewhere")
    return quoted(path, "the interpreter's path")


def quoted(text: str, what: str) -> str:
    """One word of a unit: nothing in it is a specifier, an escape or the end of the word. Raises Failure (usage)."""
    if (bad := UNWRITABLE.search(text)) is not None:
        raise usage(f"{what} holds {bad[0]!r}, which a unit cannot: {text!r}")
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%") + '"'


def unquoted(word: str) -> str:
    """What `quoted` was given."""
    return re.sub(r"\\(.)", r"\1", word.removeprefix('"').removesuffix('"')).replace("%%", "%")


def is_ours(text: str) -> bool:
    """Written by `service install`, or a template that was copied as it is."""
    return text.startswith(HEADER.partition(",")[0]) or text in templates().values()


def interpreter_in(text: str) -> str | None:
    """The program that ExecStart= of a unit starts, None when there is no such line that we can read."""
    found = re.search(r'^ExecStart=("(?:[^"\\]|\\.)*"|\S+)', text, re.MULTILINE)
    return unquoted(found[1]) if found else None


def environment_in(text: str) -> dict[str, str]:
    """What Environment= lines of our own form set."""
    words = re.findall(r'^Environment=("(?:[^"\\]|\\.)*"|\S+)$', text, re.MULTILINE)
    pairs = (unquoted(word).partition("=") for word in words)
    return {name: value for name, _, value in pairs}


def without_path(text: str) -> str:
    """For a comparison: PATH differs from one shell to the next, and what misses there is another finding."""
    return re.sub(r'^Environment="?PATH=.*$', "", text, flags=re.MULTILINE)
