"""The work of a host: its hand-outs, one after another, each to exactly one outbox line.

What a dead host had begun is settled before anything is run: reported if it has a result, else ended and `interrupted`.
"""

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import trio
from attrs import frozen

from omkd.protocol import codec
from omkd.protocol.records import OutboxLine, Outcome, ResultStatus
from omkd.protocol.scalars import HandoutId
from omkd.store.files import append_line, atomic_write
from omkd.store.session import WorkerDir

from .acp_keeper import Keeper
from .answers import Answers
from .files import RunFiles, recorded_result
from .heartbeat import BUSY, READY, write_heartbeat
from .host_log import rotate_host_log
from .mailbox import Handout, Mailbox
from .output import output_limit, trim_streams
from .processes import end_agent, end_leftovers
from .report import Cancelled, End, Interrupted, report_for
from .retention import Retention
from .run import Orders, Place, begin, prepare, run_handout
from .settings import Settings, SettingsError, load_settings

log = logging.getLogger(__name__)

T = TypeVar("T")

RETRY_S: Final = 1.0
MAX_RETRY_S: Final = 30.0
"""A full disk: what is to be recorded is tried again until it is."""

STOPPED: Final = Interrupted(why="the worker host was asked to stop, and the grace time ran out")
HURRIED: Final = Interrupted(why="the worker host was told twice to stop")


@frozen(kw_only=True)
class InHand:
    handout: HandoutId
    orders: Orders


