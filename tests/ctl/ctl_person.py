"""A person at the real daemon: types `omkctl …` as processes of its own."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ctl_calls import Ended

from tests.kit import Place

DEADLINE_S = 30
Run = Callable[..., Ended]

COMMAND = (sys.executable, "-m", "omkctl")


@contextmanager
def started(place: Place, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """`omkctl …` running; ended at the end."""
    process = subprocess.Popen(
        [*COMMAND, *arguments], env=place.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def ended(process: subprocess.Popen[str]) -> Ended:
    out, err = process.communicate(timeout=DEADLINE_S)
    return Ended(process.returncode, out, err)


def good(ran: Ended) -> str:
    assert ran.status == 0, ran
    return ran.out


def lines(text: str) -> list[str]:
    """Ended by a newline, and by nothing else that looks like one."""
    return text.split("\n")[:-1]
