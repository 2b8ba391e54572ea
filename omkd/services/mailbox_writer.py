"""Log -> inboxes, control files and settings of the workers. It writes only what is on disk in the log.

What could not be written is found again by reconciling, the same as at start.
"""

import logging
import os
from collections.abc import Callable
from typing import Final

import trio
from attrs import Factory, define

from omkd.core.ledger import TaskEntry
from omkd.core.roster import WorkerEntry
from omkd.protocol import codec
from omkd.protocol.events import (
    By,
    ByOmkd,
    ByWorker,
    DecisionAnswered,
    DecisionExpired,
    Event,
    TaskCancelled,
    TaskCancelRequested,
    TaskDispatched,
    TaskFinished,
    TaskLost,
    TaskRequeued,
    Unit,
    WorkerInboxRenewed,
    WorkerRegistered,
    WorkerUpdated,
)
from omkd.protocol.handout import handout_id
from omkd.protocol.records import CancelHandout
from omkd.protocol.scalars import HandoutId, Seq, TaskId, WorkerName
from omkd.store.event_log import Draft, LogWriteFailed

from .hub import Hub
from .log_following import units_after
from .worker_files import (
    answer_line,
    append_missing,
    append_missing_answers,
    append_missing_dones,
    append_to,
    inbox_line,
    is_told_by,
    write_settings,
)

logger = logging.getLogger(__name__)

UNITS_PER_TURN: Final = 500
BYTES_PER_TURN: Final = 1024 * 1024
RETRY_FIRST_S: Final = 0.5
RETRY_MAX_S: Final = 30.0


@define
class Retry:
    """When a worker's files are tried again, on trio's clock."""

    at: float
    pause_s: float