class Work:
    """The mailbox, the run in hand, and whether to stop. Its callers are the host's tasks."""

    def __init__(
        self, worker: WorkerDir, settings: Settings, keeper: Keeper, *, now_ns: Callable[[], int] = time.time_ns
    ) -> None:
        self._worker = worker
        self._settings = settings
        self._now_ns = now_ns
        self._keeper = keeper
        self._children = keeper.children
        self._retention = Retention(worker)
        self._mailbox = Mailbox(worker)
        self._answers = Answers(self._mailbox)
        self._in_hand: InHand | None = None
        self._stop = trio.Event()
        self._news = trio.Event()
        if settings.runner.acp:
            acp_driver()

    @property
    def grace_secs(self) -> int:
        return self._settings.runner.grace_secs

    @property
    def is_stopping(self) -> bool:
        return self._stop.is_set()

    @property
    def has_some(self) -> bool:
        return self._in_hand is not None or bool(self._mailbox.waiting())

    def stop(self) -> None:
        """Nothing is begun any more; `work` returns once nothing is in hand."""
        self._stop.set()
        self._news.set()

    def end_run(self, *, at_once: bool) -> None:
        """Ends the run in hand as `interrupted`, at once or with its grace time."""
        if self._in_hand and at_once:
            self._in_hand.orders.end_at_once(HURRIED)
        elif self._in_hand:
            self._in_hand.orders.end_with(STOPPED)

    def reap(self) -> None:
        self._children.reap()

    def beat(self) -> None:
        handout = self._in_hand.handout if self._in_hand else None
        write_heartbeat(self._worker, BUSY if handout else READY, handout)

    async def settle_begun(self) -> None:
        """Reports each run that a dead host had begun, once nothing of it or its agent is alive. Raises OSError."""
        self._mailbox.read()
        for handout in self._mailbox.waiting():
            if has_begun(self._worker, handout):
                await self._work_on(handout)
        await end_agent(self._worker)

    async def work(self) -> None:
        """One hand-out after another, in the inbox's order, until told to stop. Raises OSError, see `_persist`."""
        while not self.is_stopping:
            waiting = self._mailbox.waiting()
            if waiting:
                await self._work_on(waiting[0])
            else:
                await self._news.wait()
                self._news = trio.Event()

    async def take_mail(self) -> None:
        """What is new: a cancel ends the run in hand, or a hand-out that was not begun; the rest waits its turn."""
        try:
            self._mailbox.read()
        except OSError as error:
            log.error("mailbox not read: %s", error)
        self._answers.look()
        if self._in_hand and (reason := self._mailbox.cancel_reason(self._in_hand.handout)) is not None:
            self._in_hand.orders.end_with(Cancelled(reason=reason))
        for handout in self._mailbox.waiting_cancelled():
            if handout.has_usable_id and not has_begun(self._worker, handout):
                self._mailbox.remove(handout.id)
                reason = self._mailbox.cancel_reason(handout.id) or ""
                await self._report(handout, self._line(handout, Cancelled(reason=reason)))
        self._news.set()

    async def _work_on(self, handout: Handout) -> None:
        self._mailbox.remove(handout.id)
        self._in_hand = InHand(handout=handout.id, orders=Orders())
        self.beat()
        line = await self._outcome_of(handout, self._in_hand.orders)
        await self._report(handout, line)
        self._in_hand = None
        self.beat()
        self._tidy()

    def _tidy(self) -> None:
        """Between two runs; never in the way of the next."""
        try:
            self._retention.run_ended({waiting.id for waiting in self._mailbox.waiting()})
            if rotate_host_log(self._worker):
                log.info("host.log goes on here; what was before is in host.log.1")
        except OSError as error:
            log.warning("old runs and log not tidied up: %s", error)

    async def _outcome_of(self, handout: Handout, orders: Orders) -> OutboxLine:
        if not handout.has_usable_id:
            return unusable(handout)
        files = files_of(self._worker, handout)
        if recorded := recorded_result(files):
            log.info("%s: has a result already", handout.id)
            return recorded
        if has_begun(self._worker, handout):
            return self._line(handout, await self._end_of_interrupted(handout))
        if (reason := self._mailbox.cancel_reason(handout.id)) is not None:
            return self._line(handout, Cancelled(reason=reason))
        self._settings = self._fresh_settings()
        place = Place(worker=self._worker, settings=self._settings, children=self._children, now_ns=self._now_ns)
        await self._persist(handout.id, lambda: prepare(handout, files))
        record = await self._persist(handout.id, lambda: begin(handout, files, place))
        log.info("%s: running", handout.id)
        if self._settings.runner.acp:
            return await acp_driver()(handout, files, record, place, orders, self._answers, self._keeper)
        await self._keeper.end()
        return await run_handout(handout, files, record, place, orders)

    async def _end_of_interrupted(self, handout: Handout) -> End:
        found = await end_leftovers(self._worker, handout.id, grace_s=self.grace_secs)
        log.info("%s: was interrupted; ended %d processes that were left", handout.id, found)
        trim_streams(files_of(self._worker, handout), output_limit(self._settings.runner))
        if (reason := self._mailbox.cancel_reason(handout.id)) is not None:
            return Cancelled(reason=reason)
        return Interrupted(why=f"the worker host died while it ran; {found} processes were left and ended")

    async def _report(self, handout: Handout, line: OutboxLine) -> None:
        """result.json, then the outbox line; on disk when this returns."""
        text = codec.dumps(line)
        if handout.has_usable_id and (files := files_of(self._worker, handout)).path.is_dir():
            await self._persist(handout.id, lambda: atomic_write(files.result, text))
        await self._persist(handout.id, lambda: append_line(self._worker.outbox, text, sync=True))
        self._mailbox.forget_cancel(handout.id)
        outcome = line.outcome or Outcome.DONE
        log.info("%s: %s, %s, after %ds", handout.id, line.status.value, outcome.value, line.elapsed_secs)

    def _line(self, handout: Handout, end: End) -> OutboxLine:
        return report_for(handout.id, end, files_of(self._worker, handout), elapsed_secs=0, now_ns=self._now_ns())

    async def _persist(self, handout: HandoutId, action: Callable[[], T]) -> T:
        """Does it until the disk takes it. Raises OSError if it does not and we were told to stop."""
        delay_s = RETRY_S
        while True:
            try:
                return action()
            except OSError as error:
                if self.is_stopping:
                    raise
                log.error("%s: %s; again in %gs", handout, error, delay_s)
            with trio.move_on_after(delay_s):
                await self._stop.wait()
            delay_s = min(2 * delay_s, MAX_RETRY_S)

    def _fresh_settings(self) -> Settings:
        """As the files say now; as they said before if they cannot be used."""
        try:
            return load_settings(self._worker)
        except SettingsError as error:
            log.error("%s; going on with the settings before", error)
            return self._settings


def acp_driver() -> Callable[..., Awaitable[OutboxLine]]:
    """`run_acp_handout`. Importing it is a sixth of a host's start, and most hosts run commands.

    A host whose worker has an ACP agent does so when it starts: the files may be another version's later.
    """
    from .acp_run import run_acp_handout

    return run_acp_handout


def files_of(worker: WorkerDir, handout: Handout) -> RunFiles:
    return RunFiles(worker.run(handout.task_id, handout.id))


def has_begun(worker: WorkerDir, handout: Handout) -> bool:
    return handout.has_usable_id and files_of(worker, handout).has_begun


def unusable(handout: Handout) -> OutboxLine:
    return OutboxLine(
        task_id=handout.id,
        status=ResultStatus.FAILED,
        summary="this id cannot name a task: 1 to 64 of A-Z a-z 0-9 _ -, beginning with a letter or digit",
        outcome=Outcome.DONE,
    )
