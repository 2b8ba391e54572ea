"""What /proc says of a process, and when it says nothing yet."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from omkd.store.procfs import environ_of, process_of


@contextmanager
def running(*argv: str, env: dict[str, str]) -> Iterator[int]:
    """Its pid, once it has said a line or is at its end."""
    with subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield process.pid
        finally:
            process.kill()


def test_a_process_that_becomes_another_program_keeps_its_environment() -> None:
    """One that does nothing else. A look in a hundred meets it in the midst of it."""
    again = {"AGAIN": 'echo; exec /bin/sh -c "$AGAIN" >/dev/null', "MARK": "1"}
    with running("/bin/sh", "-c", again["AGAIN"], env=again) as pid:
        for _ in range(20_000):
            assert b"MARK=1" in environ_of(pid).split(b"\0")


def test_one_without_environment_has_none() -> None:
    with running(sys.executable, "-c", "import signal; print(flush=True); signal.pause()", env={}) as pid:
        assert environ_of(pid) == b""


def test_one_that_is_gone_has_none() -> None:
    with running("/bin/true", env={"MARK": "1"}) as pid:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        assert environ_of(pid) == b""
    assert environ_of(pid) == b""
    assert process_of(pid) is None
