"""Questions whose time runs out: recorded as expired, which is not a refusal by anybody."""

import logging
from typing import Final

import trio

from omkd.core.decisions import ending_of
from omkd.protocol.events import ByOmkd
from omkd.store.event_log import Draft, LogWriteFailed

from .hub import Hub

logger = logging.getLogger(__name__)

CLOCK_LOOK_S: Final = 60
"""Wall-clock times are looked at again so often (design, §5)."""

WRITE_RETRY_S: Final = 1


async def run_decisions(hub: Hub, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """Runs until cancelled. While the log cannot be written, what expired stays open and is tried again."""
    task_status.started()
    seen = hub.log.written
    while True:
        try:
            expire(hub)
        except LogWriteFailed as failure:
            logger.warning("%s", failure)
            await trio.sleep(WRITE_RETRY_S)
            continue
        with trio.move_on_after(wait_s(hub)):
            seen = await hub.log.wait_beyond(seen)


def expire(hub: Hub) -> None:
    """Records each question whose time is over. Raises LogWriteFailed."""
    for question in hub.state.decisions.expired(hub.now()):
        hub.log.append(Draft(by=ByOmkd(), events=ending_of(question, "nobody decided in time")))
        logger.info("question %s expired: %s", question.asked.decision_id, question.asked.summary)


def wait_s(hub: Hub) -> float:
    due = hub.state.decisions.next_expiry()
    return CLOCK_LOOK_S if due is None else min(CLOCK_LOOK_S, max(0.0, (due - hub.now()) / 1e9))
