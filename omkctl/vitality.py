"""Whether a daemon that answers is well: what of its status a person ought to mend. Pure.

Not counted: what needs a person's word (a failed task does not make the daemon sick), lines of workers that were
skipped (they are on record, and cannot be mended), a worker that somebody paused.
"""

from .render import one_line
from .shapes import Status


def complaints(status: Status) -> list[str]:
    """One line for each; empty: all is well."""
    return [
        *(
            worker_complaint(worker["name"], worker["state"])
            for worker in status["workers"]
            if is_sick(worker["state"])
        ),
        *(f"cannot use {write['path']}: {one_line(write['error'])}" for write in status["retried_writes"]),
        *(f"worker {one_line(it['worker'])} is not valid: {one_line(it['error'])}" for it in status["invalid_workers"]),
        *(
            f"notice {notice['name']} does not reach anybody: {one_line(notice['last_error'])}"
            for notice in status["notices"]
            if notice["last_error"] is not None
        ),
    ]


def is_sick(state: str) -> bool:
    return state in ("stalled", "dead")


def worker_complaint(name: str, state: str) -> str:
    return f"no sign of life from worker {name}" if state == "stalled" else f"worker {name} was given up"
