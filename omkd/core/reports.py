"""What a worker says in its files, judged: the events it becomes, or why it is rejected (design, §3.5, §4).

Nobody speaks for another: a result counts only for the hand-out that this worker has in hand.
"""

from collections.abc import Iterator
from typing import Final, assert_never

from attrs import frozen

from omkd.protocol.events import (
    DecisionExpired,
    DecisionRequested,
    Event,
    LineFault,
    PersonNeeded,
    PreflightRequest,
    PreflightResponse,
    TaskCancelled,
    TaskFinished,
    TaskHeld,
    TaskRequeued,
    TaskStarted,
    WorkerCompleted,
    WorkerFileEvent,
    WorkerStarted,
)
from omkd.protocol.handout import handout_id, task_of_handout
from omkd.protocol.limits import HEADLINE_CHARS
from omkd.protocol.records import OnInterrupt, OutboxLine, Outcome, ResultStatus
from omkd.protocol.scalars import U32, Ns, WorkerName

from .decisions import choices_fault, expired_event, preflight_question
from .decisions import ending_of as ending_of_question
from .ledger import Ledger, TaskEntry
from .roster import WorkerEntry
from .state import State

MAX_INTERRUPTIONS: Final = 3
"""A task that kills its host does not do so for ever (design, §4)."""

PERSON_ANSWERS: Final = "a PreflightRequest waits for a person: a worker does not answer it"

NOT_DONE: Final = (Outcome.LATER, Outcome.INTERRUPTED)

BACKOFF_FIRST_S: Final = 5
BACKOFF_MAX_S: Final = 600
NS_PER_S: Final = 1_000_000_000


@frozen(kw_only=True)
class Rejected:
    """`task_id` is what the line named, `in_hand` whether that task is at this worker."""

    fault: LineFault
    detail: str
    task_id: str | None = None
    in_hand: bool = False


Verdict = tuple[Event, ...] | Rejected


def judge_result(state: State, worker: WorkerEntry, line: OutboxLine, now: Ns) -> Verdict:
    """The events of a line of `worker`'s outbox. `now`: for the time of a retry."""
    entry = entry_in_hand(state.ledger, worker.name, line.task_id)
    if isinstance(entry, Rejected):
        return entry
    begun = () if entry.started is not None else started_events(entry, worker)
    completed = WorkerCompleted(
        worker_id=worker.name,
        files_touched=U32(len(line.artifacts)),
        ok=line.status is ResultStatus.SUCCESS,
    )
    return (*begun, *ending_of(entry, worker, line, now), completed, *withdrawn_questions(state, entry))


def withdrawn_questions(state: State, entry: TaskEntry) -> Iterator[Event]:
    """What the run asked and nobody answered: it no longer waits."""
    for question in state.decisions.of_handout(entry.id, entry.handout):
        yield expired_event(question, "its run ended", withdrawn=True)


def withdrawn_of_worker(state: State, worker: WorkerName) -> Iterator[Event]:
    """What a worker that goes away asked, in a run or outside of one."""
    for question in state.decisions.of_worker(worker):
        yield from ending_of_question(question, f"worker {worker} was removed", withdrawn=True)


def ending_of(entry: TaskEntry, worker: WorkerEntry, line: OutboxLine, now: Ns) -> tuple[Event, ...]:
    """How the hand-out ends the task, or brings it back into the queue. A cancelled task is not run again."""
    if line.outcome is Outcome.CANCELLED or (entry.cancel_reason is not None and line.outcome in NOT_DONE):
        return (cancelled(entry, worker, line),)
    match line.outcome:
        case Outcome.LATER:
            not_before = line.not_before or Ns(now + BACKOFF_FIRST_S * NS_PER_S)
            why = f"later: {line.summary}" if line.summary else "later"
            return (requeued(entry, worker, line, Outcome.LATER, why, not_before),)
        case Outcome.INTERRUPTED:
            return after_interruption(entry, worker, line)
        case Outcome.DONE | None:
            return after_end(entry, worker, line, now)
        case _:
            assert_never(line.outcome)


