"""What every verb gets: the options that hold for all of them, and from these the client and the output."""

import os
import sys
from dataclasses import dataclass, field
from functools import cached_property

import click

from .client import ANSWER_SECS, PATIENCE_SECS, START_SECS, Client
from .locate import DEFAULT_SESSION, Address, address_for
from .render import Output


@dataclass(kw_only=True)
class Invocation:
    """Filled from the environment, then by options before the verb, then by options behind it."""

    session: str = DEFAULT_SESSION
    socket: str | None = None
    state_dir: str | None = None
    json: bool = False
    color: str = "auto"
    typed: set[str] = field(default_factory=set)
    """Names of the options that were typed, not taken from the environment."""

    def take(self, name: str, value: object, *, typed: bool) -> None:
        setattr(self, name, value)
        if typed:
            self.typed.add(name)

    @cached_property
    def address(self) -> Address:
        """A session that was typed is meant: a socket that only the environment names is then not it."""
        other = {"session", "state_dir"} & self.typed and "socket" not in self.typed
        socket = None if other else self.socket
        return address_for(os.environ, session=self.session, socket=socket, state_dir=self.state_dir)

    @cached_property
    def out(self) -> Output:
        return Output(as_json=self.json, color=self.color, stream=sys.stdout)

    def client(
        self,
        *,
        check_version: bool = True,
        patience_s: float = PATIENCE_SECS,
        answer_s: float = ANSWER_SECS,
        start_s: float = START_SECS,
    ) -> Client:
        """A client that is closed when the command ends."""
        client = Client(
            self.address, check_version=check_version, patience_s=patience_s, answer_s=answer_s, start_s=start_s
        )
        click.get_current_context().call_on_close(client.close)
        return client
