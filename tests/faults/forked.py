"""The real daemon in a fork of this process: it starts in 30 ms, and what lies under it is chosen for each start.

Import this before omkd: it puts the disk layer under it. For programs of one thread only, never for pytest itself.
"""

# ruff: noqa: E402 the layer must be there before omkd is imported
import ctypes
import json
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tests.faults import disk_layer
from tests.faults.disk_layer import Armed, Plan

assert "omkd" not in sys.modules, "omkd was imported before the disk layer could be put under it"
disk_layer.install()

import omkd.daemon  # noqa: F401 the child must not have to
from omkd.cli import cli
from omkd.store import event_log, procfs
from omkd.store.session import WorkerDir
from tests.kit import Client, Place, serves, units

PR_SET_PDEATHSIG = 1
"""No daemon outlives a test that was ended (it follows the thread that forked: this process has one)."""

START_S = 20.0
CALL_S = 20.0
LOOK_S = 0.002
RETRY_S = 0.02

AGAIN = frozenset({"write_failed", "shutting_down", "internal_error"})
"""Errors after which a sender tries again, as omkctl does."""


class Lost(AssertionError):
    """Something that was promised is not so."""


class Session:
    """A session in a directory of its own, on a tmpfs where there is one: a sync costs nothing there.

    `answered` are the tasks that a send was answered with, by key. `call` goes on over the end of the daemon: another
    is started then, so whatever a scenario asks for is asked until it is answered. `struck`: the planned fault came.
    `boot_id`: the file that says which boot of the machine it is; None: the machine's own.
    """

    def __init__(self, root: Path, *, segment_bytes: int | None = None) -> None:
        self.place = Place(root)
        self.trace_path = root / "trace"
        self.log = root / "omkd.log"
        self.segment_bytes = segment_bytes
        self.boot_id: Path | None = None
        self.pid: int | None = None
        self.answered: dict[str, str] = {}
        self.deaths = 0
        self.refusals = 0
        self.struck = False
        self.runs = 0
        self.on_start: Callable[[int], Armed | None] = lambda _run: None
        self._client: Client | None = None
        self._done: dict[str, set[str]] = {}
        self._last_key = 0

    @property
    def state_root(self) -> Path:
        """What the layer watches over: all that omkd makes on disk."""
        return self.place.root / "s"

    # --- the daemon ---

    def start(self) -> None:
        """Serves when this returns; one that dies while it starts, by a fault of the test, is started again."""
        deadline = time.monotonic() + START_S
        while True:
            if self.pid is None:
                self.runs += 1
                self.pid = self._fork(self.on_start(self.runs))
            if serves(self.place, self.pid):
                return
            if self._has_ended():
                self.deaths += 1
            if time.monotonic() > deadline:
                raise Lost(f"omkd does not start:\n{self.log.read_text()[-4000:]}")
            time.sleep(LOOK_S)

    def start_or_status(self) -> int | None:
        """None: it serves; else the status it ended with at once, negative for a signal."""
        self.pid = self._fork(None)
        deadline = time.monotonic() + START_S
        while not serves(self.place, self.pid):
            ended, status = os.waitpid(self.pid, os.WNOHANG)
            if ended:
                self.pid = None
                return os.waitstatus_to_exitcode(status)
            if time.monotonic() > deadline:
                raise Lost(f"omkd neither serves nor ends:\n{self.log.read_text()[-4000:]}")
            time.sleep(LOOK_S)
        return None

    def _fork(self, setting: Armed | None) -> int:
        pid = os.fork()
        if pid:
            return pid
        status = 70
        try:
            status = self._serve(setting)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def _serve(self, setting: Armed | None) -> int:
        os.setsid()
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        log = os.open(self.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        for descriptor in (1, 2):
            os.dup2(log, descriptor)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        os.environ.clear()
        os.environ.update(self.place.environment)
        if self.segment_bytes is not None:
            # The limit is a default that no caller changes; small ones make segments end within a test.
            event_log.open_event_log.__wrapped__.__kwdefaults__["segment_bytes"] = self.segment_bytes  # type: ignore[attr-defined]
        if self.boot_id is not None:
            procfs.BOOT_ID = self.boot_id
        disk_layer.arm(setting)
        try:
            cli(["--session", self.place.name], prog_name="omkd")
        except SystemExit as end:
            return end.code if isinstance(end.code, int) else 1
        return 0

    def _has_ended(self) -> bool:
        if self.pid is None:
            return True
        ended, _ = os.waitpid(self.pid, os.WNOHANG)
        if ended:
            self.pid = None
            self._hang_up()
        return bool(ended)

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Its exit status, negative: the signal; 0 if it ended before."""
        self._hang_up()
        if self.pid is None:
            return 0
        os.kill(self.pid, number)
        return self.await_end()

    def await_end(self) -> int:
        """The exit status of a daemon that ends, negative: the signal. Raises Lost: it does not."""
        assert self.pid is not None
        pid, self.pid = self.pid, None
        deadline = time.monotonic() + CALL_S
        while True:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status)
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                raise Lost(f"omkd does not end:\n{self.log.read_text()[-2000:]}")
            time.sleep(LOOK_S)

    def _hang_up(self) -> None:
        if self._client is not None:
            self._client.close()
            self._client = None

    # --- what is asked of it ---

    def call(self, method: str, *, known: tuple[str, ...] = (), **params: object) -> dict[str, Any]:
        """The result, whatever dies meanwhile. `known` are errors that say it was done before."""
        deadline = time.monotonic() + CALL_S
        answer: Any = None
        while time.monotonic() < deadline:
            try:
                answer = self.client().ask(method, **params)
            except (OSError, EOFError):
                self._hang_up()
                self._has_ended()
                continue
            if "result" in answer:
                return dict(answer["result"])
            name = answer["error"]["data"]["name"]
            if name in known:
                return {}
            if name not in AGAIN:
                raise Lost(f"{method} {params}: {answer['error']}")
            self.refusals += 1
            time.sleep(RETRY_S)
        raise Lost(f"{method} {params} is not answered: {answer}\n{self.log.read_text()[-3000:]}")

    def client(self) -> Client:
        if self._client is None:
            self.start()
            self._client = Client(self.place.socket)
        return self._client

    def send(self, text: str, target: object, **more: object) -> str:
        """The task's id. The same key again is the same task."""
        self._last_key += 1
        key = f"k{self._last_key}"
        task = self.call("task.send", target=target, task={"task": text}, key=key, **more)
        self.answered[key] = str(task["id"])
        return str(task["id"])

    def until(self, condition: Callable[[], bool], complaint: str) -> None:
        deadline = time.monotonic() + CALL_S
        while not condition():
            if time.monotonic() > deadline:
                raise Lost(f"{complaint}\n{self.log.read_text()[-3000:]}")
            time.sleep(LOOK_S)

    # --- the double that works ---

    def work(self, name: str, answer: Callable[[str], dict[str, Any]] | None = None) -> list[str]:
        """What a worker with the file contract does with the lines of its inbox it has not answered; their ids."""
        directory: WorkerDir = self.place.session.worker(name)
        if not directory.path.is_dir():
            return []
        known = self._done.setdefault(name, set())
        answered = known | {line["task_id"] for line in json_lines_lenient(directory.outbox)}
        new = [line["id"] for line in json_lines_lenient(directory.inbox) if line["id"] not in answered]
        for each in dict.fromkeys(new):
            append(directory.events, {"TaskStarted": {"task_id": each}})
            append(directory.outbox, (answer or succeeded)(each))
            known.add(each)
        return new

    def forget_work(self) -> None:
        """The machine lost power: what the doubles did is what their files say."""
        self._done.clear()

    def work_until_done(self, *ids: str, workers: tuple[str, ...] = ("w", "v")) -> None:
        """Works until those tasks have ended."""

        def done() -> bool:
            for name in workers:
                self.work(name)
            return all(self.call("task.get", id=each)["finished"] is not None for each in ids)

        self.until(done, f"not all of {ids} end")

    # --- what is promised ---

    def check(self) -> None:
        """Verify is clean; each answered task is there and ended once, with one result if it has one."""
        self.until(lambda: not self._failing_writes(), "a write is shown as failing for ever")
        findings = self.call("omkd.verify")["findings"]
        if findings:
            raise Lost(f"verify: {findings}")
        check_log(units(self.place), list(self.answered.values()))

    def _failing_writes(self) -> list[str]:
        """But for snapshots, which may wait a minute: nothing waits for them."""
        shown = self.call("omkd.status")["retried_writes"]
        return [each["path"] for each in shown if not Path(each["path"]).name.startswith("snapshot-")]


def check_log(log: list[dict[str, Any]], answered: list[str]) -> None:
    """Each task was queued once, and ended once; raises Lost."""
    queued, ended = count_events(log, {"TaskQueued"}), count_events(log, {"TaskFinished", "TaskCancelled", "TaskLost"})
    for each in answered:
        if queued.get(each, 0) != 1 or ended.get(each, 0) != 1:
            raise Lost(f"{each} was queued {queued.get(each, 0)} times and ended {ended.get(each, 0)} times")
    twice = [each for each, count in ended.items() if count > 1]
    if twice or any(count > 1 for count in queued.values()):
        raise Lost(f"recorded twice: {twice}")


def count_events(log: list[dict[str, Any]], names: set[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for unit in log:
        for event in unit["events"]:
            for name in names & set(event if isinstance(event, dict) else ()):
                counts[event[name]["task_id"]] = counts.get(event[name]["task_id"], 0) + 1
    return counts


def succeeded(handout: str) -> dict[str, Any]:
    return {"task_id": handout, "status": "success", "summary": "done", "artifacts": [], "elapsed_secs": 0}


def append(path: Path, line: dict[str, Any] | bytes) -> None:
    """As a worker does: one write(2), a torn line ended first. Bytes go as they are."""
    content = line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n"
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        size = os.fstat(descriptor).st_size
        is_torn = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        os.write(descriptor, b"\n" + content if is_torn else content)
    finally:
        os.close(descriptor)


def json_lines_lenient(path: Path) -> list[dict[str, Any]]:
    """The complete lines that are objects; a crash may have left others."""
    if not path.exists():
        return []
    found = []
    for line in path.read_bytes().rpartition(b"\n")[0].splitlines():
        with suppress(ValueError):
            value = json.loads(line)
            if isinstance(value, dict):
                found.append(value)
    return found


@contextmanager
def session_in(parent: Path, *, kind: type[Session] = Session, **more: Any) -> Iterator[Session]:
    """A new session; its daemon is gone and so are its files at the end, unless the promise was broken."""
    root = Path(tempfile.mkdtemp(prefix="omk-", dir=parent))
    session = kind(root, **more)
    try:
        yield session
    except Lost as lost:
        session.end(signal.SIGKILL)
        raise Lost(f"{lost}\nthe session is kept in {root}") from lost
    else:
        session.end(signal.SIGKILL)
        shutil.rmtree(root)


def fast_directory() -> Path:
    """For sessions whose disk is only played."""
    memory = Path("/dev/shm")
    return memory if os.access(memory, os.W_OK) else Path(tempfile.gettempdir())


__all__ = ["Armed", "Lost", "Plan", "Session", "append", "check_log", "fast_directory", "session_in"]
