"""What /proc says of processes of ours (proc(5))."""

import os
import shlex
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

CLOCK_FIELD = 19
"""Of what follows the name in stat: field 22, when it was started, in ticks since the boot."""


def environ_of(pid: int) -> Mapping[str, str] | None:
    """What it was started with; None when it is gone or not ours."""
    try:
        content = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return None
    pairs = (os.fsdecode(entry).partition("=") for entry in content.split(b"\0") if entry)
    return {name: value for name, _, value in pairs}


def arguments_of(pid: int) -> list[str]:
    """Empty when it is gone."""
    with suppress(OSError):
        return [os.fsdecode(word) for word in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[:-1]]
    return []


def words_of(pid: int) -> str:
    """`pid 4711 (omkd --session default)`"""
    arguments = shlex.join(arguments_of(pid))
    return f"pid {pid} ({arguments[:100]})" if arguments else f"pid {pid}"


def start_time(pid: int) -> int | None:
    """In ticks since the boot; with the boot's id it tells two processes of one pid apart. None when it is gone."""
    with suppress(OSError):
        stat = Path(f"/proc/{pid}/stat").read_bytes()
        return int(stat[stat.rindex(b")") + 2 :].split()[CLOCK_FIELD])
    return None


def is_stopped(pid: int) -> bool:
    """By SIGSTOP or a terminal."""
    with suppress(OSError):
        stat = Path(f"/proc/{pid}/stat").read_bytes()
        return stat[stat.rindex(b")") + 2 :].split()[0] in (b"T", b"t")
    return False


def that_lock(path: Path) -> list[int]:
    """Processes of ours that hold an open-file-description lock on `path`, by their descriptors."""
    wanted = path.stat()
    found = []
    for fds in Path("/proc").glob("[0-9]*/fd"):
        with suppress(OSError):
            if any(is_lock(fd, wanted) for fd in fds.iterdir()):
                found.append(int(fds.parent.name))
    return sorted(found)


def is_lock(fd: Path, wanted: os.stat_result) -> bool:
    with suppress(OSError):
        found = fd.stat()
        if (found.st_dev, found.st_ino) == (wanted.st_dev, wanted.st_ino):
            return b"OFDLCK" in (fd.parent.parent / "fdinfo" / fd.name).read_bytes()
    return False
