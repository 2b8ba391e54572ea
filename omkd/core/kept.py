"""What of the past is kept in memory: finished tasks and idempotency keys, up to a bound (design, §2).

Which go, and when, follows from the events alone: a fold from any snapshot keeps the same ones.
"""

from typing import Final

from attrs import Factory, define, frozen

from omkd.protocol.scalars import Ns, Seq, TaskId

KEPT_FINISHED: Final = 10_000
KEPT_FINISHED_CHARS: Final = 64 * 1024 * 1024
"""Of the texts and results of finished tasks: 10,000 of 256 KiB each would be 2.5 GiB."""

LOOKS_A_UNIT: Final = 64
"""Finished tasks that may be let go after one unit. If more end in one (a cancel of many), the next units see to it."""

KEYS_KEPT_NS: Final = 7 * 24 * 3600 * 1_000_000_000
"""How long a sender may come back with the same key; omkctl tries for 10 s, a program may sleep over a weekend."""

MAX_KEYS: Final = 1_000_000
"""Some 150 MB: at 5,000 tasks an hour all of 7 days. Past it the oldest are forgotten earlier."""


@frozen(kw_only=True)
class Bounds:
    """How much of the past is kept."""

    finished: int = KEPT_FINISHED
    finished_chars: int = KEPT_FINISHED_CHARS
    keys: int = MAX_KEYS
    keys_ns: int = KEYS_KEPT_NS


@frozen(kw_only=True)
class KeyUse:
    """Which task a key brought, in which unit, and when."""

    task_id: TaskId
    seq: Seq
    ts: Ns


@define
class SentKeys:
    """Idempotency keys, the oldest use first. (Times never go back in the log.)"""

    bounds: Bounds = Factory(Bounds)
    uses: dict[str, KeyUse] = Factory(dict)

    def get(self, key: str) -> KeyUse | None:
        return self.uses.get(key)

    def note(self, key: str, use: KeyUse) -> None:
        self.uses.pop(key, None)
        self.uses[key] = use
        while len(self.uses) > self.bounds.keys or self._oldest().ts < use.ts - self.bounds.keys_ns:
            del self.uses[next(iter(self.uses))]

    def _oldest(self) -> KeyUse:
        return next(iter(self.uses.values()))


@define
class Finished:
    """Finished tasks that are kept, with their `chars`, the first to go first.

    One that an unfinished task waits for is not let go: whether it succeeded is still asked.
    """

    bounds: Bounds = Factory(Bounds)
    chars: dict[TaskId, int] = Factory(dict)
    _total: int = 0
    _waited_for: dict[TaskId, int] = Factory(dict)

    def add(self, task_id: TaskId, chars: int) -> None:
        self.remove(task_id)
        self.chars[task_id] = chars
        self._total += chars

    def remove(self, task_id: TaskId) -> None:
        self._total -= self.chars.pop(task_id, 0)

    def wait_for(self, after: list[TaskId], change: int) -> None:
        """One more (or, -1, one less) unfinished task waits for these."""
        for task_id in after:
            number = self._waited_for.get(task_id, 0) + change
            if number > 0:
                self._waited_for[task_id] = number
            else:
                self._waited_for.pop(task_id, None)

    def let_go(self) -> list[TaskId]:
        """Those that are too many, no longer kept. Call it once a unit."""
        gone = []
        looks = 0
        while looks < LOOKS_A_UNIT and self._are_too_many():
            looks += 1
            oldest, chars = next(iter(self.chars.items()))
            self.remove(oldest)
            if oldest in self._waited_for:
                self.add(oldest, chars)  # behind all others
            else:
                gone.append(oldest)
        return gone

    def _are_too_many(self) -> bool:
        return len(self.chars) > self.bounds.finished or self._total > self.bounds.finished_chars
