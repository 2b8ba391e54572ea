"""Questions that wait for a person: how they come to be, how they end, and who may say what of them."""

from collections.abc import Callable
from typing import Any

import pytest
from core_kit import CODER, DOCS, SECOND_NS, World, source
from hypothesis import given
from hypothesis import strategies as st

from omkd.core.decisions import (
    KEPT_DECIDED,
    PREFLIGHT_CHOICES,
    Decisions,
    by_words,
    choices_fault,
    decided_words,
    ending_of,
    preflight_question,
)
from omkd.core.image import image_of, state_from
from omkd.core.reports import (
    PERSON_ANSWERS,
    Rejected,
    judge_event,
    judge_result,
    with_question,
    withdrawn_of_worker,
    withdrawn_questions,
)
from omkd.protocol.escalation import EscalationKind, entry_from_event, needs_person
from omkd.protocol.events import (
    By,
    ByClient,
    ByOmkd,
    ByUnknown,
    ByWorker,
    Choice,
    ChoiceKind,
    DecisionAnswered,
    DecisionExpired,
    DecisionRequested,
    Event,
    LineFault,
    PreflightAnswer,
    PreflightKind,
    PreflightRequest,
    PreflightResponse,
    Unit,
    WorkerFileEvent,
)
from omkd.protocol.records import OutboxLine, ResultStatus
from omkd.protocol.scalars import U32, Ns, Seq, TaskId, WorkerName

ALLOW = Choice(id="yes", label="Allow once", kind=ChoiceKind.ALLOW_ONCE)
DENY = Choice(id="no", label="no", kind=ChoiceKind.REJECT_ONCE)
ANNA = ByClient(uid=U32(1000), pid=U32(4711))
TICKET = PreflightRequest(
    kind=PreflightKind.LARGE_ESCALATION, headline="start three workers", timeout_ms=U32(1500), ticket_id="k1"
)


def asked(id: str = "t1-1", *, expires: int = 300, worker: str | None = CODER, **more: Any) -> DecisionRequested:
    fields: dict[str, Any] = {"task_id": TaskId("t1"), "handout": U32(1), "choices": [ALLOW, DENY], **more}
    return DecisionRequested(
        decision_id=id,
        summary="wants to run make",
        expires=Ns(expires * SECOND_NS),
        worker=None if worker is None else WorkerName(worker),
        **fields,
    )


def answered(id: str = "t1-1", choice: Choice = ALLOW, note: str = "") -> DecisionAnswered:
    return DecisionAnswered(
        decision_id=id, choice=choice.id, kind=choice.kind, note=note, summary="wants to run make", worker=CODER
    )


def expired(id: str = "t1-1", *, withdrawn: bool = False) -> DecisionExpired:
    return DecisionExpired(decision_id=id, reason="nobody decided in time", withdrawn=withdrawn)


@pytest.fixture
def world() -> World:
    """Task t1 runs at `coder`."""
    world = World()
    world.worker()
    world.send("t1")
    world.hand_out()
    world.run("t1")
    return world


def judged(world: World, event: WorkerFileEvent, worker: str = CODER) -> tuple[Event, ...] | Rejected:
    return judge_event(world.state, world.state.roster.workers[WorkerName(worker)], event, Ns(world.now))


def fault(world: World, event: WorkerFileEvent, worker: str = CODER) -> LineFault:
    verdict = judged(world, event, worker)
    assert isinstance(verdict, Rejected), verdict
    return verdict.fault


# --- the fold ---


def test_a_question_waits_until_it_is_answered(world: World) -> None:
    unit = world.tell(asked())
    decisions = world.state.decisions
    assert list(decisions.open) == ["t1-1"]
    assert unit.seq in world.state.unacked
    end = world.tell(answered(), by=ANNA)
    assert decisions.open == {}
    question = decisions.decided["t1-1"]
    assert (question.ended, question.ended_by, question.ended_seq) == (answered(), ANNA, end.seq)
    assert world.state.unacked == {}


def test_what_expired_needs_a_look_and_what_was_withdrawn_does_not(world: World) -> None:
    world.tell(asked("t1-1"))
    world.tell(asked("t1-2"))
    end = world.tell(expired("t1-1"))
    world.tell(expired("t1-2", withdrawn=True))
    assert list(world.state.unacked) == [end.seq]


