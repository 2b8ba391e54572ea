"""Ledger, schedule, event log and restart against a model of a few lines: what was committed is there, in its order.

A step is a fact that is appended, a commit, a write that the disk refuses, or an end: of the process (all that was
written survives) or of the machine (of what was not committed any part does, and garbage behind it).
"""

import copy
import errno
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
import trio
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from omkd.core.schedule import next_step
from omkd.core.state import State
from omkd.protocol.events import ByOmkd, Event, TaskCancelled, TaskHeld, TaskReleased, TaskStarted
from omkd.protocol.records import ResultStatus
from omkd.protocol.scalars import I32, U32, Ns, Seq, TaskId
from omkd.store.event_log import Disk, Draft, EventLog, LogWriteFailed
from omkd.store.recovery import recover
from tests.core.core_kit import CODER, decided, finished, queued, registered, to

SEGMENT_BYTES = 2500
WINDOW = 2
EXAMPLES, STEPS = int(os.environ.get("OMKD_MODEL_EXAMPLES", "60")), 40
"""More of them by `make torture`."""


class Model:
    """Every task's state, in the order of their sending; the same again and again, without files."""

    def __init__(self) -> None:
        self.tasks: dict[str, str] = {}
        self.priorities: dict[str, int] = {}

    def of(self, *states: str) -> list[str]:
        return [task for task, state in self.tasks.items() if state in states]

    def to_hand_out(self) -> list[str]:
        waiting = sorted(self.of("queued"), key=lambda task: -self.priorities[task])
        return waiting[: max(0, WINDOW - len(self.of("dispatched", "running")))]


class LedgerOverLog(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="omk-"))
        self.model = Model()
        self.history = {0: Model()}
        self.refuse: int | None = None
        self.last_task = 0
        self.open()

    def teardown(self) -> None:
        self.log.close()
        shutil.rmtree(self.directory)

    # --- the log ---

    def open(self) -> None:
        self.state = State()
        disk = Disk(write=self.write, sync=lambda _: None)
        recovered = recover(self.directory, self.state.fold)
        self.log = EventLog(recovered, fold=self.state.fold, clock_ns=lambda: 0, segment_bytes=SEGMENT_BYTES, disk=disk)
        self.synced_size = self.segment().stat().st_size

    def write(self, descriptor: int, line: bytes) -> int:
        """The disk; `refuse`: of how many bytes it takes the next line, negative: it says an error."""
        if self.refuse is None:
            return os.write(descriptor, line)
        taken, self.refuse = self.refuse, None
        if taken < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return os.write(descriptor, line[:taken])

    def segment(self) -> Path:
        return max(self.directory.glob("*.jsonl"))

    def tell(self, *events: Event) -> None:
        unit = self.log.append(Draft(by=ByOmkd(), events=events))
        self.history[unit.seq] = copy.deepcopy(self.model)

    async def commit_all(self) -> None:
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                await nursery.start(self.log.run)
                await self.log.commit(self.log.written)
                nursery.cancel_scope.cancel()

    # --- facts ---

    @initialize()
    def worker(self) -> None:
        self.tell(registered(CODER, window=WINDOW))
        self.commit()

    @rule(priority=st.integers(-2, 2), held=st.booleans())
    def send(self, priority: int, held: bool) -> None:
        self.last_task += 1
        task = f"x{self.last_task}"
        self.model.tasks[task] = "held" if held else "queued"
        self.model.priorities[task] = priority
        self.tell(queued(task, to(CODER), priority=I32(priority), hold=held))

    @rule()
    def hand_out(self) -> None:
        expected = self.model.to_hand_out()
        found = []
        while (step := next_step(self.state, Ns(0))) is not None:
            self.model.tasks[step.task_id] = "dispatched"
            found.append(step.task_id)
            self.tell(decided(step))
        assert found == expected

    @precondition(lambda self: self.model.of("dispatched"))
    @rule(choice=st.data())
    def start(self, choice: Any) -> None:
        task = choice.draw(st.sampled_from(self.model.of("dispatched")))
        self.model.tasks[task] = "running"
        self.tell(TaskStarted(task_id=TaskId(task), handout=U32(1)))

    @precondition(lambda self: self.model.of("running"))
    @rule(choice=st.data(), status=st.sampled_from([ResultStatus.SUCCESS, ResultStatus.FAILED]))
    def finish(self, choice: Any, status: ResultStatus) -> None:
        task = choice.draw(st.sampled_from(self.model.of("running")))
        self.model.tasks[task] = status.value
        self.tell(finished(task, status))

    @precondition(lambda self: self.model.of("queued", "held"))
    @rule(choice=st.data())
    def hold_release_or_cancel(self, choice: Any) -> None:
        task = choice.draw(st.sampled_from(self.model.of("queued", "held")))
        if choice.draw(st.booleans()):
            self.model.tasks[task] = "cancelled"
            self.tell(TaskCancelled(task_id=TaskId(task), worker=None, reason=""))
        elif self.model.tasks[task] == "held":
            self.model.tasks[task] = "queued"
            self.tell(TaskReleased(task_id=TaskId(task)))
        else:
            self.model.tasks[task] = "held"
            self.tell(TaskHeld(task_id=TaskId(task)))

    @rule(taken=st.integers(-1, 60))
    def a_write_is_refused(self, taken: int) -> None:
        before, self.refuse = self.segment().read_bytes(), taken
        with pytest.raises(LogWriteFailed):
            self.log.append(Draft(by=ByOmkd(), events=(queued("refused", to(CODER)),)))
        assert self.segment().read_bytes() == before

    # --- ends ---

    @rule()
    def commit(self) -> None:
        trio.run(self.commit_all)
        self.synced_size = self.segment().stat().st_size

    @rule()
    def the_process_ends(self) -> None:
        self.log.close()
        self.open()
        assert not self.log.torn

    @rule(part=st.floats(0, 1), garbage=st.sampled_from([b"", b"{", b"\0" * 40, b"\xff\n", b"}\n"]))
    def the_machine_ends(self, part: float, garbage: bytes) -> None:
        committed = self.log.committed
        self.log.close()
        size = self.segment().stat().st_size
        with self.segment().open("r+b") as segment:
            segment.truncate(self.synced_size + int(part * (size - self.synced_size)))
            segment.seek(0, os.SEEK_END)
            segment.write(garbage)
        self.open()
        assert self.log.written >= committed, "a committed unit is lost"
        self.model = copy.deepcopy(self.history[self.log.written])

    @invariant()
    def both_know_the_same(self) -> None:
        tasks = {str(task.id): task.state.value for task in self.state.ledger.tasks.values()}
        assert tasks == self.model.tasks
        shown = [stored.seq for stored in self.log.read_after(Seq(0), max_units=10_000)]
        assert shown == list(range(1, self.log.committed + 1))


TestLedgerOverLog = LedgerOverLog.TestCase
TestLedgerOverLog.settings = settings(max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None)
