"""What the host is to do: the hand-outs of its inbox that have no outbox line and no `done`, in order.

A bad line is skipped alone and logged; its text never is.
"""

import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, TypeVar, assert_never

from attrs import frozen

from omkd.protocol import codec
from omkd.protocol.handout import task_of_handout
from omkd.protocol.limits import WORKER_LINE_BYTES
from omkd.protocol.lines import Line, LongLine
from omkd.protocol.records import AnswerLine, CancelHandout, ControlLine, HandoutDone, InboxLine, OutboxLine
from omkd.protocol.scalars import HandoutId, TaskId
from omkd.store.session import WorkerDir
from omkd.store.tail import TailReader

log = logging.getLogger(__name__)

T = TypeVar("T")

USABLE_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
"""Of a task; it becomes the name of a directory."""


@frozen(kw_only=True)
class Handout:
    """A line of the inbox; `line` is its bytes as they came."""

    id: HandoutId
    task_id: TaskId
    number: int
    task: InboxLine
    line: bytes

    @property
    def has_usable_id(self) -> bool:
        return USABLE_ID.fullmatch(self.task_id) is not None


class Mailbox:
    """`read` takes in what is new; `waiting` is what is to be worked, `cancelled` what was asked to end, by id."""

    def __init__(self, worker: WorkerDir) -> None:
        self._inbox = reader(worker.inbox)
        self._control = reader(worker.control)
        self._known = reported(worker)
        self._waiting: dict[HandoutId, Handout] = {}
        self._cancelled: dict[HandoutId, str] = {}
        self._answers: dict[str, AnswerLine] = {}

    def read(self) -> None:
        """Control first: a hand-out that is not to run is known as such before its line is. Raises OSError."""
        for _, line in new_lines(self._control, read_control):
            self._obey(line)
        for text, task in new_lines(self._inbox, read_task):
            if task.id not in self._known:
                self._known.add(task.id)
                self._waiting[HandoutId(task.id)] = handout_for(task, text)

    def waiting(self) -> list[Handout]:
        return list(self._waiting.values())

    def waiting_cancelled(self) -> list[Handout]:
        return [handout for handout in self._waiting.values() if handout.id in self._cancelled]

    def cancel_reason(self, handout: HandoutId) -> str | None:
        """None: nobody asked."""
        return self._cancelled.get(handout)

    def take_answer(self, decision: str) -> AnswerLine | None:
        """What was decided of a question of ours; None: nothing yet."""
        return self._answers.pop(decision, None)

    def remove(self, handout: HandoutId) -> None:
        """It is taken in hand, or reported."""
        self._waiting.pop(handout, None)

    def forget_cancel(self, handout: HandoutId) -> None:
        """It is reported; a cancel that still comes is for nothing."""
        self._cancelled.pop(handout, None)

    def _obey(self, line: ControlLine) -> None:
        match line:
            case HandoutDone(id=handout):
                self._known.add(handout)
                if self._waiting.pop(handout, None) is None:
                    self._cancelled.setdefault(handout, "omkd ended it")
            case CancelHandout(id=handout, reason=reason):
                self._cancelled.setdefault(handout, reason)
            case AnswerLine():
                self._answers.setdefault(line.decision, line)
            case _:
                assert_never(line)


def handout_for(task: InboxLine, line: bytes) -> Handout:
    task_id, number = task_of_handout(task.id)
    return Handout(id=HandoutId(task.id), task_id=task_id, number=number, task=task, line=line)


def reported(worker: WorkerDir) -> set[str]:
    """The hand-outs that have a whole line in the outbox. Raises OSError."""
    outbox = reader(worker.outbox)
    try:
        return {line.task_id for _, line in new_lines(outbox, read_result)}
    finally:
        outbox.close()


def reader(path: Path) -> TailReader:
    return TailReader(path, start=None, first_gen=1, limit_bytes=WORKER_LINE_BYTES)


def read_task(line: bytes) -> InboxLine:
    return codec.loads(line, InboxLine)


def read_control(line: bytes) -> ControlLine:
    read: ControlLine = codec.loads(line, ControlLine)
    return read


def read_result(line: bytes) -> OutboxLine:
    return codec.loads(line, OutboxLine)


def new_lines(tail: TailReader, read: Callable[[bytes], T]) -> Iterator[tuple[bytes, T]]:
    """The values of the complete lines that came since, with their bytes. Raises OSError."""
    more = True
    while more:
        piece = tail.read()
        more = piece.more
        for line in piece.lines:
            match line:
                case Line(text=text) if text.strip():
                    try:
                        value = read(text)
                    except ValueError as error:
                        log.warning("%s: line at byte %d skipped: %s", tail.path.name, line.offset, error)
                        continue
                    yield text, value
                case LongLine(offset=offset, end=end):
                    log.warning("%s: line at byte %d skipped: too long, %d bytes", tail.path.name, offset, end - offset)
                case _:
                    pass
