"""The run of one hand-out as a prompt turn of an ACP agent. Nothing of it is left alive at its end but a kept agent.

What the agent says goes to stdout.log, its messages to acp.jsonl; what came of the turn is told from evidence alone.
"""

import os
from typing import Final

import trio
from attrs import evolve

from omkd.protocol.limits import SUMMARY_BYTES
from omkd.protocol.records import AcpSession, OutboxLine, Outcome, RunRecord
from omkd.protocol.scalars import U64

from .acp_agent import Agent
from .acp_agents import AcpSettings
from .acp_host import TurnEnd, agent_for, run_turn
from .acp_keeper import Keeper
from .acp_opening import AcpTask, Waits
from .acp_outcome import Evidence, artifacts_of, result_of
from .acp_questions import RunDesk
from .answers import Answers
from .command import Command, budget_secs_for, command_for, directory_fault, prompt_for
from .files import RunFiles
from .mailbox import Handout
from .output import Output, output_limit, trim_streams
from .policy import PolicyError, judge_for
from .processes import agent_marks_of
from .report import End, NotStarted, OutOfBudget, report_for
from .run import PASSING, Orders, Place, no_directory, note_command, start_failure
from .settings import Settings
from .summary import last_bytes

ANSWER_S: Final = 5.0
"""omkd says when a question expired; without it the host does so, this much later."""


async def run_acp_handout(
    handout: Handout, files: RunFiles, record: RunRecord, place: Place, orders: Orders, answers: Answers, keeper: Keeper
) -> OutboxLine:
    """Runs the turn to its end; the agent may be kept for the next. Cancellation: its owner ends it."""
    began = trio.current_time()
    end = await end_of_turn(handout, files, record, place, orders, answers, keeper)
    elapsed_secs = int(trio.current_time() - began)
    if isinstance(end, NotStarted):
        return report_for(handout.id, end, files, elapsed_secs=elapsed_secs, now_ns=place.now_ns())
    turn, project = end
    return line_for(handout.id, turn, files, project=project, elapsed_secs=elapsed_secs)


async def end_of_turn(
    handout: Handout, files: RunFiles, record: RunRecord, place: Place, orders: Orders, answers: Answers, keeper: Keeper
) -> tuple[TurnEnd, str] | NotStarted:
    """How the turn ended, and the project's directory."""
    settings = place.settings
    variables = agent_marks_of(place.worker).environment()
    command = command_for(handout.task, handout.task_id, settings, files, os.environb, variables)
    if (fault := directory_fault(command.cwd)) is not None:
        return NotStarted(why=no_directory(command, fault, place.worker))
    try:
        task = task_for(handout, settings, command)
    except PolicyError as error:
        return NotStarted(why=f"the approval policy cannot be used: {error}")
    agent = await started(command, files, task, keeper, grace_s=settings.runner.grace_secs)
    match agent:
        case NotStarted():
            return agent
        case Evidence():
            return TurnEnd(evidence=agent, ended_by=orders.asked, is_usable=False), str(command.cwd)
    note_command(files, record, agent.pid)
    turn = await desk_turn(handout, files, task, place, orders, answers, agent)
    await keeper.turn_over(is_usable=turn.is_usable, patience=orders.patience)
    trim_streams(files, output_limit(settings.runner))
    return turn, str(command.cwd)


async def started(
    command: Command, files: RunFiles, task: AcpTask, keeper: Keeper, *, grace_s: float
) -> Agent | Evidence | NotStarted:
    try:
        return await agent_for(command, files, task, keeper, grace_s=grace_s)
    except OSError as error:
        return NotStarted(why=start_failure(error, command), is_passing=error.errno in PASSING)
    except ValueError as error:
        return NotStarted(why=f"the command cannot be started: {error} in an argument or in its environment")


async def desk_turn(
    handout: Handout, files: RunFiles, task: AcpTask, place: Place, orders: Orders, answers: Answers, agent: Agent
) -> TurnEnd:
    """The turn, with a desk for its questions and an eye on its output."""
    desk = RunDesk(place.worker, handout, files, answers, place.now_ns)
    output = Output(place.worker, files, output_limit(place.settings.runner))
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(desk.run)
            nursery.start_soon(output.run)
            turn = await run_turn(agent, task, files, desk, orders)
            nursery.cancel_scope.cancel()
    finally:
        desk.finish()
        output.look()
    return turn


def task_for(handout: Handout, settings: Settings, command: Command) -> AcpTask:
    """Raises PolicyError."""
    runner, spec = settings.runner, settings.spec
    return AcpTask(
        prompt=prompt_for(handout.task),
        judge=judge_for(spec.approval_policy, cwd=str(command.cwd)),
        project=command.cwd,
        budget_s=budget_secs_for(handout.task, runner),
        approval_timeout_s=spec.approval_timeout_secs,
        settings=AcpSettings(asks_in=runner.acp_mode or None, asks_anyway=runner.acp_asks),
        waits=Waits(answer_s=ANSWER_S),
        log_bytes=output_limit(runner),
        keeps_session=runner.acp_session is AcpSession.WORKER,
    )


def line_for(handout: str, turn: TurnEnd, files: RunFiles, *, project: str, elapsed_secs: int) -> OutboxLine:
    """What the outbox is to say: how it was ended, if it was, and what came of the turn until then."""
    result = result_of(turn.evidence)
    told = OutboxLine(
        task_id=handout,
        status=result.status,
        summary=result.summary,
        artifacts=artifacts_of(turn.evidence, project),
        elapsed_secs=U64(elapsed_secs),
        outcome=Outcome.DONE,
    )
    if turn.ended_by is None:
        return told
    ended = report_for(handout, turn.ended_by, files, elapsed_secs=elapsed_secs, now_ns=0)
    headline = headline_of(turn.ended_by, ended)
    words = last_bytes(result.summary, SUMMARY_BYTES - len(headline.encode()) - 1)
    return evolve(ended, summary=f"{headline}\n{words}".strip(), artifacts=told.artifacts)


def headline_of(end: End, ended: OutboxLine) -> str:
    """Without the agent's words, which stand in the turn's own summary."""
    return f"budget of {end.budget_secs}s ran out" if isinstance(end, OutOfBudget) else ended.summary