def after_interruption(entry: TaskEntry, worker: WorkerEntry, line: OutboxLine) -> tuple[Event, ...]:
    policy = OnInterrupt.RERUN if worker.runner is None else worker.runner.on_interrupt
    if policy is OnInterrupt.FAIL or entry.interruptions + 1 >= MAX_INTERRUPTIONS:
        return (finished(entry, worker, line, Outcome.INTERRUPTED),)
    why = f"hand-out {entry.handout} was interrupted"
    again = requeued(entry, worker, line, Outcome.INTERRUPTED, why, None)
    return (again, TaskHeld(task_id=entry.id)) if policy is OnInterrupt.HOLD else (again,)


def after_end(entry: TaskEntry, worker: WorkerEntry, line: OutboxLine, now: Ns) -> tuple[Event, ...]:
    retries = entry.retries
    if retries is None:
        retries = 0 if worker.runner is None else worker.runner.retries
    if line.status is not ResultStatus.FAILED or entry.failures >= retries or entry.cancel_reason is not None:
        return (finished(entry, worker, line, Outcome.DONE),)
    why = f"failed, retry {entry.failures + 1} of {retries}"
    return (requeued(entry, worker, line, Outcome.DONE, why, Ns(now + backoff_s(entry.failures) * NS_PER_S)),)


def finished(entry: TaskEntry, worker: WorkerEntry, line: OutboxLine, outcome: Outcome) -> TaskFinished:
    return TaskFinished(
        task_id=entry.id, handout=U32(entry.handout), worker=worker.name, result=line.result(), outcome=outcome
    )


def requeued(
    entry: TaskEntry, worker: WorkerEntry, line: OutboxLine, outcome: Outcome, why: str, not_before: Ns | None
) -> TaskRequeued:
    return TaskRequeued(
        task_id=entry.id,
        handout=U32(entry.handout),
        worker=worker.name,
        outcome=outcome,
        why=why,
        not_before=not_before,
        result=line.result(),
    )


def cancelled(entry: TaskEntry, worker: WorkerEntry, line: OutboxLine) -> TaskCancelled:
    reason = line.summary if entry.cancel_reason is None else entry.cancel_reason
    return TaskCancelled(task_id=entry.id, worker=worker.name, reason=reason, result=line.result())


def judge_event(state: State, worker: WorkerEntry, event: WorkerFileEvent, now: Ns) -> Verdict:
    """The events of a line of `worker`'s `events.jsonl`."""
    if isinstance(event, TaskStarted):
        entry = entry_in_hand(state.ledger, worker.name, event.task_id)
        if isinstance(entry, Rejected):
            return entry
        if entry.started is not None:
            return Rejected(
                fault=LineFault.DUPLICATE,
                detail=f"{event.task_id} was started already",
                task_id=event.task_id,
                in_hand=True,
            )
        return started_events(entry, worker)
    if isinstance(event, DecisionRequested | DecisionExpired):
        return judge_decision(state, worker, event)
    if isinstance(event, PreflightRequest):
        return with_question(state, event, worker.name, now)
    if isinstance(event, PreflightResponse) and state.decisions.awaits_preflight():
        return Rejected(fault=LineFault.NOT_YOURS, detail=PERSON_ANSWERS)
    return spoken_by(worker.name, event)


