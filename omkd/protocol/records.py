"""The lines and files of a worker's directory (source: seeds, `team/worker.rs`).

Field order is wire order. A field with a default may be missing when read; only `| None` fields may be null. How each
field is left out is said by `OMIT_NONE` (left out when None) and otherwise written always.
"""

from enum import Enum
from typing import ClassVar, TypeAlias

from attrs import field, frozen

from .scalars import U32, U64, HandoutId, HeartbeatNs, Json, Ns

DEFAULT_BUDGET_SECS = 300
DEFAULT_GRACE_SECS = 10
DEFAULT_IDLE_EXIT_SECS = 1800
DEFAULT_APPROVAL_TIMEOUT_SECS = 300


def says(text: str) -> dict[str, str]:
    """The `metadata` of a field: its line in `docs/protocol.md` and `docs/files.md`."""
    return {"says": text}


@frozen(kw_only=True)
class Never:
    """Ask a person each time. Wire: `"never"`."""

    TAG: ClassVar[str] = "never"


@frozen(kw_only=True)
class Safe:
    """Read-only is allowed, the rest asked. Wire: `"safe"`."""

    TAG: ClassVar[str] = "safe"


@frozen(kw_only=True)
class Yolo:
    """Everything is allowed. Wire: `"yolo"`."""

    TAG: ClassVar[str] = "yolo"


@frozen(kw_only=True)
class Pattern:
    """Allowed where one matches. Wire: `{"pattern":{"patterns":["^ls"]}}`."""

    TAG: ClassVar[str] = "pattern"
    patterns: list[str]


ApprovalPolicy: TypeAlias = Never | Safe | Yolo | Pattern


@frozen(kw_only=True)
class WorkerSpec:
    """`worker-spec.json`, pretty, two spaces, no final newline. `project_dir` is always written, null or not."""

    OMIT_NONE: ClassVar[frozenset[str]] = frozenset({"external_tools"})
    name: str = field(metadata=says("the directory's name"))
    role: str = field(metadata=says("what it is for"))
    inbox: str = field(metadata=says("path of `inbox.jsonl`, absolute or from this directory"))
    outbox: str = field(metadata=says("path of `outbox.jsonl`"))
    heartbeat: str = field(metadata=says("path of `heartbeat.json`"))
    project_dir: str | None = field(default=None, metadata=says("where it works"))
    external_tools: list[Json] | None = field(
        default=None, metadata=says("tools from outside, as their provider describes them; omkd keeps them only")
    )
    approval_policy: ApprovalPolicy = field(
        factory=Never, metadata=says("what an ACP agent may do unasked; of other commands kept only")
    )
    approval_timeout_secs: U64 = field(
        default=U64(DEFAULT_APPROVAL_TIMEOUT_SECS), metadata=says("how long it waits for an approval")
    )


@frozen(kw_only=True)
class WorkerTask:
    """A line of `inbox.jsonl`: `{"id":"t1","task":"fix it","acceptance_criteria":[]}`. `budget_secs` 0 means 300."""

    OMIT_NONE: ClassVar[frozenset[str]] = frozenset({"context", "budget_secs"})
    id: str = field(metadata=says("the hand-out: `<task id>`, from the second on `<task id>.<n>`"))
    task: str = field(metadata=says("what is to be done"))
    acceptance_criteria: list[str] = field(factory=list, metadata=says("when it is done"))
    context: str | None = field(default=None, metadata=says("what else to know"))
    budget_secs: U64 | None = field(
        default=None, metadata=says("how long it may take; 0 means 300, missing: the worker's own")
    )


@frozen(kw_only=True)
class InboxLine(WorkerTask):
    """A line of an own worker's `inbox.jsonl`: the seeds' five keys, then who sent the task; not for a foreign worker.

    `{"id":"t1","task":"fix it","acceptance_criteria":[],"by":"worker:lead"}`
    """

    OMIT_NONE: ClassVar[frozenset[str]] = frozenset({"context", "budget_secs", "by"})
    by: str | None = field(
        default=None, metadata=says("`client`, `worker:NAME`, `omkd` or `unknown`; the agent's OMK_TASK_BY")
    )


