"""The control API's methods: parameters and result of each, in one table.

The server dispatches from `METHODS`, `rpc.discover` and `docs/protocol.md` are printed from it. Parameters go by name;
an unknown one is refused. A field's `metadata` says what it means.
"""

from enum import Enum
from typing import Final, get_args

from attrs import Attribute, Factory, field, frozen

from .errors import ErrorKind
from .escalation import EscalationKind, EscalationLogEntry
from .events import By, Choice, Event, PublishedEvent, Target, Unit
from .json_text import CodecError
from .limits import PAGE_DEFAULT
from .nearest import did_you_mean, shown_name
from .records import (
    DEFAULT_APPROVAL_TIMEOUT_SECS,
    AcpSession,
    ApprovalPolicy,
    Never,
    OnInterrupt,
    Runner,
    WorkerResult,
    WorkerSpec,
    WorkerTask,
    says,
)
from .scalars import F32, I32, U32, U64, Json, Ns, Seq, TaskId, WorkerName

EVENT_NAMES: Final = frozenset(event.__name__ for event in get_args(Event))


class TaskState(Enum):
    QUEUED = "queued"
    HELD = "held"
    DISPATCHED = "dispatched"
    RUNNING = "running"
    SUCCESS = "success"
    PARTIAL = "partial"
    FAILED = "failed"
    CANCELLED = "cancelled"
    LOST = "lost"

    @property
    def is_final(self) -> bool:
        return self in FINAL_STATES


FINAL_STATES: Final = frozenset(
    {TaskState.SUCCESS, TaskState.PARTIAL, TaskState.FAILED, TaskState.CANCELLED, TaskState.LOST}
)


class WorkerState(Enum):
    STARTING = "starting"
    READY = "ready"
    BUSY = "busy"
    STALLED = "stalled"
    DEAD = "dead"
    STOPPED = "stopped"
    PAUSED = "paused"
    UNKNOWN = "unknown"


@frozen(kw_only=True)
class Progress:
    """The last WorkerProgress of the run in hand."""

    percent: F32 | None
    message: str | None
    ts: Ns


@frozen(kw_only=True)
class Task:
    """A task as the API shows it."""

    id: TaskId
    state: TaskState
    target: Target
    worker: WorkerName | None
    handout: U32
    priority: I32
    task: WorkerTask
    by: By
    queued: Ns
    dispatched: Ns | None
    started: Ns | None
    finished: Ns | None
    result: WorkerResult | None
    why: str | None
    progress: Progress | None


@frozen(kw_only=True)
class Worker:
    """A worker as the API shows it. `queued` counts tasks that name it and are not in its inbox yet."""

    name: WorkerName
    role: str
    state: WorkerState
    foreign: bool
    window: U32
    in_hand: list[TaskId]
    queued: U32
    spec: WorkerSpec
    runner: Runner | None
    last_sign: Ns | None
    pid: U64 | None


def at_least_one(_: object, attribute: "Attribute[U32]", value: U32) -> None:
    """Raises CodecError. A page of none would be followed by itself, for good."""
    if value < 1:
        fault = CodecError(f"{value} is too few: at least 1")
        fault.within(attribute.name)
        raise fault


def names_of_events(_: object, attribute: "Attribute[list[str]]", value: list[str]) -> None:
    """Raises CodecError. What is misspelt would look like what never happened."""
    for at, name in enumerate(value):
        if name not in EVENT_NAMES:
            fault = CodecError(f"no event is called {shown_name(name)}{did_you_mean(name, EVENT_NAMES)}")
            fault.within(at)
            fault.within(attribute.name)
            raise fault


@frozen(kw_only=True)
class NoParams:
    pass


@frozen(kw_only=True)
class Empty:
    pass


@frozen(kw_only=True)
class HelloParams:
    client: str = field(default="", metadata=says("name and version of the client, for the log"))
    version: U32 | None = field(default=None, metadata=says("protocol it speaks; another than ours is refused"))


@frozen(kw_only=True)
class HelloResult:
    omkd: str = field(metadata=says("version of the daemon"))
    protocol: U32 = field(metadata=says("version of this API"))
    format: U32 = field(metadata=says("of the event log"))
    session: str
    session_dir: str
    pid: U64
    capabilities: list[str] = field(metadata=says("the methods"))


@frozen(kw_only=True)
class RetriedWrite:
    """A file that could not be written and is tried again."""

    path: str
    error: str
    since: Ns


