"""The workers: what the event log says of them, and what was last seen of their processes and files (design, §5)."""

from typing import TypeAlias, assert_never

from attrs import Factory, define

from omkd.protocol.events import (
    Event,
    Source,
    Unit,
    WorkerExited,
    WorkerPaused,
    WorkerRecovered,
    WorkerRegistered,
    WorkerRemoved,
    WorkerResumed,
    WorkerStalled,
    WorkerUpdated,
)
from omkd.protocol.methods import WorkerState
from omkd.protocol.records import Runner, WorkerSpec
from omkd.protocol.scalars import Ns, Seq, WorkerName

WorkerChange: TypeAlias = WorkerUpdated | WorkerStalled | WorkerRecovered | WorkerExited | WorkerPaused | WorkerResumed


@define(kw_only=True)
class Sighting:
    """What was last seen of a worker; not in the log, seen anew after a restart of the daemon.

    `host_pid`: the process that holds its lock. `gave_up`: its restarts are used up. `outdated`: its host is of another
    version, and is replaced as soon as nothing is in hand. `last_sign`: wall clock, shown only.
    """

    host_pid: int | None = None
    heartbeat: str | None = None
    last_sign: Ns | None = None
    gave_up: bool = False
    outdated: bool = False


@define(kw_only=True)
class WorkerEntry:
    """One worker. `sources` is where reading its files goes on, `gen` the number its next new file gets."""

    name: WorkerName
    seq: Seq
    spec: WorkerSpec
    foreign: bool
    window: int
    runner: Runner | None
    paused: bool = False
    stalled: bool = False
    idle_since: Seq = Seq(0)
    gen: int = 1
    sources: dict[str, Source] = Factory(dict)
    seen: Sighting = Factory(Sighting)

    @property
    def is_dead(self) -> bool:
        """It was given up, whether it is paused or not: what it has in hand does not end by itself."""
        return self.seen.gave_up and (self.runner is None or self.seen.host_pid is None)

    def state(self, *, busy: bool) -> WorkerState:
        """`busy`: it has something in hand."""
        if self.paused:
            return WorkerState.PAUSED
        if self.is_dead:
            return WorkerState.DEAD
        if self.stalled:
            return WorkerState.STALLED
        at_work = WorkerState.BUSY if busy else WorkerState.READY
        if self.runner is not None:
            is_up = self.seen.host_pid is not None and self.seen.heartbeat is not None
            return at_work if is_up else WorkerState.STARTING
        match self.seen.heartbeat:
            case None:
                return WorkerState.UNKNOWN
            case "stopped":
                return WorkerState.STOPPED
            case _:
                return at_work


@define
class Roster:
    """All workers by name; `gens` keeps counting for a name that comes back."""

    workers: dict[WorkerName, WorkerEntry] = Factory(dict)
    _gens: dict[WorkerName, int] = Factory(dict)

    @property
    def gens(self) -> dict[WorkerName, int]:
        """The newest generation of each name there ever was."""
        return dict(self._gens)

    @classmethod
    def restored(cls, workers: list[WorkerEntry], gens: dict[WorkerName, int]) -> "Roster":
        return cls({entry.name: entry for entry in workers}, dict(gens))

    def fold(self, unit: Unit) -> None:
        for event in unit.events:
            self._apply(event, unit)
        if unit.src is not None and (entry := self.workers.get(unit.src.worker)) is not None:
            entry.sources[unit.src.file] = unit.src
            entry.gen = self._gens[entry.name] = max(entry.gen, unit.src.gen)

    def _apply(self, event: Event, unit: Unit) -> None:
        match event:
            case WorkerRegistered():
                self._register(event, unit)
            case WorkerRemoved():
                self.workers.pop(event.worker, None)
            case (
                WorkerUpdated()
                | WorkerStalled()
                | WorkerRecovered()
                | WorkerExited()
                | WorkerPaused()
                | WorkerResumed()
            ):
                entry = self.workers.get(event.worker)
                if entry is not None:  # else it was removed, or a repair of the log took out its registration
                    change(entry, event)
            case _:
                pass

    def _register(self, event: WorkerRegistered, unit: Unit) -> None:
        gen = self._gens.get(event.worker, 0) + 1
        self._gens[event.worker] = gen
        self.workers[event.worker] = WorkerEntry(
            name=event.worker,
            seq=unit.seq,
            spec=event.spec,
            foreign=event.foreign,
            window=event.window,
            runner=event.runner,
            gen=gen,
        )


def change(entry: WorkerEntry, event: WorkerChange) -> None:
    match event:
        case WorkerUpdated():
            entry.spec, entry.foreign = event.spec, event.foreign
            entry.window, entry.runner = event.window, event.runner
        case WorkerStalled():
            entry.stalled = True
        case WorkerRecovered() | WorkerExited():
            entry.stalled = False
        case WorkerPaused():
            entry.paused = True
        case WorkerResumed():
            entry.paused = False
        case _:
            assert_never(event)
