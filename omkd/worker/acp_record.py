"""acp.jsonl of a run: each line that went between omk-worker and the agent, as it was.

`{"t":1.042,"dir":"in","msg":{…}}`: seconds since the turn's beginning, `in` is from the agent. What is no JSON stands
in `text`. It ends at its limit, with a line that says so; a full disk loses lines of it; neither touches the turn.
"""

import json
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from omkd.protocol.lines import LineSplitter, LongLine
from omkd.store.files import append_lines, open_append

from .acp_peer import LINE_BYTES

log = logging.getLogger(__name__)

Direction = Literal["in", "out"]


class Transcript:
    """Takes bytes of both directions in any chunks. `clock` gives seconds."""

    def __init__(self, descriptor: int, clock: Callable[[], float], limit_bytes: int) -> None:
        self._descriptor = descriptor
        self._clock = clock
        self._left_bytes = limit_bytes
        self._began = clock()
        self._splitters = {"in": LineSplitter(LINE_BYTES), "out": LineSplitter(LINE_BYTES)}
        self._is_failing = False

    def note(self, direction: Direction, data: bytes) -> None:
        for line in self._splitters[direction].receive_data(data):
            text = b"a line that is too long" if isinstance(line, LongLine) else line.text.strip()
            if text:
                self._write(direction, text)

    def _write(self, direction: Direction, text: bytes) -> None:
        if self._left_bytes <= 0:
            return
        self._left_bytes -= len(text)
        if self._left_bytes <= 0:
            text = b"the log of this run is full: no more is kept"
        seconds = round(self._clock() - self._began, 3)
        key, value = (b"msg", text) if is_json(text) else (b"text", json.dumps(text.decode(errors="replace")).encode())
        try:
            append_lines(self._descriptor, b'{"t":%a,"dir":"%b","%b":%b}\n' % (seconds, direction.encode(), key, value))
        except OSError as error:
            if not self._is_failing:
                log.warning("acp.jsonl: lines are lost: %s", error)
            self._is_failing = True


@contextmanager
def open_transcript(path: Path, clock: Callable[[], float], limit_bytes: int) -> Iterator[Transcript]:
    """Appends to `path`, `limit_bytes` of messages. Raises OSError."""
    descriptor = open_append(path)
    try:
        yield Transcript(descriptor, clock, limit_bytes)
    finally:
        os.close(descriptor)


def is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
