"""The events: the seeds' `BusEvent`, whole, and omkd's own.

Written in the externally tagged form serde derives: `{"Variant":{…}}`, `"Variant"` for a class without fields,
`{"Variant":value}` for a class whose only field is called `value`. The tag is the class's name, or its `TAG`.
A field's comment becomes its line in `docs/protocol.md`.
"""

from enum import Enum
from typing import ClassVar, TypeAlias

from attrs import field, frozen

from .records import Outcome, Runner, WorkerResult, WorkerSpec, WorkerTask, says
from .scalars import F32, I32, U32, U64, Ns, Seq, TaskId, WorkerName

# --- the seeds' --------------------------------------------------------------------------------------------------


class Intent(Enum):
    TRIVIAL = "trivial"
    SMALL = "small"
    MEDIUM = "medium"
    LARGE = "large"


class ActiveMode(Enum):
    IDLE = "idle"
    DIRECT_LLM = "direct_llm"
    WIRE_WORKER = "wire_worker"
    PLANNER_WORKERS = "planner_workers"
    GOAL_RUN = "goal_run"


class PreflightKind(Enum):
    LARGE_ESCALATION = "large_escalation"
    MEDIUM_LOW_CONFIDENCE = "medium_low_confidence"
    SMALL_OVER_PROTECTED_PATH = "small_over_protected_path"
    SMALL_OVER_MANY_FILES = "small_over_many_files"
    QUEUE_LARGE_ON_ACTIVE_LARGE = "queue_large_on_active_large"
    QUEUE_MEDIUM_AT_CONCURRENCY_CAP = "queue_medium_at_concurrency_cap"


class PreflightAnswer(Enum):
    ACCEPT = "accept"
    EXPLAIN = "explain"
    DOWNGRADE = "downgrade"
    CANCEL = "cancel"
    TIMEOUT = "timeout"


class PlanStatus(Enum):
    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@frozen(kw_only=True)
class PlanNode:
    id: str
    label: str
    status: PlanStatus


@frozen(kw_only=True)
class ClassifierDecided:
    intent: Intent
    confidence: F32
    latency_ms: U32
    reasoning: str
    cached: bool
    fallback: bool


@frozen(kw_only=True)
class RouterEscalating:
    intent: Intent
    target_mode: ActiveMode
    preflight: bool


@frozen(kw_only=True)
class WorkerStarted:
    worker_id: str
    kind: str
    task: str


@frozen(kw_only=True)
class WorkerProgress:
    worker_id: str
    percent: F32 | None = None
    message: str | None = None


@frozen(kw_only=True)
class WorkerCompleted:
    worker_id: str
    files_touched: U32
    ok: bool


@frozen(kw_only=True)
class ChildGoalCreated:
    goal_id: str
    parent_conv_id: str
    plan: list[str]


@frozen(kw_only=True)
class GoalCreated:
    TAG: ClassVar[str] = "Created"
    goal_id: str
    plan: list[str]


@frozen(kw_only=True)
class GoalPlanUpdated:
    TAG: ClassVar[str] = "PlanUpdated"
    revision: U32
    nodes: list[PlanNode]


@frozen(kw_only=True)
class GoalWorkerStarted:
    TAG: ClassVar[str] = "WorkerStarted"
    worker_id: str
    task: str


@frozen(kw_only=True)
class GoalWorkerProgress:
    TAG: ClassVar[str] = "WorkerProgress"
    worker_id: str
    msg: str


@frozen(kw_only=True)
class GoalWorkerCompleted:
    TAG: ClassVar[str] = "WorkerCompleted"
    worker_id: str
    files: U32
    ok: bool


@frozen(kw_only=True)
class GoalGateTransition:
    """Its second field is called `from` on the wire, a keyword here."""

    TAG: ClassVar[str] = "GateTransition"
    RENAMED: ClassVar[dict[str, str]] = {"from_": "from"}
    gate: str
    from_: str
    to: str


@frozen(kw_only=True)
class GoalSliceOpened:
    TAG: ClassVar[str] = "SliceOpened"
    slice_id: str
    worktree: str
    pr_url: str | None = None


@frozen(kw_only=True)
class GoalProofReady:
    TAG: ClassVar[str] = "ProofReady"
    path: str


@frozen(kw_only=True)
class GoalFailed:
    TAG: ClassVar[str] = "Failed"
    reason: str


@frozen(kw_only=True)
class GoalCancelled:
    TAG: ClassVar[str] = "Cancelled"


