"""`OMK_PROGRESS 40 half way` in a command's output: how far it is. No file, no clock.

Such a line is for omkd, so it is not part of what the command has said in the end.
"""

import math
import re
from typing import Final

from omkd.protocol.events import WorkerProgress
from omkd.protocol.limits import HEADLINE_CHARS
from omkd.protocol.scalars import F32

PREFIX: Final = "OMK_PROGRESS"
PROGRESS_LINE: Final = re.compile(rf"^{PREFIX}(?:[ \t].*)?(?:\n|\Z)", re.MULTILINE)
NUMBER: Final = re.compile(r"(\d+(?:\.\d+)?)%?(?:\s+|\Z)")

MAX_LINE_BYTES: Final = 4096
"""What is kept of a line that is not whole yet; a progress line is a sentence."""


class ProgressLines:
    """Is fed the output as it grows; `latest` is what the last whole progress line of it said."""

    def __init__(self, worker: str) -> None:
        self._worker = worker
        self._rest = b""
        self.latest: WorkerProgress | None = None

    def receive_data(self, data: bytes) -> None:
        whole, newline, rest = (self._rest + data).rpartition(b"\n")
        self._rest = rest[:MAX_LINE_BYTES]
        if PREFIX.encode() not in whole:
            return
        for line in reversed((whole + newline).decode(errors="replace").splitlines()):
            if (found := progress_in(self._worker, line)) is not None:
                self.latest = found
                return

    def skip(self) -> None:
        """What follows is not the continuation of what came before."""
        self._rest = b""


def progress_in(worker: str, line: str) -> WorkerProgress | None:
    """`OMK_PROGRESS [PERCENT] [TEXT]`; None for any other line, and when it says neither."""
    word, _, rest = line.rstrip().partition(" ")
    if word != PREFIX:
        return None
    rest = rest.strip()
    percent, message = None, rest
    if (number := NUMBER.match(rest)) is not None and math.isfinite(value := float(number[1])) and value <= 100:
        percent, message = F32(value), rest[number.end() :]
    if percent is None and not message:
        return None
    return WorkerProgress(worker_id=worker, percent=percent, message=message[:HEADLINE_CHARS] or None)


def without_progress(text: str) -> str:
    """Output without its progress lines."""
    return PROGRESS_LINE.sub("", text) if PREFIX in text else text
