"""`verify_session`: finds what is wrong in a session that the real services made, and nothing in a whole one."""

import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
import trio
from attrs import define

from omkd.core.decisions import ending_of
from omkd.core.kept import Bounds
from omkd.core.ledger import Ledger
from omkd.core.state import State
from omkd.protocol import codec
from omkd.protocol.events import (
    ByOmkd,
    DaemonStarted,
    Event,
    LogDamaged,
    PersonNeeded,
    Source,
    TaskCancelled,
    TaskDispatched,
    TaskFinished,
    TaskHeld,
    TaskLost,
    TaskQueued,
    TaskReleased,
    TaskRequeued,
    TaskStarted,
    ToWorker,
    Unit,
    WorkerCompleted,
    WorkerInboxRenewed,
    WorkerPaused,
    WorkerRegistered,
    WorkerRemoved,
    WorkerStarted,
)
from omkd.protocol.methods import FindingKind, VerifyResult
from omkd.protocol.records import ResultStatus, WorkerResult, WorkerSpec, WorkerTask
from omkd.protocol.scalars import U32, U64, Ns, Seq, TaskId, WorkerName
from omkd.protocol.timestamps import format_ns
from omkd.protocol.version import LOG_FORMAT
from omkd.services.dispatcher import dispatch
from omkd.services.escalation_writer import EscalationWriter
from omkd.services.hub import Hub
from omkd.services.mailbox_reader import MailboxReader
from omkd.services.mailbox_writer import MailboxWriter
from omkd.services.verify import Begun, LogCheck, verify_session
from omkd.services.verify_escalations import EscalationCheck
from omkd.services.verify_mailboxes import MailboxCheck
from omkd.services.verify_report import MAX_FINDINGS, TO_BE_COMPLETED, Report
from omkd.store.event_log import Draft, open_event_log
from omkd.store.segments import segment_name
from omkd.store.session import SessionDir
from tests.kit import append, json_lines

CODER = WorkerName("coder")
DEADLINE_S = 20


@define
class World:
    """The services of a daemon that make a session's files, driven by hand."""

    hub: Hub
    reader: MailboxReader
    mailboxes: MailboxWriter
    escalations: EscalationWriter

    @property
    def session(self) -> SessionDir:
        return self.hub.session

    def record(self, *events: Event, src: Source | None = None) -> Unit:
        return self.hub.log.append(Draft(by=ByOmkd(), events=events, src=src))

    async def settle(self) -> None:
        """All that was recorded is on disk, handed to the inboxes and in the escalation log."""
        await self.hub.log.commit(self.hub.log.written)
        with trio.fail_after(DEADLINE_S):
            while min(self.mailboxes.position, self.escalations.position) < self.hub.log.committed:
                await trio.lowlevel.checkpoint()

    async def send(self, *task_ids: str) -> None:
        for task_id in task_ids:
            self.record(queued(task_id))
        dispatch(self.hub)
        await self.settle()

    async def report(self, *lines: object) -> None:
        append(self.session.worker(CODER).outbox, *lines)
        await self.read()

    async def read(self) -> None:
        while self.reader.read(self.hub.state.roster.workers[CODER]):
            pass
        await self.settle()

    def verify(self) -> VerifyResult:
        """As a daemon does that runs."""
        return verify_session(
            self.session,
            up_to=self.hub.log.committed,
            mailbox_position=self.mailboxes.position,
            escalation_position=self.escalations.position,
        )


@asynccontextmanager
async def open_world(session: SessionDir) -> AsyncIterator[World]:
    state = State()
    async with (
        open_event_log(session.events, fold=state.fold, clock_ns=lambda: 10**18) as log,
        trio.open_nursery() as n,
    ):
        hub = Hub(session=session, log=log, state=state, clock_ns=lambda: 10**18)
        await n.start(log.run)
        world = World(hub, MailboxReader(hub), MailboxWriter(hub), EscalationWriter(hub))
        await n.start(world.mailboxes.run)
        await n.start(world.escalations.run)
        yield world
        world.reader.close()
        n.cancel_scope.cancel()


