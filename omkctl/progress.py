"""The line that says how far tasks are while one waits: what runs where, elapsed time, budget, last progress."""

from datetime import UTC, datetime
from typing import Final, cast

from .failures import DaemonError
from .link import Deadline, Late, Link, Lost
from .live_line import LiveLine
from .shapes import Task, Worker
from .tasks_text import is_final, line, progress_of
from .values import duration_text, seconds_since

TICK_SECS: Final = 1.0
"""Between drawings."""

LOOKED_AT: Final = 20
"""Of the tasks that are waited for, so many are looked at for each drawing."""

LOOK_SECS: Final = 5.0


class Progress:
    """Draws how far tasks are. The budget of a task that brings none is asked for once for each worker."""

    def __init__(self, line: LiveLine) -> None:
        self.line = line
        self._budgets: dict[str, int | None] = {}

    @property
    def is_live(self) -> bool:
        return self.line.is_live

    def look(self, link: Link, ids: list[str]) -> None:
        """Asks how far `ids` are, and draws it. Raises Lost, also when the daemon is silent."""
        deadline = Deadline.after(LOOK_SECS)
        try:
            tasks = [cast(Task, link.ask("task.get", {"id": id}, deadline)) for id in ids[:LOOKED_AT]]
            task = most_telling(tasks)
            text = how_far(task, self._budget(link, task, deadline), datetime.now(UTC))
        except Late:
            raise Lost("it does not answer") from None
        self.line.draw(f"{sum(map(is_final, tasks))} of {len(ids)} ended; {text}" if len(ids) > 1 else text)

    def _budget(self, link: Link, task: Task, deadline: Deadline) -> int | None:
        own, worker = task["task"].get("budget_secs"), task["worker"]
        if own is not None or worker is None:
            return own
        if worker not in self._budgets:
            self._budgets[worker] = budget_of(link, worker, deadline)
        return self._budgets[worker]


def budget_of(link: Link, name: str, deadline: Deadline) -> int | None:
    """None for a worker that another program plays, and for one that has been removed."""
    try:
        runner = cast(Worker, link.ask("worker.get", {"name": name}, deadline))["runner"]
    except DaemonError:
        return None
    return runner["budget_secs"] if runner else None


def most_telling(tasks: list[Task]) -> Task:
    """One that runs, else one that has not ended, else any."""
    ranks = {"running": 0, "dispatched": 1, "queued": 2, "held": 2}
    return min(tasks, key=lambda task: ranks.get(task["state"], 3))


def how_far(task: Task, budget_secs: int | None, now: datetime) -> str:
    """`t12 running (coder) 1m02s of 5m00s, 40 % half way`, `t13 queued for coder 12s: waits for t12`."""
    since = task["started"] if task["state"] == "running" else task["queued"]
    elapsed = duration_text(seconds_since(since, now)) if since and not is_final(task) else ""
    budget = f" of {duration_text(budget_secs)}" if budget_secs and task["state"] == "running" else ""
    said = progress_of(task)
    why = f": {task['why']}" if task["why"] else ""
    return f"{line(task)} {elapsed}{budget}".rstrip() + why + (f", {said}" if said else "")
