"""Every change of a file that a session makes fails once, or is the last thing that happens.

    python -m tests.faults.crash_points [--cases N] [--seed S] [--seconds T]

A traced run of the scenario gives the points; each point and each way to go wrong is a case. After it the scenario goes
on with clean daemons to its end, then `verify` is clean and each answered task ended once.
"""

import os
import signal
import time
from collections import Counter
from itertools import zip_longest
from pathlib import Path
from random import Random
from typing import Any

from tests.faults.figures import Options, options, report
from tests.faults.forked import Armed, Lost, Plan, Session, fast_directory, session_in
from tests.faults.scenario import live

# isort: split
from tests.faults.disk_layer import modes_for
from tests.faults.disk_model import files_under, load_trace, replay

SEGMENT_BYTES = 4000
"""Segments end within the scenario."""

DOUBLES = 0
"""The run of this process itself, whose workers write too: no call of omkd's."""

TRIES = 5

BURST = 4
"""Of calls that fail in a row, in some of the cases."""


Point = tuple[int, str, str, int]
"""Run of the daemon, kind of the call, sort of the file, the how many-th of these."""


def trace_setting(session: Session, run: int, *, with_content: bool = False, plan: Plan | None = None) -> Armed:
    trace = os.open(session.trace_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    return Armed(str(session.state_root), run=run, trace=trace, with_content=with_content, plan=plan)


def traced_life(
    directory: Path, *, kind: type[Session] = Session, plan: Plan | None = None
) -> tuple[str, list[dict[str, Any]]]:
    """Where a session lived, and its trace; only `plan` went wrong. Raises Lost if it does not explain the files.

    The scenario kills a daemon: once in a while between a call and its line of the trace. Such a trace is not used.
    """
    for tried in range(1, TRIES + 1):
        with session_in(directory, kind=kind, segment_bytes=SEGMENT_BYTES) as session:
            trace_whole_life(session, plan)
            records = load_trace(session.trace_path)
            different = unexplained_files(session, records)
            if not different:
                return str(session.state_root), records
            if tried == TRIES:
                raise Lost(f"written past the disk layer, by a call it does not wrap: {different}")
    raise AssertionError("unreachable")


def traced_points(directory: Path) -> list[Point]:
    """Every point of such a life, in order; but for those of the doubles."""
    _, records = traced_life(directory)
    points: list[Point] = [tuple(each["point"]) for each in records if "point" in each]
    return [point for point in points if point[0] != DOUBLES]


def trace_whole_life(session: Session, plan: Plan | None) -> None:
    """The scenario, with all that was written in the trace, also by the doubles in this process."""
    from tests.faults import disk_layer

    session.on_start = lambda run: trace_setting(session, run, with_content=True, plan=plan)
    disk_layer.arm(trace_setting(session, DOUBLES, with_content=True))
    try:
        live(session)
        session.check()
        session.end()
    finally:
        disk_layer.arm(None)


def unexplained_files(session: Session, records: list[dict[str, Any]]) -> list[str]:
    """A write that the layer cannot see would be a point that no case covers."""
    try:
        expected = replay(str(session.state_root), records).seen()
    except KeyError as unknown:
        return [str(unknown)]
    found = files_under(session.state_root)
    return sorted(path for path in expected.keys() | found.keys() if expected.get(path) != found.get(path))


def cases_for(points: list[Point], rng: Random) -> list[Plan]:
    """Single ones for every point, and bursts for every sort of call."""
    single = [Plan(*point, mode) for point in points for mode in modes_for(point[1])]
    sorts = dict.fromkeys((kind, sort) for _, kind, sort, _ in points)
    bursts = [
        Plan(1, kind, sort, rng.randint(1, 3), mode, BURST)
        for kind, sort in sorts
        for mode in modes_for(kind)
        if mode not in ("before", "after", "torn")
    ]
    return single + bursts


def in_turns(cases: list[Plan], rng: Random) -> list[Plan]:
    """Shuffled, yet each beginning of it has some of all: daemons that are killed, calls that fail, sends refused.

    A burst of failing writes of the log surely refuses one; points depend on the machine's moods, these turns do not.
    """
    turns: dict[str, list[Plan]] = {"refused": [], "killed": [], "failing": []}
    for plan in cases:
        if plan.mode in ("before", "after", "torn"):
            turns["killed"].append(plan)
        elif plan.count > 1 and plan.kind == "write" and plan.sort.endswith("/events/N.jsonl"):
            turns["refused"].append(plan)
        else:
            turns["failing"].append(plan)
    for turn in turns.values():
        rng.shuffle(turn)
    return [plan for some in zip_longest(*turns.values()) for plan in some if plan is not None]


def run_case(directory: Path, plan: Plan) -> Session:
    """Raises Lost."""
    with session_in(directory, segment_bytes=SEGMENT_BYTES) as session:
        session.on_start = lambda run: trace_setting(session, run, plan=plan)
        live(session)
        session.check()
        session.end()
        session.struck = b'"struck"' in session.trace_path.read_bytes()
    return session


def run(chosen: Options) -> dict[str, Any]:
    directory = fast_directory()
    rng = Random(chosen.seed)
    points = traced_points(directory)
    cases = in_turns(cases_for(points, rng), rng)
    total = len(cases)
    figures: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    deadline = time.monotonic() + chosen.seconds
    for plan in cases[: chosen.cases or total]:
        if time.monotonic() > deadline:
            break
        try:
            session = run_case(directory, plan)
        except Lost as lost:
            raise Lost(f"{plan}: {lost}") from lost
        figures["cases"] += 1
        figures["struck"] += session.struck
        figures["deaths"] += session.deaths
        figures["refusals"] += session.refusals
        figures["tasks"] += len(session.answered)
        kinds[f"{plan.kind} {plan.mode}"] += 1
    return {"points": len(points), "of_cases": total, **figures, "kinds": dict(sorted(kinds.items()))}


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    report("crash points", run, options(__doc__ or ""))
