"""Room on the session's file system -> log: a person is told before the disk is full, once each time it gets low.

And a log that was removed or renamed: it is put back with the next commit, which what a person is told brings.
"""

import logging
import os
from typing import Final

import trio
from attrs import define

from omkd.protocol.events import ByOmkd, PersonNeeded
from omkd.store.event_log import Draft, LogWriteFailed

from .hub import Hub

logger = logging.getLogger(__name__)

LOOK_S: Final = 30.0
"""At 10 MB/s, which agents' output may well make, 300 MB; a statvfs(2) costs a microsecond."""

LOW_BYTES: Final = 1024 * 1024 * 1024
"""Some 16 segments, and minutes of a build that fills the disk: time for a person to act."""

LOW_PART: Final = 0.05
"""Of a small file system: it would always have less than LOW_BYTES."""

LOW_INODES: Final = 1000
"""Each run makes six files and each snapshot one: some 100 runs."""

WELL_AGAIN: Final = 1.5
"""So many times the limit end the episode: what is freed and filled again around the limit is said once."""


@define
class DiskWatch:
    """`is_low` from the warning on, until there is enough room again."""

    hub: Hub
    is_low: bool = False
    put_back_told: int = 0

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Runs until cancelled. When it is too late to record the warning, it is logged, and recorded later."""
        task_status.started()
        while True:
            try:
                self.look_at_log()
                self.look(os.statvfs(self.hub.session.path))
            except (OSError, LogWriteFailed) as error:
                logger.warning("room on the disk: %s", error)
            await trio.sleep(LOOK_S)

    def look_at_log(self) -> None:
        """Raises LogWriteFailed: it is said at the next look."""
        log = self.hub.log
        times = log.put_back + (not log.is_in_place)
        if times > self.put_back_told:
            where = self.hub.session.events
            text = f"{where} was removed or renamed under omkd; what could be was put back: see omkctl verify"
            log.append(Draft(by=ByOmkd(), events=(PersonNeeded(text=text),)))
            self.put_back_told = times

    def look(self, room: os.statvfs_result) -> None:
        """Raises LogWriteFailed: it is said at the next look."""
        if not self.is_low and (shortage := shortage_of(room, 1.0)) is not None:
            path = self.hub.session.path
            text = f"the disk that {path} is on is nearly full: {shortage} left; when it is full no task is taken"
            self.hub.log.append(Draft(by=ByOmkd(), events=(PersonNeeded(text=text),)))
            self.is_low = True
            logger.warning("%s", text)
        elif self.is_low and shortage_of(room, WELL_AGAIN) is None:
            self.is_low = False
            logger.info("there is enough room again on the disk of %s", self.hub.session.path)


def shortage_of(room: os.statvfs_result, times: float) -> str | None:
    """What there is too little of, for those who are not root; None: there is enough. `times` the limits."""
    free = room.f_bavail * room.f_frsize
    low_bytes = min(LOW_BYTES, room.f_blocks * room.f_frsize * LOW_PART)
    if free < times * low_bytes:
        return f"{free / 2**20:,.0f} MiB"
    if room.f_files > 0 and room.f_favail < times * min(LOW_INODES, room.f_files * LOW_PART):
        return f"{room.f_favail} inodes"
    return None
