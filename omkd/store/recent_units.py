"""The newest units in memory: live subscribers share their bytes and objects, and the disk is not touched."""

from typing import Final

from omkd.protocol.scalars import Seq

from .segments import StoredUnit

RECENT_UNITS: Final = 4096
RECENT_BYTES: Final = 4 * 1024 * 1024
"""Enough that a subscriber which reads at all finds its next unit here; a slower one reads the segment."""


class RecentUnits:
    """A bounded run of consecutive units. A list with a start, cut now and then: a deque's middle is slow to reach."""

    def __init__(self, max_units: int = RECENT_UNITS, max_bytes: int = RECENT_BYTES) -> None:
        self._max_units = max_units
        self._max_bytes = max_bytes
        self._units: list[StoredUnit] = []
        self._start = 0
        self._bytes = 0

    def add(self, stored: StoredUnit) -> None:
        self._units.append(stored)
        self._bytes += len(stored.line)
        while len(self._units) - self._start > self._max_units or self._bytes > self._max_bytes:
            self._bytes -= len(self._units[self._start].line)
            self._start += 1
        if self._start * 2 > len(self._units):
            del self._units[: self._start]
            self._start = 0

    def hold(self, seq: int) -> bool:
        """Whether `seq` and all behind it are here."""
        return self._start < len(self._units) and self._units[self._start].seq <= seq

    def after(self, after: Seq, upto: Seq, *, max_units: int, max_bytes: int) -> list[StoredUnit]:
        """Call only if `hold(after + 1)`. At least one unit, if there is one."""
        first = after + 1 - self._units[self._start].seq + self._start
        last = min(first + max(max_units, 1), upto + 1 - self._units[self._start].seq + self._start)
        found = self._units[first:last]
        size = 0
        for place, stored in enumerate(found):
            size += len(stored.line)
            if size > max_bytes and place:
                return found[:place]
        return found