GoalEvent: TypeAlias = (
    GoalCreated
    | GoalPlanUpdated
    | GoalWorkerStarted
    | GoalWorkerProgress
    | GoalWorkerCompleted
    | GoalGateTransition
    | GoalSliceOpened
    | GoalProofReady
    | GoalFailed
    | GoalCancelled
)


@frozen(kw_only=True)
class ChildGoalEvent:
    goal_id: str
    event: GoalEvent


@frozen(kw_only=True)
class CostDelta:
    source: str
    tokens_in: U32
    tokens_out: U32
    usd: F32


@frozen(kw_only=True)
class PreflightRequest:
    kind: PreflightKind
    headline: str
    timeout_ms: U32
    ticket_id: str


@frozen(kw_only=True)
class PreflightResponse:
    value: PreflightAnswer


@frozen(kw_only=True)
class AutonomousProceed:
    kind: PreflightKind
    intent: Intent
    confidence: F32
    reasoning: str


@frozen(kw_only=True)
class DisclosureLine:
    value: str


@frozen(kw_only=True)
class Refused:
    reason: str
    intent: Intent


@frozen(kw_only=True)
class CostSoftCapWarning:
    current_usd: F32
    soft_cap_usd: F32


BusEvent: TypeAlias = (
    ClassifierDecided
    | RouterEscalating
    | WorkerStarted
    | WorkerProgress
    | WorkerCompleted
    | ChildGoalCreated
    | ChildGoalEvent
    | CostDelta
    | PreflightRequest
    | PreflightResponse
    | AutonomousProceed
    | DisclosureLine
    | Refused
    | CostSoftCapWarning
)

# --- omkd's own --------------------------------------------------------------------------------------------------


@frozen(kw_only=True)
class ToWorker:
    """A target. Wire: `{"worker":"coder"}`."""

    TAG: ClassVar[str] = "worker"
    value: WorkerName


@frozen(kw_only=True)
class ToRole:
    """A target. Wire: `{"role":"reviewer"}`."""

    TAG: ClassVar[str] = "role"
    value: str


@frozen(kw_only=True)
class ToAny:
    """A target. Wire: `"any"`."""

    TAG: ClassVar[str] = "any"


Target: TypeAlias = ToWorker | ToRole | ToAny


@frozen(kw_only=True)
class DaemonStarted:
    """The first unit of each run of the daemon."""

    version: str = field(metadata=says("of omkd"))
    format: U32 = field(metadata=says("of the event log; a newer one is not touched"))
    boot_id: str = field(metadata=says("/proc/sys/kernel/random/boot_id"))
    clean: bool = field(metadata=says("the run before ended with DaemonStopped"))
    copied: bool = field(default=False, metadata=says("the session is a copy, its files may be older than its log"))


@frozen(kw_only=True)
class DaemonStopped:
    """The last unit of a run that was asked to end."""

    reason: str = field(metadata=says("the signal, or the request"))


@frozen(kw_only=True)
class LogDamaged:
    """`omkd repair` moved damage aside; what stood there is gone from the record."""

    segment: str = field(metadata=says("file name of the segment"))
    offset: U64 = field(metadata=says("bytes from its start"))
    moved_to: str = field(metadata=says("file name of what was moved aside"))
    after: Seq = field(metadata=says("the last unit before the damage"))
    before: Seq = field(metadata=says("the first unit behind it; the numbers between are gone for good"))
    reason: str = field(metadata=says("what was wrong there"))


@frozen(kw_only=True)
class TaskQueued:
    """A task was accepted."""

    OMIT_NONE: ClassVar[frozenset[str]] = frozenset({"handouts"})
    task_id: TaskId = field(metadata=says("`t<seq>`, or the sender's own"))
    target: Target = field(metadata=says("who may do it"))
    task: WorkerTask = field(metadata=says("what is to be done; its `id` is the task's"))
    key: str | None = field(default=None, metadata=says("idempotency key: the same again is the same task"))
    priority: I32 = field(default=I32(0), metadata=says("higher goes first"))
    not_before: Ns | None = field(default=None, metadata=says("not handed out earlier"))
    after: list[TaskId] = field(factory=list, metadata=says("handed out once all of these succeeded"))
    hold: bool = field(default=False, metadata=says("waits for TaskReleased"))
    retries: U32 | None = field(default=None, metadata=says("runs again after a failure; null: the worker's"))
    handouts: U32 | None = field(
        default=None,
        metadata=says("how many it has had: it ended long ago and was asked for again; left out for a new task"),
    )


