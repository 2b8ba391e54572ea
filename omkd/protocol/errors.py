"""The errors of the control API: code, name, exit status of omkctl. Standard library only.

One table; `docs/protocol.md` prints it. An `ApiError` is the peer's fault or the world's and is answered; every other
exception is ours and ends the connection with `internal_error`.
"""

from enum import Enum
from typing import Final


class ErrorKind(Enum):
    """(code, exit status of omkctl, what it says)."""

    PARSE_ERROR = (-32700, 2, "the line is not JSON")
    INVALID_REQUEST = (-32600, 2, "the JSON is no JSON-RPC 2.0 request")
    METHOD_NOT_FOUND = (-32601, 2, "there is no such method")
    INVALID_PARAMS = (-32602, 2, "a parameter is missing, unknown or of the wrong type")
    INTERNAL_ERROR = (-32603, 1, "a fault in omkd; its log has the traceback")
    REFUSED = (-32000, 5, "not allowed, or not now")
    NOT_FOUND = (-32001, 3, "no such task, worker, run or subscription")
    CONFLICT = (-32002, 6, "it is there already, and different")
    QUEUE_FULL = (-32003, 5, "max_queued_tasks or max_queued_bytes is reached")
    TOO_LARGE = (-32004, 2, "a line, a task or an event is over its limit")
    WRITE_FAILED = (-32005, 5, "the disk did not take it; nothing was recorded")
    SHUTTING_DOWN = (-32006, 4, "the daemon is ending")
    VERSION_MISMATCH = (-32007, 7, "client and daemon speak different protocols")
    TOO_MANY = (-32008, 5, "too many connections, requests in flight or subscriptions")
    TIMEOUT = (-32009, 124, "the time given ran out")
    LOG_DAMAGED = (-32010, 5, "units of the past that were asked for cannot be read; `omkd repair`, or a backup")

    @property
    def code(self) -> int:
        return self.value[0]

    @property
    def exit_status(self) -> int:
        return self.value[1]

    @property
    def wire_name(self) -> str:
        return self.name.lower()


KIND_BY_CODE: Final = {kind.code: kind for kind in ErrorKind}


class ApiError(Exception):
    """Answered to the peer. `data` says in fields what the message says in words (path, known, limit, …)."""

    def __init__(self, kind: ErrorKind, message: str, **data: object) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.data = data

    def as_object(self) -> dict[str, object]:
        """JSON-RPC's error object; `data.name` is the error's name."""
        return {
            "code": self.kind.code,
            "message": self.message,
            "data": {"name": self.kind.wire_name, **self.data},
        }
