"""What passes between systemd and omkd: sd_notify(3), the watchdog's period, a socket handed over (sd_listen_fds(3)).

Without systemd nothing is said, and nothing is handed over.
"""

import logging
import os
import socket
import time
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Final

from attrs import frozen

logger = logging.getLogger(__name__)

FIRST_PASSED: Final = 3
"""SD_LISTEN_FDS_START."""

LISTEN_NAMES: Final = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")


@frozen
class Notifier:
    """`address` is empty when nobody listens."""

    address: str

    def ready(self, status: str) -> None:
        self._send(f"READY=1\nSTATUS={status}")

    def reloading(self) -> None:
        """Before `ready` says that it is over."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def status(self, status: str) -> None:
        self._send(f"STATUS={status}")

    def extend_timeout(self, secs: int, status: str) -> None:
        """The start (or stop) that is under way may take `secs` from now on."""
        self._send(f"EXTEND_TIMEOUT_USEC={secs * 1_000_000}\nSTATUS={status}")

    def alive(self) -> None:
        self._send("WATCHDOG=1")

    def stopping(self, status: str) -> None:
        self._send(f"STOPPING=1\nSTATUS={status}")

    def _send(self, text: str) -> None:
        if not self.address:
            return
        name = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as told:
                told.setblocking(False)
                told.sendto(text.encode(), name)
        except OSError as error:
            logger.warning("systemd cannot be told at %s: %s", self.address, error)


def notifier_for(environment: Mapping[str, str]) -> Notifier:
    return Notifier(environment.get("NOTIFY_SOCKET", ""))


def watchdog_s(environment: Mapping[str, str], pid: int) -> float | None:
    """How long systemd waits for a sign of life; None: it does not (sd_watchdog_enabled(3))."""
    for_us = environment.get("WATCHDOG_PID", str(pid)) == str(pid)
    period_us = environment.get("WATCHDOG_USEC", "")
    return int(period_us) / 1_000_000 if for_us and period_us.isdigit() and int(period_us) else None


@frozen(kw_only=True)
class PassedSocket:
    """A listening socket that systemd made and keeps: it is not ours to unlink."""

    descriptor: int
    path: Path


class ActivationError(ValueError):
    """What systemd handed over cannot be the control socket."""


def passed_socket(environment: MutableMapping[str, str], pid: int) -> PassedSocket | None:
    """The control socket, if systemd hands one over; its variables are gone from `environment` then: they are for us.

    Raises ActivationError.
    """
    found = {name: environment.pop(name, "") for name in LISTEN_NAMES}
    if found["LISTEN_PID"] != str(pid) or not found["LISTEN_FDS"].isdigit():
        return None
    count = int(found["LISTEN_FDS"])
    for descriptor in range(FIRST_PASSED, FIRST_PASSED + count):
        os.set_inheritable(descriptor, False)
    if count != 1:
        raise ActivationError(f"systemd hands over {count} sockets, there must be one: a single ListenStream=")
    return PassedSocket(descriptor=FIRST_PASSED, path=listening_path(FIRST_PASSED))


def listening_path(descriptor: int) -> Path:
    """Where a listening stream socket stands in the file system."""
    try:
        with socket.socket(fileno=os.dup(descriptor)) as passed:
            kind = passed.family, passed.type, passed.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            name = passed.getsockname()
    except OSError as error:
        raise ActivationError(f"descriptor {descriptor} from systemd is no socket: {error}") from error
    if kind != (socket.AF_UNIX, socket.SOCK_STREAM, 1) or not isinstance(name, str) or not name.startswith("/"):
        raise ActivationError(
            "systemd hands over another socket than a listening Unix stream socket with a path: ListenStream=/…"
        )
    return Path(name)
