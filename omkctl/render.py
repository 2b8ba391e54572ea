"""What goes to stdout and stderr: JSON, plain text for a pipe, tables and colour for a terminal.

Text that came from agents is shown, not obeyed: control characters become visible signs. rich is imported for tables on
a terminal only; it takes longer to import than the daemon to answer.
"""

import os
import re
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final, TextIO

import click

from . import json_text

STYLES: Final = {
    "success": "green",
    "ready": "green",
    "worker_completed": "green",
    "proof_ready": "green",
    "running": "cyan",
    "busy": "cyan",
    "worker_started": "cyan",
    "partial": "yellow",
    "stalled": "yellow",
    "paused": "yellow",
    "held": "yellow",
    "router_escalation": "yellow",
    "refused": "yellow",
    "failed": "red",
    "dead": "red",
    "lost": "red",
    "cancelled": "magenta",
}
"""The colour of a word that says a state or a kind."""

CONTROL: Final = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""All but tab and newline: C0, DEL, C1, and what turns the direction of text or breaks lines."""

COLOUR_SEQUENCE: Final = re.compile("\x1b\\[[0-9;:]*m")


def shown(text: str) -> str:
    """`text` for a terminal: nothing in it moves the cursor, changes the title or hides what follows."""
    return CONTROL.sub(picture, COLOUR_SEQUENCE.sub("", text).replace("\r\n", "\n"))


def picture(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else "\ufffd"


def one_line(text: str, limit: int = 0) -> str:
    """`text` as part of a line, cut to `limit` characters (0: whole)."""
    flat = " ".join(shown(text).split())
    return flat if not limit or len(flat) <= limit else flat[: limit - 1] + "…"


def clock(ts: str | None) -> str:
    """A time of the wire for a person: local, without the day when it is today."""
    if ts is None:
        return ""
    moment = datetime.fromisoformat(ts[:19] + "+00:00").astimezone()
    today = datetime.now().astimezone().date() == moment.date()
    return moment.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M:%S")


def aligned(rows: Sequence[Sequence[str]], gap: str = "  ") -> list[str]:
    """Rows as lines whose columns stand below each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [gap.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


class Output:
    """Where a command writes. `as_json`: nothing but JSON goes to stdout."""

    def __init__(self, *, as_json: bool, color: str, stream: TextIO) -> None:
        self.as_json = as_json
        self.stream = stream
        self.is_terminal = stream.isatty()
        self.has_color = color == "always" or (
            color == "auto" and self.is_terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        )

    def json(self, value: object) -> None:
        self.line(json_text.to_text(value))

    def line(self, text: str = "") -> None:
        self.stream.write(text + "\n")
        self.stream.flush()

    def text(self, text: str) -> None:
        """An agent's own words, whole: as they are into a pipe, made harmless on a terminal."""
        self.line(shown(text) if self.is_terminal else text)

    def time(self, ts: str | None) -> str:
        return clock(ts) if self.is_terminal else ts or ""

    def styled(self, word: str, width: int = 0) -> str:
        """A state or a kind in its colour."""
        padded = word.ljust(width)
        return click.style(padded, fg=STYLES.get(word)) if self.has_color else padded

    def table(self, header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        """Cells are shown harmless and on one line each."""
        cells = [[one_line(cell) for cell in row] for row in rows]
        if self.is_terminal or self.has_color:
            self._rich_table(header, cells)
        else:
            for line in aligned([[name.upper() for name in header], *cells]):
                self.line(line)

    def _rich_table(self, header: Sequence[str], rows: list[list[str]]) -> None:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
        for name in header:
            table.add_column(name.upper(), overflow="fold")
        for row in rows:
            table.add_row(*(Text(cell, style=STYLES.get(cell, "") if self.has_color else "") for cell in row))
        console = Console(file=self.stream, force_terminal=True, no_color=not self.has_color, highlight=False)
        console.print(table)


def say(text: str) -> None:
    """A word beside the data, to stderr."""
    click.echo(f"omkctl: {shown(text) if sys.stderr.isatty() else text}", err=True)
