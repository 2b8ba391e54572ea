"""Who holds a lock of omkd: the kernel says that one does, the file's text who it is, /proc whether that is so."""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast

from . import json_text, processes
from .locate import lock_is_held

BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, kw_only=True)
class Holder:
    """`pid` None: it cannot be found, as a process of another user. `version` is empty for what is no omkd."""

    lock: Path
    pid: int | None
    version: str

    @property
    def words(self) -> str:
        if self.pid is None:
            return "a process that cannot be seen from here"
        return processes.words_of(self.pid) + (f", omkd {self.version}" if self.version else "")


def holder_of(lock: Path) -> Holder | None:
    """None when nobody holds it, or there is no such file."""
    if not lock_is_held(lock):
        return None
    said = text_of(lock)
    pid, version = said.get("pid"), str(said.get("version", ""))
    if isinstance(pid, int) and is_that_process(pid, said):
        return Holder(lock=lock, pid=pid, version=version)
    with suppress(OSError):
        if pids := processes.that_lock(lock):
            return Holder(lock=lock, pid=pids[0], version="")
    return Holder(lock=lock, pid=None, version="")


def text_of(lock: Path) -> dict[str, object]:
    """`{"pid":4711,"start_time":81,"boot_id":"…","version":"0.1.0"}`; empty when it is not readable."""
    with suppress(OSError, ValueError):
        said = json_text.parse(lock.read_bytes())
        return cast(dict[str, object], said) if isinstance(said, dict) else {}
    return {}


def is_that_process(pid: int, said: dict[str, object]) -> bool:
    """Not another one that got its number."""
    return BOOT_ID.read_text().strip() == said.get("boot_id") and processes.start_time(pid) == said.get("start_time")
