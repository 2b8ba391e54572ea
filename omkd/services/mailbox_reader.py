"""Outbox and events of the workers -> log: each line once, by the rules of design §3."""

import logging
from collections.abc import Callable, Iterator
from typing import Final

import trio
from attrs import define, evolve

from omkd.core.reports import Rejected, Verdict, judge_event, judge_result
from omkd.core.roster import WorkerEntry
from omkd.protocol import codec
from omkd.protocol.codec import CodecError
from omkd.protocol.events import ByWorker, Event, LineFault, LineRejected, Source, WorkerFileEvent
from omkd.protocol.limits import WORKER_LINE_BYTES
from omkd.protocol.lines import Line, LongLine
from omkd.protocol.records import OutboxLine
from omkd.protocol.scalars import U32, U64, Seq, WorkerName
from omkd.store.event_log import Draft, LogWriteFailed, UnitRefused, UnitsUnreadable
from omkd.store.session import EVENTS, OUTBOX
from omkd.store.tail import Position, TailReader

from .hub import Hub

logger = logging.getLogger(__name__)

REJECTIONS_A_MINUTE: Final = 10
"""A fact each; past that, one LineRejected stands for many (design, §3.3)."""

UNITS_LOOKED_AT: Final = 20_000
"""Of the log, for what is known of a file that lost its end: a second. What a power cut took, or what came while a
session was copied, is younger."""

UNITS_A_LOOK: Final = 500
MINUTE_S: Final = 60
BLANKS: Final = b" \t\r"


@define
class Mailbox:
    """One file of a worker that is read. `registered` tells the worker from one of the same name before it.

    `unsaid` stands for rejected lines that are not recorded yet; reading would find them again after a crash.
    """

    worker: WorkerName
    file: str
    registered: Seq
    reader: TailReader
    unsaid: LineRejected | None = None
    unsaid_at: Position | None = None
    minute_began: float = 0.0
    said_this_minute: int = 0

    def may_say(self, now: float) -> bool:
        """Whether one more rejection may be a fact of its own in this minute."""
        if now - self.minute_began >= MINUTE_S:
            self.minute_began, self.said_this_minute = now, 0
        return self.said_this_minute < REJECTIONS_A_MINUTE


