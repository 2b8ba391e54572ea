"""Tasks, workers, questions and log items as a daemon answers them."""

import base64
from typing import Any

TS = "2026-05-25T10:11:12Z"


def task(id: str = "t1", state: str = "queued", **changed: Any) -> dict[str, Any]:
    final = state in ("success", "partial", "failed")
    result = {"task_id": id, "status": state, "summary": "did it", "artifacts": ["a.py"], "elapsed_secs": 3}
    return {
        "id": id,
        "state": state,
        "target": {"worker": "coder"},
        "worker": None if state == "queued" else "coder",
        "handout": 0 if state == "queued" else 1,
        "priority": 0,
        "task": {"id": id, "task": "fix it", "acceptance_criteria": []},
        "by": {"kind": "client", "uid": 1000, "pid": 4711},
        "queued": TS,
        "dispatched": None,
        "started": None,
        "finished": TS if final else None,
        "result": result if final else None,
        "why": None,
        "progress": None,
        **changed,
    }


def worker(name: str = "coder", **changed: Any) -> dict[str, Any]:
    return {
        "name": name,
        "role": "worker",
        "state": "ready",
        "foreign": False,
        "window": 1,
        "in_hand": [],
        "queued": 0,
        "spec": {"name": name, "role": "worker", "inbox": "i", "outbox": "o", "heartbeat": "h", "project_dir": None},
        "runner": runner(),
        "last_sign": TS,
        "pid": 12,
        **changed,
    }


def runner() -> dict[str, Any]:
    return {
        "command": ["sh", "-c", "wc -w"],
        "env": {},
        "budget_secs": 300,
        "grace_secs": 10,
        "idle_exit_secs": 1800,
        "on_interrupt": "rerun",
        "retries": 0,
        "stall_secs": None,
        "output_bytes": None,
        "acp": False,
        "acp_asks": False,
        "acp_mode": "",
        "acp_session": "task",
    }


ALLOW = {"id": "yes", "label": "Allow once", "kind": "allow_once"}
ALWAYS = {"id": "ever", "label": "Always", "kind": "allow_always"}
DENY = {"id": "no", "label": "Reject", "kind": "reject_once"}


def decision(id: str = "t1-1", **changed: Any) -> dict[str, Any]:
    return {
        "id": id,
        "state": "open",
        "summary": "wants to run make",
        "detail": "make all",
        "choices": [ALLOW, ALWAYS, DENY],
        "worker": "coder",
        "task_id": "t1",
        "seq": 7,
        "asked": TS,
        "expires": "2026-05-25T10:16:12Z",
        "asked_by": {"kind": "worker", "worker": "coder"},
        "choice": None,
        "note": "",
        "ended": None,
        "ended_by": None,
        **changed,
    }


def unit(seq: int) -> dict[str, Any]:
    event = {"WorkerProgress": {"worker_id": "coder", "percent": 40.0, "message": None}}
    return {"seq": seq, "ts": TS, "by": {"kind": "worker", "worker": "coder"}, "synced": 0, "events": [event]}


def escalation(seq: int, summary: str = "coder completed", kind: str = "worker_completed") -> dict[str, Any]:
    entry = {
        "ts": TS,
        "kind": kind,
        "goal_id": None,
        "intent": None,
        "summary": summary,
        "confidence": None,
        "auto_proceed": False,
    }
    return {"seq": seq, "entry": entry}


def log_of(content: bytes, chunk_bytes: int = 1_000_000) -> Any:
    """Answers `task.log` from `content`, so many bytes at a time."""

    def answer(params: dict[str, Any]) -> dict[str, Any]:
        tail = params.get("tail")
        start = params.get("offset", 0) if tail is None else max(0, len(content) - tail)
        data = content[start : start + chunk_bytes]
        return {
            "subscription": None,
            "data": base64.b64encode(data).decode(),
            "offset": start + len(data),
            "size": len(content),
            "path": "/x/stdout.log",
        }

    return answer
