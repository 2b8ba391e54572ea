"""What `status` says beside the numbers: what waits and why, what failed last, how much room there is, who is old."""

import os
from datetime import datetime

from omkd.protocol.version import __version__

from .render import one_line
from .shapes import Status
from .tasks_text import holder
from .values import duration_text, seconds_since

WHY_CHARS = 120


def waiting(status: Status, now: datetime) -> list[str]:
    """The task that waits longest, and for what."""
    task = status["oldest_queued"]
    if task is None:
        return []
    why = f": {one_line(task['why'], WHY_CHARS)}" if task["why"] else ""
    return [f"          {task['id']} waits longest, {duration_text(seconds_since(task['queued'], now))}{why}"]


def failures(status: Status, now: datetime) -> list[str]:
    """The last ones, the newest first."""
    lines = []
    for task in status["last_failures"]:
        said = task["result"]["summary"] if task["result"] is not None else task["why"] or ""
        ago = f", {duration_text(seconds_since(task['finished'], now))} ago" if task["finished"] else ""
        lines.append(f"  {task['state']:<7} {task['id']} ({holder(task)}{ago}): {one_line(said, WHY_CHARS)}")
    return lines


def room(session_dir: str) -> str:
    """`12.3 GiB free`."""
    try:
        found = os.statvfs(session_dir)
    except OSError:
        return "room unknown"
    free_mib = found.f_bavail * found.f_frsize / 2**20
    return f"{free_mib / 1024:.1f} GiB free" if free_mib >= 1024 else f"{free_mib:.0f} MiB free"


def skew(status: Status) -> str | None:
    """None when daemon and client are of one build."""
    if status["omkd"] == __version__:
        return None
    return f"this omkctl is {__version__}, the daemon {status['omkd']} (omkctl doctor says how to mend it)"
