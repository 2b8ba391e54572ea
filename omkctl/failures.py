"""How a command ends when it does not simply succeed: one exception, one exit status, one line of JSON or words."""

from enum import IntEnum

from omkd.protocol.errors import KIND_BY_CODE


class Exit(IntEnum):
    """The exit statuses, for good."""

    DONE = 0
    NEGATIVE = 1
    USAGE = 2
    NOT_FOUND = 3
    UNREACHABLE = 4
    REFUSED = 5
    CONFLICT = 6
    VERSION = 7
    TIMEOUT = 124
    INTERRUPTED = 130


EXIT_MEANINGS = {
    Exit.DONE: "done",
    Exit.NEGATIVE: "it ran and the outcome is negative (a task failed, nothing matched)",
    Exit.USAGE: "usage",
    Exit.NOT_FOUND: "no such thing",
    Exit.UNREACHABLE: "the daemon is not reachable",
    Exit.REFUSED: "refused",
    Exit.CONFLICT: "conflict",
    Exit.VERSION: "client and daemon speak different versions",
    Exit.TIMEOUT: "`--timeout` ran out",
    Exit.INTERRUPTED: "interrupted",
}


class Failure(Exception):
    """Ends the command. `code` is the daemon's; null for what the client found out by itself."""

    def __init__(
        self, status: int, name: str, message: str, *, code: int | None = None, data: dict[str, object] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.name = name
        self.message = message
        self.code = code
        self.data = data or {}

    def as_object(self) -> dict[str, object]:
        """`{"error":{"code":-32001,"name":"not_found","message":"…","data":{…}}}`"""
        return {"error": {"code": self.code, "name": self.name, "message": self.message, "data": self.data}}


class DaemonError(Failure):
    """What the daemon answered in place of a result."""


def daemon_error(error: dict[str, object]) -> DaemonError:
    """The failure for JSON-RPC's error object; a code that is not known here ends in 1."""
    code = error.get("code")
    data = error.get("data")
    fields = dict(data) if isinstance(data, dict) else {}
    kind = KIND_BY_CODE.get(code) if isinstance(code, int) else None
    name = fields.pop("name", None) or (kind.wire_name if kind else "error")
    status = kind.exit_status if kind else Exit.NEGATIVE
    return DaemonError(
        status, str(name), str(error.get("message")), code=code if isinstance(code, int) else None, data=fields
    )


def usage(message: str) -> Failure:
    return Failure(Exit.USAGE, "usage", message)


def timed_out(message: str) -> Failure:
    return Failure(Exit.TIMEOUT, "timeout", message)
