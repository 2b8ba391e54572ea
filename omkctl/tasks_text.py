"""Tasks in words: one line, a table's row, all that is known; and what their end means for the exit status."""

from .failures import Exit
from .render import Output, one_line
from .shapes import FINAL_STATES, Task
from .values import target_text

HEADER = ("id", "state", "worker", "queued", "task")
RESULT_HEADER = ("id", "state", "worker", "finished", "secs", "summary", "artifacts")
TEXT_CHARS = 60


def holder(task: Task) -> str:
    """Who has it, or who may have it."""
    return task["worker"] or target_text(task["target"])


def line(task: Task) -> str:
    """`t12 queued for coder`, `t12 success (coder)`."""
    if task["worker"] is None:
        return f"{task['id']} {task['state']} for {target_text(task['target'])}"
    return f"{task['id']} {task['state']} ({task['worker']})"


def is_final(task: Task) -> bool:
    return task["state"] in FINAL_STATES


def status_of(tasks: list[Task]) -> Exit:
    """0 when all of those that ended succeeded."""
    return Exit.DONE if all(task["state"] == "success" for task in tasks if is_final(task)) else Exit.NEGATIVE


def row(task: Task, out: Output) -> list[str]:
    text = one_line(task["task"].get("task", ""), TEXT_CHARS)
    return [task["id"], task["state"], holder(task), out.time(task["queued"]), text]


def result_row(task: Task, out: Output) -> list[str]:
    result = task["result"]
    summary = one_line(result["summary"], TEXT_CHARS) if result else task["why"] or ""
    secs = str(result["elapsed_secs"]) if result else ""
    artifacts = " ".join(result["artifacts"]) if result else ""
    return [task["id"], task["state"], holder(task), out.time(task["finished"]), secs, summary, artifacts]


def describe(task: Task, out: Output) -> None:
    """Everything, one field a line, texts indented below."""
    facts = {
        "state": out.styled(task["state"]) + (f": {task['why']}" if task["why"] else ""),
        "target": target_text(task["target"]),
        "worker": task["worker"],
        "hand-out": str(task["handout"]) if task["handout"] else None,
        "from": said_by(task["by"]),
        "queued": out.time(task["queued"]),
        "dispatched": out.time(task["dispatched"]),
        "started": out.time(task["started"]),
        "finished": out.time(task["finished"]),
        "budget": f"{task['task'].get('budget_secs')} s" if task["task"].get("budget_secs") else None,
    }
    out.line(f"task {task['id']}")
    for name, value in facts.items():
        if value:
            out.line(f"  {name + ':':<12}{value}")
    block(out, "text", task["task"].get("task", ""))
    block(out, "criteria", "\n".join(task["task"].get("acceptance_criteria", [])))
    block(out, "context", task["task"].get("context") or "")
    if task["result"] is not None:
        result = task["result"]
        out.line(f"  {'result:':<12}{out.styled(result['status'])} after {result['elapsed_secs']} s")
        block(out, "summary", result["summary"])
        block(out, "artifacts", "\n".join(result["artifacts"]))


def block(out: Output, name: str, text: str) -> None:
    if text:
        out.line(f"  {name}:")
        out.text("\n".join(f"    {part}" for part in text.rstrip("\n").split("\n")))


def said_by(by: dict[str, object]) -> str:
    """Who brought a fact: `coder`, `pid 4711 (client)`, `omkd`."""
    match by:
        case {"kind": "worker", "worker": name}:
            return str(name)
        case {"kind": kind, "pid": pid}:
            return f"pid {pid} ({kind})"
        case _:
            return str(by.get("kind"))
