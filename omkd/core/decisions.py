"""Questions that wait for a person, and what became of them, as the fold of the event log."""

from typing import Final

from attrs import Factory, define, frozen

from omkd.protocol.events import (
    By,
    Choice,
    ChoiceKind,
    DecisionAnswered,
    DecisionExpired,
    DecisionRequested,
    PreflightAnswer,
    PreflightRequest,
    Unit,
)
from omkd.protocol.scalars import Ns, Seq, TaskId, WorkerName

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
    """One question; `seq` is the unit that asked, `ended` how it ended (None: it waits) and `ended_by` who ended it."""

    asked: DecisionRequested
    seq: Seq
    ts: Ns
    by: By
    is_preflight: bool = False
    ended: DecisionAnswered | DecisionExpired | None = None
    ended_at: Ns | None = None
    ended_by: By | None = None


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
        self.decided[event.decision_id] = Question(
            asked=question.asked,
            seq=question.seq,
            ts=question.ts,
            by=question.by,
            is_preflight=question.is_preflight,
            ended=event,
            ended_at=unit.ts,
            ended_by=unit.by,
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


def preflight_question(event: PreflightRequest, worker: WorkerName | None, now: Ns) -> DecisionRequested:
    """The question that a router's PreflightRequest is; its ticket is its id."""
    return DecisionRequested(
        decision_id=event.ticket_id,
        summary=f"{event.kind.value.replace('_', ' ')}: {event.headline}",
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
