"""decision.list, answer, ask: questions that wait for a person."""

from collections.abc import Iterable
from typing import Final

from omkd.api.calls import Answer, Call
from omkd.api.pages import first_that_fit
from omkd.core.decisions import Question, choices_fault, decided_words
from omkd.protocol import codec
from omkd.protocol.errors import ApiError, ErrorKind
from omkd.protocol.events import (
    By,
    ByClient,
    ByWorker,
    Choice,
    ChoiceKind,
    DecisionAnswered,
    DecisionExpired,
    DecisionRequested,
    Event,
    PreflightAnswer,
    PreflightResponse,
)
from omkd.protocol.limits import TASK_BYTES
from omkd.protocol.methods import (
    Decision,
    DecisionAnswerParams,
    DecisionAskParams,
    DecisionListParams,
    DecisionListResult,
    DecisionState,
    DecisionWaitParams,
    TaskState,
)
from omkd.protocol.nearest import hint, shown_name
from omkd.protocol.scalars import U32, Ns, TaskId
from omkd.services.hub import Hub
from omkd.store.event_log import Draft

from .tasks import invalid

NS_PER_S: Final = 1_000_000_000

YES_OR_NO: Final = [
    Choice(id="allow", label="Allow", kind=ChoiceKind.ALLOW_ONCE),
    Choice(id="deny", label="Deny", kind=ChoiceKind.REJECT_ONCE),
]


def list_decisions(call: Call, params: DecisionListParams) -> Answer:
    """Oldest first: those that wait, with `all` the newest decided ones, too; as many as fit, those that wait first."""
    decisions = call.hub.state.decisions
    decided = reversed(by_age(decisions.decided.values())) if params.all else ()
    found = first_that_fit(view(each) for each in (*by_age(decisions.open.values()), *decided))
    found.sort(key=lambda decision: decision.seq)
    return Answer(result=DecisionListResult(decisions=found), seq=call.hub.log.written)


def by_age(questions: Iterable[Question]) -> list[Question]:
    return sorted(questions, key=lambda question: question.seq)


def answer(call: Call, params: DecisionAnswerParams) -> Answer:
    """The first answer counts; a second is told what was decided, and by whom."""
    hub = call.hub
    refuse_unless_person(call)
    question = question_of(hub, params.id)
    if question.ended is not None:
        decided = view(question)
        text = f"{params.id} was decided already: {decided_words(question)}"
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
    """Records a question; `decision.wait` waits for its answer. One that a worker's agent asks is over with its run."""
    hub, by = call.hub, call.caller.by()
    check_question(params)
    task_id, handout = run_of(hub, by)
    requested = DecisionRequested(
        decision_id=hub.state.decisions.new_id(f"d{hub.log.next_seq}"),
        summary=params.summary,
        detail=params.detail,
        choices=params.choices or YES_OR_NO,
        expires=Ns(hub.now() + params.timeout_secs * NS_PER_S),
        worker=by.worker if isinstance(by, ByWorker) else None,
        task_id=task_id,
        handout=handout,
    )
    unit = hub.log.append(Draft(by=by, events=(requested,)))
    return Answer(result=view(question_of(hub, requested.decision_id)), seq=unit.seq)


def check_question(params: DecisionAskParams) -> None:
    """Raises ApiError for a question that nobody could answer."""
    if not params.summary.strip():
        raise invalid("summary", "it is empty: say what is to be decided")
    if params.choices and (fault := choices_fault(params.choices)) is not None:
        raise invalid("choices", fault)
    if params.timeout_secs == 0:
        raise invalid("timeout_secs", "a question with no time to answer would expire at once")
    if (size := len(codec.dumps(params))) > TASK_BYTES:
        text = f"the question has {size} bytes, at most {TASK_BYTES} are taken"
        raise ApiError(ErrorKind.TOO_LARGE, text, limit=TASK_BYTES)


def run_of(hub: Hub, by: By) -> tuple[TaskId | None, U32]:
    """What the worker that asks runs now."""
    if isinstance(by, ByWorker):
        for entry in hub.state.ledger.in_hand(by.worker).values():
            if entry.state is TaskState.RUNNING:
                return entry.id, U32(entry.handout)
    return None, U32(0)


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
    raise invalid("choice", f"{params.id} has no choice {shown_name(params.choice)}: there are {known}")


def refuse_unless_person(call: Call) -> None:
    """A worker, or who cannot be told, decides nothing."""
    by = call.caller.by()
    if not isinstance(by, ByClient):
        text = "only a person may decide: this connection belongs to a worker, or to a process that cannot be told"
        raise ApiError(ErrorKind.REFUSED, text)


def question_of(hub: Hub, decision_id: str) -> Question:
    question = hub.state.decisions.get(decision_id)
    if question is None:
        text = f"no question {shown_name(decision_id)}{hint(decision_id, hub.state.decisions.open, 'none waits')}"
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
