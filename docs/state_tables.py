"""Tables of states and transitions, made from the code that decides: not described, walked."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product

from attrs import evolve
from tables import code, link, table

from omkd.core.roster import Sighting, WorkerChange, WorkerEntry, change
from omkd.core.transitions import TRANSITIONS
from omkd.protocol.events import (
    WorkerExited,
    WorkerPaused,
    WorkerRecovered,
    WorkerResumed,
    WorkerStalled,
)
from omkd.protocol.methods import TaskState, WorkerState
from omkd.protocol.records import Runner, WorkerSpec
from omkd.protocol.scalars import I32, U64, Seq, WorkerName

W = WorkerName("w")

# --- tasks -------------------------------------------------------------------------------------------------------


def task_transitions() -> str:
    """Each state with its events; those states from which the same is possible share a row."""
    states_by_way = {}
    for state, legal in TRANSITIONS.items():
        for event, landings in legal.items():
            is_same = landings == {state}
            key = (event.__name__, None if is_same else landings)
            states_by_way.setdefault(key, []).append(state)
    rows = [
        [words(states), link(event), "stays as it is" if landings is None else words(landings)]
        for (event, landings), states in sorted(states_by_way.items(), key=lambda item: order_of(item[1][0]))
    ]
    return table(["state", "event", "then"], rows)


def order_of(state: TaskState) -> int:
    return list(TaskState).index(state)


def words(states: Iterable[TaskState] | Iterable[WorkerState]) -> str:
    return ", ".join(code(state.value) for state in sorted(states, key=lambda state: list(type(state)).index(state)))


# --- workers -----------------------------------------------------------------------------------------------------

FACTS: Mapping[str, Sequence[str]] = {
    "paused": ("no", "yes"),
    "played by": ("omk-worker", "another program"),
    "host runs": ("yes", "no"),
    "given up": ("no", "yes"),
    "stalled": ("no", "yes"),
    "heartbeat": ("none", "any other word", "`stopped`"),
    "in hand": ("nothing", "something"),
}
"""What a worker's state follows from, and what each may be."""

HEARTBEATS = {"none": None, "any other word": "ready", "`stopped`": "stopped"}

Case = tuple[str, ...]
Row = tuple[tuple[str, ...], WorkerState]


def entry_for(case: Case) -> WorkerEntry:
    paused, player, host, given_up, silent, heartbeat, _ = case
    return WorkerEntry(
        name=W,
        seq=Seq(1),
        spec=WorkerSpec(name=W, role="r", inbox="i", outbox="o", heartbeat="h"),
        foreign=player != "omk-worker",
        window=1,
        runner=Runner(command=["sh"]) if player == "omk-worker" else None,
        paused=paused == "yes",
        stalled=silent == "yes",
        seen=Sighting(
            host_pid=7 if host == "yes" else None,
            heartbeat=HEARTBEATS[heartbeat],
            gave_up=given_up == "yes",
        ),
    )


def state_of(case: Case) -> WorkerState:
    return entry_for(case).state(busy=case[-1] == "something")


def worker_states() -> str:
    rows = [[*cells, code(state.value)] for cells, state in decisions(())]
    return table([*FACTS, "state"], rows)


def decisions(known: Case) -> tuple[Row, ...]:
    """The rows of a decision table: a fact that makes no difference is left open."""
    values = list(FACTS.values())
    if len(known) == len(values):
        return (((), state_of(known)),)
    branches = {value: decisions((*known, value)) for value in values[len(known)]}
    groups: dict[tuple[Row, ...], list[str]] = {}
    for value, rows in branches.items():
        groups.setdefault(rows, []).append(value)
    if len(groups) == 1:
        return tuple((("", *cells), state) for cells, state in next(iter(groups)))
    return tuple(((" or ".join(named), *cells), state) for rows, named in groups.items() for cells, state in rows)


CHANGES: tuple[WorkerChange, ...] = (
    WorkerPaused(worker=W),
    WorkerResumed(worker=W),
    WorkerStalled(worker=W, silent_secs=U64(30)),
    WorkerRecovered(worker=W),
    WorkerExited(worker=W, status=I32(1), failure=True),
)


def worker_changes() -> str:
    """What each event makes of each state, over every case in which a worker is in it."""
    rows = []
    for event in CHANGES:
        landings: dict[WorkerState, set[WorkerState]] = {}
        for before, after in walked(event):
            landings.setdefault(before, set()).add(after)
        groups: dict[frozenset[WorkerState], list[WorkerState]] = {}
        for before, after in landings.items():
            if after != {before}:
                groups.setdefault(frozenset(after), []).append(before)
        rows += [[link(type(event).__name__), words(before), words(after)] for after, before in groups.items()]
    return table(["event", "state before", "state after, one of"], rows)


def walked(event: WorkerChange) -> Iterator[tuple[WorkerState, WorkerState]]:
    for case in product(*FACTS.values()):
        entry, busy = entry_for(case), case[-1] == "something"
        before = entry.state(busy=busy)
        if isinstance(event, WorkerExited):
            entry.seen = evolve(entry.seen, host_pid=None, heartbeat=None)
            if entry.runner is None:
                continue  # only a host of ours exits
        change(entry, event)
        yield before, entry.state(busy=busy)
