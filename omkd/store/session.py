"""Where the things of a session are."""

from pathlib import Path

from attrs import frozen

from omkd.protocol.handout import handout_id as handout_id
from omkd.protocol.handout import task_of_handout as task_of_handout
from omkd.protocol.scalars import HandoutId, TaskId, WorkerName

INBOX = "inbox.jsonl"
CONTROL = "control.jsonl"
OUTBOX = "outbox.jsonl"
EVENTS = "events.jsonl"
HEARTBEAT = "heartbeat.json"
SPEC = "worker-spec.json"
RUNNER = "runner.json"


@frozen
class WorkerDir:
    """A worker's directory, `workers/<name>`."""

    path: Path

    @property
    def name(self) -> WorkerName:
        return WorkerName(self.path.name)

    @property
    def session_dir(self) -> Path:
        return self.path.parent.parent

    @property
    def inbox(self) -> Path:
        return self.path / INBOX

    @property
    def control(self) -> Path:
        return self.path / CONTROL

    @property
    def outbox(self) -> Path:
        return self.path / OUTBOX

    @property
    def events(self) -> Path:
        return self.path / EVENTS

    @property
    def heartbeat(self) -> Path:
        return self.path / HEARTBEAT

    @property
    def spec(self) -> Path:
        return self.path / SPEC

    @property
    def runner(self) -> Path:
        return self.path / RUNNER

    @property
    def lock(self) -> Path:
        return self.path / "worker.lock"

    @property
    def host_log(self) -> Path:
        return self.path / "host.log"

    @property
    def archive(self) -> Path:
        return self.path / "archive"

    @property
    def runs(self) -> Path:
        return self.path / "runs"

    def run(self, task_id: TaskId, handout: HandoutId) -> Path:
        return self.runs / task_id / handout


@frozen
class SessionDir:
    """`$XDG_STATE_HOME/omk/sessions/<session>`."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def events(self) -> Path:
        return self.path / "events"

    @property
    def lock(self) -> Path:
        return self.path / "omkd.lock"

    @property
    def workers(self) -> Path:
        return self.path / "workers"

    @property
    def removed(self) -> Path:
        return self.path / "removed"

    @property
    def older(self) -> Path:
        return self.path / "older"

    @property
    def escalations(self) -> Path:
        return self.path / "pending_escalations.jsonl"

    @property
    def escalations_pos(self) -> Path:
        return self.path / "escalations.pos"

    @property
    def notices_pos(self) -> Path:
        return self.path / "notices.pos"

    def worker(self, name: str) -> WorkerDir:
        return WorkerDir(self.workers / name)