@frozen(kw_only=True)
class InvalidSpec:
    """A directory under workers/ whose spec is not valid."""

    worker: str
    error: str


@frozen(kw_only=True)
class NoticeStatus:
    """A `[[notify]]` of the configuration, since the daemon started."""

    name: str
    sent: U64
    failed: U64 = field(metadata=says("given up after all attempts; the escalation log has what they said"))
    suppressed: U64 = field(metadata=says("repeats that were counted and not sent"))
    reminded: U64 = field(metadata=says("of those sent: that a question still waits"))
    last_sent: Ns | None
    last_error: str | None = field(metadata=says("of the newest attempt; null: it did its work"))
    seq: Seq = field(metadata=says("units up to this one are dealt with"))


@frozen(kw_only=True)
class StatusResult:
    omkd: str
    session: str
    session_dir: str
    socket: str
    pid: U64
    started: Ns
    seq: Seq = field(metadata=says("the newest unit on disk"))
    tasks: dict[str, U32] = field(metadata=says("how many in each state"))
    oldest_queued: Task | None = field(metadata=says("its `why` says what it waits for"))
    last_failures: list[Task] = field(metadata=says("failed or lost, of the newest tasks; newest first"))
    workers: list[Worker]
    invalid_workers: list[InvalidSpec]
    unacked: U32 = field(metadata=says("units that need a person and were not acknowledged"))
    draining: list[TaskId] | None = field(metadata=says("what a shutdown waits for; null: no shutdown was asked for"))
    rejected_lines: U32 = field(metadata=says("since the daemon started"))
    retried_writes: list[RetriedWrite]
    notices: list[NoticeStatus]
    connections: U32


@frozen(kw_only=True)
class ConfigOption:
    """An option of `omkd.toml`, as it is in force."""

    name: str
    value: Json
    default: Json
    unit: str = field(metadata=says("empty: none"))
    source: str = field(metadata=says("`default`, `FILE:LINE`, `--option`, or a variable of the environment"))
    restart: bool = field(metadata=says("a change is in force after a restart only"))
    says: str


@frozen(kw_only=True)
class ConfigResult:
    path: str
    exists: bool
    options: list[ConfigOption]


@frozen(kw_only=True)
class ChangedOption:
    name: str
    before: Json
    after: Json
    restart: bool = field(metadata=says("not in force before a restart"))


@frozen(kw_only=True)
class ReloadResult:
    path: str
    changed: list[ChangedOption] = field(metadata=says("compared with what was read before"))
    needs_restart: list[str] = field(metadata=says("the options whose value in the file is not in force"))


class FindingKind(Enum):
    """What `verify` can find."""

    SEQUENCE = "sequence"
    INBOX = "inbox"
    OUTBOX = "outbox"
    ESCALATIONS = "escalations"
    SNAPSHOT = "snapshot"
    TASKS = "tasks"


@frozen(kw_only=True)
class Finding:
    kind: FindingKind
    what: str = field(metadata=says("what is wrong, and where"))
    mend: str = field(metadata=says("what it means and what to do"))


@frozen(kw_only=True)
class VerifyResult:
    checked: dict[str, U64] = field(metadata=says("what was looked at, and how many of each"))
    findings: list[Finding]


@frozen(kw_only=True)
class WorkerAddParams:
    name: WorkerName = field(metadata=says("1 to 64 of A-Z a-z 0-9 _ -, beginning with a letter or digit"))
    role: str = field(metadata=says("what it is for; a target `role:R` means any worker of that role"))
    project_dir: str | None = field(default=None, metadata=says("absolute; where its command runs"))
    window: U32 = field(default=U32(1), metadata=says("how many tasks may wait in its inbox; 0: no limit"))
    runner: Runner | None = field(default=None, metadata=says("its command; null: another program plays it"))
    approval_policy: ApprovalPolicy = field(factory=Never, metadata=says("kept in its spec"))
    approval_timeout_secs: U64 = field(default=U64(DEFAULT_APPROVAL_TIMEOUT_SECS), metadata=says("kept in its spec"))
    external_tools: list[Json] | None = field(default=None, metadata=says("kept in its spec"))


@frozen(kw_only=True)
class WorkerNameParams:
    name: WorkerName


@frozen(kw_only=True)
class WorkerLogParams:
    name: WorkerName
    lines: U32 = field(default=U32(20), metadata=says("the last so many; at most 1000"))


