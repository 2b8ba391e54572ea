"""Daemons forked from an interpreter that has imported omkd already: importing is nine tenths of a start.

All from the arguments on is as in `python -m omkd`; with CI in the environment it is that.
"""

import os
import signal
import subprocess
import sys
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

from attrs import frozen

from omkd.cli import main

FORKSERVER = get_context("forkserver")
FORKSERVER.set_forkserver_preload(["tests.warm", "omkd.serving"])


@frozen
class Forked:
    """What tests use of a `subprocess.Popen`."""

    _process: BaseProcess

    @property
    def pid(self) -> int:
        pid = self._process.pid
        assert pid is not None
        return pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        status = self.poll()
        if status is None:
            raise subprocess.TimeoutExpired("omkd", timeout or 0.0)
        return status

    def send_signal(self, number: signal.Signals) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


def fork_omkd(options: tuple[str, ...], environment: dict[str, str], output: Path) -> Forked:
    umask = os.umask(0o022)
    os.umask(umask)
    process = FORKSERVER.Process(target=be_omkd, args=(options, environment, output, Path.cwd(), umask))
    process.start()
    return Forked(process)


def be_omkd(options: tuple[str, ...], environment: dict[str, str], output: Path, directory: Path, umask: int) -> None:
    """In the new process."""
    os.setsid()
    os.chdir(directory)
    os.umask(umask)
    os.environ.clear()
    os.environ.update(environment)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    log = os.open(output, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.argv = ["omkd", *options]
    main()
