"""The escalation log's file, where the disk is in the way."""

import os
from pathlib import Path

import trio

from omkd.core.state import State
from omkd.protocol.events import ByOmkd, PersonNeeded
from omkd.services.escalation_writer import EscalationWriter
from omkd.services.hub import Hub
from omkd.store.event_log import Draft, open_event_log
from omkd.store.session import SessionDir


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def test_a_position_that_cannot_be_saved_leaves_no_descriptor_open(tmp_path: Path) -> None:
    """A new file is wanted, and is tried again for as long as the disk is in the way: each try left one."""
    session, state = SessionDir(tmp_path), State()
    async with (
        open_event_log(session.events, fold=state.fold, clock_ns=lambda: 0) as log,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(log.run)
        await log.commit(log.append(Draft(by=ByOmkd(), events=(PersonNeeded(text="x"),))).seq)
        writer = EscalationWriter(Hub(session=session, log=log, state=state, clock_ns=lambda: 0))
        before = open_descriptors()
        session.escalations_pos.mkdir()  # stands for a disk that is full
        await nursery.start(writer.run)
        assert writer.position == 0
        assert open_descriptors() == before
        nursery.cancel_scope.cancel()
