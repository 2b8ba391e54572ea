"""A session in a directory of its own, with a daemon of its own; all of it is gone afterwards, processes first."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from omkd.protocol.limits import UNIX_PATH_BYTES

from .client import Client, Unreachable
from .failures import Exit, Failure
from .locate import Address, address_for
from .shapes import Hello

START_SECS: Final = 10.0
END_SECS: Final = 5.0
"""For the daemon, and then for hosts and agents, to end by themselves."""

LOOK_EVERY_S: Final = 0.02
SOCKET_PART: Final = "/run/omk/demo.sock.lock"
KEPT_VARIABLES: Final = ("HOME", "LANG", "LC_ALL", "PATH", "SHELL", "TERM", "TMPDIR", "TZ", "USER", "VIRTUAL_ENV")
"""No OMK_… of a worker that the demo may be started from, no OMKCTL_…, no Python settings of somebody's shell."""


@contextmanager
def open_throwaway_session(session: str, *, keep: bool) -> Iterator[Address]:
    """A daemon that answers. With `keep` its files stay when it ends. Raises Failure when it does not come up."""
    directory = short_directory()
    env = environment(directory)
    try:
        address = address_for(env, session=session, socket=None, state_dir=None)
        with (directory / "omkd.log").open("wb") as log:
            daemon = subprocess.Popen(
                [sys.executable, "-m", "omkd", "--session", session],
                env=env,
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for us; we end it in order
            )
        try:
            wait_until_up(address, daemon, directory / "omkd.log")
            yield address
        finally:
            end_daemon(daemon)
            end_what_is_left(env)
    finally:
        if not keep:
            shutil.rmtree(directory, ignore_errors=True)


def short_directory() -> Path:
    """Short enough for a socket in it, whatever TMPDIR is."""
    directory = Path(tempfile.mkdtemp(prefix="omk-"))
    if len(os.fsencode(directory)) + len(SOCKET_PART) <= UNIX_PATH_BYTES:
        return directory
    directory.rmdir()
    return Path(tempfile.mkdtemp(prefix="omk-", dir="/tmp"))


def environment(directory: Path) -> dict[str, str]:
    """Of the daemon, and so of its workers: both directories are below ours."""
    runtime = directory / "run"
    runtime.mkdir(mode=0o700)
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    return {**kept, "XDG_STATE_HOME": str(directory / "state"), "XDG_RUNTIME_DIR": str(runtime)}


def wait_until_up(address: Address, daemon: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECS
    client = Client(address)
    while True:
        try:
            client.call("omkd.hello", {}, Hello)
            return
        except Unreachable as fault:
            if daemon.poll() is not None or time.monotonic() > deadline:
                raise not_up(daemon, log) from fault
            time.sleep(LOOK_EVERY_S)
        finally:
            client.close()


def not_up(daemon: subprocess.Popen[bytes], log: Path) -> Failure:
    ended = daemon.poll()
    how = f"ended with status {ended}" if ended is not None else f"does not answer after {START_SECS:g} s"
    return Failure(Exit.NEGATIVE, "daemon_failed", f"omkd {how}:\n{log.read_text(errors='replace')[-2000:]}")


def end_daemon(daemon: subprocess.Popen[bytes]) -> None:
    daemon.terminate()
    try:
        daemon.wait(END_SECS)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()


def end_what_is_left(env: Mapping[str, str]) -> None:
    """Hosts outlive their daemon, one that is just starting too; all of them and their agents have its environment."""
    mark = f"\0XDG_STATE_HOME={env['XDG_STATE_HOME']}\0".encode()
    for stop in (signal.SIGTERM, signal.SIGKILL):
        for pid in processes_with(mark):
            with suppress(ProcessLookupError):
                os.kill(pid, stop)
        wait_for(lambda: not processes_with(mark))


def processes_with(mark: bytes) -> list[int]:
    """Those of ours that have `mark` in their environment."""
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            if mark in b"\0" + environ.read_bytes():
                found.append(int(environ.parent.name))
    return found


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + END_SECS
    while not condition() and time.monotonic() < deadline:
        time.sleep(LOOK_EVERY_S)
