"""What a run of the daemon is told: from the command line, the environment, systemd and `omkd.toml`."""

import os
import signal
from collections.abc import Mapping, MutableMapping
from pathlib import Path

from attrs import frozen

from omkd.protocol.address import (
    checked_path,
    checked_session,
    checked_socket_path,
    config_path,
    socket_candidates,
    state_root,
)
from omkd.settings.loading import ConfigFile, Loaded, Override
from omkd.store.session import SessionDir
from omkd.systemd import passed_socket, watchdog_s


@frozen(kw_only=True)
class Place:
    """Where a session is, and what its hosts inherit (`environment`)."""

    session: SessionDir
    socket: Path
    environment: Mapping[str, str]


@frozen(kw_only=True)
class Config:
    """`passed_socket` is a descriptor that listens on `socket` already.

    `watchdog_s` is how long systemd waits for a sign of life. `ends_on_hangup`: SIGHUP means that the terminal is gone.
    """

    session: SessionDir
    socket: Path
    environment: Mapping[str, str]
    file: ConfigFile
    loaded: Loaded
    passed_socket: int | None
    watchdog_s: float | None
    ends_on_hangup: bool


def place_for(environment: Mapping[str, str], *, session: str, state_dir: Path | None, socket: Path | None) -> Place:
    """Raises AddressError for a session or socket that cannot be."""
    directory = checked_path((state_dir or state_root(environment)).absolute() / checked_session(session))
    chosen = socket or socket_candidates(environment, session, directory)[0]
    path = checked_socket_path(chosen.absolute())
    return Place(session=SessionDir(directory), socket=path, environment={**environment, "OMKD_SOCKET": str(path)})


def config_file(
    environment: Mapping[str, str], *, session: str, named: Path | None, overrides: Mapping[str, Override]
) -> ConfigFile:
    """`named` on the command line or by OMKD_CONFIG: then it must be there."""
    path = checked_path((named or config_path(environment)).absolute())
    required = named is not None or bool(environment.get("OMKD_CONFIG"))
    return ConfigFile(path=path, required=required, session=session, overrides=overrides)


def config_for(environment: MutableMapping[str, str], place: Place, file: ConfigFile, loaded: Loaded) -> Config:
    """What systemd says in the environment belongs to this process alone and is taken out of it.

    A socket that systemd hands over is the control socket, wherever it is. Raises ActivationError.
    """
    passed = passed_socket(environment, os.getpid())
    socket = place.socket if passed is None else passed.path
    return Config(
        session=place.session,
        socket=socket,
        environment={**environment, "OMKD_SOCKET": str(socket)},
        file=file,
        loaded=loaded,
        passed_socket=None if passed is None else passed.descriptor,
        watchdog_s=watchdog_s(environment, os.getpid()),
        ends_on_hangup=has_terminal() and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN,
    )


def has_terminal() -> bool:
    """Whether this process has a controlling terminal, which then sends SIGHUP when it is closed (tty(4))."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
