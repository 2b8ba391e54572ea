"""Services that follow the log, when they are behind and there is no descriptor left to open its segment."""

from pathlib import Path

import pytest
import trio
import trio.testing

from omkd.core.state import State
from omkd.protocol.escalation import EscalationKind
from omkd.protocol.events import ByOmkd, PersonNeeded
from omkd.services.event_lines import run_event_lines
from omkd.services.hub import Hub
from omkd.services.mailbox_writer import MailboxWriter
from omkd.services.notice_rules import NoticeRule, RunCommand
from omkd.services.notices import Notices
from omkd.store.event_log import Draft, open_event_log
from omkd.store.recent_units import RECENT_BYTES
from omkd.store.session import SessionDir
from tests.kit import until, without_descriptors


async def test_who_is_behind_when_there_are_no_descriptors_goes_on_once_there_are(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What is no longer in memory is read from the segment; that it could not be opened ended the daemon."""
    state = State()
    quiet = NoticeRule(
        name="quiet", means=RunCommand(argv=("true",)), kinds=frozenset({EscalationKind.WORKER_COMPLETED})
    )
    async with (
        open_event_log(tmp_path / "events", fold=state.fold, clock_ns=lambda: 0) as log,
        trio.open_nursery() as nursery,
    ):
        hub = Hub(session=SessionDir(tmp_path), log=log, state=state, clock_ns=lambda: 0)
        writer, notices = MailboxWriter(hub), Notices(hub, {})
        notices.use((quiet,))
        await nursery.start(log.run)
        await nursery.start(writer.run)
        await nursery.start(notices.run)
        nursery.start_soon(run_event_lines, hub)
        await trio.testing.wait_all_tasks_blocked()
        with without_descriptors():
            for _ in range(5):
                log.append(Draft(by=ByOmkd(), events=(PersonNeeded(text="x" * (RECENT_BYTES // 4)),)))
            await until(lambda: list(hub.retried.by_path) == [hub.session.events])
            assert (writer.position, notices.status()[0].seq) == (0, 0)
        await until(lambda: (writer.position, notices.status()[0].seq) == (5, 5))
        await until(lambda: "unit 5 by omkd" in caplog.text and not hub.retried.by_path)
        nursery.cancel_scope.cancel()
    assert caplog.text.count("the log cannot be read, tried again") == 1
