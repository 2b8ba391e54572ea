"""A worker's agent, kept from one task to the next: one process at most.

It is kept where that is safe: its turn ended by itself, its session is closed (or is to go on), and no process that
began in the turn is left. Else it is ended with all that it started, and the next task starts another.
"""

import logging
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio
from attrs import frozen

from omkd.store.procfs import Process, name_of

from .children import Children
from .command import Command
from .processes import RunProcesses, wait_ended

if TYPE_CHECKING:
    from .acp_agent import Agent

log = logging.getLogger(__name__)

LEFT_S: Final = 2.0
"""How long the processes of a turn that is over may take to end by themselves."""


@frozen(kw_only=True)
class Wanted:
    """What an agent must have been started as to be of use. One that was not looked at must not be asked to ask."""

    command: Command
    must_ask: bool


class Keeper:
    """To be used from one task only: what it opens ends in the reverse order."""

    def __init__(self, children: Children, members: RunProcesses, kept: AsyncExitStack) -> None:
        self.children = children
        self._members = members
        self._kept = kept
        self._agent: Agent | None = None
        self._started_as: Wanted | None = None

    def has(self, wanted: Wanted) -> bool:
        """Whether an agent that was started like this is there, and lives."""
        return self._agent is not None and self._started_as == wanted and not self._agent.has_ended

    async def agent_for(self, wanted: Wanted, *, stderr: Path, grace_s: float) -> "Agent":
        """The one that is there, or a new one; no cancel scope may be open that is left before it ends.

        Raises OSError, ValueError: it cannot be started.
        """
        from .acp_agent import open_agent

        if not self.has(wanted):
            await self.end()
            opening = open_agent(wanted.command, self.children, self._members, stderr=stderr, grace_s=grace_s)
            self._agent = await self._kept.enter_async_context(opening)
            self._started_as = wanted
            log.info("agent %d started", self._agent.pid)
        assert self._agent is not None
        self._agent.stderr.goes_to, self._agent.grace_s = stderr, grace_s
        return self._agent

    async def turn_over(self, *, is_usable: bool, patience: trio.CancelScope) -> None:
        """Keeps the agent or ends it; nothing of the turn is left when this returns."""
        if self._agent is None:
            return
        left = await self._left_by_turn(self._agent) if is_usable else []
        if is_usable and not left:
            await self._agent.stderr.settle()
            self._agent.stderr.goes_to = None
            self._agent.rest()
            return
        if left:
            log.info("agent %d is not kept, its turn left %s", self._agent.pid, ", ".join(map(in_words, left)))
        await self.end(patience)

    async def end(self, patience: trio.CancelScope | None = None) -> None:
        """Nothing of the agent is left. Cancelling `patience` leaves out the waiting."""
        if self._agent is not None:
            self._agent.patience = patience or self._agent.patience
            self._agent = None
            await self._kept.aclose()

    async def _left_by_turn(self, agent: "Agent") -> list[Process]:
        left = self._of_turn(agent)
        with trio.move_on_after(LEFT_S):
            await wait_ended(left)
        return self._of_turn(agent) if left else []

    def _of_turn(self, agent: "Agent") -> list[Process]:
        return [process for process in self._members.alive() if process.start_time >= agent.at_work_since]


def in_words(process: Process) -> str:
    return f"{process.pid} ({name_of(process.pid)})"


@asynccontextmanager
async def open_keeper(children: Children, members: RunProcesses) -> AsyncIterator[Keeper]:
    """At its end no agent is left. `members`: which processes are the agent's."""
    async with AsyncExitStack() as kept:
        yield Keeper(children, members, kept)
