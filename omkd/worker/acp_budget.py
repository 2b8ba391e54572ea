"""The budget of a turn: the time of the agent's own work. While a person is waited for, it stands."""

from collections.abc import Iterator
from contextlib import contextmanager

import trio


class Budget:
    """`scope` is cancelled when it is used up."""

    def __init__(self, budget_s: float) -> None:
        self.scope = trio.CancelScope(deadline=trio.current_time() + budget_s)
        self._left_s = budget_s
        self._waiting = 0

    @contextmanager
    def standing(self) -> Iterator[None]:
        """Several at once count as one."""
        if self._waiting == 0:
            self._left_s = max(0.0, self.scope.deadline - trio.current_time())
            self.scope.deadline = float("inf")
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1
            if self._waiting == 0:
                self.scope.deadline = trio.current_time() + self._left_s