class ResultStatus(Enum):
    SUCCESS = "success"
    PARTIAL = "partial"
    FAILED = "failed"


@frozen(kw_only=True)
class WorkerResult:
    """The seeds' five keys: `{"task_id":"t1","status":"success","summary":"","artifacts":[],"elapsed_secs":0}`."""

    task_id: str = field(metadata=says("the `id` of the inbox line"))
    status: ResultStatus = field(metadata=says("how it ended"))
    summary: str = field(default="", metadata=says("in words"))
    artifacts: list[str] = field(factory=list, metadata=says("what was made or changed; omkd counts them"))
    elapsed_secs: U64 = field(default=U64(0), metadata=says("how long it took"))


class Outcome(Enum):
    """How a hand-out ended; what Rust has no word for is `failed` in `status`."""

    DONE = "done"
    CANCELLED = "cancelled"
    LATER = "later"
    INTERRUPTED = "interrupted"


@frozen(kw_only=True)
class OutboxLine:
    """A line of `outbox.jsonl`: the seeds' five keys, then omk-worker's own. Without `outcome` it is `done`."""

    OMIT_NONE: ClassVar[frozenset[str]] = frozenset({"outcome", "not_before"})
    task_id: str = field(metadata=says("the `id` of the inbox line"))
    status: ResultStatus = field(metadata=says("how it ended"))
    summary: str = field(default="", metadata=says("in words"))
    artifacts: list[str] = field(factory=list, metadata=says("what was made or changed; omkd counts them"))
    elapsed_secs: U64 = field(default=U64(0), metadata=says("how long it took"))
    outcome: Outcome | None = field(default=None, metadata=says("how the hand-out ended; missing: `done`"))
    not_before: Ns | None = field(default=None, metadata=says("with `later`: not handed out earlier"))

    def result(self) -> WorkerResult:
        return WorkerResult(
            task_id=self.task_id,
            status=self.status,
            summary=self.summary,
            artifacts=self.artifacts,
            elapsed_secs=self.elapsed_secs,
        )


@frozen(kw_only=True)
class Heartbeat:
    """`heartbeat.json`: `{"status":"ready","name":"coder","ts":"2026-05-25T10:11:12+00:00"}`; omk-worker adds keys."""

    OMIT_NONE: ClassVar[frozenset[str]] = frozenset({"pid", "version", "handout"})
    status: str = field(metadata=says("a word; `ready` and `busy` are omk-worker's"))
    name: str = field(metadata=says("the worker's"))
    ts: HeartbeatNs = field(metadata=says("now"))
    pid: U64 | None = field(default=None, metadata=says("of the worker's process"))
    version: str | None = field(default=None, metadata=says("of the program"))
    handout: str | None = field(default=None, metadata=says("what it has in hand"))


class OnInterrupt(Enum):
    """Run it again, hold it until it is released, or let it fail."""

    RERUN = "rerun"
    HOLD = "hold"
    FAIL = "fail"


class AcpSession(Enum):
    """A session of the agent for each task, or one for all of the worker's, as long as the agent's process lives."""

    TASK = "task"
    WORKER = "worker"


