"""Signs of life -> log: a worker that stalls, recovers, and what waits too long, each said once (design, §4, §5)."""

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import trio
from attrs import Factory, define, frozen

from omkd.core.ledger import TaskEntry
from omkd.core.roster import WorkerEntry
from omkd.core.views import why_queued
from omkd.core.vitals import Duty, Signs, Vitals
from omkd.protocol.events import ByOmkd, Event, PersonNeeded, WorkerRecovered, WorkerStalled
from omkd.protocol.handout import handout_id
from omkd.protocol.methods import TaskState
from omkd.protocol.records import DEFAULT_BUDGET_SECS, DEFAULT_GRACE_SECS
from omkd.protocol.scalars import U64, TaskId, WorkerName
from omkd.store.event_log import Draft, LogWriteFailed

from .hub import Hub

logger = logging.getLogger(__name__)

NS_PER_S: Final = 1_000_000_000


@frozen(kw_only=True)
class Patience:
    """How often it is looked, and when what is seen is worth a word: of a silent worker, of a task that waits."""

    look_s: float
    stalled_after_s: float
    queued_warn_s: float


@define
class Watchdog:
    """Looks again and again. What was said of a queued task is said once a run of the daemon.

    `patience` is asked at each look: the configuration may change.
    """

    hub: Hub
    patience: Callable[[], Patience]
    _vitals: dict[WorkerName, Vitals] = Factory(dict)
    _running: dict[WorkerName, TaskId | None] = Factory(dict)
    _warned: set[TaskId] = Factory(set)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Runs until cancelled. While the log cannot be written, it is said later."""
        task_status.started()
        while True:
            try:
                self.look(trio.current_time())
            except LogWriteFailed as failure:
                logger.warning("%s", failure)
            await trio.sleep(self.patience().look_s)

    def look(self, now: float) -> None:
        """One look at everything; `now` in seconds of a monotonic clock. Raises LogWriteFailed."""
        workers = self.hub.state.roster.workers
        for name in self._vitals.keys() - workers.keys():
            del self._vitals[name]
            self._running.pop(name, None)
        for entry in list(workers.values()):
            self._look_at(entry, now)
        self._look_at_queue()

    def _look_at(self, entry: WorkerEntry, now: float) -> None:
        signs, running = signs_of(self.hub, entry), self._running_task(entry)
        vitals = self._vitals.setdefault(entry.name, Vitals.first(signs, now))
        vitals.see(signs, now)
        running_id = None if running is None else running.id
        if self._running.get(entry.name) != running_id:
            self._running[entry.name] = running_id
            vitals.begin_duty(now)
        if entry.runner is not None and entry.seen.host_pid is None:
            return
        self._judge(entry, vitals, running, now)

    def _judge(self, entry: WorkerEntry, vitals: Vitals, running: TaskEntry | None, now: float) -> None:
        expected = entry.runner is not None or entry.seen.heartbeat not in (None, "stopped") or running is not None
        stalled_after_s = self.patience().stalled_after_s
        silent_s = vitals.silent_s(duty_of(entry, running), now, stalled_after_s) if expected else None
        is_foreign = entry.runner is None
        if is_foreign and not self.hub.state.is_busy(entry.name) and entry.seen.heartbeat is not None:
            entry.seen.gave_up = vitals.is_dead(now)
        if silent_s is not None and not entry.stalled and not entry.seen.gave_up:
            task_id = None if running is None else running.id
            self._say(WorkerStalled(worker=entry.name, silent_secs=U64(int(silent_s)), task_id=task_id))
            logger.warning("worker %s stalled, silent for %d s", entry.name, silent_s)
        elif silent_s is None and entry.stalled and vitals.has_changed:
            self._say(WorkerRecovered(worker=entry.name))
            logger.info("worker %s recovered", entry.name)

    def _running_task(self, entry: WorkerEntry) -> TaskEntry | None:
        in_hand = self.hub.state.ledger.in_hand(entry.name).values()
        return next((task for task in in_hand if task.state is TaskState.RUNNING), None)

    def _look_at_queue(self) -> None:
        """The oldest waiting task of each target, when it waits too long."""
        now, queued_warn_s = self.hub.now(), self.patience().queued_warn_s
        for task in self.hub.state.ledger.oldest_waiting():
            since = max(task.queued, task.not_before or task.queued)
            waited_s = (now - since) / NS_PER_S
            if waited_s < queued_warn_s or task.id in self._warned:
                continue
            self._warned.add(task.id)
            reason = why_queued(self.hub.state, task)
            text = f"{task.id} has waited for {int(waited_s // 60)} min: {reason}"
            self._say(PersonNeeded(text=text, task_id=task.id))
            logger.warning("%s", text)

    def _say(self, event: Event) -> None:
        self.hub.log.append(Draft(by=ByOmkd(), events=(event,)))


def duty_of(entry: WorkerEntry, running: TaskEntry | None) -> Duty:
    if running is None:
        return Duty(allowed_s=None, stall_s=None)
    runner = entry.runner
    budget_secs = running.task.budget_secs or (DEFAULT_BUDGET_SECS if runner is None else runner.budget_secs)
    grace_secs = DEFAULT_GRACE_SECS if runner is None else runner.grace_secs
    stall_s = None if runner is None or runner.stall_secs is None else float(runner.stall_secs)
    return Duty(allowed_s=float(budget_secs + grace_secs), stall_s=stall_s)


def signs_of(hub: Hub, entry: WorkerEntry) -> Signs:
    """By stat(2) alone: no file is read."""
    directory = hub.session.worker(entry.name)
    output: list[int] = []
    for task in hub.state.ledger.in_hand(entry.name).values():
        if task.state is TaskState.RUNNING:
            run = directory.run(task.id, handout_id(task.id, task.handout))
            output += [size_of(run / "stdout.log"), size_of(run / "stderr.log")]
    return Signs(
        heartbeat=stamp_of(directory.heartbeat),
        mailbox=(size_of(directory.outbox), size_of(directory.events)),
        output=tuple(output),
    )


def size_of(path: Path) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return -1


def stamp_of(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino
