"""An agent's output on its way to stdout: escape sequences out, but for colours on a terminal that has them.

It comes in pieces, cut anywhere: what may be the beginning of a sequence or of a character waits for its end.
"""

import codecs
import re
from typing import Final

from .render import COLOUR_SEQUENCE, CONTROL, Output, picture

ESCAPE: Final = re.compile(
    rb"\x1b(?:\[[0-?]*[ -/]*[@-~]"  # CSI: colours, cursor, erasing
    rb"|[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)"  # OSC and other strings: titles, links
    rb"|[ -/]*[0-OQ-WYZ\\`-~])"  # the rest: character sets, keypad, reset
)
BEGUN: Final = re.compile(rb"\x1b(?:\[[0-?]*[ -/]*|[\]PX^_][^\x07\x1b]*\x1b?|[ -/]*)\Z")
"""A sequence that may go on in the next piece (ECMA-48)."""

COLOUR: Final = re.compile(rb"\x1b\[[0-9;:]*m")
COLOUR_PARTS: Final = re.compile(f"({COLOUR_SEQUENCE.pattern})")
RESET: Final = "\x1b[0m"
HELD_BYTES: Final = 4096
"""What is longer and has no end is no sequence."""


class RunText:
    """Writes to `out`. `at_line_start`: what is written next stands at the beginning of a line."""

    def __init__(self, out: Output) -> None:
        self._out = out
        self._held = b""
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._return = ""
        self._coloured = False
        self.at_line_start = True

    def write(self, data: bytes) -> None:
        data = self._held + data
        begun = BEGUN.search(data)
        cut = begun.start() if begun is not None and len(begun[0]) <= HELD_BYTES else len(data)
        self._held = data[cut:]
        self._emit(ESCAPE.sub(self._kept, data[:cut]), last=False)

    def end(self) -> None:
        """What still waited for its end is written as it is; colours are over."""
        self._emit(self._held, last=True)
        self._held = b""
        if self._coloured:
            self._out.stream.write(RESET)
            self._out.stream.flush()

    def _kept(self, sequence: re.Match[bytes]) -> bytes:
        if self._out.has_color and COLOUR.fullmatch(sequence[0]):
            self._coloured = True
            return sequence[0]
        return b""

    def _emit(self, data: bytes, *, last: bool) -> None:
        stream = self._out.stream
        if self._out.is_terminal:
            stream.write(self._harmless(self._return + self._decoder.decode(data, last), last=last))
        else:
            stream.buffer.write(data)
        stream.flush()
        if data:
            self.at_line_start = data.endswith(b"\n")

    def _harmless(self, text: str, *, last: bool) -> str:
        """Nothing in it moves the cursor; a return at the end waits, for it may belong to a newline."""
        self._return = "\r" if text.endswith("\r") and not last else ""
        text = text.removesuffix(self._return).replace("\r\n", "\n")
        parts = COLOUR_PARTS.split(text)
        return "".join(part if place % 2 else CONTROL.sub(picture, part) for place, part in enumerate(parts))
