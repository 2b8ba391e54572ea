"""One connection to the daemon: requests out, answers and notifications in, blocking, each wait with a deadline."""

import socket
import time
from collections import deque
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Final

from omkd.protocol.errors import ErrorKind
from omkd.protocol.jsonrpc import Connection, ErrorResponse, LineTooLong, Notification, Response
from omkd.protocol.limits import SERVER_LINE_BYTES

from . import json_text
from .failures import Exit, Failure, daemon_error, usage

RECEIVE_BYTES: Final = 64 * 1024


class Lost(Exception):
    """The connection ended, or could not be made; the text says how."""


class Ending(Lost):
    """The daemon is ending and did nothing."""


class Refused(Lost):
    """There is a socket, and nobody listens: a daemon died here."""


class Late(Exception):
    """The deadline passed."""


@dataclass(frozen=True)
class Deadline:
    """A moment of the monotonic clock, None: never."""

    at: float | None

    @classmethod
    def after(cls, secs: float | None) -> "Deadline":
        return cls(None if secs is None else time.monotonic() + secs)

    def left_s(self) -> float | None:
        """Seconds. Raises Late when there are none."""
        if self.at is None:
            return None
        left = self.at - time.monotonic()
        if left <= 0:
            raise Late
        return left

    @property
    def passed(self) -> bool:
        return self.at is not None and time.monotonic() >= self.at

    def or_after(self, secs: float) -> "Deadline":
        """The earlier of this and `secs` from now."""
        other = time.monotonic() + secs
        return Deadline(other if self.at is None else min(self.at, other))


NEVER: Final = Deadline(None)


class Link:
    """Raises Lost from every method when the connection is gone."""

    def __init__(self, path: Path, deadline: Deadline) -> None:
        """Connects. Raises Lost, Late."""
        self.path = path
        self._rpc = Connection(json_text.parse, json_text.encode, line_limit_bytes=SERVER_LINE_BYTES)
        self._ids = count(1)
        self._notes: deque[Notification] = deque()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(deadline.left_s())
        try:
            self._socket.connect(str(path))
        except TimeoutError as fault:
            self.close()
            raise Late from fault
        except ConnectionRefusedError as fault:
            self.close()
            raise Refused(fault.strerror) from fault
        except OSError as fault:
            self.close()
            raise Lost(fault.strerror or str(fault)) from fault

    def close(self) -> None:
        self._socket.close()

    def ask(self, method: str, params: object, deadline: Deadline) -> object:
        """The result. Raises DaemonError for an error, Lost (also when the daemon says that it is ending), Late."""
        number = next(self._ids)
        try:
            line = self._rpc.encode_request(number, method, params)
        except UnicodeEncodeError as fault:
            raise usage(f"{fault.object[:80]!r} is not UTF-8: nothing was sent") from fault
        self._send(line, deadline)
        while True:
            match self._next(deadline):
                case Notification() as note:
                    self._notes.append(note)
                case Response(id=id, result=result) if id == number:
                    return result
                case ErrorResponse(id=id, error=error) if id in (number, None):
                    if error["code"] == ErrorKind.SHUTTING_DOWN.code:
                        raise Ending(str(error["message"]))
                    raise daemon_error(error)
                case other:
                    raise Lost(f"the daemon wrote what is no answer: {other!r:.200}")

    def next_note(self, deadline: Deadline) -> Notification:
        """The next notification. Raises Lost, Late."""
        while not self._notes:
            match self._next(deadline):
                case Notification() as note:
                    self._notes.append(note)
                case other:
                    raise Lost(f"the daemon wrote what is no notification: {other!r:.200}")
        return self._notes.popleft()

    def wait_closed(self, deadline: Deadline) -> None:
        """Returns when the daemon has closed the connection. Raises Late."""
        try:
            while True:
                self._next(deadline)
        except Lost:
            return

    def _send(self, line: bytes, deadline: Deadline) -> None:
        self._socket.settimeout(deadline.left_s())
        try:
            self._socket.sendall(line)
        except TimeoutError as fault:
            raise Late from fault
        except OSError as fault:
            raise Lost(fault.strerror or str(fault)) from fault

    def _next(self, deadline: Deadline) -> object:
        while (event := self._rpc.next_event()) is None:
            self._rpc.receive_data(self._receive(deadline))
        if isinstance(event, LineTooLong):
            text = f"the daemon's answer has over {event.limit_bytes} bytes: ask for less at once"
            raise Failure(Exit.NEGATIVE, "too_large", text)
        return event

    def _receive(self, deadline: Deadline) -> bytes:
        self._socket.settimeout(deadline.left_s())
        try:
            chunk = self._socket.recv(RECEIVE_BYTES)
        except TimeoutError as fault:
            raise Late from fault
        except OSError as fault:
            raise Lost(fault.strerror or str(fault)) from fault
        if not chunk:
            raise Lost("the daemon closed the connection")
        return chunk