@frozen(kw_only=True)
class TaskUpdated:
    """A queued task was changed; null leaves a thing as it was."""

    task_id: TaskId = field(metadata=says("the task"))
    target: Target | None = field(default=None, metadata=says("the new target"))
    task: WorkerTask | None = field(default=None, metadata=says("the new text, whole"))
    priority: I32 | None = field(default=None, metadata=says("the new priority"))
    not_before: Ns | None = field(default=None, metadata=says("the new earliest time"))
    after: list[TaskId] | None = field(default=None, metadata=says("the new dependencies"))
    retries: U32 | None = field(default=None, metadata=says("the new number of retries"))


@frozen(kw_only=True)
class TaskHeld:
    """A queued task waits until it is released."""

    task_id: TaskId = field(metadata=says("the task"))


@frozen(kw_only=True)
class TaskReleased:
    """A held task is queued again."""

    task_id: TaskId = field(metadata=says("the task"))


@frozen(kw_only=True)
class TaskDispatched:
    """A task was bound to a worker; the line in its inbox follows from this."""

    task_id: TaskId = field(metadata=says("the task"))
    worker: WorkerName = field(metadata=says("who has it"))
    handout: U32 = field(metadata=says("from 1"))


@frozen(kw_only=True)
class TaskStarted:
    """A worker began. In a worker's `events.jsonl`, and in the unit with WorkerStarted."""

    task_id: TaskId = field(metadata=says("the task; in a worker's file the `id` of its inbox line"))
    handout: U32 = field(default=U32(1), metadata=says("from 1"))


@frozen(kw_only=True)
class TaskFinished:
    """A hand-out ended for good, with a result."""

    task_id: TaskId = field(metadata=says("the task"))
    handout: U32 = field(metadata=says("from 1; 0 when it never was handed out"))
    worker: WorkerName | None = field(metadata=says("who had it; null when nobody did"))
    result: WorkerResult = field(metadata=says("as the worker wrote it"))
    outcome: Outcome = field(default=Outcome.DONE, metadata=says("`done` or `interrupted`"))


@frozen(kw_only=True)
class TaskRequeued:
    """A hand-out ended without the task's end; it waits to be handed out again."""

    task_id: TaskId = field(metadata=says("the task"))
    handout: U32 = field(metadata=says("the one that ended; 0: it never was handed out"))
    worker: WorkerName | None = field(metadata=says("who had it; null when nobody did"))
    outcome: Outcome = field(metadata=says("`interrupted`, `later`, or `done` for a failure that is retried"))
    why: str = field(metadata=says("in words"))
    not_before: Ns | None = field(default=None, metadata=says("not handed out earlier"))
    result: WorkerResult | None = field(default=None, metadata=says("what the worker said of the hand-out"))
    by_hand: bool = field(default=False, metadata=says("it had ended; somebody asked for it again"))


@frozen(kw_only=True)
class TaskCancelRequested:
    """Its worker was told to end a task."""

    task_id: TaskId = field(metadata=says("the task"))
    reason: str = field(default="", metadata=says("in the words of who asked"))


@frozen(kw_only=True)
class TaskCancelled:
    """A task ended by request."""

    task_id: TaskId = field(metadata=says("the task"))
    worker: WorkerName | None = field(default=None, metadata=says("who had it; null if nobody"))
    reason: str = field(default="", metadata=says("in the words of who asked"))
    result: WorkerResult | None = field(default=None, metadata=says("what the worker said of it"))


@frozen(kw_only=True)
class TaskLost:
    """What became of a task is not known, and nobody will tell."""

    task_id: TaskId = field(metadata=says("the task"))
    worker: WorkerName = field(metadata=says("who had it"))
    reason: str = field(metadata=says("in words"))


@frozen(kw_only=True)
class WorkerRegistered:
    """A worker is there: added, or found in the session's directory."""

    worker: WorkerName = field(metadata=says("its name and its directory's"))
    spec: WorkerSpec = field(metadata=says("worker-spec.json"))
    foreign: bool = field(metadata=says("another program made its directory: the file wins over the log"))
    window: U32 = field(default=U32(1), metadata=says("how many hand-outs may be unfinished in its inbox; 0: no limit"))
    runner: Runner | None = field(default=None, metadata=says("runner.json; null: some other program plays it"))


@frozen(kw_only=True)
class WorkerUpdated:
    """A worker's settings changed; all of them as they are now."""

    worker: WorkerName = field(metadata=says("its name"))
    spec: WorkerSpec = field(metadata=says("worker-spec.json"))
    foreign: bool = field(metadata=says("as in WorkerRegistered; `adopt` ends it"))
    window: U32 = field(metadata=says("as in WorkerRegistered"))
    runner: Runner | None = field(default=None, metadata=says("as in WorkerRegistered"))


