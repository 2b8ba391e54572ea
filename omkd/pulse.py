"""What systemd hears of a daemon that serves: STATUS when it changes, and signs of life while loop and committer live.

The committer lives when what was appended gets to disk. A sync that takes long is the disk's fault, and a start again
would wait for the same disk: for 5 minutes it counts as life, and STATUS says what is waited for.
"""

import logging
from collections.abc import Callable
from typing import Final

import trio

from omkd.core.state import State
from omkd.protocol.methods import TaskState
from omkd.protocol.scalars import Seq
from omkd.services.hub import Hub
from omkd.systemd import Notifier

logger = logging.getLogger(__name__)

BEATS: Final = 3
"""In a watchdog period: one may be late."""

SLOW_SYNC_S: Final = 300.0
"""How long one sync counts as life."""

WORTH_SAYING_S: Final = 2.0
"""A sync that takes longer is in STATUS."""

STATUS_EVERY_S: Final = 1.0
LOOK_S: Final = 5.0
"""Worker states change without a unit in the log."""

FOLD_LOOK_UNITS: Final = 1000
EXTEND_SECS: Final = 120
EXTEND_EVERY_S: Final = 5.0


async def run_watchdog(hub: Hub, notifier: Notifier, period_s: float) -> None:
    """Runs until cancelled. When the committer hangs it falls silent, and systemd ends the daemon."""
    waited_for = 0
    while True:
        written, syncing_s = hub.log.written, hub.log.syncing_s()
        if committer_lives(hub.log.committed, waited_for, syncing_s):
            notifier.alive()
        else:
            logger.error("unit %d does not get to disk: systemd is told nothing more", waited_for)
        waited_for = written
        await trio.sleep(period_s / BEATS)


def committer_lives(committed: int, waited_for: int, syncing_s: float | None) -> bool:
    """`waited_for` was appended a beat ago; `syncing_s` is how long the sync under way takes, None: there is none."""
    return committed >= waited_for or (syncing_s is not None and syncing_s <= SLOW_SYNC_S)


async def run_status(hub: Hub, notifier: Notifier) -> None:
    """Runs until cancelled."""
    said, seen = "", Seq(0)
    while True:
        with trio.move_on_after(LOOK_S):
            await hub.log.wait_beyond(seen)
        seen = hub.log.committed
        if (status := status_words(hub.state, hub.log.syncing_s())) != said:
            notifier.status(status)
            said = status
        await trio.sleep(STATUS_EVERY_S)


def status_words(state: State, syncing_s: float | None = None) -> str:
    """`3 workers, 2 running, 5 queued, 1 needs you`."""
    counts = state.ledger.counts
    workers, unacked = len(state.roster.workers), len(state.unacked)
    parts = [
        f"{workers} worker{'' if workers == 1 else 's'}",
        f"{counts[TaskState.RUNNING]} running",
        f"{counts[TaskState.QUEUED] + counts[TaskState.DISPATCHED]} queued",
        *([f"{counts[TaskState.HELD]} held"] if counts[TaskState.HELD] else []),
        *([f"{unacked} need{'s' if unacked == 1 else ''} you"] if unacked else []),
    ]
    if syncing_s is not None and syncing_s > WORTH_SAYING_S:
        parts.append(f"waits for the disk for {syncing_s:.0f} s")
    return ", ".join(parts)


class FoldProgress:
    """While a start reads a long log, systemd is asked for more time: soon, and again and again. `note` is called for
    each unit.
    """

    def __init__(self, notifier: Notifier, clock: Callable[[], float]) -> None:
        self._notifier = notifier
        self._clock = clock
        self._say_at = clock()
        self._count = 0
        self._reads = True

    def note(self) -> None:
        if not self._reads:
            return
        self._count += 1
        if self._count % FOLD_LOOK_UNITS == 0 and self._clock() >= self._say_at:
            self._say_at = self._clock() + EXTEND_EVERY_S
            self._notifier.extend_timeout(EXTEND_SECS, f"reads the log: {self._count:,} units so far")

    def end(self) -> None:
        """The log is read; units that come now are new."""
        self._reads = False
