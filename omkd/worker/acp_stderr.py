"""What an agent writes to stderr: to the run in hand, between two runs to the host's own log.

It is read whatever the turn does, so that it never fills up and stops the agent.
"""

import logging
import os
import select
import sys
from pathlib import Path
from typing import Final

import trio

from omkd.store.files import OPEN_FLAGS

log = logging.getLogger(__name__)

READ_BYTES: Final = 64 * 1024


class AgentStderr:
    """`goes_to` None: the host's own log. Takes over the descriptor, the pipe's end to be read."""

    def __init__(self, descriptor: int, goes_to: Path | None) -> None:
        self.goes_to = goes_to
        self._descriptor = descriptor
        self._stream = trio.lowlevel.FdStream(descriptor)
        self._is_open = True
        self._is_failing = False

    async def run(self) -> None:
        """Until nobody can write to it any more."""
        try:
            async with self._stream:
                while data := await self._stream.receive_some(READ_BYTES):
                    self._write(data)
        finally:
            self._is_open = False

    async def settle(self) -> None:
        """What was written until now is in its place. Only while `run` runs."""
        await trio.lowlevel.checkpoint()
        while self._is_open and select.select([self._descriptor], [], [], 0)[0]:
            await trio.lowlevel.checkpoint()

    def _write(self, data: bytes) -> None:
        """What the disk does not take is lost; that is said once."""
        try:
            if self.goes_to is None:
                sys.stderr.buffer.write(data)
                sys.stderr.flush()
                return
            descriptor = os.open(self.goes_to, os.O_WRONLY | os.O_APPEND | OPEN_FLAGS)
            with open(descriptor, "ab", buffering=0) as file:
                file.write(data)
        except OSError as error:
            if not self._is_failing:
                log.warning("what the agent says on stderr is lost: %s", error)
            self._is_failing = True
