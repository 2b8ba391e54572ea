"""Feeds each target with changed inputs of its corpus, and a real daemon with requests and with a session's files.

    python -m tests.fuzz.run [--seconds T] [--seed S]

No crash, no hang, bounded memory. An input that fails is printed, and saved beside the corpus: it is tried first then.
"""

# isort: skip_file
from tests.faults.forked import Lost, Session, fast_directory, session_in

import hashlib
import resource
import shutil
import signal
import socket
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

from tests.faults.figures import Options, options, report
from tests.faults.scenario import live
from tests.fuzz.mutations import CORPUS, corpus, mutated
from tests.fuzz.targets import TARGETS
from tests.kit import Client

HANG_S = 10.0
GROWTH_BYTES = 128 * 1024 * 1024
"""That the memory of a process may grow by, whatever it is fed: its own limits are far below."""

REFUSALS = frozenset({1, 7, 78})
"""Exit statuses of a start that says what is wrong with the files it found."""

TOLD = dict.fromkeys(("event.list", "escalation.list", "task.list"), ("log_damaged",))
"""What may be answered in place of a result: the damage stands below a snapshot, where no start looks."""

ASKED = ("omkd.verify", "omkd.status", "worker.list", *TOLD)

PATIENCE_S = 0.02
LINES_AT_ONCE = 20


class Hang(AssertionError):
    """An input takes too long."""


def on_alarm(_number: int, _frame: FrameType | None) -> None:
    raise Hang(f"it takes more than {HANG_S:g} s")


def rss_bytes(pid: int | str = "self") -> int:
    fields = Path(f"/proc/{pid}/statm").read_text().split()
    return int(fields[1]) * resource.getpagesize()


def feed(name: str, act: Callable[[bytes, Random], None], content: bytes, seed: int) -> None:
    """One input, with a deadline. Raises Lost; the input is kept."""
    signal.setitimer(signal.ITIMER_REAL, HANG_S)
    try:
        act(content, Random(seed))
    except Exception as fault:
        kept = CORPUS / name / f"found-{hashlib.sha256(content).hexdigest()[:12]}"
        kept.write_bytes(content)
        print(f"{name}: {content[:2000]!r}\nsaved as {kept}", file=sys.stderr)
        raise Lost(f"{name}: {traceback.format_exc()[-3000:]}") from fault
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def fuzz_target(name: str, rng: Random, end: float, figures: Counter[str]) -> None:
    seeds, act = corpus(name), TARGETS[name]
    for seed in seeds:
        feed(name, act, seed, 0)
    before = rss_bytes()
    while figures[name] == 0 or time.monotonic() < end:
        feed(name, act, mutated(seeds, rng), rng.randrange(1 << 32))
        figures[name] += 1
    if rss_bytes() - before > GROWTH_BYTES:
        raise Lost(f"{name}: memory grew from {before} to {rss_bytes()} bytes")


def fuzz_socket(directory: Path, rng: Random, end: float, figures: Counter[str]) -> None:
    """Requests that are nearly right, to a daemon that works; beside it a client that behaves is always answered."""
    seeds = corpus("jsonrpc")
    with session_in(directory) as session:
        session.call("worker.add", name="w", role="dev", window=0)
        before = rss_bytes(session.pid or 0)
        pid = session.pid
        while figures["socket"] == 0 or time.monotonic() < end:
            lines = b"".join(mutated(seeds, rng) for _ in range(rng.randint(1, LINES_AT_ONCE)))
            if b'omkd.shutdown"' in lines:
                continue
            feed("jsonrpc", lambda content, _: talk(session, content), lines, 0)
            figures["socket"] += 1
            if session.deaths or session.pid != pid:
                raise Lost(f"the daemon died of {lines[:2000]!r}:\n{session.log.read_text()[-3000:]}")
            session.call("omkd.status")
        if rss_bytes(session.pid or 0) - before > GROWTH_BYTES:
            raise Lost(f"the daemon grew from {before} to {rss_bytes(session.pid or 0)} bytes")
        if "Traceback" in (text := session.log.read_text()):
            raise Lost(f"a fault in omkd, said in its log:\n{text[text.index('Traceback') - 300 :][:3000]}")
        session.check()


def talk(session: Session, content: bytes) -> None:
    """Sends it all, reads what comes; whether the daemon hangs up is its own affair."""
    with socket.socket(socket.AF_UNIX) as stream, suppress(OSError):
        stream.settimeout(HANG_S / 2)
        stream.connect(str(session.place.socket))
        stream.sendall(content)
        stream.settimeout(PATIENCE_S)
        while stream.recv(65536):
            pass


def fuzz_session(directory: Path, rng: Random, end: float, figures: Counter[str]) -> None:
    """A daemon starts on files of a session that somebody changed: it serves, or says what is wrong."""
    with session_in(directory) as lived:
        live(lived)
        lived.end()
        while figures["sessions"] == 0 or time.monotonic() < end:
            with session_in(directory) as session:
                shutil.copytree(lived.state_root, session.state_root)
                files = [path for path in session.state_root.rglob("*") if path.is_file()]
                victim = rng.choice(files)
                content = mutated([victim.read_bytes()], rng)
                victim.write_bytes(content)
                start_on(session, f"{victim.relative_to(session.state_root)}: {content[:3000]!r}")
                figures["sessions"] += 1


def start_on(session: Session, what: str) -> None:
    """It serves and ends when it is told to, or says what is wrong: at the start, or when a service meets it."""
    try:
        status = session.start_or_status()
        if status is None:
            status = (session.end() or None) if ask_for_all(session) else session.await_end()
    except Lost as lost:
        raise Lost(f"{what}: {lost}") from lost
    text = session.log.read_text()
    if "Traceback" in text or (status is not None and status not in REFUSALS):
        raise Lost(f"{what}: it ends with {status}:\n{text[-3000:]}")


def ask_for_all(session: Session) -> bool:
    """Each answer is a result, or says that the log is damaged. False: the daemon ended meanwhile. Raises Lost."""
    try:
        with closing(Client(session.place.socket)) as client:
            for method in ASKED:
                answer = client.ask(method)
                if "result" not in answer and answer["error"]["data"]["name"] not in TOLD.get(method, ()):
                    raise Lost(f"{method}: {answer}")
    except (OSError, EOFError):
        return False
    return True


def run(chosen: Options) -> dict[str, Any]:
    signal.signal(signal.SIGALRM, on_alarm)
    rng, figures = Random(chosen.seed), Counter[str]()
    share = (60.0 if chosen.seconds == float("inf") else chosen.seconds) / (len(TARGETS) + 2)
    fuzz_socket(fast_directory(), rng, time.monotonic() + share, figures)
    fuzz_session(fast_directory(), rng, time.monotonic() + share, figures)
    for name in TARGETS:
        fuzz_target(name, rng, time.monotonic() + share, figures)
    return dict(figures)


if __name__ == "__main__":
    report("fuzz", run, options(__doc__ or ""))
