"""What the services and the control API share: the log, the state folded from it, and what cannot be written now."""

from collections.abc import Callable
from pathlib import Path

import trio
from attrs import Factory, define, field, frozen

from omkd.core.state import State
from omkd.protocol.limits import MAX_QUEUED_BYTES, MAX_QUEUED_TASKS
from omkd.protocol.methods import InvalidSpec, RetriedWrite
from omkd.protocol.scalars import Ns, WorkerName
from omkd.store.event_log import EventLog
from omkd.store.session import SessionDir


class Wakeup:
    """Wakes who waits; carries no data. A wake before the wait counts."""

    def __init__(self) -> None:
        self._event = trio.Event()

    def wake(self) -> None:
        self._event.set()

    async def wait(self) -> None:
        """Returns after a `wake` since the last return. For one waiter."""
        await self._event.wait()
        self._event = trio.Event()


@define
class RetriedWrites:
    """Files that could not be written and are tried again; shown in `status`."""

    by_path: dict[Path, RetriedWrite] = Factory(dict)

    def note(self, path: Path, error: str, now: Ns) -> bool:
        """True when this is new: worth a line in the log."""
        known = self.by_path.get(path)
        self.by_path[path] = RetriedWrite(path=str(path), error=error, since=known.since if known else now)
        return known is None

    def clear(self, path: Path) -> None:
        self.by_path.pop(path, None)


@frozen(kw_only=True)
class QueueLimits:
    """How much may wait in the daemon; `max_bytes` counts the characters of the texts."""

    max_tasks: int = MAX_QUEUED_TASKS
    max_bytes: int = MAX_QUEUED_BYTES


@define(kw_only=True)
class Hub:
    """`work` wakes the dispatcher: units were folded, or a worker was seen in another state.

    `draining`: the daemon is to end, nothing more is handed out. `readers_of_files`: threads that read the whole log;
    retention waits for them. `was_copied`: the session's files are a copy of those that the log speaks of.
    """

    session: SessionDir
    log: EventLog
    state: State
    clock_ns: Callable[[], int]
    work: Wakeup = field(factory=Wakeup)
    retried: RetriedWrites = field(factory=RetriedWrites)
    draining: bool = False
    was_copied: bool = False
    readers_of_files: int = 0
    invalid_specs: dict[WorkerName, InvalidSpec] = field(factory=dict)
    queue_limits: QueueLimits = field(factory=QueueLimits)

    def now(self) -> Ns:
        return Ns(self.clock_ns())
