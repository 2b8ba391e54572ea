"""How much one answer holds: a page of things, and the tasks that one call may name."""

from collections.abc import Iterable, Sequence
from typing import Final, TypeVar

from omkd.protocol import codec
from omkd.protocol.errors import ApiError, ErrorKind
from omkd.protocol.limits import PAGE_BYTES, SERVER_LINE_BYTES
from omkd.protocol.methods import Task

T = TypeVar("T")

COMMA: Final = 1


def size_of(thing: object) -> int:
    """In bytes, in an array of an answer."""
    return len(codec.dumps(thing)) + COMMA


def first_that_fit(things: Iterable[T]) -> list[T]:
    """At least one, if there is any."""
    found: list[T] = []
    size = 0
    for thing in things:
        size += size_of(thing)
        if found and size > PAGE_BYTES:
            break
        found.append(thing)
    return found


def refuse_too_many_bytes(tasks: Sequence[Task], reason: str = "") -> None:
    """Raises ApiError TOO_LARGE for tasks whose answer would be no page, before anything is done with them.

    `reason` comes to stand in each of them.
    """
    size = sum(size_of(task) + len(reason.encode()) for task in tasks)
    if size > PAGE_BYTES and len(tasks) > 1:
        text = f"{len(tasks)} tasks have {size} bytes, an answer holds {PAGE_BYTES}: name fewer at once"
        raise ApiError(ErrorKind.TOO_LARGE, text, limit=PAGE_BYTES)


def too_long(size: int) -> ApiError:
    """What is said in place of an answer of `size` bytes."""
    text = f"what was asked for is done, but its answer has {size} bytes and a line {SERVER_LINE_BYTES}: ask for less"
    return ApiError(ErrorKind.TOO_LARGE, text, limit=SERVER_LINE_BYTES)
