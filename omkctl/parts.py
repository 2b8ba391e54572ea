"""Calls that name many tasks, in as few parts as the daemon takes."""

from collections.abc import Callable

from .failures import DaemonError
from .shapes import Task


def in_parts(ids: list[str], ask: Callable[[list[str]], list[Task]]) -> list[Task]:
    """The answers to `ask`, for all at once, or for halves where these are too large for one answer.

    The daemon refuses before it does anything.
    """
    try:
        return ask(ids)
    except DaemonError as fault:
        if fault.name != "too_large" or len(ids) < 2:
            raise
    half = len(ids) // 2
    return [*in_parts(ids[:half], ask), *in_parts(ids[half:], ask)]
