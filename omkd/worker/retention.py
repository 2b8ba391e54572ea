"""Which runs of a worker are kept: the newest so many. Looked at now and then, since looking lists every run."""

import contextlib
import logging
import os
import shutil
from collections.abc import Set
from pathlib import Path
from typing import Final

from attrs import define

from omkd.protocol.limits import RUNS_KEPT
from omkd.store.session import WorkerDir

log = logging.getLogger(__name__)

LOOK_EVERY_RUNS: Final = 50
"""So many more than are to be kept may be there: a look lists a thousand directories, some milliseconds."""


@define
class Retention:
    """`run_ended` after each run; the first look is made at once."""

    worker: WorkerDir
    keep: int = RUNS_KEPT
    _since_look: int = LOOK_EVERY_RUNS

    def run_ended(self, protected: Set[str]) -> None:
        """Removes what is too old. `protected`: hand-outs in hand or not reported. What cannot be removed is logged."""
        self._since_look += 1
        if self._since_look > LOOK_EVERY_RUNS:
            self._since_look = 0
            remove_old_runs(self.worker, self.keep, protected)


def remove_old_runs(worker: WorkerDir, keep: int, protected: Set[str]) -> int:
    """How many were removed."""
    old = [path for path in runs_newest_first(worker)[keep:] if path.name not in protected]
    for path in old:
        shutil.rmtree(path, onerror=lambda _, at, fault: log.warning("%s stays: %s", at, fault[1]))
        with contextlib.suppress(OSError):  # ENOTEMPTY: another run of that task is kept
            path.parent.rmdir()
    if old:
        log.info("%d old runs removed, the newest %d are kept", len(old), keep)
    return len(old)


def runs_newest_first(worker: WorkerDir) -> list[Path]:
    """By when something was last made in the directory: its result, mostly."""
    runs = [run for task in directories_in(worker.runs) for run in directories_in(task.path)]
    runs.sort(key=lambda run: run.stat(follow_symlinks=False).st_mtime_ns, reverse=True)
    return [Path(run) for run in runs]


def directories_in(path: str | Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            return [entry for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []
