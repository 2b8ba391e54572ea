"""The desk of a run: a question is a line of events.jsonl, its answer one of control.jsonl. Real files, no process."""

import json
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from attrs import evolve

from omkd.protocol import codec
from omkd.protocol.records import AnswerLine, ControlLine, WorkerTask
from omkd.protocol.scalars import HandoutId, TaskId
from omkd.store.files import append_line
from omkd.store.session import WorkerDir
from omkd.worker.acp_desk import Approved, Closing, Denied, Question
from omkd.worker.acp_events import Usage
from omkd.worker.acp_facts import Option, ToolFacts
from omkd.worker.acp_questions import REFUSE, RunDesk, choices_of
from omkd.worker.answers import Answers
from omkd.worker.files import RunFiles
from omkd.worker.mailbox import Handout, Mailbox

DEADLINE_S = 10.0
ONCE = Option(id="yes", name="Yes", kind="allow_once")
ALWAYS = Option(id="ever", name="Always", kind="allow_always")
NO = Option(id="no", name="No", kind="reject_once")
NEVER = Option(id="never", name="Never", kind="reject_always")
ODD = Option(id="odd", name="Something else", kind="of the agent's own")
QUESTION = Question(
    request_id=0,
    facts=ToolFacts(tool_call_id="c", kinds=("execute",), command="rm x", title="Shell"),
    options=(ONCE, ALWAYS, NO, NEVER, ODD),
    why="the policy is never",
    timeout_s=60.0,
)


FOR_EVER_S = 2.0**64
"""A worker's approval_timeout_secs may be any u64."""


class Space:
    def __init__(self, root: Path) -> None:
        self.worker = WorkerDir(root / "workers" / "w")
        self.worker.path.mkdir(parents=True)
        for path in (self.worker.inbox, self.worker.outbox, self.worker.control, self.worker.events):
            path.touch()
        self.files = RunFiles(root)
        self.mailbox = Mailbox(self.worker)
        self.answers = Answers(self.mailbox)
        task = WorkerTask(id="t1.2", task="x")
        handout = Handout(id=HandoutId("t1.2"), task_id=TaskId("t1"), number=2, task=task, line=b"")
        self.desk = RunDesk(self.worker, handout, self.files, self.answers, lambda: 5)

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.worker.events.read_bytes().splitlines()]

    def tell(self, line: ControlLine) -> None:
        append_line(self.worker.control, codec.dumps(line))
        self.mailbox.read()
        self.answers.look()


@pytest.fixture
def space(tmp_path: Path) -> Space:
    return Space(tmp_path)


async def answered(space: Space, choice: str | None, note: str = "") -> Approved | Denied | None:
    """What the desk says to an answer that comes while it waits."""
    got: list[Approved | Denied | None] = []

    async def ask() -> None:
        got.append(await space.desk.ask(QUESTION))

    with trio.fail_after(DEADLINE_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            space.tell(AnswerLine(decision="t1.2-1", choice=choice, note=note, by="uid 7"))
    return got[0]


async def test_a_question_is_written_with_all_that_a_person_needs(space: Space) -> None:
    await answered(space, "yes")
    (event,) = space.events()
    asked = event["DecisionRequested"]
    assert (asked["decision_id"], asked["worker"], asked["task_id"], asked["handout"]) == ("t1.2-1", "w", "t1", 2)
    assert asked["summary"] == "w wants: rm x"
    assert asked["detail"] == "kind: execute\ntitle: Shell\ncommand: rm x\nasked because: the policy is never"
    kinds = [(choice["id"], choice["kind"]) for choice in asked["choices"]]
    assert kinds[:4] == [(option.id, option.kind) for option in (ONCE, ALWAYS, NO, NEVER)]
    assert kinds[4] == ("odd", "other")


@pytest.mark.parametrize(
    ("choice", "answer"),
    [
        ("yes", Approved(by="uid 7", option_id="yes")),
        ("ever", Approved(by="uid 7", option_id="ever")),
        ("no", Denied(by="uid 7", note="because")),
        ("never", Approved(by="uid 7", option_id="never")),
        ("what is no option", Denied(by="uid 7", note="because")),
        (None, None),
    ],
)
async def test_an_answer_is_the_agents_option_of_that_name(
    space: Space, choice: str | None, answer: Approved | Denied | None
) -> None:
    assert await answered(space, choice, "because") == answer


async def test_an_answer_to_another_question_is_not_taken(space: Space) -> None:
    with trio.move_on_after(DEADLINE_S) as deadline:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(space.desk.ask, QUESTION)
            await trio.testing.wait_all_tasks_blocked()
            space.tell(AnswerLine(decision="t1.1-1", choice="yes"))
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    assert not deadline.cancelled_caught
    space.desk.closed(QUESTION, Closing.WITHDRAWN)
    assert space.events()[-1]["DecisionExpired"]["withdrawn"] is True


async def test_a_question_may_wait_for_ever(space: Space) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(space.desk.ask, evolve(QUESTION, timeout_s=FOR_EVER_S))
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert space.events()[0]["DecisionRequested"]["expires"] == "9999-12-31T23:59:59Z"


def test_a_person_can_always_refuse() -> None:
    assert choices_of([ONCE])[-1] == REFUSE
    assert choices_of([ONCE, ONCE, NO]) == choices_of([ONCE, NO])
    assert choices_of([]) == [REFUSE]


def test_of_much_progress_the_last_is_said(space: Space) -> None:
    space.desk.progress("one", 10.0)
    space.desk.progress("two", 200.0)
    space.desk.finish()
    space.desk.finish()
    assert space.events() == [{"WorkerProgress": {"worker_id": "w", "percent": 100.0, "message": "two"}}]


def test_cost_is_said_as_the_worker(space: Space) -> None:
    space.desk.usage(Usage(tokens_in=2**40, tokens_out=1, usd=None))
    assert space.events() == [{"CostDelta": {"source": "w", "tokens_in": 2**32 - 1, "tokens_out": 1, "usd": 0.0}}]


def test_what_the_agent_says_is_its_standard_output(space: Space) -> None:
    space.desk.said("one ")
    space.desk.said("two")
    assert space.files.stdout.read_text() == "one two"


def test_a_disk_that_takes_nothing_does_not_stop_the_turn(space: Space, caplog: pytest.LogCaptureFixture) -> None:
    space.worker.events.unlink()
    space.worker.path.rename(space.worker.path.with_name("away"))
    space.desk.usage(Usage(tokens_in=1, tokens_out=1, usd=1.0))
    assert "not written to events.jsonl" in caplog.text