@frozen(kw_only=True)
class WorkerLogResult:
    path: str
    lines: list[str] = field(metadata=says("oldest first; empty when it has no host.log"))


@frozen(kw_only=True)
class WorkerListResult:
    workers: list[Worker]


@frozen(kw_only=True)
class WorkerRemoveParams:
    name: WorkerName
    drain: bool = field(default=False, metadata=says("waits until nothing is in hand; nothing more is handed out"))
    force: bool = field(default=False, metadata=says("even with tasks in hand: they become `lost`"))


@frozen(kw_only=True)
class WorkerUpdateParams:
    """What is null stays as it is. A run under way goes on as it began."""

    name: WorkerName
    role: str | None = None
    project_dir: str | None = None
    window: U32 | None = None
    command: list[str] | None = None
    env: dict[str, str] | None = field(default=None, metadata=says("the whole environment that is added, anew"))
    budget_secs: U64 | None = None
    grace_secs: U64 | None = None
    idle_exit_secs: U64 | None = None
    on_interrupt: OnInterrupt | None = None
    retries: U32 | None = None
    stall_secs: U64 | None = None
    output_bytes: U64 | None = None
    acp: bool | None = None
    acp_asks: bool | None = None
    acp_mode: str | None = None
    acp_session: AcpSession | None = None
    approval_policy: ApprovalPolicy | None = None
    approval_timeout_secs: U64 | None = None
    external_tools: list[Json] | None = None


@frozen(kw_only=True)
class WorkerPauseParams:
    name: WorkerName
    reason: str = field(default="", metadata=says("in words; the record keeps it"))
    drain: bool = field(default=False, metadata=says("answers once nothing is in hand"))


@frozen(kw_only=True)
class WorkerRestartParams:
    name: WorkerName
    drain: bool = field(default=False, metadata=says("waits until nothing is in hand"))
    force: bool = field(default=False, metadata=says("kills it at once; what it ran is interrupted"))


@frozen(kw_only=True)
class WorkerCompactParams:
    name: WorkerName
    drain: bool = field(default=False, metadata=says("waits until nothing is in hand; nothing more is handed out"))


@frozen(kw_only=True)
class WorkerCompactResult:
    name: WorkerName
    archived: list[str] = field(metadata=says("what its files are now"))


@frozen(kw_only=True)
class RotateResult:
    kept: str | None = field(metadata=says("where the lines so far are now; null: there was no file"))


@frozen(kw_only=True)
class WorkerApplyParams:
    workers: list[WorkerAddParams]
    prune: bool = field(default=False, metadata=says("removes omkd's own workers that are not named"))
    dry_run: bool = field(default=False, metadata=says("says what would change, changes nothing"))


@frozen(kw_only=True)
class WorkerApplyResult:
    added: list[WorkerName]
    updated: dict[str, list[str]] = field(metadata=says("the fields that changed, by worker"))
    removed: list[WorkerName]
    unchanged: list[WorkerName]


@frozen(kw_only=True)
class ShutdownParams:
    drain_secs: U64 | None = field(
        default=None, metadata=says("hands nothing out and waits for what runs, at most so long")
    )
    workers: bool = field(default=False, metadata=says("ends the hosts too"))


@frozen(kw_only=True)
class ShutdownResult:
    waits_for: list[TaskId] = field(metadata=says("what runs, when it drains"))


@frozen(kw_only=True)
class AckParams:
    seqs: list[Seq] = field(metadata=says("units whose escalations a person has seen"))
    note: str = ""


@frozen(kw_only=True)
class WorkerRemoveResult:
    name: WorkerName
    moved_to: str = field(metadata=says("where its files are now"))


@frozen(kw_only=True)
class NewTask:
    """A `WorkerTask` whose id may be left to omkd."""

    task: str = field(metadata=says("what is to be done"))
    id: TaskId | None = field(default=None, metadata=says("the sender's own id; null: `t<seq>`"))
    acceptance_criteria: list[str] = Factory(list)
    context: str | None = None
    budget_secs: U64 | None = field(default=None, metadata=says("null: the worker's; 0 is refused"))