def spec(session: SessionDir, name: str = CODER) -> WorkerSpec:
    directory = session.worker(name)
    paths = {key: str(getattr(directory, key)) for key in ("inbox", "outbox", "heartbeat")}
    return WorkerSpec(name=name, role="coder", **paths)


def registered(session: SessionDir, name: str = CODER, window: int = 0) -> WorkerRegistered:
    return WorkerRegistered(worker=WorkerName(name), spec=spec(session, name), foreign=False, window=U32(window))


def queued(task_id: str) -> TaskQueued:
    return TaskQueued(
        task_id=TaskId(task_id), target=ToWorker(value=CODER), task=WorkerTask(id=task_id, task=f"do {task_id}")
    )


def dispatched(task_id: str, handout: int = 1) -> TaskDispatched:
    return TaskDispatched(task_id=TaskId(task_id), worker=CODER, handout=U32(handout))


def result(task_id: str, **more: object) -> dict[str, object]:
    return {"task_id": task_id, "status": "success", "summary": "done", "artifacts": [], "elapsed_secs": 1, **more}


@pytest.fixture
def session(tmp_path: Path) -> SessionDir:
    session = SessionDir(tmp_path / "s")
    session.path.mkdir(mode=0o700)
    return session


Story = Callable[[World], Awaitable[None]]


@pytest.fixture
async def settled(session: SessionDir) -> SessionDir:
    """A session at rest: a, b and c done, d in hand; two lines of the outbox rejected."""
    async with open_world(session) as world:
        await busy_day(world)
    return session


async def busy_day(world: World) -> None:
    world.record(DaemonStarted(version="1", format=U32(LOG_FORMAT), boot_id="b", clean=True))
    world.record(registered(world.session))
    await world.send("a", "b", "c", "d")
    append(world.session.worker(CODER).events, {"TaskStarted": {"task_id": "a"}}, {"PersonNeeded": {"text": "look"}})
    await world.report(result("a"), b"\n", result("a"))
    await world.report(b"no json\n", result("b", status="failed"), b" \r\n", result("c", outcome="cancelled"))


def findings(session: SessionDir) -> list[str]:
    return [f"{each.kind.value}: {each.what}" for each in verify_session(session).findings]


def only_finding(session: SessionDir) -> str:
    [found] = findings(session)
    return found


def edit(path: Path, old: bytes, new: bytes) -> None:
    """In place: the file stays the same file."""
    content = path.read_bytes()
    assert old in content
    with path.open("r+b") as file:
        file.write(content.replace(old, new, 1))
        file.truncate()


def write_log(session: SessionDir, *units: list[Event] | Unit) -> None:
    """A log of the given units, each synced before the next."""
    session.events.mkdir()
    lines = []
    for seq, content in enumerate(units, 1):
        unit = content if isinstance(content, Unit) else unit_of(seq, *content)
        lines.append(codec.dumps(unit) + b"\n")
    (session.events / segment_name(1)).write_bytes(b"".join(lines))


def unit_of(seq: int, *events: Event, ts: int = 0, src: Source | None = None) -> Unit:
    return Unit(seq=Seq(seq), ts=Ns(ts), by=ByOmkd(), synced=Seq(seq - 1), events=list(events), src=src)


def source(end: int, *, gen: int = 1, tail: str = "t", file: str = "outbox.jsonl") -> Source:
    return Source(worker=CODER, gen=U32(gen), file=file, end=U64(end), tail=tail, inode=U64(1), head="h")


# --- a whole session


async def test_a_session_at_rest_is_consistent_and_says_what_was_looked_at(settled: SessionDir):
    found = verify_session(settled)
    assert found.findings == []
    assert found.checked["units"] > 10
    assert {name: found.checked[name] for name in ("tasks", "workers", "handouts", "inbox_lines")} == {
        "tasks": 4,
        "workers": 1,
        "handouts": 4,
        "inbox_lines": 4,
    }
    assert (found.checked["outbox_lines"], found.checked["event_lines"]) == (7, 2)
    assert TO_BE_COMPLETED not in found.checked


