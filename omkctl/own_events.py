"""A worker's own `events.jsonl`, for when no daemon answers. The file contract: one line, one write, O_APPEND."""

import os
from collections.abc import Mapping
from pathlib import Path

from omkd.protocol.limits import TASK_BYTES

from .failures import Exit, Failure, usage
from .json_text import encode


def own_events_file(env: Mapping[str, str], session_dir: Path) -> Path | None:
    """The file of the worker this runs in; None outside of one. The directory that its host named says it best."""
    worker = env.get("OMK_WORKER", "")
    if not worker or "/" in worker or worker in (".", "..") or not env.get("OMK_SESSION"):
        return None
    named = [*Path(env.get("OMK_TASK_FILE", "")).parents, Path(env.get("OMK_AGENT_OF", ""))]
    around = [directory for directory in named if directory.name == worker and directory.parent.name == "workers"]
    for directory in (*around, session_dir / "workers" / worker):
        if os.path.isdir(directory):  # of a user who may not look at one, too
            return directory / "events.jsonl"
    return None


def append_event(path: Path, event: object) -> None:
    """Appends a line; a torn one before it is ended first, since it is another writer's. Raises Failure."""
    line = encode(event) + b"\n"
    if len(line) > TASK_BYTES:
        raise usage(f"the event has {len(line)} bytes, at most {TASK_BYTES} are taken")
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            rest = memoryview(line if ends_whole(descriptor) else b"\n" + line)
            while rest:  # the second write says why the first was short
                rest = rest[os.write(descriptor, rest) :]
        finally:
            os.close(descriptor)
    except OSError as fault:
        raise Failure(Exit.REFUSED, "write_failed", f"cannot write {path}: {fault.strerror}") from fault


def ends_whole(descriptor: int) -> bool:
    size = os.fstat(descriptor).st_size
    return size == 0 or os.pread(descriptor, 1, size - 1) == b"\n"
