"""Tasks that have left memory are named: in an id, in `after`, in a retry. A real log, room for one finished task."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from attrs import define, frozen

from omkd.api.calls import Call
from omkd.api.handlers import steering, tasks
from omkd.core.kept import Bounds
from omkd.core.ledger import Ledger
from omkd.core.schedule import Doomed, next_step
from omkd.core.state import State
from omkd.protocol import codec
from omkd.protocol.errors import ApiError, ErrorKind
from omkd.protocol.events import (
    By,
    ByOmkd,
    Event,
    TaskCancelled,
    TaskDispatched,
    TaskFinished,
    TaskReleased,
    WorkerRegistered,
)
from omkd.protocol.methods import TaskIdsParams, TaskSendParams, TaskUpdateParams
from omkd.protocol.records import ResultStatus, WorkerResult, WorkerSpec
from omkd.protocol.scalars import U32, Ns, TaskId, WorkerName
from omkd.services.hub import Hub
from omkd.store.event_log import Draft, open_event_log
from omkd.store.older_index import OlderRow, write_older
from omkd.store.session import SessionDir

SMALL = Bounds(finished=1)
W = WorkerName("w")
SPEC = WorkerSpec(name=W, role="r", inbox="i", outbox="o", heartbeat="h")


@frozen
class Desk:
    hub: Hub


class Omkd:
    def by(self) -> By:
        return ByOmkd()


@define
class Asked:
    """Handlers called as a connection calls them, and a worker that does what the test says."""

    hub: Hub

    @property
    def call(self) -> Any:
        return Call(desk=Desk(self.hub), caller=Omkd())  # type: ignore[arg-type]

    def send(self, task_id: str | None = None, **params: Any) -> TaskId:
        asked = {"target": "any", "task": {"task": "do it", "id": task_id}} | params
        answer = tasks.send(self.call, codec.structure(asked, TaskSendParams))
        return answer.result.id  # type: ignore[attr-defined]

    def update(self, task_id: str, **params: Any) -> None:
        steering.update(self.call, codec.structure({"id": task_id} | params, TaskUpdateParams))

    def retry(self, *ids: str) -> None:
        steering.retry(self.call, TaskIdsParams(ids=[TaskId(each) for each in ids]))

    def tell(self, *events: Event) -> None:
        self.hub.log.append(Draft(by=ByOmkd(), events=events))

    def run(self, task_id: str, status: ResultStatus = ResultStatus.SUCCESS) -> None:
        entry = self.hub.state.ledger.tasks[TaskId(task_id)]
        which: Any = {"task_id": entry.id, "handout": U32(entry.handout + 1), "worker": W}
        self.tell(TaskDispatched(**which))
        self.tell(TaskFinished(**which, result=WorkerResult(task_id=task_id, status=status, summary="said")))

    def run_others(self) -> None:
        """What ended before has left memory then."""
        for _ in range(2):
            self.run(self.send())

    def is_in_memory(self, task_id: str) -> bool:
        return task_id in self.hub.state.ledger.tasks

    def after(self, task_id: str) -> list[TaskId]:
        return self.hub.state.ledger.tasks[TaskId(task_id)].after

    def next_task(self) -> TaskId:
        """Which is handed out next; none may be doomed."""
        step = next_step(self.hub.state, Ns(9))
        assert step is not None
        assert not isinstance(step, Doomed)
        return step.task_id

    def write_index(self) -> None:
        """As before a snapshot: what has left memory is found in the index only."""
        ledger = self.hub.state.ledger
        passed = list(ledger.passed.values())
        rows = [OlderRow(id=each.id, units=each.units) for each in passed]
        write_older(self.hub.session.older, self.hub.log.written, rows)
        ledger.forget_passed(passed)


@asynccontextmanager
async def asking(root: Path) -> AsyncIterator[Asked]:
    session, state = SessionDir(root), State(ledger=Ledger.bounded(SMALL))
    opened = open_event_log(session.events, fold=state.fold, clock_ns=lambda: 7)
    with trio.fail_after(20):
        async with opened as log, trio.open_nursery() as nursery:
            await nursery.start(log.run)
            asked = Asked(Hub(session=session, log=log, state=state, clock_ns=lambda: 7))
            asked.tell(WorkerRegistered(worker=W, spec=SPEC, foreign=True, window=U32(0)))
            yield asked
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("is_indexed", [False, True])
async def test_the_id_of_a_task_that_left_memory_cannot_be_given_again(tmp_path: Path, is_indexed: bool) -> None:
    async with asking(tmp_path) as asked:
        asked.run(asked.send("mine"))
        asked.run_others()
        assert not asked.is_in_memory("mine")
        if is_indexed:
            asked.write_index()
        with pytest.raises(ApiError, match="there is a task mine already") as refused:
            asked.send("mine", key="another")
        assert refused.value.kind is ErrorKind.CONFLICT
        assert not asked.is_in_memory("mine")
        assert asked.send("min") == "min"


async def test_what_was_sent_after_a_task_that_left_memory_is_the_same_task_again(tmp_path: Path) -> None:
    async with asking(tmp_path) as asked:
        asked.run(asked.send("older"))
        asked.run_others()
        first = asked.send(key="k", after=["older"])
        assert asked.after(first) == []
        assert asked.send(key="k", after=["older"]) == first
        asked.retry("older")
        assert asked.send(key="k", after=["older"]) == first


async def test_what_was_sent_is_the_same_when_its_dependency_has_left_memory_since(tmp_path: Path) -> None:
    async with asking(tmp_path) as asked:
        asked.run(asked.send("older"))
        first = asked.send(key="k", after=["older"])
        asked.run(first)
        asked.run_others()
        assert not asked.is_in_memory("older")
        assert asked.send(key="k", after=["older"]) == first


async def test_another_dependency_is_another_body(tmp_path: Path) -> None:
    async with asking(tmp_path) as asked:
        asked.run(asked.send("older"))
        asked.run(asked.send("failed"), ResultStatus.FAILED)
        asked.run_others()
        asked.send("known")
        asked.send(key="k", after=["older", "known"])
        asked.send(key="none")
        for key, after in [("k", ["older"]), ("k", ["failed", "known"]), ("none", ["known"]), ("none", ["failed"])]:
            with pytest.raises(ApiError, match="which is another task") as refused:
                asked.send(key=key, after=after)
            assert refused.value.kind is ErrorKind.CONFLICT


async def test_a_task_may_be_told_to_wait_for_one_that_left_memory(tmp_path: Path) -> None:
    async with asking(tmp_path) as asked:
        asked.run(asked.send("older"))
        asked.run_others()
        task = asked.send(hold=True)
        known = asked.send()
        asked.update(task, after=["older", known])
        assert asked.after(task) == [known]
        asked.tell(TaskReleased(task_id=task))
        asked.run(known)
        assert asked.next_task() == task


def left_behind(asked: Asked, of_older: ResultStatus = ResultStatus.SUCCESS) -> None:
    """`task` waited for `older` and was cancelled; it is in memory, `older` is not."""
    asked.send("task", after=["older"], hold=True)
    asked.run("older", of_older)
    asked.run(asked.send())
    asked.tell(TaskCancelled(task_id=TaskId("task")))
    assert asked.is_in_memory("task")
    assert not asked.is_in_memory("older")


async def test_a_task_run_again_waits_no_more_for_one_that_succeeded_and_left_memory(tmp_path: Path) -> None:
    async with asking(tmp_path) as asked:
        asked.send("older")
        left_behind(asked)
        asked.retry("task")
        assert asked.after("task") == []
        assert asked.next_task() == "task"


async def test_a_task_run_again_is_not_run_when_what_it_waits_for_failed_and_left_memory(tmp_path: Path) -> None:
    async with asking(tmp_path) as asked:
        asked.send("older")
        left_behind(asked, ResultStatus.FAILED)
        asked.retry("task")
        assert next_step(asked.hub.state, Ns(9)) == Doomed(task_id=TaskId("task"), cause=TaskId("older"))


async def test_a_task_run_again_together_with_what_it_waits_for_waits_for_that(tmp_path: Path) -> None:
    async with asking(tmp_path) as asked:
        asked.send("older")
        left_behind(asked)
        asked.retry("task", "older")
        assert asked.next_task() == "older"
        asked.run("older")
        assert asked.next_task() == "task"
