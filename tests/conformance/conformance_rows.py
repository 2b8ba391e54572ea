"""The recorded rows, and what the codec makes of an acceptance row."""

import base64
import json
from pathlib import Path
from typing import Any

from attrs import frozen

from omkd.protocol import codec
from omkd.protocol.escalation import EscalationKind, EscalationLogEntry
from omkd.protocol.events import Intent
from omkd.protocol.records import ApprovalPolicy, ResultStatus, WorkerResult, WorkerSpec, WorkerTask

HERE = Path(__file__).parent
TYPES: dict[str, Any] = {
    "ApprovalPolicy": ApprovalPolicy,
    "EscalationKind": EscalationKind,
    "EscalationLogEntry": EscalationLogEntry,
    "Intent": Intent,
    "ResultStatus": ResultStatus,
    "WorkerResult": WorkerResult,
    "WorkerResult.outbox_line": WorkerResult,
    "WorkerSpec": WorkerSpec,
    "WorkerTask": WorkerTask,
    "WorkerTask.inbox_line": WorkerTask,
}


@frozen(kw_only=True)
class Verdict:
    """`written` is what it is written as again; None: refused, `error` says why."""

    written: str | None
    error: str | None = None

    @property
    def accepted(self) -> bool:
        return self.written is not None


def rows_of(name: str) -> list[dict[str, Any]]:
    with (HERE / f"{name}.jsonl").open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def verdict_on(row: dict[str, Any]) -> Verdict:
    text = row.get("input")
    data = base64.b64decode(row["input_b64"]) if text is None else text.encode()
    try:
        value = codec.loads(data, TYPES[row["type"]])
    except codec.CodecError as error:
        return Verdict(written=None, error=str(error))
    return Verdict(written=codec.dumps(value).decode())
