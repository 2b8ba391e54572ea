"""Calls that outlive a restart of the daemon.

The first second decides: where nothing listens and no lock says that a daemon lives, the call fails, or, where a socket
says that one died, when none took its place within DIED_SECS. Once a daemon was met, or is on its way, calls
that may be made twice are tried again for `patience_s`; what follows or waits, for as long as it takes.
"""

import time
from typing import Final, TypeVar, cast

from omkd.protocol.version import PROTOCOL_VERSION, __version__

from .failures import Exit, Failure
from .link import Deadline, Ending, Late, Link, Lost, Refused
from .locate import Address

PATIENCE_SECS: Final = 10.0
"""How long a call is tried again: a restart takes well under a second, systemd's RestartSec a few."""

DIED_SECS: Final = 3.0
"""For systemd to start a daemon that died anew: RestartSec is 1 s, and its lock says then that it lives."""

ANSWER_SECS: Final = 30.0
"""For an answer that waits for nothing but the disk."""

PAUSES_S: Final = (0.01, 0.02, 0.05, 0.1, 0.2)
"""Between attempts; the last one repeats."""

START_SECS: Final = 1.0
"""For one that was started in the line before (`omkd &`): after some tenths of a second its lock says that it lives."""

DROP_PAUSE_S: Final = 0.02

T = TypeVar("T")


class Unreachable(Failure):
    """No daemon answers. `sent`: the request went out, so what became of it is not known."""

    def __init__(self, message: str, *, sockets: list[str], sent: bool) -> None:
        super().__init__(Exit.UNREACHABLE, "unreachable", message, data={"sockets": sockets, "sent": sent})
        self.sent = sent


class Client:
    """`check_version` False lets an omkctl of another protocol talk to the daemon (to ask its version, to end it)."""

    def __init__(
        self,
        address: Address,
        *,
        check_version: bool = True,
        patience_s: float = PATIENCE_SECS,
        answer_s: float = ANSWER_SECS,
        start_s: float = START_SECS,
    ) -> None:
        self.address = address
        self._check_version = check_version
        self._patience_s = patience_s
        self._answer_s = answer_s
        self._start_s = min(start_s, patience_s)
        self._started: Deadline | None = None
        self._link: Link | None = None
        self._met = False
        self._died: Deadline | None = None

    def close(self) -> None:
        if self._link is not None:
            self._link.close()
        self._link = None

    def drop(self) -> None:
        """After a connection was lost: the next one is made anew, and not in a tight loop."""
        self.close()
        time.sleep(DROP_PAUSE_S)

    def call(self, method: str, params: object, shape: type[T], *, repeatable: bool = True) -> T:
        """The result, of which the fields of `shape` are there. Not `repeatable`: sent once at most.

        Raises DaemonError for what the daemon answers, Unreachable when it does not.
        """
        patience = Deadline.after(self._patience_s)
        sent = False
        while True:
            link = self.link(patience, sent=sent)
            sent = True
            try:
                return shaped(link.ask(method, params, Deadline.after(self._answer_s)), shape)
            except Lost as fault:
                self.drop()
                if not repeatable or patience.passed:
                    took = not isinstance(fault, Ending)
                    raise self._unreachable([f"{link.path} ({fault})"], sent=took) from fault
            except Late as fault:
                raise self._silent(link, sent=True) from fault

    def call_long(self, method: str, params: object, shape: type[T], deadline: Deadline) -> T:
        """As `call`, not repeatable, for what takes its time. Raises Late; what the daemon began ends then."""
        link = self.link(deadline.or_after(self._patience_s))
        try:
            return shaped(link.ask(method, params, deadline), shape)
        except Lost as fault:
            self.drop()
            raise self._unreachable([f"{link.path} ({fault})"], sent=not isinstance(fault, Ending)) from fault

    def wait(self, method: str, params: object, shape: type[T], deadline: Deadline) -> T:
        """As `call`, for what takes its time: reconnects until the deadline. Raises Late."""
        while True:
            link = self.link_until(deadline)
            try:
                return shaped(link.ask(method, params, deadline), shape)
            except Lost:
                self.drop()

    def link_until(self, deadline: Deadline) -> Link:
        """As `link`; once a daemon was met, for as long as it takes. Raises Late at the deadline."""
        try:
            return self.link(deadline if self._met else deadline.or_after(self._patience_s))
        except Unreachable:
            if deadline.passed:
                raise Late from None
            raise

    def link(self, patience: Deadline, *, sent: bool = False) -> Link:
        """The connection, made anew when there is none. Raises Unreachable, DaemonError (another version), Late."""
        pauses = iter(PAUSES_S)
        while self._link is None:
            tried = self._try_sockets()
            if self._link is not None:
                break
            if patience.passed or not (self._met or self.address.daemon_lives() or self._may_come()):
                raise self._unreachable(tried, sent=sent)
            time.sleep(next(pauses, PAUSES_S[-1]))
        return self._link

    def _try_sockets(self) -> list[str]:
        """Sets `_link`, or says of each socket what was wrong with it."""
        tried = []
        for path in self.address.sockets:
            try:
                self._link = self._greeted(Link(path, Deadline.after(self._answer_s)))
                break
            except (Lost, Late) as fault:
                if isinstance(fault, Refused) and self._died is None:
                    self._died = Deadline.after(DIED_SECS)
                tried.append(f"{path} ({str(fault) or 'no answer'})")
        return tried

    def _may_come(self) -> bool:
        """One that ends as it should takes its socket with it; one that begins has none yet."""
        if self._started is None:
            self._started = Deadline.after(self._start_s)
        return not self._started.passed or (self._died is not None and not self._died.passed)

    def _greeted(self, link: Link) -> Link:
        """`link` after `omkd.hello`. Raises Lost, Unreachable (it took the connection and is silent), DaemonError."""
        self._met = True
        hello = {"client": f"omkctl {__version__}", "version": PROTOCOL_VERSION if self._check_version else None}
        try:
            link.ask("omkd.hello", hello, Deadline.after(self._answer_s))
        except Late as fault:
            link.close()
            raise self._silent(link, sent=False) from fault
        except (Lost, Failure):
            link.close()
            raise
        return link

    def _unreachable(self, tried: list[str], *, sent: bool) -> Unreachable:
        session, start = self.address.session, self.address.start
        if not self.address.has_own_socket:
            start += f"  or: systemctl --user start omkd@{session}"
        return Unreachable(
            f"no daemon answers for session {session!r}: tried {', '.join(tried)}. To start one: {start}",
            sockets=[str(path) for path in self.address.sockets],
            sent=sent,
        )

    def _silent(self, link: Link, *, sent: bool) -> Unreachable:
        text = f"the daemon took the connection at {link.path} and did not answer within {self._answer_s:g} s"
        self.close()
        return Unreachable(f"{text}; its log says what it is doing", sockets=[str(link.path)], sent=sent)


def shaped(result: object, shape: type[T]) -> T:
    """`result`, if it has the fields of the TypedDict `shape`; of which type they are, the protocol's version says."""
    needed: frozenset[str] = getattr(shape, "__required_keys__", frozenset())
    missing = sorted(needed.difference(result if isinstance(result, dict) else ()))
    if missing:
        raise Failure(Exit.VERSION, "version_mismatch", f"the daemon's answer has no {', '.join(missing)}")
    return cast(T, result)
