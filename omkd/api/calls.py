"""What a handler is given and what it returns."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import trio
from attrs import define, field, frozen

from omkd.protocol.events import By
from omkd.protocol.methods import ConfigResult, ReloadResult
from omkd.protocol.scalars import U64, Ns, Seq
from omkd.services.escalation_writer import EscalationWriter
from omkd.services.hub import Hub
from omkd.services.mailbox_reader import MailboxReader
from omkd.services.mailbox_writer import MailboxWriter
from omkd.services.notices import Notices
from omkd.services.supervisor import Supervisor


class Configuration(Protocol):
    """omkd.toml, as a handler sees it."""

    def reload(self) -> ReloadResult:
        """Takes the whole file, or nothing. Raises ApiError."""

    def shown(self) -> ConfigResult:
        """What is in force, and where it comes from."""


@define(kw_only=True)
class Desk:
    """What the handlers work with. `stop` is set to end the daemon, `stop_reason` says why.

    `end_hosts`: the hosts end with it. `drain_deadline` is on trio's clock.
    """

    hub: Hub
    supervisor: Supervisor
    reader: MailboxReader
    mailbox_writer: MailboxWriter
    escalation_writer: EscalationWriter
    notices: Notices
    configuration: Configuration
    socket: Path
    started: Ns
    stop: trio.Event = field(factory=trio.Event)
    stop_reason: str = ""
    connections: int = 0
    end_hosts: bool = False
    drain_deadline: float | None = None
    drain_asked: trio.Event = field(factory=trio.Event)

    def end(self, reason: str) -> None:
        """Ends the daemon; the first reason counts."""
        if not self.stop.is_set():
            self.stop_reason = reason
            self.stop.set()

    def drain_until(self, deadline: float) -> None:
        """Ends the daemon when nothing runs any more, at the latest at `deadline`; asked again, that counts."""
        self.drain_deadline = deadline
        self.drain_asked.set()


class Caller(Protocol):
    """The connection, as a handler sees it."""

    reading: trio.Lock
    """Held by the one of its calls that reads the past. A step of that takes some 10 ms; 64 calls at once would keep
    everybody waiting for a second."""

    def by(self) -> By:
        """Who speaks; found out at the first question."""

    def refuse_too_many(self) -> None:
        """Raises ApiError TOO_MANY when as much waits on this connection as may."""

    def new_subscription(self) -> U64:
        """A number for one more subscription. Raises ApiError TOO_MANY."""

    def cancel_subscription(self, subscription: U64) -> bool:
        """False if there is none of that number."""

    async def send(self, lines: bytes) -> None:
        """Queues whole lines, once the peer has read enough of what is queued already."""


@frozen(kw_only=True)
class Call:
    """One request: who asks, and what the answer is made from."""

    desk: Desk
    caller: Caller

    @property
    def hub(self) -> Hub:
        return self.desk.hub


@frozen(kw_only=True)
class Follow:
    """What a subscription does once its answer is on the way."""

    subscription: U64
    run: Callable[[], Awaitable[None]]


@frozen(kw_only=True)
class Answer:
    """`result` is an object of the method's result class, or JSON as bytes. It is sent once `seq` is on disk."""

    result: object
    seq: Seq = Seq(0)
    follow: Follow | None = None


Handler: TypeAlias = Callable[[Call, Any], Answer | Awaitable[Answer]]
"""Called with the method's parameters. One that returns an Answer is run inline; one that must wait is a coroutine."""
