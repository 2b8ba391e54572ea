"""Lines of the log -> stderr, from a thread: a terminal or a pipe that is not read never holds the daemon up.

Text, or one JSON object a line; under systemd with the priority that the journal wants in front (sd-daemon(3)). Values
of secret names are not in them.
"""

import json
import logging
import os
import queue
import re
import select
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final

from omkd.protocol.redaction import redacted_text, secrets_in

LOG_LEVELS: Final = ("debug", "info", "warning", "error")
LOG_FORMATS: Final = ("text", "json")

MAX_QUEUED: Final = 10_000
"""Lines that wait for stderr: some MB at most. What comes then is dropped, and how much is said."""

JOINED_LINES: Final = 200
"""Written at once."""

LAST_WORDS_S: Final = 2.0
"""At the end, for lines that still wait. A stderr that nobody reads must not keep the daemon from ending."""

CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f\u2028\u2029]")
"""What could make two lines of one, or command a terminal; texts of others stand in messages. A tab may stay."""

PRIORITIES: Final = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}
"""syslog(3)'s."""


class LineFormatter(logging.Formatter):
    """A record as it is written. `prefixed`: with the journal's priority, in front of each line."""

    def __init__(self, *, as_json: bool, prefixed: bool, secrets: tuple[str, ...] = ()) -> None:
        super().__init__()
        self._as_json = as_json
        self._prefixed = prefixed
        self._secrets = secrets

    def format(self, record: logging.LogRecord) -> str:
        message = redacted_text(record.getMessage(), self._secrets)
        if not message.isprintable():
            message = CONTROL.sub(escaped, message)
        trace = ""
        if record.exc_info:
            trace = redacted_text(self.formatException(record.exc_info), self._secrets)
        text = json_line(record, message, trace) if self._as_json else self._text_lines(record, message, trace)
        if not self._prefixed:
            return text
        return "\n".join(f"<{priority(record.levelno)}>{line}" for line in text.split("\n"))

    def _text_lines(self, record: logging.LogRecord, message: str, trace: str) -> str:
        """The journal has times and levels of its own."""
        head = "" if self._prefixed else f"{time_of(record)} {record.levelname} "
        return f"{head}{record.name}: {message}" + (f"\n{trace}" if trace else "")


def json_line(record: logging.LogRecord, message: str, trace: str) -> str:
    """`{"ts":"…Z","level":"warning","logger":"omkd.api.server","message":"…"}`, `trace` where there is one."""
    fields = {"ts": time_of(record), "level": record.levelname.lower(), "logger": record.name, "message": message}
    return json.dumps(fields | ({"trace": trace} if trace else {}), ensure_ascii=False, separators=(",", ":"))


def time_of(record: logging.LogRecord) -> str:
    """RFC 3339, to the millisecond."""
    seconds, millis = divmod(int(record.created * 1000), 1000)
    return f"{second_words(seconds)}.{millis:03}Z"


@lru_cache(maxsize=4)
def second_words(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def escaped(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape").decode()


def priority(level: int) -> int:
    return next((number for at, number in sorted(PRIORITIES.items(), reverse=True) if level >= at), 7)


class QueuedHandler(logging.Handler):
    """Puts lines into a bounded queue; a thread writes them to `descriptor`. `close` waits for them, not for long."""

    def __init__(self, descriptor: int, formatter: logging.Formatter, max_queued: int = MAX_QUEUED) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self._descriptor = descriptor
        self._lines: queue.Queue[str | None] = queue.Queue(max_queued)
        self._dropped = 0
        self._owned_up = 0
        self._ends = False
        self._thread = threading.Thread(target=self._write_lines, name="omkd-log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._lines.put_nowait(self.format(record) + "\n")
        except queue.Full:
            self._dropped += 1

    def close(self) -> None:
        """What waits is written, as far as stderr takes it in time."""
        super().close()
        deadline = time.monotonic() + LAST_WORDS_S
        self._ends = True
        with suppress(queue.Full):
            self._lines.put(None, timeout=LAST_WORDS_S)
        self._thread.join(max(0.0, deadline - time.monotonic()))

    def _write_lines(self) -> None:
        """Until `close`, or until nobody will ever read what is written. A None in the queue only wakes it."""
        goes_on = True
        while goes_on and not (self._ends and self._lines.empty()):
            joined = [self._lines.get()]
            while len(joined) < JOINED_LINES and not self._lines.empty():
                joined.append(self._lines.get())
            text = "".join(line for line in joined if line is not None)
            goes_on = write_all(self._descriptor, text.encode(errors="backslashreplace"))
            self._own_up()

    def _own_up(self) -> None:
        dropped = self._dropped - self._owned_up  # `emit` alone counts, this thread alone says: no lock is needed
        self._owned_up += dropped
        if dropped:
            text = "%d lines of this log were dropped: stderr did not take them in time"
            record = logging.LogRecord(__name__, logging.WARNING, __file__, 0, text, (dropped,), None)
            write_all(self._descriptor, (self.format(record) + "\n").encode())


def write_all(descriptor: int, content: bytes) -> bool:
    """False when nobody will ever read it."""
    view = memoryview(content)
    while view:
        try:
            view = view[os.write(descriptor, view) :]
        except BlockingIOError:
            select.select([], [descriptor], [])
        except OSError:
            return False
    return True


def start_logging(environment: Mapping[str, str], *, level: str, log_format: str, descriptor: int = 2) -> QueuedHandler:
    """The root logger's only handler from now on; close it at the end."""
    formatter = LineFormatter(
        as_json=log_format == "json",
        prefixed=is_journal(environment, descriptor),
        secrets=secrets_in(environment),
    )
    handler = QueuedHandler(descriptor, formatter)
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    set_level(level)
    return handler


def set_level(level: str) -> None:
    logging.getLogger().setLevel(level.upper())


def is_journal(environment: Mapping[str, str], descriptor: int) -> bool:
    """Whether the descriptor is the journal's stream that systemd gave us (JOURNAL_STREAM, systemd.exec(5))."""
    device, _, inode = environment.get("JOURNAL_STREAM", "").partition(":")
    try:
        status = os.fstat(descriptor)
    except OSError:
        return False
    return (device, inode) == (str(status.st_dev), str(status.st_ino))
