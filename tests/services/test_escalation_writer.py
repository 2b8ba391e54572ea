"""The escalation log's file, where the disk is in the way."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from omkd.core.state import State
from omkd.protocol import codec
from omkd.protocol.events import ByOmkd, PersonNeeded
from omkd.protocol.scalars import U64, Seq
from omkd.services.escalation_pos import EscalationsPos
from omkd.services.escalation_writer import EscalationWriter
from omkd.services.hub import Hub
from omkd.store.event_log import Draft, open_event_log
from omkd.store.session import SessionDir


@asynccontextmanager
async def hub_of(root: Path) -> AsyncIterator[Hub]:
    session, state = SessionDir(root), State()
    async with (
        open_event_log(session.events, fold=state.fold, clock_ns=lambda: 0) as log,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(log.run)
        yield Hub(session=session, log=log, state=state, clock_ns=lambda: 0)
        nursery.cancel_scope.cancel()


async def escalate(hub: Hub, text: str) -> None:
    await hub.log.commit(hub.log.append(Draft(by=ByOmkd(), events=(PersonNeeded(text=text),))).seq)


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def test_a_position_that_cannot_be_saved_leaves_no_descriptor_open(tmp_path: Path) -> None:
    """A new file is wanted, and is tried again for as long as the disk is in the way: each try left one."""
    async with hub_of(tmp_path) as hub, trio.open_nursery() as nursery:
        await escalate(hub, "x")
        writer = EscalationWriter(hub)
        before = open_descriptors()
        hub.session.escalations_pos.mkdir()  # stands for a disk that is full
        await nursery.start(writer.run)
        assert writer.position == 0
        assert open_descriptors() == before
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("left", [b'{"seq":1,"te', b'{"seq":1}\n', b"\n"])
async def test_a_line_whose_rest_is_gone_for_good_spoils_no_other(tmp_path: Path, left: bytes) -> None:
    """The file lost its end, and the units that stood there are no longer in the log."""
    async with hub_of(tmp_path) as hub, trio.open_nursery() as nursery:
        await escalate(hub, "was in it")
        hub.session.escalations.write_bytes(left)
        inode = hub.session.escalations.stat().st_ino
        hub.session.escalations_pos.write_bytes(
            codec.dumps(EscalationsPos(inode=U64(inode), offset=U64(10_000), seq=Seq(1)))
        )
        await escalate(hub, "is new")
        await nursery.start(EscalationWriter(hub).run)
        nursery.cancel_scope.cancel()
    first, *lines = hub.session.escalations.read_bytes().splitlines()
    assert first == left.strip()
    assert ["is new" in line.decode() for line in lines] == [True]
