"""What the daemon answers, as far as `omkctl` looks into it. A test compares this with `omkd.protocol.methods`."""

from typing import TypedDict

FINAL_STATES = ("success", "partial", "failed", "cancelled", "lost")
STATES = ("queued", "held", "dispatched", "running", *FINAL_STATES)


class WorkerTask(TypedDict, total=False):
    id: str
    task: str
    acceptance_criteria: list[str]
    context: str | None
    budget_secs: int | None


class WorkerResult(TypedDict):
    task_id: str
    status: str
    summary: str
    artifacts: list[str]
    elapsed_secs: int


class Progress(TypedDict):
    percent: float | None
    message: str | None
    ts: str


class Task(TypedDict):
    id: str
    state: str
    target: object
    worker: str | None
    handout: int
    priority: int
    task: WorkerTask
    by: dict[str, object]
    queued: str
    dispatched: str | None
    started: str | None
    finished: str | None
    result: WorkerResult | None
    why: str | None
    progress: Progress | None


class TaskList(TypedDict):
    tasks: list[Task]
    next: str | None


class Tasks(TypedDict):
    tasks: list[Task]


class Runner(TypedDict):
    command: list[str]
    env: dict[str, str]
    budget_secs: int
    grace_secs: int
    idle_exit_secs: int
    on_interrupt: str
    retries: int
    stall_secs: int | None
    output_bytes: int | None
    acp: bool
    acp_asks: bool
    acp_mode: str
    acp_session: str


class WorkerSpec(TypedDict, total=False):
    name: str
    role: str
    inbox: str
    outbox: str
    heartbeat: str
    project_dir: str | None
    external_tools: list[object] | None
    approval_policy: object
    approval_timeout_secs: int


class Worker(TypedDict):
    name: str
    role: str
    state: str
    foreign: bool
    window: int
    in_hand: list[str]
    queued: int
    spec: WorkerSpec
    runner: Runner | None
    last_sign: str | None
    pid: int | None


class WorkerList(TypedDict):
    workers: list[Worker]


class WorkerRemoved(TypedDict):
    name: str
    moved_to: str


class WorkerCompacted(TypedDict):
    name: str
    archived: list[str]


class Rotated(TypedDict):
    kept: str | None


class Applied(TypedDict):
    added: list[str]
    updated: dict[str, list[str]]
    removed: list[str]
    unchanged: list[str]


class HostLog(TypedDict):
    path: str
    lines: list[str]


class Hello(TypedDict):
    omkd: str
    protocol: int
    format: int
    session: str
    session_dir: str
    pid: int
    capabilities: list[str]


class InvalidSpec(TypedDict):
    worker: str
    error: str


class RetriedWrite(TypedDict):
    path: str
    error: str
    since: str


class Notice(TypedDict):
    name: str
    sent: int
    failed: int
    suppressed: int
    reminded: int
    last_sent: str | None
    last_error: str | None
    seq: int


class Status(TypedDict):
    omkd: str
    session: str
    session_dir: str
    socket: str
    pid: int
    started: str
    seq: int
    tasks: dict[str, int]
    oldest_queued: Task | None
    last_failures: list[Task]
    workers: list[Worker]
    invalid_workers: list[InvalidSpec]
    unacked: int
    draining: list[str] | None
    rejected_lines: int
    retried_writes: list[RetriedWrite]
    notices: list[Notice]
    connections: int


class ConfigOption(TypedDict):
    name: str
    value: object
    default: object
    unit: str
    source: str
    restart: bool
    says: str


class Config(TypedDict):
    path: str
    exists: bool
    options: list[ConfigOption]


class ChangedOption(TypedDict):
    name: str
    before: object
    after: object
    restart: bool


class Reloaded(TypedDict):
    path: str
    changed: list[ChangedOption]
    needs_restart: list[str]


class Ending(TypedDict, total=False):
    waits_for: list[str]


class Finding(TypedDict):
    kind: str
    what: str
    mend: str


class Verified(TypedDict):
    checked: dict[str, int]
    findings: list[Finding]


class LogChunk(TypedDict):
    subscription: int | None
    data: str
    offset: int
    size: int
    path: str


class Published(TypedDict):
    seq: int


class Unit(TypedDict):
    seq: int
    ts: str
    by: dict[str, object]
    synced: int
    events: list[object]


class Units(TypedDict):
    units: list[Unit]
    next: int | None


class Entry(TypedDict):
    ts: str
    kind: str
    goal_id: str | None
    intent: str | None
    summary: str
    confidence: float | None
    auto_proceed: bool


class Escalation(TypedDict):
    seq: int
    entry: Entry


class Escalations(TypedDict):
    escalations: list[Escalation]
    next: int | None


class Choice(TypedDict):
    id: str
    label: str
    kind: str


class Decision(TypedDict):
    id: str
    state: str
    summary: str
    detail: str
    choices: list[Choice]
    worker: str | None
    task_id: str | None
    seq: int
    asked: str
    expires: str
    asked_by: dict[str, object]
    choice: str | None
    note: str
    ended: str | None
    ended_by: dict[str, object] | None


class Decisions(TypedDict):
    decisions: list[Decision]


class Subscribed(TypedDict):
    subscription: int
    seq: int
