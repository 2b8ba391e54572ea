"""One line on a terminal that is drawn over and over while something is waited for; nothing in a pipe.

It stands on stderr, so that stdout keeps only data. What else is written goes above it.
"""

import os
import sys
from types import TracebackType
from typing import Final, TextIO
from unicodedata import combining, east_asian_width

from .render import one_line, say

CLEAR: Final = "\r\x1b[K"
DEFAULT_COLUMNS: Final = 80


class LiveLine:
    """A context manager: the line is gone at its end, whatever ended it."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = sys.stderr if stream is None else stream
        self.is_live = self._stream.isatty() and os.environ.get("TERM") != "dumb"
        self._drawn = False

    def __enter__(self) -> "LiveLine":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()

    def draw(self, text: str) -> None:
        """In place of what stood there, cut to the terminal's width: a line that wraps cannot be cleared."""
        if self.is_live:
            self._stream.write(CLEAR + fitting(one_line(text), self._columns() - 1))
            self._stream.flush()
            self._drawn = True

    def clear(self) -> None:
        if self._drawn:
            self._stream.write(CLEAR)
            self._stream.flush()
            self._drawn = False

    def say(self, text: str) -> None:
        self.clear()
        say(text)

    def _columns(self) -> int:
        try:
            return os.get_terminal_size(self._stream.fileno()).columns or DEFAULT_COLUMNS
        except OSError:
            return DEFAULT_COLUMNS


def fitting(text: str, columns: int) -> str:
    """As much of `text` as stands in so many columns."""
    used = 0
    for place, character in enumerate(text):
        used += columns_of(character)
        if used > columns:
            return text[:place]
    return text


def columns_of(character: str) -> int:
    if combining(character):
        return 0
    return 2 if east_asian_width(character) in ("W", "F") else 1