@frozen(kw_only=True)
class TaskSendParams:
    target: Target
    task: NewTask
    key: str | None = field(default=None, metadata=says("same key and body: same task; other body: conflict"))
    priority: I32 = field(default=I32(0), metadata=says("higher goes first"))
    not_before: Ns | None = field(default=None, metadata=says("not handed out earlier"))
    after: list[TaskId] = field(factory=list, metadata=says("handed out once all of these succeeded"))
    hold: bool = field(default=False, metadata=says("waits until it is released"))
    retries: U32 | None = field(default=None, metadata=says("runs again after a failure; null: as the worker has it"))


@frozen(kw_only=True)
class TaskUpdateParams:
    """What is null stays as it is. Only a queued or held task can be changed."""

    id: TaskId
    target: Target | None = None
    task: str | None = field(default=None, metadata=says("the new text"))
    acceptance_criteria: list[str] | None = None
    context: str | None = None
    budget_secs: U64 | None = None
    priority: I32 | None = None
    not_before: Ns | None = None
    after: list[TaskId] | None = None
    retries: U32 | None = None


@frozen(kw_only=True)
class TaskIdsParams:
    ids: list[TaskId]


@frozen(kw_only=True)
class TaskCancelParams:
    ids: list[TaskId]
    reason: str = field(default="", metadata=says("in words; the record keeps it"))
    force: bool = field(
        default=False,
        metadata=says(
            "what nobody will confirm becomes `lost`: a foreign worker's, or one whose result the log has lost"
        ),
    )


@frozen(kw_only=True)
class TaskIdParams:
    id: TaskId


@frozen(kw_only=True)
class TaskListParams:
    worker: WorkerName | None = field(default=None, metadata=says("has or had it, or it names it"))
    role: str | None = field(default=None, metadata=says("its target, or its worker's role"))
    states: list[TaskState] = field(factory=list, metadata=says("empty: all"))
    since: Ns | None = field(default=None, metadata=says("queued at or after this"))
    finished_since: Ns | None = field(default=None, metadata=says("finished at or after this"))
    limit: U32 = field(
        default=U32(PAGE_DEFAULT),
        validator=at_least_one,
        metadata=says("the newest so many, from 1; at most 1000 come"),
    )
    before: TaskId | None = field(default=None, metadata=says("the `next` of the page before"))


@frozen(kw_only=True)
class TaskListResult:
    tasks: list[Task] = field(metadata=says("oldest first"))
    next: TaskId | None = field(metadata=says("give it as `before` for the page of older ones; null: no more"))


class WaitUntil(Enum):
    STARTED = "started"
    DONE = "done"


@frozen(kw_only=True)
class TaskWaitParams:
    ids: list[TaskId]
    until: WaitUntil = field(default=WaitUntil.DONE, metadata=says("`done`: in a final state; `started`: or running"))
    any: bool = field(default=False, metadata=says("answer when one is there, not all"))
    timeout: F32 | None = field(default=None, metadata=says("seconds, then error `timeout`; null: as long as it takes"))


@frozen(kw_only=True)
class TasksResult:
    tasks: list[Task]


class Stream(Enum):
    STDOUT = "stdout"
    STDERR = "stderr"


@frozen(kw_only=True)
class TaskLogParams:
    id: TaskId
    handout: U32 | None = field(default=None, metadata=says("null: the newest that has run"))
    stream: Stream = Stream.STDOUT
    offset: U64 = field(default=U64(0), metadata=says("bytes from the start"))
    tail: U64 | None = field(default=None, metadata=says("begin so many bytes before the end instead"))
    follow: bool = field(default=False, metadata=says("go on with `task_log` notifications until the run ends"))


@frozen(kw_only=True)
class TaskLogResult:
    subscription: U64 | None = field(metadata=says("null without `follow`, or when the run is over"))
    data: str = field(metadata=says("base64"))
    offset: U64 = field(metadata=says("behind `data`: give it to read on"))
    size: U64 = field(metadata=says("of the file now"))
    path: str


@frozen(kw_only=True)
class TaskLogNotification:
    subscription: U64
    data: str
    offset: U64
    end: bool = field(metadata=says("the run is over and this was the last of it"))


@frozen(kw_only=True)
class PublishParams:
    event: PublishedEvent


@frozen(kw_only=True)
class SeqResult:
    seq: Seq


@frozen(kw_only=True)
class EventFilter:
    types: list[str] = field(
        factory=list,
        validator=names_of_events,
        metadata=says("event names; a unit with one of them passes whole; empty: all"),
    )
    workers: list[str] = field(factory=list, metadata=says("units about one of these; empty: all"))


