"""What `[[notify]]` asks for, and which escalations it means."""

from collections.abc import Iterable
from pathlib import PurePath
from typing import Final, TypeAlias

from attrs import Factory, define, evolve, frozen

from omkd.core.about import is_about
from omkd.core.decisions import Question
from omkd.protocol.escalation import EscalationKind, EscalationLogEntry, entry_from_event, needs_person
from omkd.protocol.events import DecisionRequested, Event, Unit, WorkerExited, WorkerStalled
from omkd.protocol.scalars import Ns, Seq


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
    remind_after_secs: int = 120
    reminders: int = 2


@frozen(kw_only=True)
class Matter:
    """An escalation that a person is to hear of. Another one with the same `subject` is a repeat.

    `reminder`: how often a person is reminded of this question with it; 0: it is told for the first time.
    """

    seq: Seq
    event: Event
    unit: Unit
    entry: EscalationLogEntry
    reminder: int = 0

    @property
    def subject(self) -> tuple[str, str]:
        """The same words; or the same worker that stalls or exits again, whose words count seconds and restarts.

        A question waits for an answer of its own, whatever its words are.
        """
        match self.event:
            case DecisionRequested(decision_id=decision_id):
                return DecisionRequested.__name__, decision_id
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


NS_PER_S: Final = 1_000_000_000


@define
class Reminders:
    """Of the questions that wait: when a rule reminds of which. Counted from the moment a question was asked, so that a
    restart of the daemon neither forgets a reminder that is to come nor sends one again."""

    rule: NoticeRule
    _counted: dict[str, int] = Factory(dict)

    def next_at(self, questions: Iterable[Question]) -> Ns | None:
        """The earliest of those that are to come; None: none is."""
        return min((due for each in questions if (due := self._due(each)) is not None), default=None)

    def due(self, questions: Iterable[Question], now: Ns) -> list[Matter]:
        """What a person is to be reminded of at `now`; each reminder is given out once."""
        waiting = list(questions)
        self._counted = {each.asked.decision_id: self._count(each) for each in waiting}
        found = []
        for each in waiting:
            at = self._due(each)
            if at is not None and at <= now:
                self._counted[each.asked.decision_id] = number = self._passed(each, now)
                found += [evolve(matter, reminder=number) for matter in matters_in(self.rule, unit_of(each))]
        return found

    def begin(self, questions: Iterable[Question], now: Ns) -> None:
        """What was due before is not sent now: an earlier run did, or nobody was there to."""
        self._counted = {each.asked.decision_id: self._passed(each, now) for each in questions}

    def _count(self, question: Question) -> int:
        return self._counted.get(question.asked.decision_id, 0)

    def _due(self, question: Question) -> Ns | None:
        count, after = self._count(question), self.rule.remind_after_secs
        if after == 0 or count >= self.rule.reminders:
            return None
        return Ns(question.ts + (count + 1) * after * NS_PER_S)

    def _passed(self, question: Question, now: Ns) -> int:
        after = self.rule.remind_after_secs * NS_PER_S
        return min(self.rule.reminders, max(0, (now - question.ts) // after)) if after else 0


def unit_of(question: Question) -> Unit:
    """The unit that asked, as far as a rule looks at it."""
    return Unit(seq=question.seq, ts=question.ts, by=question.by, synced=Seq(0), events=[question.asked])


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
