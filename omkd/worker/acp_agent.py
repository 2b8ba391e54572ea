"""An agent process that speaks ACP: its pipes, its protocol state, its end. One for several turns, if it lives.

Its end is a ladder: the turn's `session/cancel` (acp_turn), then stdin closed, then SIGTERM, then SIGKILL to every
descendant. Agents give each tool a session of its own: the end of the agent's process group would leave them running.
"""

import contextlib
import math
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Final

import trio

from .acp import AcpClient
from .acp_events import AcpEvent, AgentInfo, SessionPlan
from .acp_record import Direction, Transcript
from .acp_stderr import AgentStderr
from .children import Children
from .command import Command
from .processes import KILL_PATIENCE_S, RunProcesses, end_processes

READ_BYTES: Final = 256 * 1024
EOF_GRACE_S: Final = 3.0
"""From the end of its input to SIGTERM: recorded agents end in less, but one that never does."""


class Agent:
    """Commands go to `client`, then `flush`; what the agent says comes from `next_event`.

    `plan` is that of the session that is open, `at_work_since` the time (as /proc has it) from which on a process that
    began is of its work. `patience` and `grace_s` are for its end.
    """

    def __init__(
        self,
        process: trio.Process,
        stdin: trio.lowlevel.FdStream,
        stdout: trio.lowlevel.FdStream,
        stderr: AgentStderr,
        *,
        grace_s: float,
    ) -> None:
        self.pid = process.pid
        self.client = AcpClient()
        self.info = AgentInfo()
        self.plan: SessionPlan | None = None
        self.at_work_since = 0
        self.transcript: Transcript | None = None
        self.stderr = stderr
        self.patience = trio.CancelScope()
        self.grace_s = grace_s
        self._process = process
        self._stdin = stdin
        self._stdout = stdout
        self._heard_in, self._heard = trio.open_memory_channel[AcpEvent](math.inf)
        self._is_at_rest = False
        self._unsent = trio.Event()

    @property
    def has_ended(self) -> bool:
        """It takes no task any more."""
        return self.client.fault is not None or self._process.returncode is not None

    def flush(self) -> None:
        """What the client has to say is on its way; it does not wait for the agent to read it."""
        self._unsent.set()

    async def next_event(self) -> AcpEvent:
        """The next thing the agent said; after a ProtocolFault nothing comes any more."""
        return await self._heard.receive()

    def rest(self) -> None:
        """Until `wake`: between two turns. What it says then is of no use, and is not kept."""
        self._is_at_rest = True
        with contextlib.suppress(trio.WouldBlock):
            while True:
                self._heard.receive_nowait()

    def wake(self) -> None:
        self._is_at_rest = False

    @property
    def unheard(self) -> int:
        """What it said and nobody took yet."""
        return self._heard.statistics().current_buffer_used

    async def run_reader(self) -> None:
        """Until EOF. It never waits for the turn: an agent that cannot write does not read either."""
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while data := await self._stdout.receive_some(READ_BYTES):
                self._note("in", data)
                self.client.receive_data(data)
                self.hear()
        self.client.receive_eof()
        self.hear()

    async def run_writer(self) -> None:
        with contextlib.suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while True:
                await self._unsent.wait()
                self._unsent = trio.Event()
                data = self.client.data_to_send()
                self._note("out", data)
                await self._stdin.send_all(data)

    async def close_input(self) -> None:
        await self._stdin.aclose()

    def hear(self) -> None:
        """Takes over what the client has to tell, be it after a command."""
        while (event := self.client.next_event()) is not None:
            if not self._is_at_rest:
                self._heard_in.send_nowait(event)
        self.flush()

    def _note(self, direction: Direction, data: bytes) -> None:
        if self.transcript is not None:
            self.transcript.note(direction, data)


@contextlib.asynccontextmanager
async def open_agent(
    command: Command,
    children: Children,
    members: RunProcesses,
    *,
    stderr: Path,
    grace_s: float,
    eof_grace_s: float = EOF_GRACE_S,
) -> AsyncIterator[Agent]:
    """The agent, started; at the end nothing of it is left. Raises OSError, ValueError.

    Cancelling the agent's `patience` leaves out the ladder's waiting. Cancellation: the ladder is gone through all the
    same.
    """
    process, agent = await start_agent(command, children, stderr, grace_s)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(agent.run_reader)
            nursery.start_soon(agent.run_writer)
            nursery.start_soon(agent.stderr.run)
            nursery.start_soon(reap, process, children)
            try:
                yield agent
            finally:
                with trio.CancelScope(shield=True):
                    await agent.close_input()
                    with trio.move_on_after(0 if agent.patience.cancel_called else eof_grace_s):
                        await process.wait()
                    await end_processes(members, grace_s=agent.grace_s, patience=agent.patience)
                    with trio.move_on_after(KILL_PATIENCE_S):
                        await process.wait()
                    await agent.stderr.settle()
            nursery.cancel_scope.cancel()
    finally:
        children.forget(process)


async def reap(process: trio.Process, children: Children) -> None:
    """One that died between two tasks must not stay a zombie: it would hide orphans behind it."""
    await process.wait()
    children.forget(process)


async def start_agent(command: Command, children: Children, stderr: Path, grace_s: float) -> tuple[trio.Process, Agent]:
    with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
        stdin, to_agent = pipe(theirs, ours)
        from_agent, stdout = pipe(ours, theirs)
        said, log = pipe(ours, theirs)
        process = await children.start(
            command.argv, env=command.env, cwd=command.cwd, stdin=stdin, stdout=stdout, stderr=log
        )
        ours.pop_all()
    streams = trio.lowlevel.FdStream(to_agent), trio.lowlevel.FdStream(from_agent)
    return process, Agent(process, *streams, AgentStderr(said, stderr), grace_s=grace_s)


def pipe(reads: contextlib.ExitStack, writes: contextlib.ExitStack) -> tuple[int, int]:
    """The two ends, each closed by its side's stack."""
    reader, writer = os.pipe2(os.O_CLOEXEC)
    reads.callback(os.close, reader)
    writes.callback(os.close, writer)
    return reader, writer
