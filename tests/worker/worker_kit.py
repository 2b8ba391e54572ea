"""A worker's directory with a real host in it. Everything waits on inotify with a deadline; nothing is left running."""

import json
import os
import select
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from inotify_simple import INotify, flags

from omkd.store.procfs import environ_of, process_of, processes
from omkd.store.session import SessionDir, WorkerDir

DEADLINE_S = 20.0
CHANGES = flags.CREATE | flags.MODIFY | flags.MOVED_TO | flags.DELETE


class Workspace:
    """`project` is the command's directory; what it writes there wakes `wait`. `token` marks all its processes."""

    def __init__(self, root: Path) -> None:
        self.session = SessionDir(root / "sessions" / "s1")
        self.worker: WorkerDir = self.session.worker("coder")
        self.project = root / "project"
        self.token = uuid.uuid4().hex
        self.hosts: list[subprocess.Popen[bytes]] = []
        self.worker.path.mkdir(parents=True)
        self.project.mkdir()
        self.write_spec()
        self._inotify = INotify(nonblocking=True)
        for path in (self.worker.path, self.project):
            self._inotify.add_watch(path, CHANGES)

    def write_spec(self, project_dir: str | None = "") -> None:
        spec = {"name": "coder", "role": "dev", "inbox": "inbox.jsonl", "outbox": "outbox.jsonl"}
        spec |= {"heartbeat": "heartbeat.json", "project_dir": str(self.project) if project_dir == "" else project_dir}
        self.worker.spec.write_text(json.dumps(spec))

    def runner(self, *command: str, env: dict[str, str] | None = None, **settings: int) -> None:
        settings = {"grace_secs": 1, "idle_exit_secs": 0, **settings}
        value = {"command": list(command), "env": {"TOKEN": self.token, **(env or {})}, **settings}
        self.worker.runner.write_text(json.dumps(value))

    def shell(self, script: str, **settings: int) -> None:
        self.runner("/bin/sh", "-c", script, **settings)

    def send(self, id: str = "t1", task: str = "one two three", **more: object) -> None:
        append(self.worker.inbox, json.dumps({"id": id, "task": task, **more}) + "\n")

    def control(self, **line: object) -> None:
        append(self.worker.control, json.dumps(line) + "\n")

    def start(self, **env: str) -> subprocess.Popen[bytes]:
        with self.worker.host_log.open("ab") as log:
            host = subprocess.Popen(
                [sys.executable, "-m", "omkd.worker", "--dir", str(self.worker.path)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **env},
                start_new_session=True,
            )
        self.hosts.append(host)
        return host

    def stop(self, host: subprocess.Popen[bytes]) -> int:
        host.send_signal(signal.SIGTERM)
        return host.wait(DEADLINE_S)

    def wait(self, condition: Callable[[], Any], what: str) -> Any:
        """What `condition` gives once it is true; it is asked whenever a watched file changed."""
        deadline = time.monotonic() + DEADLINE_S
        while not (found := condition()):
            left = deadline - time.monotonic()
            if left <= 0:
                raise AssertionError(f"waited in vain for {what}; host.log:\n{self.log()}")
            select.select([self._inotify.fd], [], [], left)
            self._inotify.read(timeout=0)
        return found

    def wait_file(self, name: str) -> str:
        """The text of a file in the project directory once its line is whole."""
        path = self.project / name
        return str(self.wait(lambda: path.exists() and path.read_text().rpartition("\n")[0], name)).strip()

    def results(self, count: int = 1) -> list[dict[str, Any]]:
        return list(self.wait(lambda: len(self.outbox()) >= count and self.outbox(), f"{count} results"))

    def result(self) -> dict[str, Any]:
        (only,) = self.results()
        return only

    def outbox(self) -> list[dict[str, Any]]:
        return json_lines(self.worker.outbox)

    def events(self) -> list[Any]:
        return json_lines(self.worker.events)

    def heartbeat(self) -> dict[str, Any]:
        return dict(json.loads(self.worker.heartbeat.read_bytes()))

    def wait_status(self, status: str) -> dict[str, Any]:
        def beat() -> dict[str, Any] | None:
            found = self.heartbeat() if self.worker.heartbeat.exists() else {}
            return found if found.get("status") == status else None

        return dict(self.wait(beat, f"a heartbeat that says {status}"))

    def run(self, handout: str = "t1") -> Path:
        return self.worker.runs / handout.partition(".")[0] / handout

    def log(self) -> str:
        return self.worker.host_log.read_text() if self.worker.host_log.exists() else ""

    def wait_logged(self, text: str) -> None:
        self.wait(lambda: text in self.log(), f"{text!r} in host.log")

    def alive(self) -> list[int]:
        """Processes of this workspace's commands."""
        mark = f"TOKEN={self.token}".encode()
        return [p.pid for p in processes() if p.is_alive and mark in environ_of(p.pid).split(b"\0")]

    def close(self) -> None:
        for host in self.hosts:
            host.kill()
            host.wait(DEADLINE_S)
        for pid in self.alive():
            os.kill(pid, signal.SIGKILL)
        self._inotify.close()


def append(path: Path, text: str) -> None:
    with path.open("a") as opened:
        opened.write(text)


def json_lines(path: Path) -> list[Any]:
    if not path.exists():
        return []
    whole, _, _ = path.read_bytes().rpartition(b"\n")
    return [json.loads(line) for line in whole.splitlines()]


def is_alive(pid: int) -> bool:
    found = process_of(pid)
    return found is not None and found.is_alive
