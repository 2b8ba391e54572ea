"""Where a session, its socket and the configuration are. Standard library only: `omkctl` needs it at start."""

import re
from collections.abc import Mapping
from pathlib import Path

from .limits import UNIX_PATH_BYTES

SESSION_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class AddressError(ValueError):
    """A session name or a path that cannot be used; the text says which and why."""


def checked_session(name: str) -> str:
    """`name`, if it may name a session. Raises AddressError."""
    if not SESSION_NAME.fullmatch(name):
        raise AddressError(f"bad session name {name!r}: 1 to 64 of A-Z a-z 0-9 _ . -, beginning with a letter or digit")
    return name


def home(env: Mapping[str, str]) -> Path:
    """Raises AddressError where nothing says which it is: a user without an entry in passwd(5)."""
    try:
        return Path(env.get("HOME") or "~").expanduser()
    except RuntimeError as fault:
        raise AddressError("no home directory is known: set HOME, or XDG_STATE_HOME and XDG_CONFIG_HOME") from fault


def state_root(env: Mapping[str, str]) -> Path:
    """`$XDG_STATE_HOME/omk/sessions`, `~/.local/state` where it is unset or relative (XDG base directories).

    Raises AddressError.
    """
    base = env.get("XDG_STATE_HOME", "")
    root = Path(base) if base.startswith("/") else home(env) / ".local" / "state"
    return root / "omk" / "sessions"


def socket_candidates(env: Mapping[str, str], session: str, session_dir: Path) -> list[Path]:
    """Where the socket may be, first the place where a daemon of this environment makes it."""
    runtime = env.get("XDG_RUNTIME_DIR", "")
    inside = session_dir / "omkd.sock"
    if runtime.startswith("/"):
        return [Path(runtime) / "omk" / f"{session}.sock", inside]
    return [inside]


def config_path(env: Mapping[str, str]) -> Path:
    """`$OMKD_CONFIG`, else `$XDG_CONFIG_HOME/omk/omkd.toml`, `~/.config` where that is unset or relative.

    Raises AddressError.
    """
    if named := env.get("OMKD_CONFIG"):
        return Path(named)
    base = env.get("XDG_CONFIG_HOME", "")
    root = Path(base) if base.startswith("/") else home(env) / ".config"
    return root / "omk" / "omkd.toml"


def checked_path(path: Path) -> Path:
    """`path`, if it is text: it is to stand in JSON. Raises AddressError."""
    try:
        str(path).encode()
    except UnicodeEncodeError as fault:
        shown = str(path).encode(errors="surrogateescape").decode(errors="backslashreplace")
        raise AddressError(f"the path {shown} is not UTF-8: choose another, or name one with an option") from fault
    return path


def checked_socket_path(path: Path) -> Path:
    """`path`, if the kernel can bind it. Raises AddressError: AF_UNIX paths end at 107 bytes."""
    size = len(str(checked_path(path)).encode())
    if size > UNIX_PATH_BYTES:
        raise AddressError(
            f"socket path {path} has {size} bytes, a Unix socket's has at most {UNIX_PATH_BYTES}: "
            "give a shorter one with --socket or OMKD_SOCKET"
        )
    return path