class MailboxReader:
    """Reads, on call, what workers wrote."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._mailboxes: dict[tuple[WorkerName, str], Mailbox] = {}

    def close(self) -> None:
        for worker, _ in list(self._mailboxes):
            self.forget(worker)

    def forget(self, worker: WorkerName) -> None:
        """Lets a worker's files go; they are read on from what the log says."""
        for file in (EVENTS, OUTBOX):
            mailbox = self._mailboxes.pop((worker, file), None)
            if mailbox is not None:
                mailbox.reader.close()

    def read(self, worker: WorkerEntry) -> bool:
        """Records the next lines of a worker; True when there are more to read at once.

        Its events are read to their end before the outbox is read to the size it had before that: what a worker says
        of a task before its result is recorded before it. Raises OSError, LogWriteFailed: they are read again then.
        """
        try:
            outbox, events = self._mailbox(worker, OUTBOX), self._mailbox(worker, EVENTS)
            for each in (outbox, events):
                self._keep_place(each)
            size = outbox.reader.size()
            more = self._read(worker, events, None)
            return more or self._read(worker, outbox, size)
        except LogWriteFailed:
            raise  # the files stay open: one may have been replaced, and has no name any more to be found by
        except BaseException:
            self.forget(worker.name)
            raise

    def say_unsaid(self) -> None:
        """Records what was held back for being too much; call it each minute. Raises LogWriteFailed."""
        for mailbox in self._mailboxes.values():
            self._say_unsaid(mailbox)

    def _mailbox(self, worker: WorkerEntry, file: str) -> Mailbox:
        known = self._mailboxes.get((worker.name, file))
        if known is not None and known.registered != worker.seq:
            self.forget(worker.name)
            known = None
        if known is None:
            source = worker.sources.get(file)
            reader = TailReader(
                self._hub.session.worker(worker.name).path / file,
                start=position_of(source) if source else None,
                first_gen=worker.gen,
                was_copied=self._hub.was_copied,
                limit_bytes=WORKER_LINE_BYTES,
                earlier=lambda: self._recorded(worker, file),
            )
            known = self._mailboxes[worker.name, file] = Mailbox(worker.name, file, worker.seq, reader)
        return known

    def _keep_place(self, mailbox: Mailbox) -> None:
        if mailbox.reader.open() and mailbox.reader.to_keep is not None:
            self._record(mailbox, (), mailbox.reader.to_keep)
            mailbox.reader.to_keep = None

    def _read(self, worker: WorkerEntry, mailbox: Mailbox, up_to: int | None) -> bool:
        judge = self._judge_result if mailbox.file == OUTBOX else self._judge_event
        piece = mailbox.reader.read(up_to)
        for line in piece.lines:
            try:
                self._take(mailbox, line, lambda text: judge(worker, text))
            except LogWriteFailed:
                mailbox.reader.go_back_to(line.offset)
                raise
        if not piece.more and mailbox.unsaid is not None and mailbox.may_say(trio.current_time()):
            self._say_unsaid(mailbox)
        return piece.more

    def _recorded(self, worker: WorkerEntry, file: str) -> Iterator[Position]:
        """The positions in a worker's file that the log has, the newest first; as far back as is bearable."""
        before = self._hub.log.next_seq
        end = max(worker.seq, before - UNITS_LOOKED_AT)
        while before > end:
            try:
                units = self._hub.log.read_before(before, max_units=UNITS_A_LOOK)
            except UnitsUnreadable:
                return
            if not units:
                return
            before = units[0].seq
            for source in (stored.unit.src for stored in reversed(units)):
                if source is not None and (source.worker, source.file) == (worker.name, file):
                    yield position_of(source)

    def _take(self, mailbox: Mailbox, line: Line | LongLine, judge: Callable[[bytes], Verdict]) -> None:
        if isinstance(line, LongLine):
            detail = f"over {WORKER_LINE_BYTES} bytes: no more is read of a line"
            verdict: Verdict = Rejected(fault=LineFault.TOO_LONG, detail=detail)
        elif line.text.strip(BLANKS):
            verdict = judge(line.text)
        else:
            return
        if verdict == ():  # no news: read again after a crash it is none either
            return
        if not isinstance(verdict, Rejected):
            try:
                self._record(mailbox, verdict, mailbox.reader.position_at(line.end))
                return
            except UnitRefused as fault:
                verdict = Rejected(fault=LineFault.WRONG_TYPE, detail=str(fault))
        self._reject(mailbox, line, verdict)

    def _judge_result(self, worker: WorkerEntry, text: bytes) -> Verdict:
        try:
            line = codec.loads(text, OutboxLine)
        except CodecError as fault:
            return self._unreadable(worker, text, fault)
        return judge_result(self._hub.state, worker, line, self._hub.now())

    def _judge_event(self, worker: WorkerEntry, text: bytes) -> Verdict:
        try:
            event = codec.loads(text, WorkerFileEvent)
        except CodecError as fault:
            return Rejected(fault=LineFault(fault.kind), detail=str(fault))
        return judge_event(self._hub.state, worker, event, self._hub.now())

    def _unreadable(self, worker: WorkerEntry, text: bytes, fault: CodecError) -> Rejected:
        """Of a result that cannot be read: says so of the task it names, if it is in hand there."""
        named = named_task(text)
        in_hand = named is not None and any(
            named in (entry.id, f"{entry.id}.{entry.handout}")
            for entry in self._hub.state.ledger.in_hand(worker.name).values()
        )
        return Rejected(fault=LineFault(fault.kind), detail=str(fault), task_id=named, in_hand=in_hand)

    def _reject(self, mailbox: Mailbox, line: Line | LongLine, verdict: Rejected) -> None:
        rejected = LineRejected(
            worker=mailbox.worker,
            file=mailbox.file,
            offset=U64(line.offset),
            end=U64(line.end),
            reason=verdict.fault,
            detail=verdict.detail,
            task_id=verdict.task_id,
            in_hand=verdict.in_hand,
        )
        held_back = verdict.fault is LineFault.UNKNOWN_TASK or not mailbox.may_say(trio.current_time())
        if held_back and not verdict.in_hand:
            position = mailbox.reader.position_at(line.end)
            if mailbox.unsaid_at is not None and mailbox.unsaid_at.gen != position.gen:
                self._say_unsaid(mailbox)
            mailbox.unsaid, mailbox.unsaid_at = joined(mailbox.unsaid, rejected), position
            return
        mailbox.said_this_minute += 1
        logger.warning(
            "line of %s/%s at byte %d rejected: %s", mailbox.worker, mailbox.file, line.offset, verdict.detail
        )
        self._record(mailbox, (rejected,), mailbox.reader.position_at(line.end))

    def _say_unsaid(self, mailbox: Mailbox) -> None:
        if mailbox.unsaid is None or mailbox.unsaid_at is None:
            return
        mailbox.said_this_minute += 1
        logger.warning("%d lines of %s/%s rejected", mailbox.unsaid.count, mailbox.worker, mailbox.file)
        self._record(mailbox, (), mailbox.unsaid_at)

    def _record(self, mailbox: Mailbox, events: tuple[Event, ...], position: Position) -> None:
        """One unit: what the line is, with what was not said before it, and where reading goes on."""
        unsaid = () if mailbox.unsaid is None else (mailbox.unsaid,)
        source = Source(
            worker=mailbox.worker,
            gen=U32(position.gen),
            file=mailbox.file,
            end=U64(position.end),
            tail=position.tail,
            inode=U64(position.inode),
            head=position.head,
        )
        self._hub.log.append(Draft(by=ByWorker(worker=mailbox.worker), events=(*unsaid, *events), src=source))
        mailbox.unsaid, mailbox.unsaid_at = None, None


def joined(first: LineRejected | None, second: LineRejected) -> LineRejected:
    """One fact for both."""
    if first is None:
        return second
    reason = first.reason if first.reason is second.reason else LineFault.MANY
    return evolve(first, end=second.end, reason=reason, count=U32(first.count + 1), task_id=None)


def named_task(text: bytes) -> str | None:
    """The `task_id` in a line that is an object but no result."""
    try:
        line = codec.parse(text)
    except CodecError:
        return None
    named = line.get("task_id") if isinstance(line, dict) else None
    return named if isinstance(named, str) else None


def position_of(source: Source) -> Position:
    return Position(gen=source.gen, end=source.end, tail=source.tail, inode=source.inode, head=source.head)