@frozen(kw_only=True)
class WorkerRemoved:
    """A worker is gone; its directory was renamed."""

    worker: WorkerName = field(metadata=says("its name"))
    moved_to: str = field(metadata=says("the directory, from the session's"))


@frozen(kw_only=True)
class WorkerPaused:
    """Nothing more is handed out to it."""

    worker: WorkerName = field(metadata=says("its name"))
    reason: str = field(default="", metadata=says("in the words of who asked"))


@frozen(kw_only=True)
class WorkerResumed:
    """It gets work again."""

    worker: WorkerName = field(metadata=says("its name"))


@frozen(kw_only=True)
class WorkerStalled:
    """No sign of life for too long."""

    worker: WorkerName = field(metadata=says("its name"))
    silent_secs: U64 = field(metadata=says("how long"))
    task_id: TaskId | None = field(default=None, metadata=says("what it has in hand"))


@frozen(kw_only=True)
class WorkerRecovered:
    """A stalled worker gave a sign of life."""

    worker: WorkerName = field(metadata=says("its name"))


@frozen(kw_only=True)
class WorkerInboxRenewed:
    """Its inbox was not there any more (compacted, or taken away): a new one is begun, with what is unfinished."""

    worker: WorkerName = field(metadata=says("its name"))


@frozen(kw_only=True)
class WorkerExited:
    """A worker's host ended."""

    worker: WorkerName = field(metadata=says("its name"))
    status: I32 | None = field(metadata=says("exit status, 128 + signal; null: it was not our child"))
    failure: bool = field(metadata=says("it was not asked to"))
    restart: U32 = field(default=U32(0), metadata=says("which restart follows; 0: none"))
    restarts: U32 = field(default=U32(0), metadata=says("how many there may be"))


class LineFault(Enum):
    NOT_UTF8 = "not_utf8"
    NOT_JSON = "not_json"
    WRONG_TYPE = "wrong_type"
    TOO_LONG = "too_long"
    UNKNOWN_TASK = "unknown_task"
    DUPLICATE = "duplicate"
    LATE = "late"
    NOT_YOURS = "not_yours"
    MANY = "many"


@frozen(kw_only=True)
class LineRejected:
    """A line of a worker's file was skipped."""

    worker: WorkerName = field(metadata=says("whose file"))
    file: str = field(metadata=says("outbox.jsonl, events.jsonl or worker-spec.json"))
    offset: U64 = field(metadata=says("where it begins, bytes from the file's start"))
    end: U64 = field(metadata=says("where it ends"))
    reason: LineFault = field(metadata=says("`many` stands for several in one"))
    detail: str = field(default="", metadata=says("in words, with the field's path"))
    task_id: str | None = field(default=None, metadata=says("the task it names"))
    in_hand: bool = field(default=False, metadata=says("that task is in hand at this worker"))
    count: U32 = field(default=U32(1), metadata=says("how many lines this stands for"))


@frozen(kw_only=True)
class PersonNeeded:
    """An agent, or anybody, asks for a person in words. From a worker with its own `worker_id` only."""

    text: str = field(metadata=says("what a person should know or do"))
    worker_id: str | None = field(default=None, metadata=says("who asks"))
    task_id: TaskId | None = field(default=None, metadata=says("what it is about"))


@frozen(kw_only=True)
class EscalationAcked:
    """A person has seen these."""

    seqs: list[Seq] = field(metadata=says("units whose escalations are acknowledged"))
    note: str = field(default="", metadata=says("in words"))


class ChoiceKind(Enum):
    """What a choice means, whatever its words are (ACP's PermissionOptionKind, and the seeds' preflight answers)."""

    ALLOW_ONCE = "allow_once"
    ALLOW_ALWAYS = "allow_always"
    REJECT_ONCE = "reject_once"
    REJECT_ALWAYS = "reject_always"
    OTHER = "other"


@frozen(kw_only=True)
class Choice:
    """`{"id":"approve","label":"Allow once","kind":"allow_once"}`"""

    id: str = field(metadata=says("what `decision.answer` names"))
    label: str = field(metadata=says("in words"))
    kind: ChoiceKind = field(metadata=says("what it means"))


