"""What doctor looks at, gathered once, so that every check speaks of the same moment. What cannot be had is None."""

import os
import shlex
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from . import processes
from .client import Client, Unreachable
from .failures import Failure
from .locate import Address
from .lock_holders import Holder, holder_of
from .service_manager import LINGER_DIR, NoManager, Systemd, unit_dir
from .service_plan import Installed, look
from .shapes import Hello, Status

ANSWER_SECS: Final = 10.0
"""A daemon that is silent for longer is a finding itself."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """`mend` is a command where there is one; else what a person is to do."""

    what: str
    mend: str


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """From where on something is a fault."""

    ahead_secs: float = 5.0
    """A clock that NTP keeps is never so far off."""


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """Of the machine, what tests put somewhere else."""

    env: Mapping[str, str]
    linger_dir: Path = LINGER_DIR
    bounds: Bounds = Bounds()


@dataclass(frozen=True, kw_only=True)
class Facts:
    """`silence` says why there is no `hello`, `misunderstood` why there is no `status` in spite of it.

    `daemon_env` is None when no daemon answers, or its environment cannot be read. `installed`: None without a systemd
    of this user.
    """

    address: Address
    prefix: str
    around: Surroundings
    now: datetime
    uid: int
    hello: Hello | None
    silence: str
    status: Status | None
    misunderstood: str
    daemon_env: Mapping[str, str] | None
    holders: tuple[Holder, ...]
    installed: Installed | None

    def omkctl(self, words: str) -> str:
        """A command for this session."""
        return f"{self.prefix} {words}"

    @property
    def has_unit(self) -> bool:
        return self.installed is not None and self.installed.service["LoadState"] not in ("", "not-found")

    @property
    def start(self) -> str:
        """The command that starts a daemon for this session."""
        if self.has_unit:
            return f"systemctl --user start omkd@{self.address.session}"
        return self.address.start


def gather(address: Address, prefix: str, around: Surroundings) -> Facts:
    client = Client(address, check_version=False, patience_s=0, answer_s=ANSWER_SECS)
    try:
        hello, silence = ask_hello(client)
        status, misunderstood = ask_status(client) if hello is not None else (None, "")
    finally:
        client.close()
    return Facts(
        address=address,
        prefix=prefix,
        around=around,
        now=datetime.now(UTC),
        uid=os.getuid(),
        hello=hello,
        silence=silence,
        status=status,
        misunderstood=misunderstood,
        daemon_env=processes.environ_of(hello["pid"]) if hello is not None else None,
        holders=tuple(holder for lock in address.locks if (holder := holder_of(lock)) is not None),
        installed=installed_units(address, around),
    )


def ask_hello(client: Client) -> tuple[Hello | None, str]:
    try:
        return client.call("omkd.hello", {}, Hello), ""
    except Failure as failure:
        return None, failure.message


def ask_status(client: Client) -> tuple[Status | None, str]:
    """A daemon of another version may answer what is not understood here."""
    try:
        return client.call("omkd.status", {}, Status), ""
    except Unreachable as failure:
        return None, failure.message
    except Failure as failure:
        return None, failure.message


def installed_units(address: Address, around: Surroundings) -> Installed | None:
    with suppress(NoManager):
        return look(Systemd(address.session), unit_dir(around.env), address.session)
    return None


def prefix_for(session: str, socket: str | None, state_dir: str | None) -> str:
    """`omkctl`, and what of its options is needed to reach the same daemon."""
    options = {"--session": session if session != "default" else None, "--socket": socket, "--state-dir": state_dir}
    words = [f"{name} {shlex.quote(value)}" for name, value in options.items() if value is not None]
    return " ".join(["omkctl", *words])