def test_an_end_of_what_does_not_wait_changes_nothing(world: World) -> None:
    world.tell(asked())
    world.tell(answered(choice=DENY), by=ANNA)
    world.tell(answered(choice=ALLOW), by=ANNA)
    world.tell(expired("other"))
    assert world.state.decisions.decided["t1-1"].ended == answered(choice=DENY)


def test_of_the_decided_the_newest_thousand_are_kept(world: World) -> None:
    for number in range(KEPT_DECIDED + 2):
        world.tell(asked(f"t1-{number}"))
        world.tell(answered(f"t1-{number}"))
    decided = world.state.decisions.decided
    assert len(decided) == KEPT_DECIDED
    assert next(iter(decided)) == "t1-2"


def test_a_ticket_that_is_used_again_stands_for_the_newer_question() -> None:
    world = World()
    world.tell(TICKET, preflight_question(TICKET, None, Ns(0)))
    world.tell(answered("k1"))
    world.tell(TICKET, preflight_question(TICKET, None, Ns(0)))
    question = world.state.decisions.get("k1")
    assert question is not None
    assert question.ended is None


def test_who_asks_anew_gets_an_id_that_no_question_has(world: World) -> None:
    world.tell(asked("d7"))
    world.tell(asked("d7-2"))
    world.tell(answered("d7"))
    assert world.state.decisions.new_id("d7") == "d7-3"
    assert world.state.decisions.new_id("d8") == "d8"


STEPS = st.lists(st.tuples(st.sampled_from(["ask", "answer", "expire"]), st.integers(1, 4)), max_size=30)


@given(STEPS)
def test_no_id_is_open_twice_and_an_image_goes_on_as_the_fold(steps: list[tuple[str, int]]) -> None:
    """From each point on: the state restored there, and told the rest, is the state told everything."""
    events: dict[str, Callable[[str], Event]] = {"ask": asked, "answer": answered, "expire": expired}
    units = [
        Unit(seq=Seq(number), ts=Ns(number), by=ByOmkd(), synced=Seq(0), events=[events[what](f"t1-{id}")])
        for number, (what, id) in enumerate(steps, 1)
    ]
    whole, world = Decisions(), World()
    for unit in units:
        whole.fold(unit)
    for place, unit in enumerate(units):
        world.state.fold(unit)
        restored = state_from(image_of(world.state)).decisions
        world.state.ledger.end_image()
        for later in units[place + 1 :]:
            restored.fold(later)
        assert restored == whole


# --- time ---


def test_a_question_expires_at_its_time_and_not_before(world: World) -> None:
    world.tell(asked("t1-1", expires=300))
    world.tell(asked("t1-2", expires=200))
    decisions = world.state.decisions
    assert decisions.next_expiry() == 200 * SECOND_NS
    assert decisions.expired(Ns(200 * SECOND_NS - 1)) == []
    assert [each.asked.decision_id for each in decisions.expired(Ns(200 * SECOND_NS))] == ["t1-2"]
    world.tell(expired("t1-2"))
    world.tell(expired("t1-1"))
    assert decisions.next_expiry() is None


def test_a_router_hears_of_its_expiry_in_its_own_words(world: World) -> None:
    world.tell(TICKET, preflight_question(TICKET, None, Ns(0)))
    world.tell(asked())
    ends = [[type(each) for each in ending_of(question, "x")] for question in world.state.decisions.open.values()]
    assert ends == [[DecisionExpired, PreflightResponse], [DecisionExpired]]


# --- a router's question ---


def test_a_preflight_request_is_a_question_with_the_seeds_answers() -> None:
    question = preflight_question(TICKET, None, Ns(SECOND_NS))
    assert question.decision_id == "k1"
    assert question.summary == "large escalation: start three workers"
    assert question.expires == 2.5 * SECOND_NS
    assert [choice.id for choice in question.choices] == ["accept", "explain", "downgrade", "cancel"]
    assert {choice.id for choice in PREFLIGHT_CHOICES} == {each.value for each in PreflightAnswer} - {"timeout"}


def test_a_long_headline_is_cut_in_the_summary_and_whole_below() -> None:
    long = PreflightRequest(
        kind=PreflightKind.LARGE_ESCALATION, headline="a" * 500 + "\nb", timeout_ms=U32(1), ticket_id="k2"
    )
    question = preflight_question(long, None, Ns(0))
    assert len(question.summary) < 250
    assert question.detail == long.headline