async def test_a_session_at_work_is_consistent(session: SessionDir):
    async with open_world(session) as world:
        await busy_day(world)
        assert world.verify().findings == []


async def test_what_comes_while_it_looks_is_no_finding(session: SessionDir):
    async with open_world(session) as world:
        await busy_day(world)
        up_to, mailbox, escalations = world.hub.log.committed, world.mailboxes.position, world.escalations.position
        await world.send("later")
        await world.report(result("later"))
        append(world.session.worker(CODER).outbox, result("d"), b'{"task_id":')
        found = verify_session(session, up_to=up_to, mailbox_position=mailbox, escalation_position=escalations)
        assert found.findings == []
        assert found.checked["units"] == up_to


async def test_what_the_writers_have_not_come_to_is_no_finding(session: SessionDir):
    async with open_world(session) as world:
        world.record(registered(session))
        await world.settle()
        mailbox, escalations = world.mailboxes.position, world.escalations.position
        world.record(queued("a"), dispatched("a"))
        world.record(PersonNeeded(text="help"))
        await world.hub.log.commit(world.hub.log.written)
        up_to = world.hub.log.committed
        found = verify_session(session, up_to=up_to, mailbox_position=mailbox, escalation_position=escalations)
        assert found.findings == []


async def test_it_changes_nothing(settled: SessionDir):
    def picture() -> dict[Path, tuple[bytes, int]]:
        files = [path for path in settled.path.rglob("*") if path.is_file()]
        return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}

    before = picture()
    with (settled.worker(CODER).inbox).open("ab") as inbox:
        inbox.write(b'{"id":"to')
    before = picture()
    verify_session(settled)
    assert picture() == before


def test_a_log_that_is_not_there_is_found(session: SessionDir):
    """It was an error once, and a daemon whose log was taken away called it a fault of its own."""
    assert "is gone" in only_finding(session)
    assert str(session.events) in only_finding(session)


def test_a_log_of_a_newer_omkd_is_found(session: SessionDir):
    """Below a snapshot a daemon serves all the same, and one changed byte of a name looks like it, too."""
    write_log(session, [DaemonStarted(version="9", format=U32(LOG_FORMAT + 1), boot_id="b", clean=True)])
    assert f"byte 0: no unit of this omkd: format {LOG_FORMAT + 1}" in only_finding(session)
    [finding] = verify_session(session).findings
    assert "--unknown-is-damage" in finding.mend


# --- what a start completes


async def test_what_a_start_completes_is_counted_and_no_finding(settled: SessionDir):
    edit(settled.worker(CODER).inbox, b'{"id":"d","task":"do d","acceptance_criteria":[]}\n', b'{"id":"d","ta')
    segment = settled.events / segment_name(1)
    segment.write_bytes(segment.read_bytes() + b'{"seq":99,"ts')
    settled.escalations_pos.unlink()
    lines = settled.escalations.read_bytes()
    os.truncate(settled.escalations, len(lines) - 10)
    found = verify_session(settled)
    assert found.findings == []
    assert found.checked[TO_BE_COMPLETED] == 3


async def test_without_any_file_of_the_writers_all_is_to_be_completed(settled: SessionDir):
    lines = settled.escalations.read_bytes().count(b"\n")
    settled.worker(CODER).inbox.unlink()
    settled.escalations.unlink()
    settled.escalations_pos.unlink()
    found = verify_session(settled)
    assert found.findings == []
    assert found.checked[TO_BE_COMPLETED] == lines + 1


async def test_what_the_log_forgot_of_a_removed_worker_is_no_finding(session: SessionDir):
    async with open_world(session) as world:
        await busy_day(world)
        lost = TaskLost(task_id=TaskId("d"), worker=CODER, reason="removed")
        world.record(lost, WorkerRemoved(worker=CODER, moved_to="removed/coder.9"))
        await world.settle()
        session.removed.mkdir()
        session.worker(CODER).path.rename(session.removed / "coder.9")
        assert world.verify().findings == []
    assert findings(session) == []


# --- the log


