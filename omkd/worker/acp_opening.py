"""A session of an agent, opened so that the policy holds, or why it cannot be; and closed."""

import os
from pathlib import Path
from typing import Final

import trio
from attrs import evolve, field, frozen

from omkd.protocol.limits import RUN_OUTPUT_BYTES
from omkd.protocol.records import Yolo
from omkd.store.files import FILE_MODE, OPEN_FLAGS
from omkd.store.procfs import now_as_start_time

from .acp import State
from .acp_agent import Agent
from .acp_agents import (
    AcpSettings,
    CannotAsk,
    command_fault,
    profile_of_command,
    readback_command,
    readback_fault,
    reading_of,
    session_plan,
)
from .acp_events import (
    AcpEvent,
    AgentReady,
    Initialized,
    ModeNotSet,
    ModeUnconfirmed,
    ProtocolFault,
    SessionClosed,
    SessionPlan,
    SessionRefused,
)
from .children import Children
from .command import Command
from .policy import Judge

READBACK_S: Final = 30.0
AUTH_REQUIRED: Final = -32000


@frozen(kw_only=True)
class Waits:
    """How long an agent is waited for.

    `start_s`: from its start to an open session; recorded agents take up to 11 s, and `npx` may have to fetch one.
    `confirm_s`: from its answer that a mode is set to the update that says so; those that send one do so at once.
    `cancel_s`: from session/cancel to the end of the turn; recorded agents take less than 1 s.
    `close_s`: for the answer to session/close.
    `answer_s`: from the end of a question's time to word of who keeps the questions that it expired.
    """

    start_s: float = 60.0
    confirm_s: float = 2.0
    cancel_s: float = 5.0
    close_s: float = 5.0
    answer_s: float = 0.0


@frozen(kw_only=True)
class AcpTask:
    """What is to be done, and within which bounds. `keeps_session`: in the session that the task before left open.

    `log_bytes`: of messages that acp.jsonl keeps.
    """

    prompt: str
    judge: Judge
    project: Path
    budget_s: float
    approval_timeout_s: float
    settings: AcpSettings = field(factory=AcpSettings)
    waits: Waits = field(factory=Waits)
    keeps_session: bool = False
    log_bytes: int = RUN_OUTPUT_BYTES

    @property
    def must_ask(self) -> bool:
        return not isinstance(self.judge.policy, Yolo)


async def open_session(agent: Agent, task: AcpTask) -> SessionPlan | str:
    """A session, ready for a prompt; in words what is wrong if there is none. Cancellation: of no use any more."""
    with trio.move_on_after(task.waits.start_s):
        return await opened(agent, task)
    return f"the agent was given {task.waits.start_s:g}s for {agent.client.waiting_for}"


async def opened(agent: Agent, task: AcpTask) -> SessionPlan | str:
    if agent.client.state is State.NEW:
        agent.client.start()
        agent.flush()
        event = await event_of(agent, Initialized, ProtocolFault)
        if isinstance(event, Initialized):
            agent.info = event.agent
    else:
        agent.wake()
    if agent.client.fault is not None:
        return agent.client.fault
    try:
        plan = session_plan(agent.info, task.judge.policy, task.settings, str(task.project))
    except CannotAsk as fault:
        return str(fault)
    agent.at_work_since = now_as_start_time()
    if not (task.keeps_session and is_open_as(agent, plan)):
        agent.plan = plan
        agent.client.open_session(plan, reading_of(agent.info, plan.cwd))
        agent.flush()
        event = await event_of_opening(agent, task.waits.confirm_s)
        if (why_not := fault_of_opening(event, agent, task)) is not None:
            return why_not
    if task.keeps_session:
        agent.at_work_since = now_as_start_time()
    return plan


def fault_of_opening(event: AcpEvent, agent: Agent, task: AcpTask) -> str | None:
    match event:
        case ProtocolFault(why=why):
            return why
        case SessionRefused(error=error):
            hint = ": log in to it in a terminal first" if error.code == AUTH_REQUIRED else ""
            return f"{agent.info} opened no session, {error}{hint}"
        case ModeNotSet(wanted=wanted, why=why) if task.must_ask:
            return f"{agent.info} does not take the mode {wanted!r}, in which it asks: {why}. The policy cannot hold"
    return None


def is_open_as(agent: Agent, plan: SessionPlan) -> bool:
    """Whether the session that is open was opened like this, and is in its mode still."""
    is_open = agent.client.state is State.READY and agent.plan == plan
    return is_open and plan.mode in (None, agent.client.mode)


async def close_session(agent: Agent, task: AcpTask) -> bool:
    """Whether the agent let go of the session and can take another: one that only collects them is not kept."""
    if not agent.info.closes:
        return False
    agent.client.close_session()
    agent.flush()
    with trio.move_on_after(task.waits.close_s):
        event = await event_of(agent, SessionClosed, ProtocolFault)
        return isinstance(event, SessionClosed) and event.error is None
    return False


async def event_of_opening(agent: Agent, confirm_s: float) -> AcpEvent:
    """How the opening went."""
    ends = (AgentReady, ModeNotSet, SessionRefused, ProtocolFault)
    event = await event_of(agent, ModeUnconfirmed, *ends)
    if isinstance(event, ModeUnconfirmed):
        with trio.move_on_after(confirm_s):
            return await event_of(agent, *ends)
        agent.client.give_up_mode()
        agent.hear()
        event = await event_of(agent, *ends)
    return event


async def event_of(agent: Agent, *kinds: type) -> AcpEvent:
    """The next event of one of these; those between are of no use yet."""
    while not isinstance(event := await agent.next_event(), kinds):
        pass
    return event


# --- before it is started ----------------------------------------------------------------------------------------


def with_profile(command: Command) -> Command:
    """With what its profile puts into its environment, over what stands there."""
    profile = profile_of_command(words_of(command))
    added = {} if profile is None else {name.encode(): value.encode() for name, value in profile.env.items()}
    return evolve(command, env={**command.env, **added})


async def fault_before_start(command: Command, task: AcpTask, directory: Path, children: Children) -> str | None:
    """What is wrong with the command as far as one sees before it speaks. `directory` takes what is read back.

    `command` is `with_profile`. Raises OSError, ValueError: the command cannot be started.
    """
    words = words_of(command)
    if (fault := command_fault(words)) is not None:
        return fault
    profile = profile_of_command(words)
    argv = readback_command(profile, words) if profile is not None else None
    if profile is None or argv is None or not task.must_ask:
        return None
    printed = await output_of(evolve(command, argv=[os.fsencode(word) for word in argv]), directory, children)
    fault = readback_fault(printed)
    return None if fault is None else f"{profile.name} would not ask: {fault}. Change that, or use the policy yolo"


async def output_of(command: Command, directory: Path, children: Children) -> bytes:
    """What it prints within READBACK_S; what it had printed by then if it takes longer."""
    path = directory / "acp-readback.json"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | OPEN_FLAGS
    null, output = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC), os.open(path, flags, FILE_MODE)
    try:
        process = await children.start(
            command.argv, env=command.env, cwd=command.cwd, stdin=null, stdout=output, stderr=null
        )
    finally:
        os.close(null)
        os.close(output)
    try:
        with trio.move_on_after(READBACK_S):
            await process.wait()
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
        children.forget(process)
    return path.read_bytes()


def words_of(command: Command) -> list[str]:
    return [os.fsdecode(word) for word in command.argv]
