"""The files of a run, `runs/<task id>/<hand-out>/`."""

import logging
from pathlib import Path

from attrs import frozen

from omkd.protocol import codec
from omkd.protocol.limits import WORKER_LINE_BYTES
from omkd.protocol.records import OutboxLine
from omkd.store.files import read_regular

log = logging.getLogger(__name__)


@frozen
class RunFiles:
    """`record` (run.json) says that the command may have run, `result` (result.json) what the outbox is to say."""

    path: Path

    @property
    def task(self) -> Path:
        return self.path / "task.json"

    @property
    def prompt(self) -> Path:
        return self.path / "prompt.md"

    @property
    def stdout(self) -> Path:
        return self.path / "stdout.log"

    @property
    def stderr(self) -> Path:
        return self.path / "stderr.log"

    @property
    def transcript(self) -> Path:
        """What went between omk-worker and an ACP agent."""
        return self.path / "acp.jsonl"

    @property
    def agent_result(self) -> Path:
        """`$OMK_RESULT_FILE`: the agent's to write."""
        return self.path / "agent-result.json"

    @property
    def result(self) -> Path:
        return self.path / "result.json"

    @property
    def record(self) -> Path:
        return self.path / "run.json"

    @property
    def has_begun(self) -> bool:
        """Whether its command may have run. A directory without run.json and result.json never began."""
        return self.record.exists() or self.result.exists()


def recorded_result(files: RunFiles) -> OutboxLine | None:
    """What a host wrote before it died, the outbox line not yet. None also if that cannot be read."""
    try:
        return codec.loads(read_regular(files.result, WORKER_LINE_BYTES), OutboxLine)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        log.error("%s cannot be used: %s", files.result, error)
        return None
