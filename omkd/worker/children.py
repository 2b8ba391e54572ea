"""The host's children: the command it starts, and the orphans it inherits as a child subreaper.

A `waitpid(-1)` would steal the command's exit status from the one who waits for it. So an orphan is looked at first
(WNOWAIT) and reaped by its pid only if it is none of ours; and while a command is being started, whose pid nobody
knows yet, none is reaped at all. PR_SET_PDEATHSIG is not used: it follows the thread that forked, and trio forks in a
worker thread.
"""

import ctypes
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import trio

PR_SET_CHILD_SUBREAPER: Final = 36  # linux/prctl.h


def become_subreaper() -> None:
    """From here on an orphan below this process becomes its child, not init's. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        error = ctypes.get_errno()
        raise OSError(error, f"prctl(PR_SET_CHILD_SUBREAPER): {os.strerror(error)}")


class Children:
    """Starts commands and reaps what is not ours. `reap` is called at each SIGCHLD."""

    def __init__(self) -> None:
        self._own: set[int] = set()
        self._starting = 0

    async def start(
        self, argv: Sequence[bytes], *, env: Mapping[bytes, bytes], cwd: Path, stdin: int, stdout: int, stderr: int
    ) -> trio.Process:
        """The command, in a session of its own. Raises OSError, ValueError (a NUL in an argument)."""
        with self._nothing_reaped():
            process = await trio.lowlevel.open_process(
                argv, env=decoded(env), cwd=cwd, stdin=stdin, stdout=stdout, stderr=stderr, start_new_session=True
            )
            self._own.add(process.pid)
        return process

    def forget(self, process: trio.Process) -> None:
        """It was waited for: its pid may be another's from now on."""
        self._own.discard(process.pid)
        self.reap()

    def reap(self) -> None:
        """Takes the exit statuses of orphans. One of ours in front of them hides them until it was waited for."""
        while not self._starting:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None or ended.si_pid in self._own:
                return
            os.waitpid(ended.si_pid, os.WNOHANG)

    @contextmanager
    def _nothing_reaped(self) -> Iterator[None]:
        self._starting += 1
        try:
            yield
        finally:
            self._starting -= 1
            self.reap()


def decoded(env: Mapping[bytes, bytes]) -> dict[str, str]:
    """As `subprocess` wants it; it encodes it back to the same bytes, whatever the locale."""
    return {os.fsdecode(name): os.fsdecode(value) for name, value in env.items()}
