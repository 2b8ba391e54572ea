"""Types of the fixtures here."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from scripted_daemon import Answer, ScriptedDaemon


@dataclass
class Ended:
    """How an `omkctl` ended."""

    status: int
    out: str
    err: str


Omkctl: TypeAlias = Callable[..., Ended]
Scripted: TypeAlias = Callable[[dict[str, Answer]], ScriptedDaemon]