@frozen(kw_only=True)
class Runner:
    """`runner.json`: how omk-worker runs the worker's command. `env` is what was given with `--env`, nothing else."""

    command: list[str] = field(
        metadata=says(
            "argv; no shell. `{task}`, `{task_id}`, `{task_file}`, `{prompt_file}`, `{project_dir}` are filled in"
        )
    )
    env: dict[str, str] = field(factory=dict, metadata=says("added to the environment"))
    budget_secs: U64 = field(default=U64(DEFAULT_BUDGET_SECS), metadata=says("of a task that has none"))
    grace_secs: U64 = field(default=U64(DEFAULT_GRACE_SECS), metadata=says("from SIGTERM to SIGKILL"))
    idle_exit_secs: U64 = field(
        default=U64(DEFAULT_IDLE_EXIT_SECS),
        metadata=says("without a daemon and without work, the host ends after this"),
    )
    on_interrupt: OnInterrupt = field(
        default=OnInterrupt.RERUN, metadata=says("what becomes of a task whose host or machine died under it")
    )
    retries: U32 = field(default=U32(0), metadata=says("of a task that says nothing: runs again after a failure"))
    stall_secs: U64 | None = field(
        default=None,
        metadata=says("its agent is stalled when a run says nothing for so long; null: only the host counts"),
    )
    output_bytes: U64 | None = field(
        default=None,
        metadata=says("of each output stream of a run; the middle of a longer one is left out; null: 16 MiB"),
    )
    acp: bool = field(default=False, metadata=says("the command is an ACP agent: a task is a prompt turn of it"))
    acp_asks: bool = field(default=False, metadata=says("of an agent unknown to omkd: it asks before it acts"))
    acp_mode: str = field(default="", metadata=says("the mode in which the agent asks; empty: what omkd knows of it"))
    acp_session: AcpSession = field(
        default=AcpSession.TASK, metadata=says("whether a task begins a new session of the agent, or goes on with one")
    )


@frozen(kw_only=True)
class HandoutDone:
    """A line of `control.jsonl`: omkd ended this hand-out itself, it must not run. `{"done":{"id":"t12"}}`."""

    TAG: ClassVar[str] = "done"
    id: HandoutId = field(metadata=says("the hand-out"))


@frozen(kw_only=True)
class CancelHandout:
    """A line of `control.jsonl`: end this hand-out, report `cancelled`. `{"cancel":{"id":"t12","reason":"…"}}`."""

    TAG: ClassVar[str] = "cancel"
    id: HandoutId = field(metadata=says("the hand-out"))
    reason: str = field(default="", metadata=says("in the words of who asked"))


@frozen(kw_only=True)
class AnswerLine:
    """A line of `control.jsonl`: a question was decided. `{"answer":{"decision":"t12-1","choice":"approve",…}}`."""

    TAG: ClassVar[str] = "answer"
    decision: str = field(metadata=says("the question"))
    choice: str | None = field(metadata=says("the choice's id; null: nobody decided in time"))
    note: str = field(default="", metadata=says("for the agent"))
    by: str = field(default="", metadata=says("who decided, in words"))


ControlLine: TypeAlias = HandoutDone | CancelHandout | AnswerLine


@frozen(kw_only=True)
class LockHolder:
    """The text of a lock file. Who holds it is asked of the kernel; this says who that is.

    `inode` is the lock file's own: in a copy of it, it is another's. 0: not said.
    """

    pid: U64
    start_time: U64
    boot_id: str
    version: str
    inode: U64 = U64(0)


@frozen(kw_only=True)
class RunRecord:
    """`runs/<task>/<hand-out>/run.json`, synced before the command starts: what identifies the run's processes.

    `start_time` is field 22 of /proc/PID/stat, in clock ticks since boot; `pid` and it are 0 until the command runs.
    """

    handout: str = field(metadata=says("the `id` of the inbox line"))
    session: str = field(metadata=says("its name"))
    worker: str = field(metadata=says("its name"))
    boot_id: str = field(metadata=says("/proc/sys/kernel/random/boot_id"))
    host_pid: U64 = field(metadata=says("of omk-worker"))
    host_start_time: U64 = field(metadata=says("of omk-worker, clock ticks since boot"))
    pid: U64 = field(metadata=says("of the command; 0 until it runs"))
    start_time: U64 = field(metadata=says("of the command; 0 until it runs"))
    started: Ns = field(metadata=says("when the run was prepared"))
