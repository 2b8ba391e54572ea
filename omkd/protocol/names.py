"""Which names may be given. Standard library only."""

import re

from .limits import ROLE_CHARS, TASK_ID_CHARS, WORKER_NAME_CHARS

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*", re.ASCII)
ANY_WORKER = "any"
GIVEN_BY_OMKD = re.compile(r"t[0-9]+", re.ASCII)


def worker_name_fault(name: str) -> str | None:
    """Why a worker cannot be called so; None: it can."""
    if name == ANY_WORKER:
        return f"bad worker name {name!r}: as a target it stands for any worker"
    return name_fault("worker name", name, WORKER_NAME_CHARS)


def task_id_fault(task_id: str) -> str | None:
    """Why a sender cannot give a task this id; None: it can."""
    if GIVEN_BY_OMKD.fullmatch(task_id):
        return f"bad task id {task_id!r}: 't' and digits are omkd's own ids"
    return name_fault("task id", task_id, TASK_ID_CHARS)


def role_fault(role: str) -> str | None:
    """Why a role cannot be called so; None: it can."""
    if not role or len(role) > ROLE_CHARS or not role.isprintable():
        return f"bad role {role[:80]!r}: 1 to {ROLE_CHARS} printable characters"
    return None


def name_fault(what: str, name: str, limit: int) -> str | None:
    if len(name) <= limit and NAME.fullmatch(name):
        return None
    shown = name if len(name) <= 80 else name[:80] + "…"
    return f"bad {what} {shown!r}: 1 to {limit} of A-Z a-z 0-9 _ -, beginning with a letter or digit"
