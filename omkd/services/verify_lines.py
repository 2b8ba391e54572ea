"""What the checks of a worker's files share."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from omkd.protocol.events import TaskCancelled, TaskFinished, TaskRequeued, Unit
from omkd.protocol.limits import WORKER_LINE_BYTES
from omkd.protocol.lines import Line, LineSplitter, LongLine
from omkd.protocol.records import WorkerResult

from .verify_escalations import open_file
from .worker_files import READ_BYTES

IN_THE_LOG: Final = "what the log has of it stands; nothing is done twice"


def result_in(unit: Unit) -> WorkerResult | None:
    """The result that a line of an outbox brought."""
    for event in unit.events:
        if isinstance(event, TaskFinished | TaskRequeued | TaskCancelled):
            return event.result
    return None


def lines_up_to(path: Path, end: int) -> Iterator[Line | LongLine]:
    """The complete lines of the first `end` bytes; none of a file that is missing. Raises OSError."""
    opened = open_file(path)
    if opened is None:
        return
    splitter = LineSplitter(WORKER_LINE_BYTES)
    with opened:
        while end > 0 and (data := opened.read(min(READ_BYTES, end))):
            end -= len(data)
            yield from splitter.receive_data(data)
