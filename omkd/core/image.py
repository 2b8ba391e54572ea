"""The state as records that can be written: everything that a later fold needs, and nothing that follows from it.

`state(image at k, then the units behind it) == state(all units)`, for each k; a test holds it.
"""

from attrs import evolve, frozen

from omkd.protocol.events import Unit
from omkd.protocol.methods import TaskState
from omkd.protocol.scalars import Ns, Seq, TaskId, WorkerName

from .decisions import Decisions, Question
from .kept import Bounds, KeyUse
from .ledger import Ledger, LedgerImage
from .roster import Roster, Sighting, WorkerEntry
from .state import State
from .task_entry import Passed, TaskEntry


@frozen(kw_only=True)
class Basics:
    """What there is one of, and how many records of each kind follow."""

    ended_cleanly: bool
    rejected_lines: int
    unacked: list[Seq]
    gens: dict[str, int]
    counts: dict[str, int]
    in_hand: dict[str, list[TaskId]]
    finished: list[TaskId]
    workers: int
    tasks: int
    keys: int
    open: int
    decided: int


@frozen(kw_only=True)
class KeyBlock:
    """Keys and their uses, in columns: there may be a million."""

    keys: list[str]
    tasks: list[TaskId]
    seqs: list[Seq]
    times: list[int]


@frozen(kw_only=True)
class StateImage:
    """`tasks` go through `Ledger.as_imaged` as long as the ledger is folded on."""

    basics: Basics
    workers: list[WorkerEntry]
    tasks: list[TaskEntry]
    keys: dict[str, KeyUse]
    open: list[Question]
    decided: list[Question]
    passed: list[Passed]


def image_of(state: State) -> StateImage:
    """Cheap whatever there is; `state.ledger.end_image()` when it is written."""
    ledger = state.ledger.image()
    workers = [evolve(entry, seen=Sighting(), sources=dict(entry.sources)) for entry in state.roster.workers.values()]
    decisions = state.decisions
    return StateImage(
        basics=Basics(
            ended_cleanly=state.ended_cleanly,
            rejected_lines=state.rejected_lines,
            unacked=list(state.unacked),
            gens={str(name): gen for name, gen in state.roster.gens.items()},
            counts={kind.value: count for kind, count in ledger.counts.items()},
            in_hand={str(worker): ids for worker, ids in ledger.in_hand.items()},
            finished=ledger.finished,
            workers=len(workers),
            tasks=len(ledger.tasks),
            keys=len(ledger.keys),
            open=len(decisions.open),
            decided=len(decisions.decided),
        ),
        workers=workers,
        tasks=ledger.tasks,
        keys=ledger.keys,
        open=list(decisions.open.values()),
        decided=list(decisions.decided.values()),
        passed=ledger.passed,
    )


def state_from(image: StateImage, bounds: Bounds | None = None) -> State:
    basics = image.basics
    ledger = Ledger.restored(
        LedgerImage(
            tasks=image.tasks,
            counts={TaskState(name): count for name, count in basics.counts.items()},
            in_hand={WorkerName(name): ids for name, ids in basics.in_hand.items()},
            finished=basics.finished,
            keys=image.keys,
            passed=image.passed,
        ),
        bounds or Bounds(),
    )
    return State(
        ledger=ledger,
        roster=Roster.restored(image.workers, {WorkerName(name): gen for name, gen in basics.gens.items()}),
        decisions=Decisions(
            open={each.asked.decision_id: each for each in image.open},
            decided={each.asked.decision_id: each for each in image.decided},
        ),
        ended_cleanly=basics.ended_cleanly,
        rejected_lines=basics.rejected_lines,
        unacked=dict.fromkeys(basics.unacked),
    )


def key_block(uses: list[tuple[str, KeyUse]]) -> KeyBlock:
    return KeyBlock(
        keys=[key for key, _ in uses],
        tasks=[use.task_id for _, use in uses],
        seqs=[use.seq for _, use in uses],
        times=[use.ts for _, use in uses],
    )


def uses_in(block: KeyBlock) -> dict[str, KeyUse]:
    columns = zip(block.keys, block.tasks, block.seqs, block.times, strict=True)
    return {key: KeyUse(task_id=task_id, seq=seq, ts=Ns(ts)) for key, task_id, seq, ts in columns}


def task_from(task_id: TaskId, units: list[Unit]) -> TaskEntry | None:
    """A task that passed, from the units that make it; None when its beginning is not among them."""
    ledger = Ledger()
    for unit in units:
        of_task = [event for event in unit.events if getattr(event, "task_id", None) == task_id]
        ledger.fold(evolve(unit, events=of_task))
    return ledger.tasks.get(task_id)
