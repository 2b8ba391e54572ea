"""Takes back what dead hosts have in hand: reported, cancelled or interrupted, and nothing of it runs any more."""

import logging
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

import trio
from attrs import frozen

from omkd.core.reports import Rejected, judge_result
from omkd.core.roster import WorkerEntry
from omkd.core.task_entry import TaskEntry
from omkd.protocol.events import ByOmkd, Event, TaskCancelled
from omkd.protocol.handout import handout_id
from omkd.protocol.records import OutboxLine, Outcome, ResultStatus
from omkd.protocol.scalars import HandoutId
from omkd.store.event_log import Draft, LogWriteFailed
from omkd.store.locks import LockHeld, take_lock
from omkd.worker.files import RunFiles, recorded_result
from omkd.worker.processes import end_agent, end_leftovers

from .hub import Hub
from .mailbox_reader import MailboxReader

logger = logging.getLogger(__name__)

WRITE_RETRY_S: Final = 1.0


@frozen
class Reclaimer:
    """Of workers whose host is dead: their lock says whether it is."""

    _hub: Hub
    _reader: MailboxReader

    async def reclaim(self, entry: WorkerEntry, is_meant: Callable[[TaskEntry], bool]) -> None:
        """Of what a dead host has in hand, what is meant waits in the queue again, or has ended if it was to be
        cancelled; nothing of it is left running.
        """
        directory = self._hub.session.worker(entry.name)
        try:
            lock = take_lock(directory.lock)
        except (LockHeld, OSError) as reason:
            logger.warning("worker %s: what it had in hand stays there: %s", entry.name, reason)
            return
        try:
            await self._read_all(entry)
        except OSError as fault:
            logger.warning("worker %s: what it had in hand stays there: %s", entry.name, fault)
        else:
            await self.end_leftovers_of(entry)
            for task in [task for task in self._hub.state.ledger.in_hand(entry.name).values() if is_meant(task)]:
                await self.record(partial(self._end_of, entry, task))
        finally:
            lock.release()

    async def _read_all(self, entry: WorkerEntry) -> None:
        """Raises OSError."""
        more = True
        while more:
            try:
                more = self._reader.read(entry)
            except LogWriteFailed as failure:
                logger.warning("%s; tried again", failure)
                await trio.sleep(WRITE_RETRY_S)
            else:
                await trio.lowlevel.checkpoint()

    async def reclaim_lost_runs(self, workers: Iterable[WorkerEntry]) -> None:
        """In a copy: what has begun by its log and has no run in it. A host would begin it as if for the first time,
        whatever `on_interrupt` says, and take what was answered to the first run's questions for the second's.
        """
        for entry in workers:
            await self.reclaim(entry, partial(self._has_lost_run, entry))

    def _has_lost_run(self, entry: WorkerEntry, task: TaskEntry) -> bool:
        return task.started is not None and not self._run_files(entry, task).has_begun

    def _run_files(self, entry: WorkerEntry, task: TaskEntry) -> RunFiles:
        return RunFiles(self._hub.session.worker(entry.name).run(task.id, handout_id(task.id, task.handout)))

    async def end_leftovers_of(self, entry: WorkerEntry) -> None:
        """Of a host that is dead: nothing of what it had begun runs when this returns, nor its agent."""
        directory = self._hub.session.worker(entry.name)
        for handout in self._begun(entry):
            await end_leftovers(directory, handout)
        await end_agent(directory)

    def _begun(self, entry: WorkerEntry) -> list[HandoutId]:
        in_hand = self._hub.state.ledger.in_hand(entry.name).values()
        return [handout_id(task.id, task.handout) for task in in_hand if task.started is not None]

    def _end_of(self, entry: WorkerEntry, task: TaskEntry) -> tuple[Event, ...]:
        """A result that its host had recorded counts, reported or not; else the run is interrupted. Nothing of a task
        that somebody ended meanwhile.
        """
        if task.id not in self._hub.state.ledger.in_hand(entry.name):
            return ()
        recorded = self._recorded(entry, task)
        if recorded is None and task.started is None:
            return (TaskCancelled(task_id=task.id, worker=entry.name, reason=task.cancel_reason or ""),)
        verdict = judge_result(self._hub.state, entry, recorded or interrupted(task), self._hub.now())
        return () if isinstance(verdict, Rejected) else verdict

    def _recorded(self, entry: WorkerEntry, task: TaskEntry) -> OutboxLine | None:
        """What a dead host wrote of a hand-out; an agent that knew the place may have written of another one."""
        line = recorded_result(self._run_files(entry, task))
        return line if line is not None and line.task_id == handout_id(task.id, task.handout) else None

    async def record(self, happened: Callable[[], tuple[Event, ...]]) -> None:
        """Records what `happened`, as soon as the disk takes it; it is asked at each attempt."""
        while events := happened():
            try:
                self._hub.log.append(Draft(by=ByOmkd(), events=events))
            except LogWriteFailed as failure:
                logger.warning("%s; tried again", failure)
                await trio.sleep(WRITE_RETRY_S)
            else:
                return


def is_begun_or_cancelled(task: TaskEntry) -> bool:
    return task.started is not None or task.cancel_reason is not None


def interrupted(task: TaskEntry) -> OutboxLine:
    return OutboxLine(
        task_id=handout_id(task.id, task.handout),
        status=ResultStatus.FAILED,
        summary="its host died",
        outcome=Outcome.INTERRUPTED,
    )