async def test_a_damaged_log_is_found(settled: SessionDir):
    segment = settled.events / segment_name(1)
    edit(segment, b'{"seq":3', b'{"seq"#3')
    offset = segment.read_bytes().index(b'{"seq"#3')
    found = only_finding(settled)
    assert found.startswith(f"sequence: {segment}: damaged at byte {offset}: ")


async def test_a_missing_unit_is_found(settled: SessionDir):
    segment = settled.events / segment_name(1)
    lines = segment.read_bytes().splitlines(keepends=True)
    segment.write_bytes(b"".join(lines[:4] + lines[5:]))
    assert "unit 5 comes next, this is 6" in only_finding(settled)


async def test_a_lost_end_of_the_log_is_found_while_the_daemon_runs(session: SessionDir):
    async with open_world(session) as world:
        await busy_day(world)
        segment = session.events / segment_name(1)
        whole = segment.read_bytes()
        segment.write_bytes(whole[:-20])
        [damaged] = world.verify().findings
        segment.write_bytes(b"".join(whole.splitlines(keepends=True)[:-1]))
        [ended] = world.verify().findings
    assert "was on disk" in damaged.what
    assert "no end of line" in damaged.what or "byte" in damaged.what
    assert "the log ends there" in ended.what


def test_time_that_goes_back_is_found(session: SessionDir):
    write_log(session, unit_of(1, PersonNeeded(text="x"), ts=5), unit_of(2, PersonNeeded(text="y"), ts=3))
    assert only_finding(session) == "sequence: unit 2 is 2 ns older than the one before it"


def test_what_follows_from_a_repair_is_no_finding(session: SessionDir):
    damaged = LogDamaged(
        segment=segment_name(1), offset=U64(0), moved_to="x", after=Seq(1), before=Seq(4), reason="lost"
    )
    write_log(
        session,
        [registered(session)],
        unit_of(4, dispatched("a")),
        unit_of(5, dispatched("b")),
        unit_of(6, damaged),
        unit_of(7, TaskStarted(task_id=TaskId("b")), WorkerStarted(worker_id=CODER, kind="coder", task="x")),
    )
    session.worker(CODER).path.mkdir(parents=True)
    append(session.worker(CODER).inbox, {"id": "gone", "task": "x"})
    session.escalations.write_bytes(b"what a lost unit said\n")
    assert findings(session) == []


# --- tasks and workers


@pytest.mark.parametrize(
    ("events", "complaint"),
    [
        ([TaskHeld(task_id=TaskId("x"))], "TaskHeld of x, which was never queued"),
        ([queued("a"), queued("a")], "a is queued a second time"),
        ([queued("a"), TaskReleased(task_id=TaskId("a"))], "TaskReleased of a, which is queued"),
        ([queued("a"), dispatched("a", 2)], "TaskDispatched of a, hand-out 2 instead of 1"),
        (
            [queued("a"), TaskDispatched(task_id=TaskId("a"), worker=WorkerName("nobody"), handout=U32(1))],
            "TaskDispatched of a to nobody, which is no worker",
        ),
        (
            [queued("a"), dispatched("a"), TaskLost(task_id=TaskId("a"), worker=WorkerName("x"), reason="")],
            "TaskLost of a at x, which is at coder",
        ),
        ([queued("a"), dispatched("a"), TaskStarted(task_id=TaskId("a"))], "1 TaskStarted at coder, 0 WorkerStarted"),
        ([WorkerPaused(worker=WorkerName("x"))], "WorkerPaused of x, which is no worker"),
    ],
)
def test_what_cannot_happen_is_found(session: SessionDir, events: list[Event], complaint: str):
    write_log(session, [registered(session)], events)
    assert only_finding(session) == f"tasks: unit 2: {complaint}"


def test_a_second_end_of_a_task_is_found(session: SessionDir):
    done = WorkerResult(task_id="a", status=ResultStatus.SUCCESS)
    finished = TaskFinished(task_id=TaskId("a"), handout=U32(1), worker=CODER, result=done)
    completed = WorkerCompleted(worker_id=CODER, files_touched=U32(0), ok=True)
    begun = [TaskStarted(task_id=TaskId("a")), WorkerStarted(worker_id=CODER, kind="coder", task="x")]
    write_log(session, [registered(session)], [queued("a"), dispatched("a")], begun, [finished, completed], [finished])
    assert findings(session) == [
        "tasks: unit 5: TaskFinished of a, which is success",
        "tasks: unit 5: 1 hand-outs ended at coder, 0 WorkerCompleted",
    ]