@define
class MailboxWriter:
    """`position`: the last unit whose consequences are written, or wait in `_retries` to be found by reconciling.

    `_in_hand`: as the units up to there say. The state is ahead of it, by what a loss of power may take.
    """

    hub: Hub
    position: Seq = Seq(0)
    _in_hand: dict[WorkerName, dict[TaskId, HandoutId]] = Factory(dict)
    _lines: dict[WorkerName, dict[HandoutId, bytes]] = Factory(dict)
    _unreconciled: set[WorkerName] = Factory(set)
    _renewing: set[WorkerName] = Factory(set)
    _retries: dict[WorkerName, Retry] = Factory(dict)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Reconciles every worker, then follows the log until cancelled."""
        while self.hub.log.committed < self.hub.log.written:
            await self.hub.log.commit(self.hub.log.written)
        self.position = self.hub.log.committed
        for worker in list(self.hub.state.roster.workers.values()):
            in_hand = self.hub.state.ledger.in_hand(worker.name).values()
            self._in_hand[worker.name] = {task.id: handout_id(task.id, task.handout) for task in in_hand}
            self._attempt(worker, self._reconcile)
        task_status.started()
        while True:
            with trio.move_on_at(min((retry.at for retry in self._retries.values()), default=trio.current_time() + 60)):
                await self.hub.log.wait_beyond(self.position)
            await self._follow()
            self._retry()
            await trio.lowlevel.checkpoint()

    def keep_inbox(self, entry: WorkerEntry) -> None:
        """One that was taken away is begun anew at once if something in it is unfinished."""
        if self.hub.state.ledger.in_hand(entry.name) and not os.path.lexists(self.hub.session.worker(entry.name).inbox):
            self._with_worker(entry.name, self._reconcile)

    async def _follow(self) -> None:
        stored = await units_after(self.hub, self.position, max_units=UNITS_PER_TURN, max_bytes=BYTES_PER_TURN)
        for each in stored:
            self._take(each.unit)
            self.position = each.seq
        for name in list(self._lines):
            self._with_worker(name, self._append)
        self._lines.clear()
        for name in self._unreconciled:  # once each: it reads all of a worker's files
            self._with_worker(name, self._reconcile)
        self._unreconciled.clear()

    def _take(self, unit: Unit) -> None:
        for event in unit.events:
            self._note_in_hand(event)
            match event:
                case TaskDispatched():
                    self._take_handout(event)
                case TaskCancelRequested():
                    self._take_cancel(event)
                case DecisionAnswered() | DecisionExpired() if unit.src is None:
                    self._take_decision(event, unit.by)
                case TaskRequeued() | TaskLost() | TaskCancelled() | TaskFinished() if (
                    unit.src is None and event.worker is not None
                ):
                    self._unreconciled.add(event.worker)
                case WorkerRegistered() | WorkerUpdated():
                    self._unreconciled.add(event.worker)
                case _:
                    pass

    def _note_in_hand(self, event: Event) -> None:
        match event:
            case TaskDispatched():
                self._in_hand.setdefault(event.worker, {})[event.task_id] = handout_id(event.task_id, event.handout)
            case TaskRequeued() | TaskLost() | TaskCancelled() | TaskFinished() if event.worker is not None:
                self._in_hand.get(event.worker, {}).pop(event.task_id, None)
            case _:
                pass

    def _take_handout(self, event: TaskDispatched) -> None:
        """A worker that is gone meanwhile has no inbox; a task that is over, and no longer in memory, needs no line."""
        entry = self.hub.state.roster.workers.get(event.worker)
        task = self.hub.state.ledger.tasks.get(event.task_id)
        if entry is not None and task is not None:
            line = inbox_line(task, event.handout, says_by=is_told_by(entry))
            self._lines.setdefault(event.worker, {})[handout_id(event.task_id, event.handout)] = line

    def _take_cancel(self, event: TaskCancelRequested) -> None:
        """Known hand-outs only: one that ended meanwhile needs no cancel."""
        task = self.hub.state.ledger.tasks.get(event.task_id)
        if task is not None and task.in_hand and task.worker is not None:
            self._with_worker(task.worker, lambda entry: self._cancel(entry, task))

    def _take_decision(self, event: DecisionAnswered | DecisionExpired, by: By) -> None:
        if event.worker is not None and event.task_id is not None:
            line = answer_line(event, by)
            if line is not None:
                self._with_worker(event.worker, lambda entry: self._answer(entry, line))

    def _answer(self, entry: WorkerEntry, line: bytes) -> None:
        append_to(self.hub.session.worker(entry.name).control, line)

    def _answers(self, entry: WorkerEntry) -> dict[str, bytes]:
        """What was decided of the hand-outs that a worker has in hand, by question: a crash may have come first."""
        in_hand = {(task.id, task.handout) for task in self.hub.state.ledger.in_hand(entry.name).values()}
        found = {}
        for question in self.hub.state.decisions.decided.values() if in_hand else ():
            asked, ended, by = question.asked, question.ended, question.ended_by
            is_here = asked.worker == entry.name and (asked.task_id, asked.handout) in in_hand
            is_on_disk = question.ended_seq is not None and question.ended_seq <= self.position
            if is_here and is_on_disk and ended is not None and by is not None and not isinstance(by, ByWorker):
                line = answer_line(ended, by)
                if line is not None:
                    found[asked.decision_id] = line
        return found

    def _cancel(self, entry: WorkerEntry, task: TaskEntry) -> None:
        cancel = CancelHandout(id=handout_id(task.id, task.handout), reason=task.cancel_reason or "")
        append_to(self.hub.session.worker(entry.name).control, codec.dumps(cancel) + b"\n")

    def _with_worker(self, name: WorkerName, write: Callable[[WorkerEntry], None]) -> None:
        entry = self.hub.state.roster.workers.get(name)
        if entry is not None and name not in self._retries:
            self._attempt(entry, write)

    def _append(self, entry: WorkerEntry) -> None:
        directory, lines = self.hub.session.worker(entry.name), self._lines[entry.name]
        if os.path.lexists(directory.inbox):
            append_to(directory.inbox, b"".join(lines.values()))
        else:
            self._reconcile(entry)
            append_missing(directory, lines)

    def _reconcile(self, entry: WorkerEntry) -> None:
        """Settings as the log has them; each unfinished hand-out in the inbox, once."""
        directory = self.hub.session.worker(entry.name)
        if not entry.foreign:
            write_settings(directory, entry)
        due = [task for task in self.hub.state.ledger.in_hand(entry.name).values() if self._is_on_disk(task)]
        says_by = is_told_by(entry)
        if due and not os.path.lexists(directory.inbox):
            self._note_renewal(entry)
        append_missing(
            directory,
            {handout_id(task.id, task.handout): inbox_line(task, task.handout, says_by=says_by) for task in due},
        )
        self._renewing.discard(entry.name)
        for task in due:
            if task.cancel_reason is not None:
                self._cancel(entry, task)
        append_missing_answers(directory, self._answers(entry))
        append_missing_dones(directory, set(self._in_hand.get(entry.name, {}).values()))

    def _note_renewal(self, entry: WorkerEntry) -> None:
        """Records that the inbox which is about to be made is not the one that the worker has worked from. Raises
        LogWriteFailed. Once, however often the making fails."""
        if entry.sources and entry.name not in self._renewing:
            self.hub.log.append(Draft(by=ByOmkd(), events=(WorkerInboxRenewed(worker=entry.name),)))
            self._renewing.add(entry.name)

    def _is_on_disk(self, task: TaskEntry) -> bool:
        return task.dispatched_seq <= self.position

    def _retry(self) -> None:
        now = trio.current_time()
        for name, retry in list(self._retries.items()):
            entry = self.hub.state.roster.workers.get(name)
            if entry is None:
                del self._retries[name]
                self.hub.retried.clear(self.hub.session.worker(name).path)
            elif retry.at <= now:
                self._attempt(entry, self._reconcile)

    def _attempt(self, entry: WorkerEntry, write: Callable[[WorkerEntry], None]) -> None:
        """Writes, or notes that it is to be tried again later."""
        path = self.hub.session.worker(entry.name).path
        try:
            write(entry)
        except (OSError, LogWriteFailed) as error:
            known = self._retries.get(entry.name)
            pause_s = min(known.pause_s * 2, RETRY_MAX_S) if known else RETRY_FIRST_S
            self._retries[entry.name] = Retry(trio.current_time() + pause_s, pause_s)
            if self.hub.retried.note(path, str(error), self.hub.now()):
                logger.warning("files of worker %s cannot be written, tried again: %s", entry.name, error)
        else:
            if self._retries.pop(entry.name, None):
                self.hub.retried.clear(path)
                logger.info("files of worker %s are written again", entry.name)
