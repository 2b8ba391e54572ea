"""What a run of the daemon is told: from the command line and the environment."""

from collections.abc import Mapping
from pathlib import Path

from attrs import frozen

from omkd.protocol.address import checked_session, checked_socket_path, socket_candidates, state_root
from omkd.store.session import SessionDir


@frozen(kw_only=True)
class Config:
    """`environment` is what hosts inherit."""

    session: SessionDir
    socket: Path
    environment: Mapping[str, str]


def config_for(environment: Mapping[str, str], *, session: str, state_dir: Path | None, socket: Path | None) -> Config:
    """Raises AddressError for a session or socket that cannot be."""
    directory = (state_dir or state_root(environment)).absolute() / checked_session(session)
    chosen = socket or socket_candidates(environment, session, directory)[0]
    path = checked_socket_path(chosen.absolute())
    hosts_see = {**environment, "OMKD_SOCKET": str(path)}
    return Config(session=SessionDir(directory), socket=path, environment=hosts_see)
