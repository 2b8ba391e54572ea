"""A worker that keeps the file contract and nothing else: a thread that reads its inbox and answers each task."""

import json
import select
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

from inotify_simple import INotify, flags

from omkd.store.session import WorkerDir
from tests.kit import append

LOOK_S = 0.2
JOIN_S = 30.0
Answer = Callable[[dict[str, Any]], dict[str, Any] | None]


def success(task: dict[str, Any]) -> dict[str, Any]:
    return {"task_id": task["id"], "status": "success", "summary": "done", "artifacts": [], "elapsed_secs": 0}


class FileWorker:
    """`most_in_hand` is the most inbox lines that were there and not answered; `inbox` the ids in their order.

    What the inbox has at once is answered at once, starts before results, as a program in Rust or a shell does.
    """

    def __init__(self, directory: WorkerDir, answer: Answer = success, *, says_start: bool = True) -> None:
        self._directory = directory
        self._answer = answer
        self._says_start = says_start
        self._stop = threading.Event()
        self._read_to = 0
        self._thread = threading.Thread(target=self._work, name=f"worker {directory.name}")
        self.inbox: list[str] = []
        self.most_in_hand = 0
        self.fault: BaseException | None = None

    def __enter__(self) -> "FileWorker":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join(JOIN_S)
        assert not self._thread.is_alive(), "it still writes, and a test would remove its directory under it"
        assert self.fault is None, self.fault

    def _work(self) -> None:
        try:
            with INotify(nonblocking=True) as inotify:
                inotify.add_watch(self._directory.path, flags.MODIFY | flags.CREATE)
                while not self._stop.is_set():
                    self._answer_all(self._new_lines())
                    select.select([inotify.fd], [], [], LOOK_S)
                    inotify.read(timeout=0)
        except BaseException as fault:
            self.fault = fault

    def _new_lines(self) -> list[dict[str, Any]]:
        if not self._directory.inbox.exists():
            return []
        with self._directory.inbox.open("rb") as inbox:
            inbox.seek(self._read_to)
            whole, newline, _ = inbox.read().rpartition(b"\n")
        self._read_to += len(whole) + len(newline)
        return [json.loads(line) for line in whole.splitlines()]

    def _answer_all(self, tasks: list[dict[str, Any]]) -> None:
        self.inbox += [task["id"] for task in tasks]
        self.most_in_hand = max(self.most_in_hand, len(tasks))
        answers = [answer for task in tasks if (answer := self._answer(task)) is not None]
        if tasks and self._says_start:
            append(self._directory.events, *({"TaskStarted": {"task_id": task["id"]}} for task in tasks))
        if answers:
            append(self._directory.outbox, *answers)