def test_of_very_many_findings_the_first_are_told(session: SessionDir):
    write_log(session, [registered(session)], [WorkerPaused(worker=WorkerName("x")) for _ in range(MAX_FINDINGS + 5)])
    told = findings(session)
    assert len(told) == MAX_FINDINGS + 1
    assert told[-1] == "tasks: 5 more findings, not told"


# --- inbox


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        (b'{"id":"a","task":"do a","acceptance_criteria":[]}\n', "a stands there a second time, at byte 200"),
        (b'{"id":"stray","task":"x"}\n', "the line at byte 200 hands out 'stray', the log never did"),
        (b"garbage\n", "what stands at byte 200 is no hand-out"),
        (b"x" * 1024 * 1025 + b"\n", "what stands at byte 200 is no hand-out"),
    ],
)
async def test_a_line_that_omkd_did_not_write_into_an_inbox_is_found(settled: SessionDir, line: bytes, complaint: str):
    inbox = settled.worker(CODER).inbox
    append(inbox, line)
    assert only_finding(settled) == f"inbox: {inbox}: {complaint}"


async def test_a_torn_line_that_was_ended_later_is_no_finding(settled: SessionDir):
    append(settled.worker(CODER).inbox, b'{"id":"d","ta\n', b'{"i\n')
    assert findings(settled) == []


async def test_a_changed_line_of_a_task_in_hand_is_found(settled: SessionDir):
    edit(settled.worker(CODER).inbox, b"do d", b"do x")
    assert "the line of d at byte 150 is not what the log says" in only_finding(settled)


async def test_a_hand_out_missing_from_the_inbox_is_found_while_the_daemon_runs(session: SessionDir):
    async with open_world(session) as world:
        await busy_day(world)
        inbox = session.worker(CODER).inbox
        inbox.write_bytes(inbox.read_bytes().replace(b'"d"', b'"c"'))
        kinds = [(each.kind, each.what.removeprefix(f"{inbox}: ")) for each in world.verify().findings]
        dispatched_in = world.hub.state.ledger.tasks[TaskId("d")].dispatched_seq
    assert kinds == [
        (FindingKind.INBOX, "c stands there a second time, at byte 150"),
        (FindingKind.INBOX, f"d, handed out in unit {dispatched_in}, is not in it"),
    ]


def take_a_line_out(session: SessionDir) -> None:
    inbox = session.worker(CODER).inbox
    edit(inbox, inbox.read_bytes().splitlines(keepends=True)[1], b"")


async def test_a_hand_out_that_was_worked_and_is_missing_from_the_inbox_is_found(settled: SessionDir):
    take_a_line_out(settled)
    assert "b, whose result is unit 16, is not in it" in only_finding(settled)


@pytest.mark.parametrize(
    "since",
    [
        DaemonStarted(version="1", format=U32(LOG_FORMAT), boot_id="another", clean=False),
        WorkerInboxRenewed(worker=CODER),
    ],
)
async def test_one_from_before_a_boot_or_of_an_inbox_that_was_renewed_is_counted(session: SessionDir, since: Event):
    """A power cut may take its line, which nobody needs."""
    async with open_world(session) as world:
        await busy_day(world)
        world.record(since)
        await world.settle()
    take_a_line_out(session)
    found = verify_session(session)
    assert (found.findings, found.checked["ended_handouts_not_in_inbox"]) == ([], 1)


async def test_an_inbox_that_is_gone_is_begun_anew_which_is_recorded(session: SessionDir):
    async with open_world(session) as world:
        await busy_day(world)
        inbox = session.worker(CODER).inbox
        inbox.unlink()
        await world.send("e")
        await world.settle()
        assert [line["id"] for line in json_lines(inbox)] == ["d", "e"]
        (renewed,) = world.hub.log.read_after(Seq(world.hub.log.committed - 1))
        assert renewed.unit.events == [WorkerInboxRenewed(worker=CODER)]
        assert world.verify().findings == []
    assert findings(session) == []