def test_a_request_is_not_said_again_while_it_waits(world: World) -> None:
    """The second one was recorded, and neither asked nor answered."""
    said = with_question(world.state, TICKET, None, Ns(0))
    assert isinstance(said, tuple)
    unit = world.tell(*said)
    assert isinstance(with_question(world.state, TICKET, None, Ns(0)), Rejected)
    assert fault(world, TICKET) is LineFault.DUPLICATE
    question = world.state.decisions.get("k1")
    assert question is not None
    assert question.seq == unit.seq
    world.tell(expired("k1"))
    assert isinstance(with_question(world.state, TICKET, None, Ns(0)), tuple)


@pytest.mark.parametrize("waits", [asked("k1"), asked("k1", worker=None)])
def test_a_ticket_that_is_another_questions_id_is_refused(world: World, waits: DecisionRequested) -> None:
    world.tell(waits)
    refused = with_question(world.state, TICKET, None, Ns(0))
    assert isinstance(refused, Rejected)
    assert "'k1' is the id of a question that waits" in refused.detail


def test_a_ticket_that_another_worker_uses_is_refused(world: World) -> None:
    world.worker(DOCS)
    said = judged(world, TICKET)
    assert isinstance(said, tuple)
    world.tell(*said)
    assert fault(world, TICKET, DOCS) is LineFault.DUPLICATE


def test_no_worker_answers_a_router_in_a_persons_place(world: World) -> None:
    accept = PreflightResponse(value=PreflightAnswer.ACCEPT)
    assert judged(world, accept) == (accept,)
    world.tell(TICKET, preflight_question(TICKET, None, Ns(0)))
    verdict = judged(world, accept)
    assert isinstance(verdict, Rejected)
    assert verdict.detail == PERSON_ANSWERS


# --- what a worker's file says ---


def test_a_question_of_a_run_in_hand_is_taken(world: World) -> None:
    assert judged(world, asked()) == (asked(),)


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (asked(worker=DOCS), LineFault.NOT_YOURS),
        (asked(worker=None), LineFault.NOT_YOURS),
        (asked(task_id=None), LineFault.NOT_YOURS),
        (asked(task_id=TaskId("t9")), LineFault.UNKNOWN_TASK),
        (asked("t1.2-1", handout=U32(2)), LineFault.UNKNOWN_TASK),
        (asked("d5"), LineFault.NOT_YOURS),
        (asked("t1"), LineFault.NOT_YOURS),
        (asked(choices=[]), LineFault.WRONG_TYPE),
        (asked(choices=[ALLOW, ALLOW]), LineFault.WRONG_TYPE),
    ],
)
def test_a_question_that_is_not_its_own_or_cannot_be_answered_is_rejected(
    world: World, event: DecisionRequested, expected: LineFault
) -> None:
    assert fault(world, event) is expected


def test_what_is_wrong_with_a_question_of_no_task_is_said(world: World) -> None:
    verdict = judged(world, asked(task_id=None))
    assert isinstance(verdict, Rejected)
    assert verdict.detail == "task_id of t1-1 is null: name a task in hand"


def test_a_question_is_asked_once(world: World) -> None:
    world.tell(asked())
    assert fault(world, asked()) is LineFault.DUPLICATE
    world.tell(answered())
    assert fault(world, asked()) is LineFault.DUPLICATE


def test_a_worker_says_that_its_question_is_over_while_it_waits(world: World) -> None:
    world.tell(asked())
    verdict = judged(world, expired())
    assert isinstance(verdict, tuple)
    (end,) = verdict
    assert isinstance(end, DecisionExpired)
    assert (end.summary, end.worker, end.task_id) == ("wants to run make", CODER, "t1")


def test_that_it_expired_may_be_said_by_both_sides(world: World) -> None:
    world.tell(asked())
    world.tell(expired())
    assert judged(world, expired()) == ()


def test_a_worker_ends_no_question_that_was_answered_or_is_anothers(world: World) -> None:
    world.worker(DOCS)
    world.tell(asked())
    assert fault(world, expired(), DOCS) is LineFault.NOT_YOURS
    assert fault(world, expired("t1-9")) is LineFault.NOT_YOURS
    world.tell(answered())
    assert fault(world, expired()) is LineFault.LATE


