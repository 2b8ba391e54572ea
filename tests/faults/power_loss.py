"""The power goes at some moment of a session's life, and the disk holds what was synced and some of the rest.

    python -m tests.faults.power_loss [--cases N] [--seed S] [--seconds T]

The scenario runs once with all that it writes in a trace; the answers are notes in the same trace. Each case is a
moment in it and one of the states the disk may then have (`disk_model`). A daemon starts on that: whatever was answered
before the moment is there, `verify` is clean, and in every tenth case the work goes on to its end.
"""

import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

from tests.faults.figures import Options, options, report
from tests.faults.forked import Armed, Lost, Plan, Session, fast_directory, session_in

# isort: split
from tests.faults import disk_layer
from tests.faults.crash_points import SEGMENT_BYTES, traced_life, traced_points
from tests.faults.disk_model import Disk, put

CASES_A_LIFE = 40
"""From each trace. In every second life a daemon was killed at some call, so that what its next start does is in it."""

FINISHED_EVERY = 10


class Noting(Session):
    """Notes in the trace what it is told, so that it is known what a moment had behind it."""

    def call(self, method: str, *, known: tuple[str, ...] = (), **params: object) -> dict[str, Any]:
        result = super().call(method, known=known, **params)
        if method == "task.send":
            disk_layer.note(told=result["id"], ended=None)
        if method == "task.get" and result["finished"] is not None:
            disk_layer.note(told=result["id"], ended=result["state"])
        return result


def moments(records: list[dict[str, Any]], count: int, rng: Random) -> list[int]:
    """Each change is a moment; a sync that was only begun, too."""
    changes = [place for place, record in enumerate(records, start=1) if "op" in record]
    return sorted(rng.choices(changes, k=count))


def states_at(
    root: str, records: list[dict[str, Any]], wanted: list[int]
) -> Iterator[tuple[int, Disk, dict[str, str | None]]]:
    """The disk at each of these moments, and the tasks that were told of before it: their end, if that was told."""
    disk, told, place = Disk(root), dict[str, str | None](), 0
    for moment in wanted:
        for record in records[place:moment]:
            disk.take(record)
            if "told" in record:
                told[record["told"]] = record["ended"] or told.get(record["told"])
        place = moment
        yield moment, disk, told


def recover(directory: Path, disk: Disk, told: dict[str, str | None], rng: Random, *, finish: bool) -> None:
    """Starts a daemon on what survived. Raises Lost."""
    with session_in(directory, segment_bytes=SEGMENT_BYTES) as session:
        session.state_root.mkdir(mode=0o700)
        session.boot_id = session.place.root / "boot_id"
        session.boot_id.write_text("the boot after the power came back\n")
        numbers = put(disk.after_power_loss(rng), disk.root, session.state_root)
        session.on_start = lambda run: Armed(str(session.state_root), run=run, inodes=numbers)
        findings = session.call("omkd.verify")["findings"]
        if findings:
            raise Lost(f"verify: {findings}")
        check_told(session, told)
        if finish:
            finish_work(session, told)
        session.end(signal.SIGKILL)


def check_told(session: Session, told: dict[str, str | None]) -> None:
    there = {task["id"]: task for task in session.call("task.list", limit=1000)["tasks"]}
    lost = [each for each in told if each not in there]
    changed = [each for each, state in told.items() if state is not None and there[each]["state"] != state]
    if lost or changed:
        raise Lost(f"answered and lost: {lost}; ended otherwise than was told: {changed}")


def finish_work(session: Session, told: dict[str, str | None]) -> None:
    if not session.call("worker.list")["workers"]:
        return
    held = [each for each in told if session.call("task.get", id=each)["state"] == "held"]
    if held:
        session.call("task.release", ids=held)
    session.work_until_done(*told)
    session.answered.update((f"told {each}", each) for each in told)
    session.check()


def run(chosen: Options) -> dict[str, Any]:
    rng, directory = Random(chosen.seed), fast_directory()
    count = chosen.cases or 200
    figures: Counter[str] = Counter(cases=0, told=0, finished=0)
    deadline = time.monotonic() + chosen.seconds
    points = traced_points(directory)
    while figures["cases"] < count and time.monotonic() < deadline:
        figures["lives"] += 1
        plan = Plan(*rng.choice(points), "before") if figures["lives"] % 2 else None
        root, records = traced_life(directory, kind=Noting, plan=plan)
        figures["changes"] += len(records)
        wanted = moments(records, min(CASES_A_LIFE, count - figures["cases"]), rng)
        for moment, disk, told in states_at(root, records, wanted):
            if time.monotonic() > deadline:
                break
            finish = figures["cases"] % FINISHED_EVERY == 0
            try:
                recover(directory, disk, told, Random(rng.random()), finish=finish)
            except Lost as lost:
                raise Lost(f"{plan}, then power lost at record {moment} of {len(records)}: {lost}") from lost
            figures["cases"] += 1
            figures["told"] += len(told)
            figures["finished"] += finish
    return dict(figures)


if __name__ == "__main__":
    report("power losses", run, options(__doc__ or "", cases=200))
