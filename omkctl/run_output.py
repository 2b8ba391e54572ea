"""The output of a task's run: the end of it, all of it, and what is still to come."""

import base64
import binascii
from collections.abc import Callable, Iterator
from typing import cast

from .client import Client
from .failures import Failure
from .json_text import Object
from .link import Deadline, Late, Link, Lost
from .options import ALL_LINES
from .progress import TICK_SECS
from .shapes import LogChunk
from .subscriptions import fields_of

FIRST_TAIL_BYTES = 64 * 1024
"""Asked for at first to find the last lines; four times as much each time they are not in it."""


def bytes_of(data: object) -> bytes:
    try:
        return base64.b64decode(str(data), validate=True)
    except binascii.Error as fault:
        raise Failure(1, "error", f"the daemon sent no base64: {fault}") from fault


class Notes:
    """Notifications of one connection; between them, and not more often than TICK_SECS, a tick."""

    def __init__(self, link: Link, deadline: Deadline, tick: Callable[[Link], None] | None) -> None:
        self._link = link
        self._deadline = deadline
        self._tick = tick
        self._due = Deadline.after(TICK_SECS)

    def next(self) -> Object:
        """Raises Lost, and Late at the deadline."""
        while self._tick is not None:
            if self._due.passed:
                self._tick(self._link)
                self._due = Deadline.after(TICK_SECS)
            try:
                return fields_of(self._link.next_note(self._deadline.or_after(TICK_SECS)))
            except Late:
                if self._deadline.passed:
                    raise
        return fields_of(self._link.next_note(self._deadline))


class RunOutput:
    """One stream of one hand-out (`handout` None: the newest that has run). `offset` is behind what was read."""

    def __init__(self, client: Client, id: str, *, stream: str, handout: int | None) -> None:
        self._client = client
        self._params = {"id": id, "stream": stream, "handout": handout}
        self.offset = 0

    def last_lines(self, wanted: int) -> Iterator[bytes]:
        """The last `wanted` lines (ALL_LINES: everything) there are now, in chunks."""
        if wanted == ALL_LINES:
            yield from self._from(self._chunk(offset=0))
            return
        tail = FIRST_TAIL_BYTES
        while True:
            chunk = self._chunk(tail=tail)
            text = b"".join(self._from(chunk))
            start = start_of_lines(text, wanted)
            if start or not wanted or chunk["size"] <= tail:
                yield text[start:]
                return
            tail *= 4

    def follow(
        self, deadline: Deadline, say: Callable[[str], None], tick: Callable[[Link], None] | None = None
    ) -> Iterator[bytes]:
        """From `offset` until the run is over, across restarts of the daemon. Raises Late at the deadline.

        `tick`, when given, is called about every TICK_SECS with the connection, which it may ask.
        """
        while True:
            link = self._client.link_until(deadline)
            notes = Notes(link, deadline, tick)
            try:
                params = {**self._params, "offset": self.offset, "follow": True}
                chunk = cast(LogChunk, link.ask("task.log", params, deadline))
                self.offset = chunk["offset"]
                yield bytes_of(chunk["data"])
                while chunk["subscription"] is not None:
                    note = notes.next()
                    if note["subscription"] != chunk["subscription"]:
                        continue
                    self.offset = cast(int, note["offset"])
                    yield bytes_of(note["data"])
                    if note["end"]:
                        return
                if chunk["offset"] >= chunk["size"]:
                    return
            except Lost as fault:
                self._client.drop()
                say(f"connection lost ({fault}); waiting for the daemon")

    def _from(self, chunk: LogChunk) -> Iterator[bytes]:
        """The chunk, and what follows it up to the file's end as it was then."""
        end = chunk["size"]
        while True:
            self.offset = chunk["offset"]
            yield bytes_of(chunk["data"])
            if self.offset >= end or not chunk["data"]:
                return
            chunk = self._chunk(offset=self.offset)

    def _chunk(self, **where: int) -> LogChunk:
        return self._client.call("task.log", {**self._params, **where}, LogChunk)


def start_of_lines(text: bytes, wanted: int) -> int:
    """Where the last `wanted` lines of `text` begin; 0 also when they begin before it."""
    if wanted == 0:
        return len(text)
    end = len(text) - 1 if text.endswith(b"\n") else len(text)
    for _ in range(wanted):
        end = text.rfind(b"\n", 0, end)
        if end < 0:
            return 0
    return end + 1
