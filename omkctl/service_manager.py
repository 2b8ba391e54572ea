"""The user's systemd, through `systemctl --user`: what it knows of units, and what it is told to do."""

import os
import pwd
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from .failures import Exit, Failure

LINGER_DIR: Final = Path("/var/lib/systemd/linger")
"""Where systemd-logind keeps, as empty files, whose services go on without a login."""

SHOWN: Final = (
    "LoadState",
    "ActiveState",
    "SubState",
    "UnitFileState",
    "NeedDaemonReload",
    "StatusText",
    "MainPID",
    "Result",
    "ExecMainStatus",
    "NRestarts",
)

NO_MANAGER: Final = (
    "no systemd of this user answers ({why}). Log in anew (after su or sudo there is none: machinectl shell, or ssh), "
    "or set XDG_RUNTIME_DIR=/run/user/$(id -u). Without systemd: omkd --session {session} &"
)


class NoManager(Failure):
    """There is no `systemd --user` to talk to."""

    def __init__(self, why: str, session: str) -> None:
        super().__init__(Exit.NEGATIVE, "no_user_manager", NO_MANAGER.format(why=why, session=session))


def unit_dir(env: Mapping[str, str]) -> Path:
    """`$XDG_CONFIG_HOME/systemd/user`, `~/.config` where that is unset or relative (systemd.unit(5))."""
    base = env.get("XDG_CONFIG_HOME", "")
    root = Path(base) if base.startswith("/") else Path(env.get("HOME") or "~").expanduser() / ".config"
    return root / "systemd" / "user"


def is_lingering(linger_dir: Path = LINGER_DIR) -> bool:
    return (linger_dir / own_name()).exists()


def own_name() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())


class Systemd:
    """`session` is for what is said when there is no manager."""

    def __init__(self, session: str) -> None:
        self._session = session

    def check(self) -> None:
        """Raises NoManager."""
        done = self.ask("show", "--property=Version")
        if done.returncode != 0:
            raise NoManager(" ".join(done.stderr.split()) or f"status {done.returncode}", self._session)

    def tell(self, *arguments: str) -> None:
        """Raises Failure with what systemctl said."""
        done = self.ask(*arguments)
        if done.returncode != 0:
            said = " ".join(done.stderr.split())
            raise Failure(Exit.NEGATIVE, "systemctl_failed", f"systemctl --user {' '.join(arguments)}: {said}")

    def ask(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        argv = ["systemctl", "--user", "--no-pager", *arguments]
        try:
            return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        except FileNotFoundError:
            raise NoManager("systemctl is not installed", self._session) from None

    def show(self, unit: str) -> dict[str, str]:
        """What systemd knows of a unit, also of one that is not there. Raises Failure."""
        done = self.ask("show", "--property", ",".join(SHOWN), unit)
        if done.returncode != 0:
            raise NoManager(" ".join(done.stderr.split()), self._session)
        pairs = (line.partition("=") for line in done.stdout.splitlines())
        return dict.fromkeys(SHOWN, "") | {name: value for name, _, value in pairs}

    def running_instances(self) -> set[str]:
        """The units omkd@… that are active."""
        done = self.ask("list-units", "--plain", "--no-legend", "--state=active,activating,reloading", "omkd@*")
        return {line.split()[0] for line in done.stdout.splitlines() if line.strip()}