def test_what_a_run_asked_is_withdrawn_with_its_result(world: World) -> None:
    world.tell(asked("t1-1"))
    world.tell(asked("t1-2"))
    world.tell(asked("d9", task_id=None, handout=U32(0)))
    line = OutboxLine(task_id="t1", status=ResultStatus.SUCCESS)
    verdict = judge_result(world.state, world.state.roster.workers[CODER], line, Ns(0))
    assert isinstance(verdict, tuple)
    ends = [each for each in verdict if isinstance(each, DecisionExpired)]
    assert [(each.decision_id, each.withdrawn, each.reason) for each in ends] == [
        ("t1-1", True, "its run ended"),
        ("t1-2", True, "its run ended"),
    ]
    world.tell(*verdict, src=source())
    assert list(world.state.decisions.open) == ["d9"]


def test_only_the_hand_out_that_asked_withdraws(world: World) -> None:
    world.tell(asked("t1.2-1", handout=U32(2)))
    assert list(withdrawn_questions(world.state, world.task("t1"))) == []


def test_a_worker_that_is_removed_withdraws_all_it_asked(world: World) -> None:
    world.tell(asked("t1-1"))
    world.tell(TICKET, preflight_question(TICKET, CODER, Ns(0)))
    world.tell(asked("d1", worker=None))
    world.tell(*withdrawn_of_worker(world.state, CODER))
    assert list(world.state.decisions.open) == ["d1"]


# --- in words ---


@pytest.mark.parametrize(
    ("by", "words"),
    [
        (ANNA, "uid 1000 (pid 4711)"),
        (ByWorker(worker=CODER), "worker coder"),
        (ByUnknown(uid=U32(0), pid=U32(3)), "an unknown process (pid 3)"),
        (ByOmkd(), "omkd"),
    ],
)
def test_who_that_was(by: By, words: str) -> None:
    assert by_words(by) == words


@pytest.mark.parametrize(
    ("end", "words"),
    [
        (answered(), "yes (Allow once), by uid 1000 (pid 4711), at 1970-01-01T00:00:00Z"),
        (answered(choice=DENY, note="use x"), "no, by uid 1000 (pid 4711), at 1970-01-01T00:00:00Z: use x"),
        (expired(), "expired, at 1970-01-01T00:00:00Z: nobody decided in time"),
        (expired(withdrawn=True), "withdrawn, at 1970-01-01T00:00:00Z: nobody decided in time"),
    ],
)
def test_what_became_of_a_question(world: World, end: Event, words: str) -> None:
    world.tell(asked())
    assert decided_words(world.state.decisions.open["t1-1"]) == "not decided"
    world.tell(end, by=ANNA)
    assert decided_words(world.state.decisions.decided["t1-1"]) == words


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ([], "there is none"),
        ([Choice(id="", label="", kind=ChoiceKind.OTHER)], "the id of one is empty"),
        ([ALLOW, DENY, ALLOW], "two have the id 'yes'"),
        ([ALLOW, DENY], None),
    ],
)
def test_choices_that_nobody_could_choose_from(choices: list[Choice], words: str | None) -> None:
    assert choices_fault(choices) == words


# --- in the escalation log ---


@pytest.mark.parametrize(
    ("event", "kind", "summary", "needs"),
    [
        (asked(), EscalationKind.ROUTER_ESCALATION, "decide: wants to run make", True),
        (answered(choice=DENY), EscalationKind.REFUSED, "denied: wants to run make", False),
        (answered(choice=DENY, note="no"), EscalationKind.REFUSED, "denied: wants to run make: no", False),
        (expired(), EscalationKind.REFUSED, "expired: t1-1: nobody decided in time", True),
        (answered(), None, None, False),
        (expired(withdrawn=True), None, None, False),
    ],
)
def test_the_line_of_the_escalation_log(
    event: Event, kind: EscalationKind | None, summary: str | None, needs: bool
) -> None:
    entry = entry_from_event(event, 0)
    assert (None if entry is None else (entry.kind, entry.summary, entry.auto_proceed)) == (
        None if kind is None else (kind, summary, False)
    )
    assert needs_person(event) is needs
