"""Questions that wait for a person, and what became of them, as the fold of the event log."""

from typing import Final, assert_never

from attrs import Factory, define, evolve, frozen

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
    PreflightAnswer,
    PreflightRequest,
    PreflightResponse,
    Unit,
)
from omkd.protocol.limits import HEADLINE_CHARS
from omkd.protocol.scalars import Ns, Seq, TaskId, WorkerName
from omkd.protocol.timestamps import format_ns

KEPT_DECIDED: Final = 1000
"""Of decided questions, so that a second answer can be told what was decided; the log has all."""

PREFLIGHT_CHOICES: Final = [
    Choice(id=answer.value, label=answer.value, kind=kind)
    for answer, kind in (
        (PreflightAnswer.ACCEPT, ChoiceKind.ALLOW_ONCE),
        (PreflightAnswer.EXPLAIN, ChoiceKind.OTHER),
        (PreflightAnswer.DOWNGRADE, ChoiceKind.OTHER),
        (PreflightAnswer.CANCEL, ChoiceKind.REJECT_ONCE),
    )
]
"""The seeds' PreflightAnswer, but for `timeout`, which nobody chooses."""

NS_PER_MS: Final = 1_000_000


@frozen(kw_only=True)
class Question:
    """One question; `seq` is the unit that asked, `ended` how it ended (None: it waits), `ended_seq` the unit that says
    so and `ended_by` who ended it."""

    asked: DecisionRequested
    seq: Seq
    ts: Ns
    by: By
    is_preflight: bool = False
    ended: DecisionAnswered | DecisionExpired | None = None
    ended_at: Ns | None = None
    ended_by: By | None = None
    ended_seq: Seq | None = None


@define
class Decisions:
    """`open` by id, oldest first; `decided` the newest thousand."""

    open: dict[str, Question] = Factory(dict)
    decided: dict[str, Question] = Factory(dict)

    def fold(self, unit: Unit) -> None:
        is_preflight = any(isinstance(event, PreflightRequest) for event in unit.events)
        for event in unit.events:
            match event:
                case DecisionRequested():
                    self.open[event.decision_id] = Question(
                        asked=event, seq=unit.seq, ts=unit.ts, by=unit.by, is_preflight=is_preflight
                    )
                case DecisionAnswered() | DecisionExpired():
                    self._end(event, unit)
                case _:
                    pass

    def _end(self, event: DecisionAnswered | DecisionExpired, unit: Unit) -> None:
        question = self.open.pop(event.decision_id, None)
        if question is None:
            return
        self.decided.pop(event.decision_id, None)  # an older one of this id
        self.decided[event.decision_id] = evolve(
            question, ended=event, ended_at=unit.ts, ended_by=unit.by, ended_seq=unit.seq
        )
        if len(self.decided) > KEPT_DECIDED:
            del self.decided[next(iter(self.decided))]

    def get(self, decision_id: str) -> Question | None:
        return self.open.get(decision_id) or self.decided.get(decision_id)

    def next_expiry(self) -> Ns | None:
        return min((question.asked.expires for question in self.open.values()), default=None)

    def expired(self, now: Ns) -> list[Question]:
        return [question for question in self.open.values() if question.asked.expires <= now]

    def of_handout(self, task_id: TaskId, handout: int) -> list[Question]:
        """Those that a run asked and that wait."""
        return [
            question
            for question in self.open.values()
            if question.asked.task_id == task_id and question.asked.handout == handout
        ]

    def of_worker(self, worker: WorkerName) -> list[Question]:
        """Those that a worker asked and that wait."""
        return [question for question in self.open.values() if question.asked.worker == worker]

    def new_id(self, wanted: str) -> str:
        """`wanted`, or `wanted-2` and so on where a question has that id: tickets are chosen by who asks."""
        number, found = 1, wanted
        while self.get(found) is not None:
            number += 1
            found = f"{wanted}-{number}"
        return found

    def awaits_preflight(self) -> bool:
        return self.oldest_preflight() is not None

    def oldest_preflight(self) -> Question | None:
        """Of a router's questions that wait."""
        return next((question for question in self.open.values() if question.is_preflight), None)


def preflight_question(event: PreflightRequest, worker: WorkerName | None, now: Ns) -> DecisionRequested:
    """The question that a router's PreflightRequest is; its ticket is its id."""
    first = event.headline.partition("\n")[0][:HEADLINE_CHARS]
    return DecisionRequested(
        decision_id=event.ticket_id,
        summary=f"{event.kind.value.replace('_', ' ')}: {first}",
        detail="" if first == event.headline else event.headline,
        choices=PREFLIGHT_CHOICES,
        expires=Ns(now + event.timeout_ms * NS_PER_MS),
        worker=worker,
    )


def expired_event(question: Question, reason: str, *, withdrawn: bool) -> DecisionExpired:
    asked = question.asked
    return DecisionExpired(
        decision_id=asked.decision_id,
        reason=reason,
        summary=asked.summary,
        worker=asked.worker,
        task_id=asked.task_id,
        withdrawn=withdrawn,
    )


def ending_of(question: Question, reason: str, *, withdrawn: bool = False) -> tuple[Event, ...]:
    """Nobody decided; a router that asked hears it in its own words too."""
    expired = expired_event(question, reason, withdrawn=withdrawn)
    return (expired, PreflightResponse(value=PreflightAnswer.TIMEOUT)) if question.is_preflight else (expired,)


def choices_fault(choices: list[Choice]) -> str | None:
    """Why nobody could choose from these; None: one can."""
    ids = [choice.id for choice in choices]
    if not ids:
        return "there is none"
    if "" in ids:
        return "the id of one is empty"
    twice = next((each for each in ids if ids.count(each) > 1), None)
    return None if twice is None else f"two have the id {twice!r}"


def decided_words(question: Question) -> str:
    """What became of a question that ended: `allow (Allow once), by uid 1000 (pid 4711), at …Z: note`."""
    when = "" if question.ended_at is None else f", at {format_ns(question.ended_at)}"
    match question.ended:
        case DecisionAnswered(choice=choice, note=note):
            label = next((each.label for each in question.asked.choices if each.id == choice), choice)
            what = choice if label == choice else f"{choice} ({label})"
            by = "" if question.ended_by is None else f", by {by_words(question.ended_by)}"
            return f"{what}{by}{when}" + (f": {note}" if note else "")
        case DecisionExpired(withdrawn=True, reason=reason):
            return f"withdrawn{when}: {reason}"
        case DecisionExpired(reason=reason):
            return f"expired{when}: {reason}"
        case None:
            return "not decided"
        case _:
            assert_never(question.ended)


def by_words(by: By) -> str:
    """Who that was, in words."""
    match by:
        case ByWorker(worker=name):
            return f"worker {name}"
        case ByClient(uid=uid, pid=pid):
            return f"uid {uid} (pid {pid})"
        case ByUnknown(pid=pid):
            return f"an unknown process (pid {pid})"
        case ByOmkd():
            return "omkd"
        case _:
            assert_never(by)