@frozen(kw_only=True)
class EventListParams:
    after: Seq = field(default=Seq(0), metadata=says("units above this"))
    before: Seq | None = field(
        default=None, metadata=says("units below this; with it, and no `after`, the newest of them")
    )
    last: U32 | None = field(default=None, metadata=says("the newest so many instead of the oldest"))
    since: Ns | None = field(default=None, metadata=says("units at or after this"))
    limit: U32 = field(default=U32(PAGE_DEFAULT), validator=at_least_one, metadata=says("from 1; at most 1000 come"))
    filter: EventFilter = Factory(EventFilter)


@frozen(kw_only=True)
class EventListResult:
    units: list[Unit]
    next: Seq | None = field(
        metadata=says("give it as `after` for the next page, as `before` where the newest are asked for; null: no more")
    )


@frozen(kw_only=True)
class EventSubscribeParams:
    after: Seq | None = field(default=None, metadata=says("units above this; null: from now on"))
    last: U32 | None = field(default=None, metadata=says("begin with the newest so many instead"))
    since: Ns | None = field(default=None, metadata=says("begin with units at or after this"))
    filter: EventFilter = Factory(EventFilter)


@frozen(kw_only=True)
class SubscribeResult:
    subscription: U64
    seq: Seq = field(metadata=says("where it begins: units above this follow"))


@frozen(kw_only=True)
class EventNotification:
    subscription: U64
    unit: Unit


@frozen(kw_only=True)
class EscalationListParams:
    after: Seq = field(default=Seq(0), metadata=says("of units above this"))
    before: Seq | None = field(default=None, metadata=says("of units below this"))
    lines: U32 | None = field(default=None, metadata=says("the newest so many instead of the oldest"))
    since: Ns | None = field(default=None, metadata=says("at or after this"))
    kinds: list[EscalationKind] = field(factory=list, metadata=says("empty: all"))
    workers: list[str] = field(factory=list, metadata=says("about one of these; empty: all"))
    unacked: bool = field(default=False, metadata=says("only what needs a person and was not acknowledged"))
    limit: U32 = field(default=U32(PAGE_DEFAULT), validator=at_least_one, metadata=says("from 1; at most 1000 come"))


@frozen(kw_only=True)
class Escalation:
    seq: Seq
    entry: EscalationLogEntry


@frozen(kw_only=True)
class EscalationListResult:
    escalations: list[Escalation]
    next: Seq | None = field(
        metadata=says("give it as `after` for the next page, as `before` where the newest are asked for; null: no more")
    )


@frozen(kw_only=True)
class EscalationTailParams:
    after: Seq | None = field(default=None, metadata=says("of units above this; null: from now on"))
    lines: U32 | None = field(default=None, metadata=says("begin with the newest so many"))
    since: Ns | None = field(default=None, metadata=says("begin with those at or after this"))
    kinds: list[EscalationKind] = field(factory=list, metadata=says("empty: all"))
    workers: list[str] = field(factory=list, metadata=says("about one of these; empty: all"))
    unacked: bool = field(default=False, metadata=says("only what needs a person and was not acknowledged"))


@frozen(kw_only=True)
class EscalationNotification:
    subscription: U64
    seq: Seq
    entry: EscalationLogEntry


@frozen(kw_only=True)
class GapNotification:
    """What a subscription asked for and is gone: units `first` to `last`."""

    subscription: U64
    first: Seq
    last: Seq


class DecisionState(Enum):
    OPEN = "open"
    ANSWERED = "answered"
    EXPIRED = "expired"


@frozen(kw_only=True)
class Decision:
    """A question that waits for a person, or did. `choice` and `ended_by` once it is answered."""

    id: str
    state: DecisionState
    summary: str
    detail: str
    choices: list[Choice]
    worker: WorkerName | None
    task_id: TaskId | None
    seq: Seq
    asked: Ns
    expires: Ns
    asked_by: By
    choice: str | None
    note: str
    ended: Ns | None
    ended_by: By | None


@frozen(kw_only=True)
class DecisionListParams:
    all: bool = field(default=False, metadata=says("the newest thousand that were decided, too"))


@frozen(kw_only=True)
class DecisionListResult:
    decisions: list[Decision] = field(metadata=says("oldest first"))


@frozen(kw_only=True)
class DecisionAnswerParams:
    id: str
    choice: str = field(metadata=says("a choice's id, or its kind where only one has it"))
    note: str = field(default="", metadata=says("reaches the agent"))


