"""Is a worker alive? From what was seen of its files and when, on the monotonic clock of who looks (design, §5).

A restart of the daemon or a suspended machine kills nobody: ages run from when *we* saw a change, and that clock
stands still while the machine sleeps.
"""

from typing import Final

from attrs import define, frozen

STALLED_AFTER_S: Final = 30.0
"""Without a sign of life: three heartbeats of omk-worker."""

DEAD_AFTER_S: Final = 120.0
"""A foreign worker's heartbeat, unchanged, with nothing in hand."""


@frozen(kw_only=True)
class Signs:
    """What is looked at: anything that changes when the worker or its agent does something. Compared, never read."""

    heartbeat: tuple[int, int] | None
    mailbox: tuple[int, ...]
    output: tuple[int, ...]


@frozen(kw_only=True)
class Duty:
    """What a worker has in hand, as far as it bounds silence. `allowed_s`: budget and grace of what runs, None: nothing
    runs. `stall_s`: how long its agent may be silent, None: as long as the budget allows."""

    allowed_s: float | None
    stall_s: float | None


@define
class Vitals:
    """When something last changed; `has_changed`: something did, since the first look."""

    signs: Signs
    host_sign_at: float
    agent_sign_at: float
    duty_since: float
    heartbeat_at: float
    has_changed: bool = False

    @classmethod
    def first(cls, signs: Signs, now: float) -> "Vitals":
        return cls(signs, now, now, now, now)

    def see(self, signs: Signs, now: float) -> None:
        if signs.heartbeat != self.signs.heartbeat:
            self.heartbeat_at = now
        if signs.output != self.signs.output:
            self.agent_sign_at = now
        if signs != self.signs:
            self.host_sign_at, self.has_changed = now, True
        self.signs = signs

    def begin_duty(self, now: float) -> None:
        """Something else is in hand than before."""
        self.duty_since = self.agent_sign_at = now

    def silent_s(self, duty: Duty, now: float, stalled_after_s: float = STALLED_AFTER_S) -> float | None:
        """How long it has been silent, if that is too long; None: it is well, or within what its task may take."""
        agent_silent_s = now - self.agent_sign_at
        if duty.allowed_s is not None and duty.stall_s is not None and agent_silent_s >= duty.stall_s:
            return agent_silent_s
        silent_s = now - self.host_sign_at
        if silent_s < stalled_after_s:
            return None
        if duty.allowed_s is not None and now - self.duty_since <= duty.allowed_s:
            return None
        return silent_s

    def is_dead(self, now: float) -> bool:
        """A foreign worker that has nothing in hand and beats no more."""
        return now - self.heartbeat_at >= DEAD_AFTER_S
