"""What systemd is told (sd_notify(3)): a datagram to $NOTIFY_SOCKET. Without one nothing is said."""

import logging
import socket
from collections.abc import Mapping

from attrs import frozen

logger = logging.getLogger(__name__)


@frozen
class Notifier:
    """`address` is empty when nobody listens."""

    address: str

    def ready(self, status: str) -> None:
        self._send(f"READY=1\nSTATUS={status}")

    def stopping(self, status: str) -> None:
        self._send(f"STOPPING=1\nSTATUS={status}")

    def _send(self, text: str) -> None:
        if not self.address:
            return
        name = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as told:
                told.sendto(text.encode(), name)
        except OSError as error:
            logger.warning("systemd cannot be told at %s: %s", self.address, error)


def notifier_for(environment: Mapping[str, str]) -> Notifier:
    return Notifier(environment.get("NOTIFY_SOCKET", ""))
