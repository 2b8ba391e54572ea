"""A run's output while it grows: progress lines become events, and what is over the size limit is given back.

Looked at once a second, which is also how often progress is said at most: of several lines the last one counts.
"""

import logging
import os
from pathlib import Path
from typing import Final

import trio

from omkd.protocol import codec
from omkd.protocol.events import WorkerProgress
from omkd.protocol.limits import RUN_OUTPUT_BYTES
from omkd.protocol.records import Runner
from omkd.store.files import append_line, open_regular
from omkd.store.session import WorkerDir
from omkd.store.trimming import give_back, trim

from .files import RunFiles
from .progress import ProgressLines

log = logging.getLogger(__name__)

LOOK_S: Final = 1.0

READ_BYTES: Final = 1024 * 1024
"""Of stdout in one look, the end of what is new: progress is what was said last, a flood is not read whole."""


def output_limit(runner: Runner) -> int:
    """In bytes, of each stream."""
    return runner.output_bytes or RUN_OUTPUT_BYTES


class Output:
    """The two streams of one run. `look` again and again while it runs, `finish` once nothing writes any more."""

    def __init__(self, worker: WorkerDir, files: RunFiles, limit_bytes: int) -> None:
        self._worker = worker
        self._files = files
        self._limit_bytes = limit_bytes
        self._lines = ProgressLines(worker.name)
        self._read_to = 0
        self._said: WorkerProgress | None = None
        self._has_holes = True

    async def run(self) -> None:
        """Runs until cancelled."""
        while True:
            await trio.sleep(LOOK_S)
            self.look()

    def look(self) -> None:
        """What is in the way of it (a full disk, a file taken away) is logged: the run matters more."""
        try:
            self._say_progress()
            if self._has_holes:
                self._give_back()
        except OSError as error:
            log.warning("output of %s not looked at: %s", self._files.path.name, error)

    def finish(self) -> None:
        """Progress is said to its last line; a stream over the limit is written anew."""
        self.look()
        trim_streams(self._files, self._limit_bytes)

    def _say_progress(self) -> None:
        self._lines.receive_data(self._new_output())
        latest = self._lines.latest
        if latest is not None and latest != self._said:
            append_line(self._worker.events, codec.dumps(latest))
            self._said = latest

    def _new_output(self) -> bytes:
        descriptor = open_regular(self._files.stdout)
        try:
            size = os.fstat(descriptor).st_size
            if not 0 <= size - self._read_to <= READ_BYTES:  # a flood, or the command cut its own output
                self._lines.skip()
                self._read_to = max(0, size - READ_BYTES)
            data = os.pread(descriptor, size - self._read_to, self._read_to)
        finally:
            os.close(descriptor)
        self._read_to += len(data)
        return data

    def _give_back(self) -> None:
        for stream in streams(self._files):
            if os.stat(stream).st_size > self._limit_bytes and not give_back(stream, self._limit_bytes):
                self._has_holes = False
                log.warning("%s: no holes on this file system: output over the limit goes when the run ends", stream)


def streams(files: RunFiles) -> tuple[Path, Path]:
    return files.stdout, files.stderr


def trim_streams(files: RunFiles, limit_bytes: int) -> None:
    """Of a run that has ended, or whose host died. A file that cannot be written stays as it is; it is logged."""
    for stream in streams(files):
        try:
            left_out = trim(stream, limit_bytes)
        except FileNotFoundError:
            continue
        except OSError as error:
            log.warning("%s stays over its limit: %s", stream, error)
        else:
            if left_out:
                log.info("%s: %d bytes left out", stream, left_out)