# --- outbox and events


async def test_a_file_that_is_none_is_a_finding_of_its_worker(settled: SessionDir):
    inbox = settled.worker(CODER).inbox
    inbox.rename(inbox.with_name("elsewhere"))
    inbox.symlink_to("elsewhere")
    assert "worker coder was not held against the log" in only_finding(settled)


async def test_a_changed_result_is_found(settled: SessionDir):
    outbox = settled.worker(CODER).outbox
    edit(outbox, b'"success"', b'"partial"')
    assert "the line at byte 0 is not the result of a in unit" in only_finding(settled)


async def test_a_result_that_cannot_be_read_any_more_is_found(settled: SessionDir):
    edit(settled.worker(CODER).outbox, b'{"task_id"', b'["task_id"')
    assert "the line at byte 0 is not the result of a in unit" in only_finding(settled)


async def test_a_result_that_is_gone_is_found(settled: SessionDir):
    edit(settled.worker(CODER).outbox, b"1}\n\n", b"1} \n")
    found = findings(settled)
    assert len(found) == 2
    assert "was passed over" in found[0]
    assert "no line ends at byte" in found[1]


async def test_a_line_that_was_passed_over_is_found(session: SessionDir):
    async with open_world(session) as world:
        world.record(registered(session))
        await world.send("a", "b")
        await world.report(b"\n" * 200, result("a"))
        outbox = session.worker(CODER).outbox
        with outbox.open("r+b") as file:
            file.write(b" " * 60 + json.dumps(result("b")).encode())
        [found] = world.verify().findings
    assert found.kind is FindingKind.OUTBOX
    assert found.what.startswith(f"{outbox}: the line at byte 0 was passed over")


async def test_that_a_question_is_over_said_by_both_sides_at_once_is_no_line_passed_over(session: SessionDir):
    async with open_world(session) as world:
        world.record(registered(session))
        await world.send("a")
        choice = {"id": "yes", "label": "Yes", "kind": "allow_once"}
        question = {"decision_id": "a-1", "summary": "?", "worker": CODER, "task_id": "a"}
        asked = {**question, "handout": 1, "choices": [choice], "expires": format_ns(2 * 10**18)}
        append(session.worker(CODER).events, {"TaskStarted": {"task_id": "a"}}, {"DecisionRequested": asked})
        await world.read()
        world.record(*ending_of(world.hub.state.decisions.open["a-1"], "nobody answered"))
        append(session.worker(CODER).events, {"DecisionExpired": {**question, "reason": "its time is up"}})
        append(session.worker(CODER).events, {"PersonNeeded": {"text": "recorded, and behind it"}})
        await world.read()
        assert world.verify().findings == []
        edit(session.worker(CODER).events, b"DecisionExpired", b"DecisionForgot!")
        [found] = world.verify().findings
        assert "was passed over" in found.what


async def test_a_file_that_was_replaced_or_cut_is_not_compared(settled: SessionDir):
    outbox = settled.worker(CODER).outbox
    content = outbox.read_bytes()
    outbox.unlink()
    assert findings(settled) == []
    outbox.write_bytes(b"other\n")
    assert findings(settled) == []
    outbox.write_bytes(content[:50])
    assert findings(settled) == []