@frozen(kw_only=True)
class DecisionAskParams:
    summary: str = field(metadata=says("what is to be decided, in one line"))
    detail: str = ""
    choices: list[Choice] = field(factory=list, metadata=says("empty: allow or deny"))
    timeout_secs: U32 = field(default=U32(DEFAULT_APPROVAL_TIMEOUT_SECS), metadata=says("then it expires"))


@frozen(kw_only=True)
class DecisionWaitParams:
    id: str


@frozen(kw_only=True)
class SubscriptionParams:
    subscription: U64


@frozen(kw_only=True)
class Method:
    """`params` and `result` are attrs classes; `result` None: a document of its own (`rpc.discover`)."""

    params: type
    result: type | None
    says: str
    errors: tuple[ErrorKind, ...] = ()
    notifications: dict[str, type] = Factory(dict)


E = ErrorKind

METHODS: Final[dict[str, Method]] = {
    "omkd.hello": Method(
        params=HelloParams,
        result=HelloResult,
        says="versions, capabilities, session",
        errors=(E.VERSION_MISMATCH,),
    ),
    "omkd.status": Method(params=NoParams, result=StatusResult, says="what it is doing"),
    "omkd.shutdown": Method(
        params=ShutdownParams, result=ShutdownResult, says="ends the daemon; hosts and agents at work go on"
    ),
    "omkd.reload": Method(
        params=NoParams,
        result=ReloadResult,
        says="reads omkd.toml again: all of it, or nothing when there is a fault in it",
        errors=(E.REFUSED,),
    ),
    "omkd.config": Method(params=NoParams, result=ConfigResult, says="the configuration in force, and where from"),
    "omkd.verify": Method(
        params=NoParams, result=VerifyResult, says="proves the session consistent, or says what is not"
    ),
    "rpc.discover": Method(params=NoParams, result=None, says="the OpenRPC document of this API"),
    "worker.add": Method(
        params=WorkerAddParams, result=Worker, says="a new worker", errors=(E.CONFLICT, E.WRITE_FAILED)
    ),
    "worker.list": Method(params=NoParams, result=WorkerListResult, says="all workers"),
    "worker.get": Method(params=WorkerNameParams, result=Worker, says="one worker", errors=(E.NOT_FOUND,)),
    "worker.log": Method(
        params=WorkerLogParams,
        result=WorkerLogResult,
        says="the end of a worker's host.log: what its host says of itself",
        errors=(E.NOT_FOUND,),
    ),
    "worker.update": Method(
        params=WorkerUpdateParams,
        result=Worker,
        says="changes a worker's settings; the next run has them",
        errors=(E.NOT_FOUND, E.REFUSED, E.WRITE_FAILED),
    ),
    "worker.adopt": Method(
        params=WorkerNameParams,
        result=Worker,
        says="makes a foreign worker omkd's own: its runner.json counts, its files follow the log",
        errors=(E.NOT_FOUND, E.REFUSED, E.WRITE_FAILED),
    ),
    "worker.apply": Method(
        params=WorkerApplyParams,
        result=WorkerApplyResult,
        says="makes the workers as declared; says what changed",
        errors=(E.REFUSED, E.CONFLICT, E.WRITE_FAILED),
    ),
    "worker.pause": Method(
        params=WorkerPauseParams, result=Worker, says="hands nothing more to it", errors=(E.NOT_FOUND, E.WRITE_FAILED)
    ),
    "worker.resume": Method(
        params=WorkerNameParams, result=Worker, says="hands work to it again", errors=(E.NOT_FOUND, E.WRITE_FAILED)
    ),
    "worker.restart": Method(
        params=WorkerRestartParams,
        result=Worker,
        says="ends its host and starts a new one",
        errors=(E.NOT_FOUND, E.REFUSED),
    ),
    "worker.compact": Method(
        params=WorkerCompactParams,
        result=WorkerCompactResult,
        says="moves the files of a worker with nothing in hand into its `archive/`, gzipped; its host is started anew",
        errors=(E.NOT_FOUND, E.REFUSED, E.WRITE_FAILED),
    ),
    "worker.remove": Method(
        params=WorkerRemoveParams,
        result=WorkerRemoveResult,
        says="ends a worker's host and moves its directory to `removed/`",
        errors=(E.NOT_FOUND, E.REFUSED, E.WRITE_FAILED),
    ),
    "task.send": Method(
        params=TaskSendParams,
        result=Task,
        says="accepts a task; it is on disk when this is answered",
        errors=(E.NOT_FOUND, E.CONFLICT, E.QUEUE_FULL, E.TOO_LARGE, E.WRITE_FAILED),
    ),
    "task.list": Method(params=TaskListParams, result=TaskListResult, says="tasks"),
    "task.update": Method(
        params=TaskUpdateParams,
        result=Task,
        says="changes a task that is not handed out",
        errors=(E.NOT_FOUND, E.REFUSED, E.TOO_LARGE, E.WRITE_FAILED),
    ),
    "task.cancel": Method(
        params=TaskCancelParams,
        result=TasksResult,
        says="ends tasks: queued ones at once, others through their worker",
        errors=(E.NOT_FOUND, E.REFUSED, E.TOO_LARGE, E.WRITE_FAILED),
    ),
    "task.retry": Method(
        params=TaskIdsParams,
        result=TasksResult,
        says="queues tasks again that ended",
        errors=(E.NOT_FOUND, E.REFUSED, E.TOO_LARGE, E.WRITE_FAILED),
    ),
    "task.hold": Method(
        params=TaskIdsParams,
        result=TasksResult,
        says="keeps queued tasks from being handed out",
        errors=(E.NOT_FOUND, E.REFUSED, E.TOO_LARGE, E.WRITE_FAILED),
    ),
    "task.release": Method(
        params=TaskIdsParams,
        result=TasksResult,
        says="lets held tasks be handed out",
        errors=(E.NOT_FOUND, E.REFUSED, E.TOO_LARGE, E.WRITE_FAILED),
    ),
    "task.get": Method(params=TaskIdParams, result=Task, says="one task", errors=(E.NOT_FOUND,)),
    "task.wait": Method(
        params=TaskWaitParams,
        result=TasksResult,
        says="the tasks once they are there",
        errors=(E.NOT_FOUND, E.TOO_LARGE, E.TIMEOUT),
    ),
    "task.log": Method(
        params=TaskLogParams,
        result=TaskLogResult,
        says="output of a task's run",
        errors=(E.NOT_FOUND,),
        notifications={"task_log": TaskLogNotification},
    ),
    "event.publish": Method(
        params=PublishParams,
        result=SeqResult,
        says="records an event",
        errors=(E.REFUSED, E.TOO_LARGE, E.WRITE_FAILED),
    ),
    "event.list": Method(params=EventListParams, result=EventListResult, says="units of the event log"),
    "event.subscribe": Method(
        params=EventSubscribeParams,
        result=SubscribeResult,
        says="units, first of the past, then live, in order",
        errors=(E.TOO_MANY,),
        notifications={"event": EventNotification, "gap": GapNotification},
    ),
    "escalation.list": Method(params=EscalationListParams, result=EscalationListResult, says="the escalation log"),
    "escalation.tail": Method(
        params=EscalationTailParams,
        result=SubscribeResult,
        says="the escalation log, first of the past, then live, in order",
        errors=(E.TOO_MANY,),
        notifications={"escalation": EscalationNotification, "gap": GapNotification},
    ),
    "escalation.ack": Method(
        params=AckParams,
        result=SeqResult,
        says="marks what needed a person as seen",
        errors=(E.NOT_FOUND, E.REFUSED, E.WRITE_FAILED),
    ),
    "escalation.rotate": Method(
        params=NoParams,
        result=RotateResult,
        says="begins a new `pending_escalations.jsonl`, keeps the old one under another name",
        errors=(E.WRITE_FAILED,),
    ),
    "decision.list": Method(
        params=DecisionListParams, result=DecisionListResult, says="questions that wait for a person"
    ),
    "decision.answer": Method(
        params=DecisionAnswerParams,
        result=Decision,
        says="decides one; the first answer counts",
        errors=(E.NOT_FOUND, E.REFUSED, E.CONFLICT, E.WRITE_FAILED),
    ),
    "decision.ask": Method(
        params=DecisionAskParams, result=Decision, says="asks a person", errors=(E.REFUSED, E.WRITE_FAILED)
    ),
    "decision.wait": Method(
        params=DecisionWaitParams, result=Decision, says="the question once it is decided", errors=(E.NOT_FOUND,)
    ),
    "subscription.cancel": Method(
        params=SubscriptionParams, result=Empty, says="ends a subscription", errors=(E.NOT_FOUND,)
    ),
}
