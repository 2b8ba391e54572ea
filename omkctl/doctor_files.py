"""Doctor's checks of what is on the disk: the socket, the locks, modes, room, the log's clock."""

import shlex
import stat
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final, cast

from . import json_text, processes
from .disk_room import shortage
from .doctor_facts import Facts, Finding
from .lock_holders import Holder

TAIL_BYTES: Final = 4 * 1024 * 1024
"""More than the longest unit."""

OPEN_TO_OTHERS: Final = 0o077


def check_socket(facts: Facts) -> Iterator[Finding]:
    """Where the daemon makes it: ours, nobody else's to use, and omkd behind it."""
    path = facts.address.sockets[0]
    directory = path.parent
    with suppress(OSError):
        yield from mode_findings(directory, 0o700, facts.uid, "the socket's directory")
    try:
        found = path.lstat()
    except OSError:
        return
    aside = f"mv {quote(path)} {quote(path.with_name(path.name + '.foreign'))}"
    if not stat.S_ISSOCK(found.st_mode):
        yield Finding(what=f"{path} is no socket, and omkd makes its own there", mend=aside)
    elif found.st_uid != facts.uid:
        yield Finding(what=f"the socket {path} is foreign: it belongs to uid {found.st_uid}", mend=aside)
    else:
        yield from mode_findings(path, 0o600, facts.uid, "the socket")
        yield from foreign_server(facts, path, aside)


def foreign_server(facts: Facts, path: Path, aside: str) -> Iterator[Finding]:
    """Something listens there that is not this session's omkd. Nothing that listens: the next daemon replaces it."""
    hello = facts.hello
    if hello is not None:
        if hello["session"] != facts.address.session:
            what = f"the socket {path} is foreign: session {hello['session']} is served there, by pid {hello['pid']}"
            yield Finding(what=what, mend=f"kill {hello['pid']} && {facts.start}")
    elif is_listened_to(path) and not facts.holders:
        yield Finding(what=f"the socket {path} is foreign: what listens there is no omkd ({facts.silence})", mend=aside)


def is_listened_to(path: Path) -> bool:
    import socket

    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(1)
        return client.connect_ex(str(path)) == 0


def check_locks(facts: Facts) -> Iterator[Finding]:
    """Held by the daemon that answers, and by nobody when none does."""
    pid = facts.hello["pid"] if facts.hello is not None else None
    for holder in facts.holders:
        if holder.pid is None or holder.pid != pid:
            yield held(facts, holder)
    if pid is not None and not facts.holders:
        what = (
            f"omkd, pid {pid}, holds no lock on {facts.address.locks[0]}: it was removed, a second daemon could start"
        )
        yield Finding(what=what, mend=f"kill {pid} && {facts.start}")


def held(facts: Facts, holder: Holder) -> Finding:
    answers = facts.hello is not None
    what = f"{holder.lock} is held by {holder.words}, " + (
        f"not by the daemon that answers (pid {facts.hello['pid']})" if facts.hello else "which does not answer"
    )
    if holder.pid is None:
        return Finding(what=what, mend=f"sudo fuser -v {quote(holder.lock)}, and end that process")
    if processes.is_stopped(holder.pid):
        return Finding(what=f"{what}: it is stopped (SIGSTOP)", mend=f"kill -CONT {holder.pid}")
    if holder.version and not answers:
        what += "; after a start it may be reading a long log still"
    return Finding(what=what, mend=f"kill {holder.pid}")


def check_modes(facts: Facts) -> Iterator[Finding]:
    """The session is nobody else's to read. Not looked at: what a task's command made in its run's directory."""
    files = own_files(facts.address.session_dir)
    if wrong := [path for path in files if is_open(path)]:
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        what = f"others can get at {wrong[0]} (mode {wrong[0].stat().st_mode & 0o777:o}){more}"
        yield Finding(what=what, mend=f"chmod go-rwx {' '.join(map(quote, wrong))}")
    if others := [path for path in files if path.lstat().st_uid != facts.uid]:
        what = f"{others[0]} belongs to uid {others[0].lstat().st_uid}"
        yield Finding(what=what, mend=f"sudo chown -R {facts.uid} {quote(facts.address.session_dir)}")


def own_files(session: Path) -> list[Path]:
    """What omkd makes. Files of workers are left out: other programs write them, as their umask says."""
    found = [session] if session.is_dir() else []
    found += [path for path in sorted(session.glob("*")) if path.is_dir() or path.is_file()]
    found += sorted((session / "events").glob("*"))
    return found + [path for path in sorted(session.glob("workers/*")) if path.is_dir()]


def is_open(path: Path) -> bool:
    with suppress(OSError):
        found = path.lstat()
        return not stat.S_ISLNK(found.st_mode) and bool(found.st_mode & OPEN_TO_OTHERS)
    return False


def mode_findings(path: Path, wanted: int, uid: int, what: str) -> Iterator[Finding]:
    """Raises OSError when it is not there."""
    found = path.stat()
    mode = stat.S_IMODE(found.st_mode)
    if found.st_uid != uid:
        yield Finding(what=f"{what} {path} belongs to uid {found.st_uid}", mend=f"sudo chown {uid} {quote(path)}")
    elif mode != wanted:
        says = f"{what} {path} has mode {mode:o}, it must be {wanted:o}"
        yield Finding(what=says, mend=f"chmod {wanted:o} {quote(path)}")


def check_disk(facts: Facts) -> Iterator[Finding]:
    """Of the session. A full disk refuses tasks; nothing that was taken is lost."""
    session = facts.address.session_dir
    what = shortage(session)
    if what is None:
        return
    removed = session / "removed"
    mend = f"rm -r {quote(removed)}" if removed.is_dir() and any(removed.iterdir()) else f"du -xhd1 {quote(session)}"
    yield Finding(what=what, mend=mend)


def check_clock(facts: Facts) -> Iterator[Finding]:
    """The log's times never go back: after a clock that was ahead, they stand until it is that late."""
    last = last_time(facts.address.session_dir / "events")
    if last is None:
        return
    ahead = (datetime.fromisoformat(last[:19] + "+00:00") - facts.now).total_seconds()
    if ahead > facts.around.bounds.ahead_secs:
        what = f"the log's newest unit is of {last}, {ahead:.0f} s in the future: the clock was, or is, wrong"
        yield Finding(what=what, mend="timedatectl set-ntp true, and compare: date -u")


def last_time(events: Path) -> str | None:
    """Of the newest complete unit; None without one."""
    for segment in sorted(events.glob("*.jsonl"), reverse=True):
        with suppress(OSError, ValueError, KeyError, IndexError), segment.open("rb") as file:
            file.seek(max(0, segment.stat().st_size - TAIL_BYTES))
            unit = json_text.parse(file.read().rpartition(b"\n")[0].splitlines()[-1])
            return str(cast(dict[str, object], unit)["ts"])
    return None


def quote(path: Path) -> str:
    return shlex.quote(str(path))