async def test_a_file_that_lost_its_end_and_was_written_on_is_not_compared(session: SessionDir):
    async with open_world(session) as world:
        world.record(registered(session))
        await world.send("a", "b", "c")
        await world.report(result("a"))
        await world.report(result("b"))
        outbox = session.worker(CODER).outbox
        os.truncate(outbox, len(outbox.read_bytes()) // 2)
        await world.read()
        await world.report(result("c"))
        assert world.verify().findings == []
        assert world.hub.state.ledger.tasks[TaskId("c")].finished is not None


def test_a_line_that_was_read_twice_is_found(session: SessionDir):
    said = PersonNeeded(text="x", worker_id=CODER)
    write_log(
        session,
        [registered(session)],
        unit_of(2, said, src=source(9, file="events.jsonl")),
        unit_of(3, said, src=source(9, file="events.jsonl")),
    )
    assert only_finding(session) == ("outbox: coder/events.jsonl: the line that ends at byte 9 is in units 2 and 3")


def test_a_generation_that_comes_again_is_found(session: SessionDir):
    said = PersonNeeded(text="x", worker_id=CODER)
    write_log(
        session, [registered(session)], unit_of(2, said, src=source(9, gen=2)), unit_of(3, said, src=source(5, gen=1))
    )
    assert only_finding(session) == "outbox: coder/outbox.jsonl: unit 3 is of generation 1, after 2"


# --- the escalation log


async def test_a_changed_escalation_is_found(settled: SessionDir):
    settled.escalations_pos.unlink()
    edit(settled.escalations, b'"look"', b'"away"')
    before, _, _ = settled.escalations.read_bytes().partition(b'"away"')
    offset = before.rindex(b"\n") + 1
    assert only_finding(settled).startswith(f"escalations: {settled.escalations}: what stands at byte {offset}")


async def test_an_escalation_that_stands_there_twice_is_found(settled: SessionDir):
    last = settled.escalations.read_bytes().splitlines(keepends=True)[-1]
    end = settled.escalations.stat().st_size
    append(settled.escalations, last)
    assert f"from byte {end} on {len(last)} bytes that the event log does not know" in only_finding(settled)


async def test_a_cut_escalation_log_is_found(settled: SessionDir):
    size = settled.escalations.stat().st_size
    os.truncate(settled.escalations, 10)
    assert f"10 bytes are left of the {size} that omkd wrote" in only_finding(settled)


async def test_an_escalation_log_with_no_line_end_at_the_saved_position_is_found(settled: SessionDir):
    with settled.escalations.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"x")
    assert "no line ends at byte" in only_finding(settled)


async def test_escalations_missing_while_the_daemon_runs_are_found_once(session: SessionDir):
    async with open_world(session) as world:
        await busy_day(world)
        os.truncate(session.escalations, 0)
        [found] = world.verify().findings
    assert found.kind is FindingKind.ESCALATIONS
    assert "ends at byte 0, before the lines of unit" in found.what


async def test_an_escalation_log_in_the_place_of_omkds_is_not_compared(settled: SessionDir):
    settled.escalations.rename(settled.path / "kept")
    settled.escalations.write_bytes(b"somebody else's\n")
    assert findings(settled) == []


async def test_a_position_beyond_the_log_is_found(settled: SessionDir):
    pos = json.loads(settled.escalations_pos.read_bytes())
    settled.escalations_pos.write_text(json.dumps({**pos, "seq": 1000}))
    assert "was written up to unit 1000, the event log ends with" in only_finding(settled)


def test_what_passes_out_of_memory_does_so_once_a_unit_as_in_the_daemon(session: SessionDir) -> None:
    """After a call that ended many tasks one of them was run again: `verify` had forgotten it, and blamed omkd."""
    ids = [TaskId(f"t{number}") for number in range(100)]
    cancelled = [TaskCancelled(task_id=each, worker=None, reason="") for each in ids]
    again = TaskRequeued(task_id=ids[80], handout=U32(0), worker=None, outcome=None, why="", by_hand=True)
    stories: list[list[Event]] = [[queued(each) for each in ids], [*cancelled], [again]]
    begun = Begun(first=Seq(1), folded=Seq(0), state=State(ledger=Ledger.bounded(Bounds(finished=1))), known=Seq(0))
    report = Report()
    with closing(EscalationCheck(session, report, written_to=None)) as escalations:
        check = LogCheck(report, MailboxCheck(session, report), escalations, None, begun)
        for seq, events in enumerate(stories, 1):
            check.take(Unit(seq=Seq(seq), ts=Ns(seq), by=ByOmkd(), synced=Seq(0), events=events))
    assert report.result().findings == []
    assert ids[0] not in check.state.ledger.tasks
