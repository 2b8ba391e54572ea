"""The escalation log's lines: what of the event log a person ought to see (source: seeds, `escalation_log.rs`).

The seeds' closed set of kinds, so that a Rust reader reads every line; omkd's own events are put into them.
"""

from enum import Enum
from typing import Final, assert_never

from attrs import frozen

from .events import (
    AutonomousProceed,
    ChildGoalCreated,
    ChildGoalEvent,
    ChoiceKind,
    ClassifierDecided,
    CostDelta,
    CostSoftCapWarning,
    DaemonStarted,
    DaemonStopped,
    DecisionAnswered,
    DecisionExpired,
    DecisionRequested,
    DisclosureLine,
    EscalationAcked,
    Event,
    GoalCancelled,
    GoalCreated,
    GoalEvent,
    GoalFailed,
    GoalGateTransition,
    GoalPlanUpdated,
    GoalProofReady,
    GoalSliceOpened,
    GoalWorkerCompleted,
    GoalWorkerProgress,
    GoalWorkerStarted,
    Intent,
    LineRejected,
    LogDamaged,
    PersonNeeded,
    PreflightRequest,
    PreflightResponse,
    Refused,
    RouterEscalating,
    TaskCancelled,
    TaskCancelRequested,
    TaskDispatched,
    TaskFinished,
    TaskHeld,
    TaskLost,
    TaskQueued,
    TaskReleased,
    TaskRequeued,
    TaskStarted,
    TaskUpdated,
    WorkerCompleted,
    WorkerExited,
    WorkerInboxRenewed,
    WorkerPaused,
    WorkerProgress,
    WorkerRecovered,
    WorkerRegistered,
    WorkerRemoved,
    WorkerResumed,
    WorkerStalled,
    WorkerStarted,
    WorkerUpdated,
)
from .scalars import F32, Ns

OUTBOX: Final = "outbox.jsonl"


class EscalationKind(Enum):
    ROUTER_ESCALATION = "router_escalation"
    WORKER_STARTED = "worker_started"
    WORKER_COMPLETED = "worker_completed"
    GOAL_CREATED = "goal_created"
    GATE_TRANSITION = "gate_transition"
    PROOF_READY = "proof_ready"
    CANCELLED = "cancelled"
    FAILED = "failed"
    REFUSED = "refused"


@frozen(kw_only=True)
class EscalationLogEntry:
    """A line of `pending_escalations.jsonl`; all its keys are always there.

    `{"ts":"…Z","kind":"failed","goal_id":null,"intent":null,"summary":"…","confidence":null,"auto_proceed":false}`
    """

    ts: Ns
    kind: EscalationKind
    goal_id: str | None = None
    intent: str | None = None
    summary: str
    confidence: F32 | None = None
    auto_proceed: bool


def entry_from_event(event: Event, ts_ns: int) -> EscalationLogEntry | None:
    """The line an event becomes, `ts_ns` being its unit's time; None: a person need not see it.

    A new event does not pass the type checker before it is decided here.
    """
    match event:
        case RouterEscalating():
            return _router_entry(event, ts_ns)
        case WorkerStarted(worker_id=worker_id, kind=kind, task=task):
            return _entry(ts_ns, EscalationKind.WORKER_STARTED, f"{kind}: {task} ({worker_id})")
        case WorkerCompleted(worker_id=worker_id, ok=ok):
            return _entry(ts_ns, EscalationKind.WORKER_COMPLETED, f"{worker_id} {'completed' if ok else 'failed'}")
        case ChildGoalCreated(goal_id=goal_id):
            return _entry(ts_ns, EscalationKind.GOAL_CREATED, "child goal created", goal_id=goal_id)
        case ChildGoalEvent(goal_id=goal_id, event=goal_event):
            return _goal_entry(goal_event, goal_id, ts_ns)
        case Refused(reason=reason, intent=intent):
            return _entry(ts_ns, EscalationKind.REFUSED, reason, intent=intent.value)
        case PersonNeeded(text=text):
            return _entry(ts_ns, EscalationKind.ROUTER_ESCALATION, text)
        case TaskCancelled(task_id=task_id, worker=worker):
            return _entry(ts_ns, EscalationKind.CANCELLED, f"{task_id} cancelled" + (f" ({worker})" if worker else ""))
        case TaskLost(task_id=task_id, worker=worker, reason=reason):
            return _entry(ts_ns, EscalationKind.FAILED, f"{task_id} lost ({worker}): {reason}")
        case WorkerStalled(worker=worker, silent_secs=silent_secs):
            return _entry(ts_ns, EscalationKind.FAILED, f"{worker} stalled: no sign of life for {silent_secs}s")
        case WorkerExited():
            return _entry(ts_ns, EscalationKind.FAILED, _exit_summary(event)) if event.failure else None
        case LineRejected():
            return _rejected_result_entry(event, ts_ns)
        case (
            ClassifierDecided()
            | WorkerProgress()
            | CostDelta()
            | PreflightRequest()
            | PreflightResponse()
            | AutonomousProceed()
            | DisclosureLine()
            | CostSoftCapWarning()
        ):
            return None
        case (
            DaemonStarted()
            | DaemonStopped()
            | LogDamaged()
            | EscalationAcked()
            | TaskQueued()
            | TaskUpdated()
            | TaskHeld()
            | TaskReleased()
            | TaskDispatched()
            | TaskStarted()
            | TaskFinished()
            | TaskRequeued()
            | TaskCancelRequested()
            | WorkerRegistered()
            | WorkerUpdated()
            | WorkerRemoved()
            | WorkerPaused()
            | WorkerResumed()
            | WorkerRecovered()
            | WorkerInboxRenewed()
        ):
            return None
        case DecisionRequested(summary=summary):
            return _entry(ts_ns, EscalationKind.ROUTER_ESCALATION, f"decide: {summary}")
        case DecisionAnswered(kind=ChoiceKind.REJECT_ONCE | ChoiceKind.REJECT_ALWAYS):
            note = f": {event.note}" if event.note else ""
            return _entry(ts_ns, EscalationKind.REFUSED, f"denied: {event.summary or event.decision_id}{note}")
        case DecisionExpired(withdrawn=False):
            what = event.summary or event.decision_id
            return _entry(ts_ns, EscalationKind.REFUSED, f"expired: {what}: {event.reason}")
        case DecisionAnswered() | DecisionExpired():
            return None
        case _:
            assert_never(event)


