"""Lies under the program: every call of `os` that changes a session's files is seen, and can fail or be the last one.

`install` puts wrappers in the place of the functions in `os`, before omkd is imported: omkd knows nothing of it. Until
`arm` they only pass on. Standard library only: `preload/sitecustomize.py` puts this into worker hosts too.

A call is a *point*: its kind, what sort of file it is about (`events/N.jsonl`), and that it is the n-th such call of
the run. Points come from a traced run, so a write that is new in omkd is a new point by itself; what went past the
layer is found by holding the trace against the files (`disk_model`).
"""

import base64
import errno
import functools
import json
import os
import re
import signal
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

NUMBERED: Final = re.compile(r"[0-9]+")
RANDOM: Final = re.compile(r"\.[0-9a-f]{8}\.tmp$")

MODES: Final = ("before", "after", "torn", "short", "ENOSPC", "EIO", "EDQUOT", "EROFS")
"""Killed before the call, after it, with half of it done; half of it done; failing with that error."""

WRITES: Final = frozenset({"write", "pwrite"})
NEW_INODES: Final = 1 << 40
HARMED_BY_HALVES: Final = frozenset({"torn", "short"})

BY_PLACE: Final = frozenset({"st_mode", "st_ino", "st_dev", "st_nlink", "st_uid", "st_gid", "st_size"})
"""What an `os.stat_result` takes by its place alone."""

real_open, real_write, real_close, real_fstat = os.open, os.write, os.close, os.fstat


@dataclass(frozen=True)
class Plan:
    """What goes wrong: at the `nth` call of that kind about that sort of file, and at the `count - 1` behind it.

    `run`: of the daemon's runs, the first is 1.
    """

    run: int
    kind: str
    sort: str
    nth: int
    mode: str
    count: int = 1

    def meets(self, run: int, kind: str, sort: str, nth: int) -> bool:
        return run == self.run and kind == self.kind and sort == self.sort and self.nth <= nth < self.nth + self.count


def modes_for(kind: str) -> list[str]:
    """What can go wrong with a call of this kind."""
    return [mode for mode in MODES if kind in WRITES or mode not in HARMED_BY_HALVES]


@dataclass
class Armed:
    """Where the session is, where the trace goes, what is to go wrong. `with_content`: the trace can be replayed."""

    root: str
    run: int = 0
    trace: int | None = None
    with_content: bool = False
    plan: Plan | None = None
    counted: Counter[tuple[str, str]] = field(default_factory=Counter)
    lock: threading.Lock = field(default_factory=threading.Lock)
    syncs: int = 0
    inodes: dict[int, int] = field(default_factory=dict)


armed: Armed | None = None


def arm(setting: Armed | None) -> None:
    global armed
    armed = setting


def sort_of(path: str, root: str) -> str:
    """`events/N.jsonl` of `ROOT/s/omk/sessions/t/events/00000000000000000001.jsonl`; the session's own name is `.`."""
    relative = os.path.relpath(path, root)
    return NUMBERED.sub("N", RANDOM.sub(".X.tmp", relative))


def under_root(path: Any) -> str | None:
    """The absolute path if the layer watches over it."""
    if armed is None:
        return None
    named = os.path.abspath(os.fsdecode(path))
    return named if named == armed.root or named.startswith(armed.root + "/") else None


def path_of(descriptor: int) -> str | None:
    """The name a descriptor has now, if it is watched; None too for one that has none any more."""
    if armed is None:
        return None
    try:
        named = os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:
        return None
    return None if named.endswith(" (deleted)") else under_root(named)


def note(**what: Any) -> None:
    """One line of the trace."""
    if armed is not None and armed.trace is not None:
        real_write(armed.trace, json.dumps(what).encode() + b"\n")


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def wrong_now(kind: str, path: str) -> str | None:
    """The mode, if this is a call that is to go wrong. Counts it."""
    assert armed is not None
    sort = sort_of(path, armed.root)
    with armed.lock:
        armed.counted[kind, sort] += 1
        nth = armed.counted[kind, sort]
    note(point=[armed.run, kind, sort, nth])
    plan = armed.plan
    if plan is None or not plan.meets(armed.run, kind, sort, nth):
        return None
    note(struck=[armed.run, kind, sort, nth])
    return plan.mode


def perform(kind: str, path: str, act: Callable[[], Any], half: Callable[[], Any] | None = None) -> Any:
    """Does what the program asked for, or what is to happen instead."""
    mode = wrong_now(kind, path)
    match mode:
        case None:
            return act()
        case "before":
            return die()
        case "after":
            act()
            return die()
        case "torn" if half is not None:
            half()
            return die()
        case "short" if half is not None:
            return half()
        case _:
            raise OSError(getattr(errno, mode), os.strerror(getattr(errno, mode)) + " (a fault of the test)", path)


