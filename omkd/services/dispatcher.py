"""Schedule -> log: hands tasks out. The line in the inbox follows from the fact (`mailbox_writer`)."""

import logging
from typing import Final, assert_never

import trio

from omkd.core.schedule import Doomed, Handout, next_step
from omkd.protocol.events import ByOmkd, Event, TaskDispatched, TaskFinished
from omkd.protocol.records import ResultStatus, WorkerResult
from omkd.protocol.scalars import U32
from omkd.store.event_log import Draft, LogWriteFailed

from .hub import Hub

logger = logging.getLogger(__name__)

STEPS_PER_TURN: Final = 100
"""Decisions between two looks at everything else; each is one append."""

CLOCK_LOOK_S: Final = 60
"""Wall-clock times are looked at again so often: the clock may be set, the machine suspended (design, §5)."""

WRITE_RETRY_S: Final = 1


async def run_dispatcher(hub: Hub, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """Runs until cancelled. While the log cannot be written, tries again each second."""
    task_status.started()
    while True:
        try:
            made = dispatch(hub)
        except LogWriteFailed as failure:
            logger.warning("nothing is handed out: %s", failure)
            await trio.sleep(WRITE_RETRY_S)
            continue
        if made == STEPS_PER_TURN:
            await hub.log.commit(hub.log.written)
            continue
        with trio.move_on_after(wait_s(hub)):
            await hub.work.wait()


def dispatch(hub: Hub) -> int:
    """Records what can be decided now, at most STEPS_PER_TURN; how many it were. Raises LogWriteFailed."""
    if hub.draining:
        return 0
    for made in range(STEPS_PER_TURN):
        step = next_step(hub.state, hub.now())
        if step is None:
            return made
        hub.log.append(Draft(by=ByOmkd(), events=(event_for(step),)))
    return STEPS_PER_TURN


def event_for(step: Handout | Doomed) -> Event:
    match step:
        case Handout():
            return TaskDispatched(task_id=step.task_id, worker=step.worker, handout=U32(step.handout))
        case Doomed():
            summary = f"not run: it waits for {step.cause}, which did not succeed"
            result = WorkerResult(task_id=step.task_id, status=ResultStatus.FAILED, summary=summary)
            return TaskFinished(task_id=step.task_id, handout=U32(0), worker=None, result=result)
        case _:
            assert_never(step)


def wait_s(hub: Hub) -> float:
    """Until the next task that waits for a time alone."""
    due = hub.state.ledger.next_due()
    return CLOCK_LOOK_S if due is None else min(CLOCK_LOOK_S, max(0.0, (due - hub.now()) / 1e9))
