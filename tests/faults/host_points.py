"""Every change of a file that a worker's host makes fails once, or is the last thing that happens.

    python -m tests.faults.host_points [--cases N] [--seed S] [--seconds T]

As `crash_points`, for omk-worker: the disk layer gets into its process by `preload/sitecustomize.py`. The daemon goes
on; after each case every task has ended once, with one result, and `verify` is clean.
"""

import json
import signal
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from random import Random
from typing import Any

from tests.faults.figures import Options, options, report
from tests.faults.forked import Lost, Plan, Session, fast_directory, session_in

# isort: split
from tests.faults.disk_layer import modes_for
from tests.faults.disk_model import load_trace
from tests.leftovers import end_all_of

PRELOAD = Path(__file__).parent / "preload"
SCRIPTS = ("echo one", "echo two >&2; exit 3", 'echo \'{"status":"partial","summary":"s"}\' > "$OMK_RESULT_FILE"')
W = {"worker": "w"}


@contextmanager
def session_with(directory: Path, plan: Plan | None) -> Iterator[Session]:
    with session_in(directory) as session:
        setting = {"trace": str(session.trace_path), "plan": asdict(plan) if plan else None}
        root = str(session.place.session.worker("w").path)
        session.place.environment["OMK_FAULTS"] = json.dumps({**setting, "root": root})
        session.place.environment["PYTHONPATH"] = str(PRELOAD)
        try:
            yield session
        finally:
            session.end(signal.SIGKILL)
            end_all_of(session.place)


def work(session: Session) -> None:
    """Three commands, one after the other, and one that is cancelled. Raises Lost."""
    runner = {"command": ["sh"], "grace_secs": 1}
    session.call("worker.add", name="w", role="r", window=2, runner=runner)
    sent = [session.send(script, W) for script in SCRIPTS]
    cancelled = session.send("tail -f /dev/null", W)
    session.until(lambda: state(session, cancelled) != "queued", "it is not handed out")
    session.call("task.cancel", known=("conflict", "refused"), ids=[cancelled])
    session.until(lambda: all(has_ended(session, each) for each in [*sent, cancelled]), "not all tasks end")
    first = state(session, sent[0])
    if first != "success":
        raise Lost(f"a command that succeeds is {first}")
    session.check()


def state(session: Session, task: str) -> str:
    return str(session.call("task.get", id=task)["state"])


def has_ended(session: Session, task: str) -> bool:
    return session.call("task.get", id=task)["finished"] is not None


def cases(directory: Path) -> list[Plan]:
    with session_with(directory, None) as session:
        work(session)
        records = load_trace(session.trace_path)
    points = dict.fromkeys(tuple(each["point"]) for each in records if "point" in each)
    return [Plan(*point, mode) for point in points for mode in modes_for(point[1])]


def run(chosen: Options) -> dict[str, Any]:
    directory, rng = fast_directory(), Random(chosen.seed)
    plans = cases(directory)
    total = len(plans)
    rng.shuffle(plans)
    figures: Counter[str] = Counter()
    deadline = time.monotonic() + chosen.seconds
    for plan in plans[: chosen.cases or total]:
        if time.monotonic() > deadline:
            break
        try:
            with session_with(directory, plan) as session:
                work(session)
                figures["struck"] += b'"struck"' in session.trace_path.read_bytes()
                figures["tasks"] += len(session.answered)
        except Lost as lost:
            raise Lost(f"{plan}: {lost}") from lost
        figures["cases"] += 1
    return {"of_cases": total, **figures}


if __name__ == "__main__":
    report("host points", run, options(__doc__ or ""))
