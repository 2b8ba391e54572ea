"""An event's way to the daemon; from inside a worker, when none answers, into that worker's own events file."""

import os
from pathlib import Path
from typing import Final

from .client import Unreachable
from .failures import Exit, Failure, usage
from .invocation import Invocation
from .own_events import append_event, own_events_file
from .render import say
from .shapes import Published

PATIENCE_SECS: Final = 0.5
ANSWER_SECS: Final = 0.7
"""Hooks wait for this: together well below two seconds, with Python's start."""


class Publisher:
    """Takes events to the daemon; from when that does not answer, into the worker's file.

    One that the daemon was sent and did not answer goes into no file: it would be recorded twice.
    """

    def __init__(self, invocation: Invocation) -> None:
        self._invocation = invocation
        self._client = invocation.client(patience_s=PATIENCE_SECS, answer_s=ANSWER_SECS, start_s=0.0)
        self._file: Path | None = None
        self.status = Exit.DONE

    def publish(self, event: object) -> None:
        if self._file is None:
            try:
                done = self._send(event)
            except Unreachable as fault:
                self._file = own_events_file(os.environ, self._invocation.address.session_dir)
                if fault.sent:
                    self._note_unknown(fault)
                    return
                if self._file is None:
                    raise
                say(f"no daemon answers; into {self._file}")
            else:
                if self._invocation.json:
                    self._invocation.out.json(done)
                return
        append_event(self._file, event)

    def _send(self, event: object) -> Published:
        """Raises Unreachable, DaemonError."""
        try:
            return self._client.call("event.publish", {"event": event}, Published, repeatable=False)
        except UnicodeEncodeError as fault:
            raise usage("the event holds text that is not UTF-8") from fault

    def _note_unknown(self, fault: Unreachable) -> None:
        text = "the daemon was sent the event and did not answer: whether it is recorded `omkctl events -n 5` shows"
        if self._file is None:
            raise Failure(Exit.UNREACHABLE, "unreachable", text, data=fault.data)
        say(text)
        self.status = Exit.UNREACHABLE
