"""Workers whose task is a shell script, and what a test asks of them."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from omkd.store.procfs import environ_of, process_of, processes
from tests.kit import Client, Place, events_called, wait_until

FOREVER = "tail -f /dev/null"
"""A script that never ends by itself and writes nothing."""

Wire = dict[str, Any]


def add_shell(client: Client, name: str = "w", *, role: str = "dev", window: int = 1, **runner: object) -> Wire:
    """A worker that runs each task's text as a shell script."""
    runner = {"command": ["sh"], "grace_secs": 1, **runner}
    return client.call("worker.add", name=name, role=role, window=window, runner=runner)


def send(client: Client, text: str, target: object = None, **more: object) -> str:
    """The task's id. `budget_secs` and `id` are the task's own, the rest is the method's."""
    own = {name: more.pop(name) for name in ("budget_secs", "id", "context") if name in more}
    target = {"worker": "w"} if target is None else target
    return str(client.call("task.send", target=target, task={"task": text, **own}, **more)["id"])


def wait(client: Client, *ids: str, until: str = "done") -> list[Wire]:
    done = client.call("task.wait", ids=list(ids), until=until, timeout=25)["tasks"]
    assert isinstance(done, list)
    return done


def result(client: Client, id: str) -> tuple[str, str]:
    """State and summary of a task, once it ended."""
    (task,) = wait(client, id)
    return task["state"], (task["result"] or {}).get("summary", "")


def state(client: Client, id: str) -> str:
    return str(client.call("task.get", id=id)["state"])


def why(client: Client, id: str) -> str:
    return str(client.call("task.get", id=id)["why"])


def worker(client: Client, name: str = "w") -> Wire:
    return client.call("worker.get", name=name)


def wait_worker(client: Client, state: str, name: str = "w") -> Wire:
    wait_until(lambda: worker(client, name)["state"] == state, f"{name} does not become {state}")
    return worker(client, name)


def refusal(client: Client, method: str, **params: object) -> tuple[str, str]:
    """Name and message of the error that a call is answered with."""
    answer = client.ask(method, **params)
    assert "error" in answer, answer
    error = answer["error"]
    assert isinstance(error, dict)
    return error["data"]["name"], error["message"]


def alive_with(mark: str) -> list[int]:
    """Processes with this `NAME=value` in their environment."""
    wanted = mark.encode()
    return [each.pid for each in processes() if each.is_alive and wanted in environ_of(each.pid).split(b"\0")]


def is_alive(pid: int) -> bool:
    found = process_of(pid)
    return found is not None and found.is_alive


def fifo(place: Place, name: str = "go") -> Path:
    """A script that reads it waits until somebody opens it for writing (`open_gate`)."""
    path = place.root / name
    os.mkfifo(path)
    return path


def open_gate(path: Path) -> None:
    path.write_text("")


def lines_of(path: Path, count: int = 1) -> list[str]:
    """The lines of a file once there are so many."""
    wait_until(lambda: path.exists() and path.read_text().count("\n") >= count, f"no {count} lines in {path}")
    return path.read_text().splitlines()


def dispatched(place: Place) -> list[str]:
    return [each["task_id"] for each in events_called(place, "TaskDispatched")]


class Asking(threading.Thread):
    """A call that waits, on a connection of its own; `answer` is there when it ended."""

    def __init__(self, place: Place, method: str, **params: object) -> None:
        super().__init__(name=method)
        self._place, self._method, self._params = place, method, params
        self.answer: Wire | None = None
        self.start()

    def run(self) -> None:
        client = Client(self._place.socket)
        try:
            self.answer = client.ask(self._method, **self._params)
        finally:
            client.close()

    def result(self) -> Wire:
        self.join(30)
        assert self.answer is not None, f"{self._method} is not answered"
        assert "result" in self.answer, self.answer
        found = self.answer["result"]
        assert isinstance(found, dict)
        return found


@contextmanager
def consistent(client: Client) -> Iterator[None]:
    """What is proved at the end."""
    yield
    assert client.call("omkd.verify")["findings"] == []
