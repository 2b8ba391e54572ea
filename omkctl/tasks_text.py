"""Tasks in words: one line, a table's row, all that is known; and what their end means for the exit status."""

from .failures import Exit
from .render import Output, one_line
from .shapes import FINAL_STATES, Task
from .values import target_text

HEADER = ("id", "state", "worker", "queued", "task")
PROGRESS_HEADER = ("id", "state", "worker", "queued", "progress", "task")
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


def line_and_why(task: Task) -> str:
    """`t12 queued for coder: waits for t9`."""
    return line(task) + (f": {one_line(task['why'])}" if task["why"] else "")


def is_final(task: Task) -> bool:
    return task["state"] in FINAL_STATES


def status_of(tasks: list[Task]) -> Exit:
    """0 when all of those that ended succeeded."""
    return Exit.DONE if all(task["state"] == "success" for task in tasks if is_final(task)) else Exit.NEGATIVE


def table(tasks: list[Task], out: Output) -> None:
    """With a column for progress when one that runs has some."""
    if any(map(progress_of, tasks)):
        rows = [[*(cells := row(task, out))[:-1], progress_of(task), cells[-1]] for task in tasks]
        out.table(PROGRESS_HEADER, rows)
    else:
        out.table(HEADER, [row(task, out) for task in tasks])


def row(task: Task, out: Output) -> list[str]:
    text = one_line(task["task"].get("task", ""), TEXT_CHARS)
    return [task["id"], task["state"], holder(task), out.time(task["queued"]), text]


def progress_of(task: Task) -> str:
    """`40 % half way`, of a task that runs; else nothing."""
    progress = task["progress"]
    if progress is None or task["state"] != "running":
        return ""
    percent = "" if progress["percent"] is None else f"{progress['percent']:g} %"
    return " ".join(filter(None, [percent, one_line(progress["message"] or "", TEXT_CHARS)]))


def result_row(task: Task, out: Output) -> list[str]:
    result = task["result"]
    summary = one_line(result["summary"], TEXT_CHARS) if result else task["why"] or ""
    secs = str(result["elapsed_secs"]) if result else ""
    artifacts = " ".join(result["artifacts"]) if result else ""
    return [task["id"], task["state"], holder(task), out.time(task["finished"]), secs, summary, artifacts]


def describe(task: Task, out: Output) -> None:
    """Everything, one field a line, texts indented below."""
    facts = {
        "state": out.styled(task["state"]) + (f": {one_line(task['why'])}" if task["why"] else ""),
        "target": target_text(task["target"]),
        "worker": task["worker"],
        "hand-outs": handouts(task),
        "by": said_by(task["by"]),
        "priority": str(task["priority"]) if task["priority"] else None,
        "progress": progress_of(task),
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


def handouts(task: Task) -> str | None:
    """How often it was handed out; None: never."""
    match task["handout"]:
        case 0:
            return None
        case 1:
            return "1"
        case count:
            return f"{count} (the output of each: omkctl log {task['id']} --handout N)"


def block(out: Output, name: str, text: str) -> None:
    if text:
        out.line(f"  {name}:")
        out.text("\n".join(f"    {part}" for part in text.rstrip("\n").split("\n")))


def said_by(by: dict[str, object]) -> str:
    """Who brought a fact: `worker coder`, `anna (pid 4711)`, `omkd`."""
    match by:
        case {"kind": "worker", "worker": name}:
            return f"worker {name}"
        case {"kind": "client", "uid": int(uid), "pid": pid}:
            return f"{user_name(uid)} (pid {pid})"
        case {"kind": kind, "pid": pid}:
            return f"{kind} (pid {pid})"
        case _:
            return str(by.get("kind"))


def user_name(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
