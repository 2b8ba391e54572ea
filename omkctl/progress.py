"""How far tasks are while one waits: on a terminal a line with what runs where, elapsed time, budget, last progress.

Elsewhere only why nothing comes, as far as it can be told.
"""

from datetime import UTC, datetime
from typing import Final, cast

from .failures import DaemonError
from .link import Deadline, Late, Link, Lost
from .live_line import LiveLine
from .render import say
from .shapes import Task, Worker
from .tasks_text import is_final, line, line_and_why, progress_of
from .values import duration_text, seconds_since

TICK_SECS: Final = 1.0
"""Between drawings."""

PATIENCE_SECS: Final = 10.0
"""Where nothing can be drawn, between looks for a reason why nothing comes."""

LOOKED_AT: Final = 20
"""Of the tasks that are waited for, so many are looked at for each drawing."""

LOOK_SECS: Final = 5.0


class Progress:
    """Says how far tasks are. The budget of a task that brings none is asked for once for each worker."""

    def __init__(self, line: LiveLine) -> None:
        self.line = line
        self._budgets: dict[str, int | None] = {}
        self._told = ""

    @property
    def is_live(self) -> bool:
        return self.line.is_live

    @property
    def every_secs(self) -> float:
        return TICK_SECS if self.is_live else PATIENCE_SECS

    def look(self, link: Link, ids: list[str]) -> None:
        """Asks how far `ids` are, and says it. Raises Lost, also when the daemon is silent."""
        deadline = Deadline.after(LOOK_SECS)
        try:
            tasks = [cast(Task, link.ask("task.get", {"id": id}, deadline)) for id in ids[:LOOKED_AT]]
            task = most_telling(tasks)
            if not self.is_live:
                self._tell(task)
                return
            text = how_far(task, self._budget(link, task, deadline), datetime.now(UTC))
        except Late:
            raise Lost("it does not answer") from None
        self.line.draw(f"{sum(map(is_final, tasks))} of {len(ids)} ended; {text}" if len(ids) > 1 else text)

    def _tell(self, task: Task) -> None:
        """Each reason once."""
        text = line_and_why(task)
        if task["why"] and not is_final(task) and text != self._told:
            self._told = text
            say(text)

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
