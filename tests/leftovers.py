"""No process outlives the directory of its session: one that does writes into it while it is removed."""

import os
import signal
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from omkd.store.procfs import environ_of, processes
from tests.kit import Place, end_hosts, wait_until


@contextmanager
def place_of_its_own() -> Iterator[Place]:
    """A new session's place; at the end all that still runs in it is ended, and it is gone. Its daemon ended before."""
    with tempfile.TemporaryDirectory(prefix="omk-") as root:
        place = Place(Path(root))
        try:
            yield place
        finally:
            end_all_of(place)


def end_all_of(place: Place) -> None:
    """Ends the hosts, and whatever else was given this session in its environment.

    A host that was only just started holds no lock by which `end_hosts` could find it; one that a daemon was starting
    when it was killed is seen from its exec on.
    """
    end_hosts(place)
    wait_until(lambda: kill_all(processes_of(place)) == 0, f"processes of {place.root} stay")


def kill_all(pids: list[int]) -> int:
    """How many there were."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return len(pids)


def processes_of(place: Place) -> list[int]:
    """Those whose environment names this place's directory, which no other test has; never this one."""
    given = f"XDG_STATE_HOME={place.environment['XDG_STATE_HOME']}".encode()
    return [each.pid for each in processes() if each.pid != os.getpid() and given in environ_of(each.pid).split(b"\0")]