def judge_decision(state: State, worker: WorkerEntry, event: DecisionRequested | DecisionExpired) -> Verdict:
    """A question of a run in hand, once; and that it is over, while it waits.

    That it is over may be said by both sides at the same moment: the second time it is no news, and no fault.
    """
    if isinstance(event, DecisionExpired):
        question = state.decisions.get(event.decision_id)
        if question is None or question.asked.worker != worker.name:
            return Rejected(fault=LineFault.NOT_YOURS, detail=f"no question {event.decision_id} of {worker.name}")
        match question.ended:
            case None:
                return ending_of_question(question, event.reason, withdrawn=event.withdrawn)
            case DecisionExpired():
                return ()
            case _:
                return Rejected(fault=LineFault.LATE, detail=f"question {event.decision_id} is decided already")
    if event.worker != worker.name:
        return Rejected(fault=LineFault.NOT_YOURS, detail=f"a question of {event.worker}, not of {worker.name}")
    if event.task_id is None:
        return Rejected(
            fault=LineFault.NOT_YOURS, detail=f"task_id of {event.decision_id} is null: name a task in hand"
        )
    entry = entry_in_hand(state.ledger, worker.name, handout_id(event.task_id, event.handout))
    if isinstance(entry, Rejected):
        return entry
    prefix = f"{handout_id(entry.id, entry.handout)}-"
    if not event.decision_id.startswith(prefix):
        return Rejected(fault=LineFault.NOT_YOURS, detail=f"decision_id {event.decision_id!r} is not {prefix}<n>")
    if (fault := choices_fault(event.choices)) is not None:
        return Rejected(fault=LineFault.WRONG_TYPE, detail=f"choices of {event.decision_id}: {fault}")
    if state.decisions.get(event.decision_id) is not None:
        return Rejected(fault=LineFault.DUPLICATE, detail=f"question {event.decision_id} was asked already")
    return (event,)


def with_question(state: State, event: PreflightRequest, worker: WorkerName | None, now: Ns) -> Verdict:
    """A router's request is a question too. Nobody would answer a second one of its ticket, so there is none."""
    if event.ticket_id in state.decisions.open:
        detail = (
            f"ticket {event.ticket_id!r} is the id of a question that waits: wait for its answer, or take a new one"
        )
        return Rejected(fault=LineFault.DUPLICATE, detail=detail)
    return (event, preflight_question(event, worker, now))


def spoken_by(worker: WorkerName, event: WorkerFileEvent) -> Verdict:
    """An event that `worker` publishes: with its own `worker_id` only."""
    if isinstance(event, PersonNeeded) and event.worker_id is None:
        return (PersonNeeded(text=event.text, worker_id=worker, task_id=event.task_id),)
    named = getattr(event, "worker_id", worker)
    if named != worker:
        return Rejected(fault=LineFault.NOT_YOURS, detail=f"worker_id is {named!r}, this file is {worker!r}'s")
    return (event,)


def started_events(entry: TaskEntry, worker: WorkerEntry) -> tuple[Event, ...]:
    """A hand-out begins: the fact, and the seeds' event in the same unit."""
    return (
        TaskStarted(task_id=entry.id, handout=U32(entry.handout)),
        WorkerStarted(worker_id=worker.name, kind=worker.spec.role, task=headline(entry.task.task)),
    )


def entry_in_hand(ledger: Ledger, worker: WorkerName, named: str) -> TaskEntry | Rejected:
    """The task whose hand-out `named` is in hand at `worker`."""
    task_id, handout = task_of_handout(named)
    entry = ledger.tasks.get(task_id)
    if entry is None or entry.handout == 0 or handout > entry.handout:
        return Rejected(fault=LineFault.UNKNOWN_TASK, detail=f"{named!r} was never handed out", task_id=named)
    if entry.in_hand and entry.worker == worker and entry.handout == handout:
        return entry
    if entry.worker != worker:
        detail = f"{named} is not at {worker} but {entry.state.value} at {entry.worker}"
        return Rejected(fault=LineFault.NOT_YOURS, detail=detail, task_id=named)
    if entry.handout == handout and entry.result is not None:
        return Rejected(fault=LineFault.DUPLICATE, detail=f"{named} has a result already", task_id=named)
    return Rejected(fault=LineFault.LATE, detail=f"{named} is {entry.state.value} by now", task_id=named)


def headline(text: str) -> str:
    """The first line of a task, cut."""
    return text.partition("\n")[0][:HEADLINE_CHARS]


def backoff_s(failures: int) -> int:
    """Until the next try: 5 s doubling, 10 min at most."""
    return min(BACKOFF_MAX_S, BACKOFF_FIRST_S << min(failures, 16))
