"""How a hand-out ended, and the outbox line that says so. No process, no clock."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeAlias, assert_never

from attrs import Factory, evolve, frozen

from omkd.protocol import codec
from omkd.protocol.limits import SUMMARY_BYTES, TASK_BYTES
from omkd.protocol.records import OutboxLine, Outcome, ResultStatus
from omkd.protocol.scalars import U64, Ns
from omkd.store.files import read_regular

from .files import RunFiles
from .summary import end_of_output, plain_text

EX_TEMPFAIL: Final = 75
"""sysexits.h: not now. kimi-cli says so when its service cannot be reached."""

LATER_NS: Final = 60 * 10**9
"""How long after an exit status 75 the task is not to be handed out again: a service's short outage."""


@frozen(kw_only=True)
class Exited:
    """The command ended by itself; `status` is negative for a signal."""

    status: int


@frozen(kw_only=True)
class OutOfBudget:
    budget_secs: int


@frozen(kw_only=True)
class Cancelled:
    reason: str


@frozen(kw_only=True)
class Interrupted:
    why: str


@frozen(kw_only=True)
class NotStarted:
    """The command could not be started: `why` says what to do. `is_passing`: the machine was short of something."""

    why: str
    is_passing: bool = False


End: TypeAlias = Exited | OutOfBudget | Cancelled | Interrupted | NotStarted


@frozen(kw_only=True)
class AgentResult:
    """`$OMK_RESULT_FILE`, if the agent writes it: `{"status":"success","summary":"did it","artifacts":["a.py"]}`."""

    status: ResultStatus | None = None
    summary: str | None = None
    artifacts: list[str] = Factory(list)


def report_for(handout: str, end: End, files: RunFiles, *, elapsed_secs: int, now_ns: int) -> OutboxLine:
    """What the outbox is to say. The agent's own words are used where there are some, and are valid."""
    agent, fault = read_agent_result(files.agent_result)
    told = OutboxLine(
        task_id=handout,
        status=ResultStatus.FAILED,
        artifacts=agent.artifacts,
        elapsed_secs=U64(elapsed_secs),
        outcome=Outcome.DONE,
    )
    match end:
        case Exited(status=status):
            is_later = status == EX_TEMPFAIL and agent.status is None
            return evolve(
                told,
                status=agent.status or (ResultStatus.FAILED if status else ResultStatus.SUCCESS),
                summary=with_fault(said_by(agent, lambda: exit_summary(status, files)), fault),
                outcome=Outcome.LATER if is_later else Outcome.DONE,
                not_before=Ns(now_ns + LATER_NS) if is_later else None,
            )
        case OutOfBudget(budget_secs=secs):
            headline = f"budget of {secs}s ran out"
            room = SUMMARY_BYTES - len(headline) - 1
            words = said_by(agent, lambda: end_of_output(files.stdout, room))
            return evolve(told, summary=with_fault(f"{headline}\n{words}".strip(), fault))
        case Cancelled(reason=reason):
            summary = f"cancelled: {reason}" if reason else "cancelled"
            return evolve(told, summary=summary, outcome=Outcome.CANCELLED)
        case Interrupted(why=why):
            return evolve(told, summary=f"interrupted: {why}", outcome=Outcome.INTERRUPTED)
        case NotStarted(why=why, is_passing=True):
            return evolve(told, summary=why, outcome=Outcome.LATER, not_before=Ns(now_ns + LATER_NS))
        case NotStarted(why=why):
            return evolve(told, summary=why)
        case _:
            assert_never(end)


def read_agent_result(path: Path) -> tuple[AgentResult, str]:
    """What the agent wrote; nothing, and why, if it cannot be used."""
    try:
        return codec.loads(read_regular(path, TASK_BYTES), AgentResult), ""
    except FileNotFoundError:
        return AgentResult(), ""
    except (OSError, ValueError) as error:
        return AgentResult(), f"the result file {path.name} was not used: {error}"


def said_by(agent: AgentResult, otherwise: Callable[[], str]) -> str:
    return otherwise() if agent.summary is None else plain_text(agent.summary)


def with_fault(summary: str, fault: str) -> str:
    return f"{summary}\n({fault})".strip() if fault else summary


def exit_summary(status: int, files: RunFiles) -> str:
    """The end of stdout; if a failure left none, how it ended and the end of stderr."""
    said = end_of_output(files.stdout)
    if said or status == 0:
        return said
    how = f"exit status {status}" if status > 0 else f"killed by signal {-status}{signal_name(-status)}"
    complaint = end_of_output(files.stderr, SUMMARY_BYTES - len(how) - 2)
    return f"{how}: {complaint}" if complaint else how


def signal_name(number: int) -> str:
    try:
        return f" ({signal.Signals(number).name})"
    except ValueError:
        return ""
