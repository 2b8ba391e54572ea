"""A task as a prompt turn of an ACP agent: the agent, a session in its asking mode, the turn, its end."""

import contextlib

import trio
from attrs import frozen

from .acp import State
from .acp_agent import Agent
from .acp_budget import Budget
from .acp_desk import Desk
from .acp_keeper import Keeper, Wanted
from .acp_opening import AcpTask, close_session, fault_before_start, with_profile
from .acp_outcome import Evidence
from .acp_record import open_transcript
from .acp_turn import Turn
from .command import Command
from .files import RunFiles
from .report import Cancelled, Interrupted, OutOfBudget
from .run import Orders


@frozen(kw_only=True)
class TurnEnd:
    """`ended_by` None: the turn ended by itself. `is_usable`: the agent can take another task."""

    evidence: Evidence
    ended_by: Cancelled | Interrupted | OutOfBudget | None
    is_usable: bool


async def agent_for(
    command: Command, files: RunFiles, task: AcpTask, keeper: Keeper, *, grace_s: float
) -> Agent | Evidence:
    """The agent, kept or new; or why there is none. Raises OSError, ValueError: it could not be started."""
    wanted = Wanted(command=with_profile(command), must_ask=task.must_ask)
    if not keeper.has(wanted):
        fault = await fault_before_start(wanted.command, task, files.path, keeper.children)
        if fault is not None:
            return Evidence(fault=fault)
    return await keeper.agent_for(wanted, stderr=files.stderr, grace_s=grace_s)


async def run_turn(agent: Agent, task: AcpTask, files: RunFiles, desk: Desk, orders: Orders) -> TurnEnd:
    """One turn, in a new session or in the one that is kept. Its budget counts from here.

    Cancellation: the agent may be at work still; its owner ends it.
    """
    with contextlib.ExitStack() as kept:
        try:
            agent.transcript = kept.enter_context(open_transcript(files.transcript, trio.current_time, task.log_bytes))
        except OSError as error:
            return TurnEnd(
                evidence=Evidence(fault=f"acp.jsonl cannot be made: {error}"), ended_by=None, is_usable=False
            )
        try:
            return await recorded_turn(agent, task, desk, orders)
        finally:
            agent.transcript = None


async def recorded_turn(agent: Agent, task: AcpTask, desk: Desk, orders: Orders) -> TurnEnd:
    budget = Budget(task.budget_s)
    turn = Turn(agent, task, desk, budget)
    async with trio.open_nursery() as questions:
        with orders.listening, budget.scope:
            await turn.go(questions)
        ended_by = None if turn.is_settled else orders.asked or OutOfBudget(budget_secs=int(task.budget_s))
        turn.cancel()
        with trio.move_on_after(0 if orders.patience.cancel_called else task.waits.cancel_s):
            await turn.converse(questions)
        turn.close()
    evidence = turn.evidence
    is_usable = ended_by is None and evidence.ended_well and agent.client.state is State.READY
    if is_usable and not task.keeps_session:
        is_usable = await close_session(agent, task)
    return TurnEnd(evidence=evidence, ended_by=ended_by, is_usable=is_usable)