# --- the wrappers; each takes the real function first ---


def open_file(real: Any, path: Any, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
    watched = under_root(path) if dir_fd is None else None
    truncates = bool(flags & os.O_TRUNC)
    if watched is None or not (flags & os.O_CREAT or truncates):
        return real(path, flags, mode, dir_fd=dir_fd)
    if os.path.lexists(watched):
        if not truncates:
            return real(path, flags, mode)
        descriptor = perform("truncate", watched, lambda: real(path, flags, mode))
        note(op="truncate", path=watched, size=0)
        return descriptor
    descriptor = perform("create", watched, lambda: real(path, flags, mode))
    note(op="create", path=watched, inode=real_fstat(descriptor).st_ino)
    return descriptor


def write(real: Any, descriptor: int, content: Any) -> int:
    path = path_of(descriptor)
    if path is None:
        return real(descriptor, content)
    view = memoryview(content).cast("B")
    done = perform("write", path, lambda: real(descriptor, view), lambda: real(descriptor, view[: len(view) // 2]))
    note_write(path, os.lseek(descriptor, 0, os.SEEK_CUR) - done, view[:done])
    return done


def pwrite(real: Any, descriptor: int, content: Any, offset: int) -> int:
    path = path_of(descriptor)
    if path is None:
        return real(descriptor, content, offset)
    view = memoryview(content).cast("B")
    done = perform(
        "pwrite",
        path,
        lambda: real(descriptor, view, offset),
        lambda: real(descriptor, view[: len(view) // 2], offset),
    )
    note_write(path, offset, view[:done])
    return done


def note_write(path: str, offset: int, content: memoryview) -> None:
    if armed is not None and armed.with_content:
        note(op="write", path=path, at=offset, content=base64.b64encode(content).decode())


def truncate(real: Any, file: Any, size: int) -> None:
    path = path_of(file) if isinstance(file, int) else under_root(file)
    if path is None:
        return real(file, size)
    perform("truncate", path, lambda: real(file, size))
    return note(op="truncate", path=path, size=size)


def sync(real: Any, descriptor: int) -> None:
    """Its beginning is traced: what is written while it runs may be on disk, or not."""
    path = path_of(descriptor)
    if path is None or armed is None:
        return real(descriptor)
    with armed.lock:
        armed.syncs += 1
        number = f"{os.getpid()}.{armed.syncs}"
    note(op="sync_begins", path=path, sync=number)
    perform("sync", path, lambda: real(descriptor))
    return note(op="sync", path=path, sync=number)


def rename(real: Any, source: Any, target: Any, **more: Any) -> None:
    here, there = under_root(source), under_root(target)
    if here is None or there is None:
        return real(source, target, **more)
    perform("rename", there, lambda: real(source, target, **more))
    return note(op="rename", path=here, to=there)


def link(real: Any, source: Any, target: Any, **more: Any) -> None:
    here, there = under_root(source), under_root(target)
    if here is None or there is None:
        return real(source, target, **more)
    perform("link", there, lambda: real(source, target, **more))
    return note(op="link", path=here, to=there)


def on_path(kind: str, real: Any, path: Any, *arguments: Any, **more: Any) -> None:
    watched = under_root(path) if not more.get("dir_fd") else None
    if watched is None:
        return real(path, *arguments, **more)
    perform(kind, watched, lambda: real(path, *arguments, **more))
    return note(op=kind, path=watched, inode=0)


def status(real: Any, file: Any, **more: Any) -> os.stat_result:
    """With the inode numbers that the files had before the power went; other files get numbers of their own."""
    found = real(file, **more)
    if armed is None or not armed.inodes:
        return found
    known = armed.inodes.get(found.st_ino, found.st_ino + NEW_INODES)
    more_fields = {name for name in dir(found) if name.startswith("st_")} - BY_PLACE
    return os.stat_result((found[0], known, *found[2:10]), {name: getattr(found, name) for name in more_fields})


WRAPPERS: Final[dict[str, Callable[..., Any]]] = {
    "open": open_file,
    "write": write,
    "pwrite": pwrite,
    "ftruncate": truncate,
    "truncate": truncate,
    "fsync": sync,
    "fdatasync": sync,
    "rename": rename,
    "replace": rename,
    "link": link,
    "unlink": functools.partial(on_path, "unlink"),
    "remove": functools.partial(on_path, "unlink"),
    "mkdir": functools.partial(on_path, "mkdir"),
    "rmdir": functools.partial(on_path, "rmdir"),
    "stat": status,
    "lstat": status,
    "fstat": status,
}


def install() -> None:
    """To be called before omkd is imported: its modules take functions of `os` as defaults."""
    for name, wrapper in WRAPPERS.items():
        setattr(os, name, functools.partial(wrapper, getattr(os, name)))
