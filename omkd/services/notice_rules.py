"""What `[[notify]]` asks for, and which escalations it means."""

from pathlib import PurePath
from typing import TypeAlias

from attrs import Factory, frozen

from omkd.core.about import is_about
from omkd.protocol.escalation import EscalationKind, EscalationLogEntry, entry_from_event, needs_person
from omkd.protocol.events import Event, Unit, WorkerExited, WorkerStalled
from omkd.protocol.scalars import Seq


@frozen(kw_only=True)
class RunCommand:
    """argv; no shell. The escalation is on its stdin."""

    argv: tuple[str, ...]


@frozen(kw_only=True)
class ShowOnDesktop:
    """notify-send, of libnotify."""


@frozen(kw_only=True)
class PostTo:
    """curl sends the escalation to `url`."""

    url: str = ""


Means: TypeAlias = RunCommand | ShowOnDesktop | PostTo


@frozen(kw_only=True)
class NoticeRule:
    """`kinds` empty: whatever needs a person; `workers` empty: all."""

    name: str
    means: Means
    kinds: frozenset[EscalationKind] = Factory(frozenset)
    workers: tuple[str, ...] = ()
    timeout_secs: int = 30
    attempts: int = 5
    repeat_after_secs: int = 600


@frozen(kw_only=True)
class Matter:
    """An escalation that a person is to hear of. Another one with the same `subject` is a repeat."""

    seq: Seq
    event: Event
    unit: Unit
    entry: EscalationLogEntry

    @property
    def subject(self) -> tuple[str, str]:
        """The same words; or the same worker that stalls or exits again, whose words count seconds and restarts."""
        match self.event:
            case WorkerStalled(worker=worker) | WorkerExited(worker=worker):
                return type(self.event).__name__, worker
            case _:
                return self.entry.kind.value, self.entry.summary


def matters_in(rule: NoticeRule, unit: Unit) -> list[Matter]:
    """What of a unit `rule` is about."""
    found: list[Matter] = []
    for event in unit.events:
        entry = entry_from_event(event, unit.ts)
        if entry is None or (rule.workers and not is_about(event, unit.by, rule.workers)):
            continue
        if entry.kind in rule.kinds if rule.kinds else needs_person(event):
            found.append(Matter(seq=unit.seq, event=event, unit=unit, entry=entry))
    return found


def means_words(means: Means) -> str:
    """How a person is told, without what may be secret in it."""
    match means:
        case RunCommand(argv=argv):
            return f"command {PurePath(argv[0]).name}"
        case ShowOnDesktop():
            return "desktop"
        case PostTo(url=url):
            scheme, _, rest = url.partition("://")
            return f"webhook {scheme}://{rest.partition('/')[0].rpartition('@')[2]}"
