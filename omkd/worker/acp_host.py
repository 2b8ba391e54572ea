"""A task as a prompt turn of an ACP agent: the agent started, a session opened in its asking mode, the turn, its end.

`run_acp` is all of it for one task. A host that keeps its agent uses the parts: `open_agent` once, then `run_turn` for
each task, as long as the last one `is_usable`.
"""

import contextlib

import trio
from attrs import frozen

from .acp import State
from .acp_agent import Agent, open_agent
from .acp_desk import Desk
from .acp_opening import AcpTask, fault_before_start, with_profile
from .acp_outcome import Evidence
from .acp_record import open_transcript
from .acp_turn import Turn
from .children import Children
from .command import Command
from .files import RunFiles
from .processes import RunProcesses
from .report import Cancelled, Interrupted, OutOfBudget
from .run import Orders


@frozen(kw_only=True)
class TurnEnd:
    """`ended_by` None: the turn ended by itself. `is_usable`: the agent can take another task."""

    evidence: Evidence
    ended_by: Cancelled | Interrupted | OutOfBudget | None
    is_usable: bool


async def run_acp(
    command: Command,
    files: RunFiles,
    task: AcpTask,
    desk: Desk,
    *,
    children: Children,
    members: RunProcesses,
    orders: Orders,
    grace_s: float,
) -> TurnEnd:
    """One agent for one task; nothing of it is left. Raises OSError, ValueError: it could not be started."""
    full = with_profile(command)
    fault = await fault_before_start(full, task, files.path, children)
    if fault is not None:
        return TurnEnd(evidence=Evidence(fault=fault), ended_by=orders.asked, is_usable=False)
    opening = open_agent(full, files.stderr, children, members, grace_s=grace_s, patience=orders.patience)
    async with opening as agent:
        return await run_turn(agent, task, files, desk, orders)


async def run_turn(agent: Agent, task: AcpTask, files: RunFiles, desk: Desk, orders: Orders) -> TurnEnd:
    """A new session and one turn in it. Its budget counts from here.

    Cancellation: the agent may be at work still; its owner ends it.
    """
    turn = Turn(agent, task, desk)
    with contextlib.ExitStack() as kept:
        try:
            agent.transcript = kept.enter_context(open_transcript(files.path / "acp.jsonl", trio.current_time))
        except OSError as error:
            return TurnEnd(evidence=Evidence(fault=f"acp.jsonl cannot be made: {error}"), ended_by=None, is_usable=True)
        try:
            async with trio.open_nursery() as questions:
                with orders.listening, trio.move_on_after(task.budget_s):
                    await turn.go(questions)
                ended_by = None if turn.is_settled else orders.asked or OutOfBudget(budget_secs=int(task.budget_s))
                turn.cancel()
                with trio.move_on_after(0 if orders.patience.cancel_called else task.waits.cancel_s):
                    await turn.converse(questions)
                turn.close()
        finally:
            agent.transcript = None
    is_usable = agent.client.state in (State.READY, State.IDLE)
    return TurnEnd(evidence=turn.evidence, ended_by=ended_by, is_usable=is_usable)