@frozen(kw_only=True)
class DecisionRequested:
    """A question that waits for a person's answer."""

    decision_id: str = field(metadata=says("`<hand-out>-<n>`, the ticket of a PreflightRequest, or `d<seq>`"))
    summary: str = field(metadata=says("who wants what, in one line"))
    choices: list[Choice] = field(metadata=says("the answers there are"))
    expires: Ns = field(metadata=says("without an answer by then it counts as refused, and says so"))
    detail: str = field(default="", metadata=says("all of what is asked: the command, the files"))
    worker: WorkerName | None = field(default=None, metadata=says("whose agent asks"))
    task_id: TaskId | None = field(default=None, metadata=says("in which task"))
    handout: U32 = field(default=U32(0), metadata=says("in which hand-out of it"))


@frozen(kw_only=True)
class DecisionAnswered:
    """A person decided; the first answer counts."""

    decision_id: str = field(metadata=says("the question"))
    choice: str = field(metadata=says("the choice's id"))
    kind: ChoiceKind = field(metadata=says("what it means"))
    note: str = field(default="", metadata=says("reaches the agent"))
    summary: str = field(default="", metadata=says("the question's"))
    worker: WorkerName | None = field(default=None, metadata=says("the question's"))
    task_id: TaskId | None = field(default=None, metadata=says("the question's"))


@frozen(kw_only=True)
class DecisionExpired:
    """Nobody decided: time ran out, or what asked is gone. That is not a refusal by anybody."""

    decision_id: str = field(metadata=says("the question"))
    reason: str = field(metadata=says("in words"))
    summary: str = field(default="", metadata=says("the question's"))
    worker: WorkerName | None = field(default=None, metadata=says("the question's"))
    task_id: TaskId | None = field(default=None, metadata=says("the question's"))
    withdrawn: bool = field(default=False, metadata=says("what asked ended: nobody needs to look"))


OwnEvent: TypeAlias = (
    DaemonStarted
    | DaemonStopped
    | LogDamaged
    | TaskQueued
    | TaskUpdated
    | TaskHeld
    | TaskReleased
    | TaskDispatched
    | TaskStarted
    | TaskFinished
    | TaskRequeued
    | TaskCancelRequested
    | TaskCancelled
    | TaskLost
    | WorkerRegistered
    | WorkerUpdated
    | WorkerRemoved
    | WorkerPaused
    | WorkerResumed
    | WorkerStalled
    | WorkerRecovered
    | WorkerInboxRenewed
    | WorkerExited
    | LineRejected
    | PersonNeeded
    | EscalationAcked
    | DecisionRequested
    | DecisionAnswered
    | DecisionExpired
)

Event: TypeAlias = BusEvent | OwnEvent

PublishedEvent: TypeAlias = BusEvent | PersonNeeded
"""What others than omkd may put into the log (design: nobody speaks for another)."""

WorkerFileEvent: TypeAlias = BusEvent | PersonNeeded | TaskStarted | DecisionRequested | DecisionExpired
"""What may stand in a worker's `events.jsonl`."""

# --- a unit of the log -------------------------------------------------------------------------------------------


@frozen(kw_only=True)
class ByOmkd:
    KIND: ClassVar[str] = "omkd"


@frozen(kw_only=True)
class ByWorker:
    KIND: ClassVar[str] = "worker"
    worker: WorkerName


@frozen(kw_only=True)
class ByClient:
    KIND: ClassVar[str] = "client"
    uid: U32
    pid: U32


@frozen(kw_only=True)
class ByUnknown:
    KIND: ClassVar[str] = "unknown"
    uid: U32
    pid: U32


By: TypeAlias = ByOmkd | ByWorker | ByClient | ByUnknown
"""Who brought a fact. Internally tagged: `{"kind":"worker","worker":"coder"}`. Written by the daemon alone."""


@frozen(kw_only=True)
class Source:
    """Where in a worker's file a fact came from, and so where reading goes on.

    `gen` counts WorkerRegistered and each change of the file, `end` is the offset behind the line in bytes, `tail` a
    hash of that line (with what is before it, if it has less than 64 bytes), `inode` the file's, `head` a hash of its
    first line (of 64 bytes at most).
    """

    worker: WorkerName
    gen: U32
    file: str
    end: U64
    tail: str
    inode: U64
    head: str


@frozen(kw_only=True)
class Unit:
    """One line of the event log: what is true together.

    `{"seq":12,"ts":"2026-11-20T15:15:00Z","by":{"kind":"omkd"},"synced":11,"events":[…]}`
    """

    OMIT_NONE: ClassVar[frozenset[str]] = frozenset({"src"})
    seq: Seq
    ts: Ns
    by: By
    src: Source | None = None
    synced: Seq
    events: list[Event]