def needs_person(event: Event) -> bool:
    """Whether its line can be acknowledged: failed, refused, a router escalation that does not proceed by itself, and a
    worker that completed and is not ok (which its line says in words only, so the event is asked)."""
    if isinstance(event, WorkerCompleted):
        return not event.ok
    if isinstance(event, DecisionAnswered):
        return False
    entry = entry_from_event(event, 0)
    if entry is None:
        return False
    if entry.kind is EscalationKind.ROUTER_ESCALATION:
        return not entry.auto_proceed
    return entry.kind in (EscalationKind.FAILED, EscalationKind.REFUSED)


def _entry(
    ts_ns: int,
    kind: EscalationKind,
    summary: str,
    *,
    goal_id: str | None = None,
    intent: str | None = None,
    auto_proceed: bool = False,
) -> EscalationLogEntry:
    return EscalationLogEntry(
        ts=Ns(ts_ns), kind=kind, goal_id=goal_id, intent=intent, summary=summary, auto_proceed=auto_proceed
    )


def _router_entry(event: RouterEscalating, ts_ns: int) -> EscalationLogEntry | None:
    if event.intent is Intent.TRIVIAL:
        return None
    return _entry(
        ts_ns,
        EscalationKind.ROUTER_ESCALATION,
        # Rust's Debug name in lower case: DirectLlm is `directllm` here and `direct_llm` elsewhere.
        f"escalating to {event.target_mode.value.replace('_', '')}",
        intent=event.intent.value,
        auto_proceed=not event.preflight,
    )


def _goal_entry(event: GoalEvent, goal_id: str, ts_ns: int) -> EscalationLogEntry | None:
    match event:
        case GoalGateTransition(gate=gate, from_=before, to=after):
            summary = f"gate {gate}: {before} -> {after}"
            return _entry(ts_ns, EscalationKind.GATE_TRANSITION, summary, goal_id=goal_id)
        case GoalProofReady(path=path):
            return _entry(ts_ns, EscalationKind.PROOF_READY, f"proof ready at {path}", goal_id=goal_id)
        case GoalFailed(reason=reason):
            return _entry(ts_ns, EscalationKind.FAILED, reason, goal_id=goal_id)
        case GoalCancelled():
            return _entry(ts_ns, EscalationKind.CANCELLED, "goal cancelled", goal_id=goal_id)
        case (
            GoalCreated()
            | GoalPlanUpdated()
            | GoalWorkerStarted()
            | GoalWorkerProgress()
            | GoalWorkerCompleted()
            | GoalSliceOpened()
        ):
            return None
        case _:
            assert_never(event)


def _exit_summary(event: WorkerExited) -> str:
    status = "unknown" if event.status is None else event.status
    if event.restart:
        rest = f" (restart {event.restart} of {event.restarts})"
    else:
        rest = " (no restart left)" if event.restarts else ""
    return f"{event.worker} exited: status {status}{rest}"


def _rejected_result_entry(event: LineRejected, ts_ns: int) -> EscalationLogEntry | None:
    """Only of a task in hand: of that one nobody else will hear."""
    if event.file != OUTBOX or not event.in_hand or event.task_id is None:
        return None
    why = event.detail or event.reason.value
    return _entry(ts_ns, EscalationKind.FAILED, f"{event.worker}: result of {event.task_id} rejected: {why}")
