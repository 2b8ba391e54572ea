"""What `service install` and `service uninstall` do, as steps: each says what it does, and is done or only said.

The steps follow from what is there now, so that a second install finds nothing to do.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from .failures import Exit, Failure
from .service_manager import Systemd
from .service_units import SERVICE, SOCKET, is_ours

ENABLED = ("enabled", "enabled-runtime", "linked", "linked-runtime")
RUNNING = ("active", "activating", "reloading")


@dataclass(frozen=True, kw_only=True)
class Step:
    """`did` is what it says once it is done, `will` before."""

    did: str
    will: str
    act: Callable[[], None]


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """How the service is to be. `stale`: the daemon that runs is of another version than this omkctl."""

    session: str
    texts: Mapping[str, str]
    now: bool
    socket_activated: bool
    stale: bool = False


@dataclass(frozen=True, kw_only=True)
class Installed:
    """What is there: the units' directory, and what systemd says of this session's two units."""

    directory: Path
    session: str
    service: Mapping[str, str]
    socket: Mapping[str, str]
    texts: Mapping[str, str] = field(default_factory=dict)

    @property
    def service_unit(self) -> str:
        return instance(SERVICE, self.session)

    @property
    def socket_unit(self) -> str:
        return instance(SOCKET, self.session)

    @property
    def runs(self) -> bool:
        return self.service["ActiveState"] in RUNNING

    @property
    def listens(self) -> bool:
        return self.socket["ActiveState"] in RUNNING


def instance(template: str, session: str) -> str:
    """`omkd@work.service`. A session's name needs no escaping: `-` is a `/` in paths only, and %i is not unescaped."""
    return template.replace("@.", f"@{session}.")


def look(systemd: Systemd, directory: Path, session: str) -> Installed:
    """Raises Failure."""
    return Installed(
        directory=directory,
        session=session,
        service=systemd.show(instance(SERVICE, session)),
        socket=systemd.show(instance(SOCKET, session)),
        texts={name: text for name in (SERVICE, SOCKET) if (text := text_of(directory / name)) is not None},
    )


def text_of(path: Path) -> str | None:
    """None when there is no such file, or it cannot be read as text."""
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return None


def install_steps(systemd: Systemd, found: Installed, wanted: Wanted) -> list[Step]:
    """Raises Failure (conflict) for a unit that somebody else wrote."""
    changed = [name for name, text in wanted.texts.items() if found.texts.get(name) != text]
    for name in changed:
        check_ours(found.directory / name)
    steps = [write_step(found.directory / name, wanted.texts[name]) for name in changed]
    if changed or "yes" in (found.service["NeedDaemonReload"], found.socket["NeedDaemonReload"]):
        steps.append(told(systemd, "systemd read the units again", "let systemd read the units again", "daemon-reload"))
    steps += enable_steps(systemd, found, wanted)
    if wanted.now:
        restart = wanted.stale or SERVICE in changed or found.service["NeedDaemonReload"] == "yes"
        steps += start_steps(systemd, found, restart=restart, with_socket=wanted.socket_activated)
    return steps


def enable_steps(systemd: Systemd, found: Installed, wanted: Wanted) -> Iterator[Step]:
    """With the socket the service is enabled, too: what is queued goes on after a login, without a client."""
    for unit, state, is_wanted in (
        (found.service_unit, found.service["UnitFileState"], True),
        (found.socket_unit, found.socket["UnitFileState"], wanted.socket_activated),
    ):
        if is_wanted and state not in ENABLED:
            yield told(systemd, f"enabled {unit}: it starts when you log in", f"enable {unit}", "enable", unit)
        elif not is_wanted and state in ENABLED:
            yield told(systemd, f"disabled {unit}", f"disable {unit}", "disable", unit)


def start_steps(systemd: Systemd, found: Installed, *, restart: bool, with_socket: bool) -> Iterator[Step]:
    """The socket is systemd's or the daemon's: to change that, the daemon is ended in between."""
    unit, rewired = found.service_unit, with_socket != found.listens
    if found.service["ActiveState"] == "failed":
        yield told(systemd, f"forgot that {unit} failed", f"forget that {unit} failed", "reset-failed", unit)
    if rewired:
        if found.runs:
            yield told(systemd, f"stopped {unit}; agents at work go on", f"stop {unit}", "stop", unit)
        verb, did = ("start", "started") if with_socket else ("stop", "stopped")
        yield told(systemd, f"{did} {found.socket_unit}", f"{verb} {found.socket_unit}", verb, found.socket_unit)
    if found.runs and restart and not rewired:
        yield told(systemd, f"restarted {unit}: it serves; agents at work went on", f"restart {unit}", "restart", unit)
    elif not found.runs or rewired:
        yield told(systemd, f"started {unit}: it serves", f"start {unit}", "start", unit)


def uninstall_steps(systemd: Systemd, found: Installed) -> list[Step]:
    """The units go with the last session that uses them."""
    steps = []
    for unit, shown in ((found.socket_unit, found.socket), (found.service_unit, found.service)):
        if shown["ActiveState"] in RUNNING:
            steps.append(told(systemd, f"stopped {unit}", f"stop {unit}", "stop", unit))
        if shown["UnitFileState"] in ENABLED:
            steps.append(told(systemd, f"disabled {unit}", f"disable {unit}", "disable", unit))
    if not others(systemd, found):
        ours = [name for name, text in found.texts.items() if is_ours(text)]
        steps += [remove_step(found.directory / name) for name in ours]
        if ours:
            steps.append(told(systemd, "systemd forgot the units", "let systemd forget the units", "daemon-reload"))
    if found.service["ActiveState"] == "failed":
        unit = found.service_unit
        steps.append(told(systemd, f"forgot that {unit} failed", f"forget that {unit} failed", "reset-failed", unit))
    return steps


def others(systemd: Systemd, found: Installed) -> set[str]:
    """Units of other sessions that use the same templates: enabled or running."""
    enabled = {path.name for path in found.directory.glob("*.wants/omkd@*")}
    return (enabled | systemd.running_instances()) - {found.service_unit, found.socket_unit}


def told(systemd: Systemd, did: str, will: str, *arguments: str) -> Step:
    return Step(did=did, will=will, act=lambda: systemd.tell(*arguments))


def write_step(path: Path, text: str) -> Step:
    return Step(did=f"wrote {path}", will=f"write {path}", act=lambda: write(path, text))


def remove_step(path: Path) -> Step:
    return Step(did=f"removed {path}", will=f"remove {path}", act=lambda: path.unlink(missing_ok=True))


def check_ours(path: Path) -> None:
    """Raises Failure (conflict): what a person wrote is not overwritten, nor is what a link leads to."""
    if path.is_symlink():
        raise Failure(Exit.CONFLICT, "conflict", f"{path} is a link; move it away, and install again")
    if path.exists() and not is_ours(text_of(path) or ""):
        text = f"{path} was not written by omkctl; move it away, keep what is yours in {path}.d/, and install again"
        raise Failure(Exit.CONFLICT, "conflict", text)


def write(path: Path, text: str) -> None:
    """Whole or not at all. Raises Failure."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with draft.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    except OSError as fault:
        with suppress(OSError):
            draft.unlink(missing_ok=True)
        raise Failure(Exit.REFUSED, "write_failed", f"cannot write {path}: {fault.strerror}") from fault
