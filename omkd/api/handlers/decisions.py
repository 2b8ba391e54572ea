"""decision.list, answer, ask: questions that wait for a person."""

from typing import Final

from omkd.api.calls import Answer, Call
from omkd.core.decisions import Question
from omkd.protocol.errors import ApiError, ErrorKind
from omkd.protocol.events import (
    ByClient,
    Choice,
    ChoiceKind,
    DecisionAnswered,
    DecisionExpired,
    DecisionRequested,
    Event,
    PreflightAnswer,
    PreflightResponse,
)
from omkd.protocol.methods import (
    Decision,
    DecisionAnswerParams,
    DecisionAskParams,
    DecisionListParams,
    DecisionListResult,
    DecisionState,
    DecisionWaitParams,
)
from omkd.protocol.nearest import hint
from omkd.protocol.scalars import Ns
from omkd.services.hub import Hub
from omkd.store.event_log import Draft

from .tasks import invalid

NS_PER_S: Final = 1_000_000_000

YES_OR_NO: Final = [
    Choice(id="allow", label="Allow", kind=ChoiceKind.ALLOW_ONCE),
    Choice(id="deny", label="Deny", kind=ChoiceKind.REJECT_ONCE),
]


def list_decisions(call: Call, params: DecisionListParams) -> Answer:
    """Oldest first; those that wait, or with `all` the newest decided ones before them."""
    decisions = call.hub.state.decisions
    found = [*decisions.decided.values(), *decisions.open.values()] if params.all else list(decisions.open.values())
    found.sort(key=lambda question: question.seq)
    return Answer(result=DecisionListResult(decisions=[view(each) for each in found]), seq=call.hub.log.written)


def answer(call: Call, params: DecisionAnswerParams) -> Answer:
    """The first answer counts; a second is told what was decided, and by whom."""
    hub = call.hub
    question = question_of(hub, params.id)
    refuse_unless_person(call)
    if question.ended is not None:
        decided = view(question)
        text = f"{params.id} is {decided.state.value} already"
        text += f": {decided.choice}, by {decided.ended_by}" if decided.choice is not None else ""
        raise ApiError(ErrorKind.CONFLICT, text, id=params.id, state=decided.state.value, choice=decided.choice)
    choice = chosen(question, params)
    asked = question.asked
    answered = DecisionAnswered(
        decision_id=asked.decision_id,
        choice=choice.id,
        kind=choice.kind,
        note=params.note,
        summary=asked.summary,
        worker=asked.worker,
        task_id=asked.task_id,
    )
    events: tuple[Event, ...] = (answered,)
    if question.is_preflight:
        events = (answered, PreflightResponse(value=PreflightAnswer(choice.id)))
    unit = hub.log.append(Draft(by=call.caller.by(), events=events))
    return Answer(result=view(question_of(hub, params.id)), seq=unit.seq)


def ask(call: Call, params: DecisionAskParams) -> Answer:
    """Records a question; `decision.wait` waits for its answer."""
    hub = call.hub
    if not params.summary.strip():
        raise invalid("summary", "it is empty: say what is to be decided")
    requested = DecisionRequested(
        decision_id=f"d{hub.log.next_seq}",
        summary=params.summary,
        detail=params.detail,
        choices=params.choices or YES_OR_NO,
        expires=Ns(hub.now() + params.timeout_secs * NS_PER_S),
    )
    unit = hub.log.append(Draft(by=call.caller.by(), events=(requested,)))
    return Answer(result=view(question_of(hub, requested.decision_id)), seq=unit.seq)


async def wait(call: Call, params: DecisionWaitParams) -> Answer:
    """Answered once it is decided or expired; who stops waiting changes nothing."""
    hub = call.hub
    while question_of(hub, params.id).ended is None:
        await hub.log.wait_beyond(hub.log.written)
    await hub.log.commit(hub.log.written)
    return Answer(result=view(question_of(hub, params.id)))


def chosen(question: Question, params: DecisionAnswerParams) -> Choice:
    """The choice that is named, or the only one of the wanted kind. Raises ApiError."""
    choices = question.asked.choices
    for choice in choices:
        if choice.id == params.choice:
            return choice
    wanted = [choice for choice in choices if choice.kind.value == params.choice]
    if len(wanted) == 1:
        return wanted[0]
    known = ", ".join(f"{choice.id} ({choice.label})" for choice in choices)
    raise invalid("choice", f"{params.id} has no choice {params.choice!r}: there are {known}")


def refuse_unless_person(call: Call) -> None:
    """A worker, or who cannot be told, decides nothing."""
    by = call.caller.by()
    if not isinstance(by, ByClient):
        text = "only a person may decide: this connection belongs to a worker, or to a process that cannot be told"
        raise ApiError(ErrorKind.REFUSED, text)


def question_of(hub: Hub, decision_id: str) -> Question:
    question = hub.state.decisions.get(decision_id)
    if question is None:
        text = f"no question {decision_id!r}{hint(decision_id, hub.state.decisions.open, 'none waits')}"
        raise ApiError(ErrorKind.NOT_FOUND, text, id=decision_id)
    return question


def view(question: Question) -> Decision:
    asked = question.asked
    state, choice, note = DecisionState.OPEN, None, ""
    match question.ended:
        case DecisionAnswered():
            state, choice, note = DecisionState.ANSWERED, question.ended.choice, question.ended.note
        case DecisionExpired():
            state, note = DecisionState.EXPIRED, question.ended.reason
        case None:
            pass
    return Decision(
        id=asked.decision_id,
        state=state,
        summary=asked.summary,
        detail=asked.detail,
        choices=asked.choices,
        worker=asked.worker,
        task_id=asked.task_id,
        seq=question.seq,
        asked=question.ts,
        expires=asked.expires,
        asked_by=question.by,
        choice=choice,
        note=note,
        ended=question.ended_at,
        ended_by=question.ended_by,
    )
