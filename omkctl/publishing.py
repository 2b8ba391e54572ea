"""An event's way to the daemon; from inside a worker, when none answers, into that worker's own events file."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

from .client import Client, Unreachable
from .failures import usage
from .invocation import Invocation
from .own_events import append_event, own_events_file
from .render import say
from .shapes import Published

PATIENCE_SECS: Final = 0.5
ANSWER_SECS: Final = 0.7
"""Hooks wait for this: together well below two seconds, with Python's start."""


def publisher(invocation: Invocation) -> Callable[[object], None]:
    """Takes an event to the daemon; from when that does not answer, into the worker's file."""
    client = invocation.client(patience_s=PATIENCE_SECS, answer_s=ANSWER_SECS)
    file: Path | None = None

    def publish(event: object) -> None:
        nonlocal file
        if file is None:
            try:
                done = send(client, event)
            except Unreachable:
                file = own_events_file(os.environ, invocation.address.session_dir)
                if file is None:
                    raise
                say(f"no daemon answers; into {file}")
            else:
                if invocation.json:
                    invocation.out.json(done)
                return
        append_event(file, event)

    return publish


def send(client: Client, event: object) -> Published:
    try:
        return client.call("event.publish", {"event": event}, Published, repeatable=False)
    except UnicodeEncodeError as fault:
        raise usage("the event holds text that is not UTF-8") from fault
