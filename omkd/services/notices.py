"""Log -> a person: runs the commands of `[[notify]]`, each rule by itself. No slow or broken command holds others up.

A rule is a reader with a position in the log, kept in `notices.pos`. A new rule begins with what comes after it. The
position is saved behind each notice that was sent, given up or counted as a repeat; a crash between the two means that
this one is sent again: at least once, none lost.
"""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import trio
from attrs import Factory, define, field, frozen

from omkd.core.decisions import Question
from omkd.protocol import codec
from omkd.protocol.methods import NoticeStatus
from omkd.protocol.scalars import U64, Ns, Seq
from omkd.store.event_log import StoredUnit, UnitsUnreadable
from omkd.store.files import SMALL_FILE_BYTES, atomic_write, read_regular

from .hub import Hub, Wakeup
from .log_following import units_after
from .notice_delivery import NotSent, attempt, delivery_for
from .notice_rules import Matter, NoticeRule, Reminders, matters_in

logger = logging.getLogger(__name__)

PAUSE_FIRST_S: Final = 1.0
PAUSE_MAX_S: Final = 60.0
"""Between two attempts: doubled each time."""

CLOCK_LOOK_S: Final = 60.0
"""Wall-clock times are looked at again so often (design, §5)."""

MAX_SUBJECTS: Final = 1000
"""Of which a rule remembers when it told of them last; past that the oldest is forgotten, and would be told again."""


@frozen(kw_only=True)
class NoticesPos:
    """`notices.pos`: `{"seqs":{"desktop":90}}`: units up to there are dealt with, by the rule's name."""

    seqs: dict[str, Seq]


@define
class Told:
    """What was told: when, in seconds of a monotonic clock, and how often it came again since."""

    at: float
    repeats: int = 0


@define
class Teller:
    """One rule at work. `seq`: units up to this one are dealt with."""

    rule: NoticeRule
    seq: Seq
    sent: int = 0
    failed: int = 0
    suppressed: int = 0
    reminded: int = 0
    last_sent: Ns | None = None
    last_error: str | None = None
    told: dict[tuple[str, str], Told] = Factory(dict)
    reminders: Reminders = field(init=False)
    scope: trio.CancelScope = field(factory=trio.CancelScope)

    def __attrs_post_init__(self) -> None:
        self.reminders = Reminders(self.rule)

    def status(self) -> NoticeStatus:
        return NoticeStatus(
            name=self.rule.name,
            sent=U64(self.sent),
            failed=U64(self.failed),
            suppressed=U64(self.suppressed),
            reminded=U64(self.reminded),
            last_sent=self.last_sent,
            last_error=self.last_error,
            seq=self.seq,
        )


class Notices:
    """`use` says which rules are in force: before `run`, and whenever they change."""

    def __init__(
        self, hub: Hub, environment: Mapping[str, str], clock: Callable[[], float] = trio.current_time
    ) -> None:
        self._hub = hub
        self._clock = clock
        self._environment = environment
        self._path = hub.session.notices_pos
        self._rules: tuple[NoticeRule, ...] = ()
        self._tellers: dict[str, Teller] = {}
        self._look = Wakeup()

    def use(self, rules: tuple[NoticeRule, ...]) -> None:
        self._rules = rules
        self._look.wake()

    def status(self) -> list[NoticeStatus]:
        """Of each rule at work, in the order of the configuration."""
        return [self._tellers[rule.name].status() for rule in self._rules if rule.name in self._tellers]

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Runs until cancelled; a command under way is killed then, and its escalation told after the next start."""
        known = load_pos(self._path).seqs
        try:
            async with trio.open_nursery() as nursery:
                task_status.started()
                while True:
                    self._adjust(nursery, known)
                    await self._look.wait()
        finally:
            self._save(sync=True)

    def _adjust(self, nursery: trio.Nursery, known: Mapping[str, Seq]) -> None:
        """Ends what is no longer wanted as it is, begins what is; a changed rule goes on where the old one was."""
        left = {name: teller.seq for name, teller in self._tellers.items()}
        for name, teller in list(self._tellers.items()):
            if teller.rule not in self._rules:
                teller.scope.cancel()
                del self._tellers[name]
        for rule in self._rules:
            if rule.name not in self._tellers:
                seq = left.get(rule.name, known.get(rule.name, self._hub.log.committed))
                teller = self._tellers[rule.name] = Teller(rule, min(seq, self._hub.log.committed))
                nursery.start_soon(self._tell, teller)
        self._save(sync=True)

    async def _tell(self, teller: Teller) -> None:
        with teller.scope:
            teller.reminders.begin(self._waiting(teller), self._hub.now())
            while True:
                with trio.move_on_after(self._until_reminder_s(teller)):
                    await self._hub.log.wait_beyond(teller.seq)
                for stored in await self._next_units(teller):
                    await self._tell_of(teller, stored)
                await self._remind(teller)

    async def _next_units(self, teller: Teller) -> list[StoredUnit]:
        """Those behind what is gone; none in front of damage, behind which the next ones are."""
        skip_to(self._hub.log.first_seq, teller, "are gone from the log")
        try:
            return await units_after(self._hub, teller.seq)
        except UnitsUnreadable as damage:
            skip_to(damage.readable_from, teller, "are damaged")
            return []

    def _waiting(self, teller: Teller) -> list[Question]:
        """The questions that wait for a person and were told."""
        return [each for each in self._hub.state.decisions.open.values() if each.seq <= teller.seq]

    def _until_reminder_s(self, teller: Teller) -> float:
        due = teller.reminders.next_at(self._waiting(teller))
        return CLOCK_LOOK_S if due is None else min(CLOCK_LOOK_S, max(0.0, (due - self._hub.now()) / 1e9))

    async def _remind(self, teller: Teller) -> None:
        """Tells again of questions that still wait; one that is answered while others are told is passed over."""
        for matter in teller.reminders.due(self._waiting(teller), self._hub.now()):
            waits = any(each.seq == matter.seq for each in self._waiting(teller))
            if waits and await self._send(teller, matter, 0):
                teller.reminded += 1

    async def _tell_of(self, teller: Teller, stored: StoredUnit) -> None:
        matters = matters_in(teller.rule, stored.unit)
        for matter in matters:
            await self._deal_with(teller, matter)
        teller.seq = stored.seq
        if matters:
            self._save(sync=False)

    async def _deal_with(self, teller: Teller, matter: Matter) -> None:
        """Sent, given up, or counted as a repeat when this returns."""
        told = teller.told.get(matter.subject)
        if told is not None and self._clock() - told.at < teller.rule.repeat_after_secs:
            told.repeats += 1
            teller.suppressed += 1
            logger.debug("notice %s: unit %d repeats what was told", teller.rule.name, matter.seq)
        elif await self._send(teller, matter, 0 if told is None else told.repeats):
            teller.told.pop(matter.subject, None)
            teller.told[matter.subject] = Told(self._clock())
            if len(teller.told) > MAX_SUBJECTS:
                del teller.told[next(iter(teller.told))]

    async def _send(self, teller: Teller, matter: Matter, repeats: int) -> bool:
        """Whether an attempt succeeded; there are as many as the rule allows, with pauses between them."""
        rule, name = teller.rule, teller.rule.name
        delivery = delivery_for(rule.means, matter, self._hub.session.name, repeats)
        pause_s = PAUSE_FIRST_S
        for number in range(1, rule.attempts + 1):
            try:
                await attempt(delivery, self._environment, self._hub.session.path, rule.timeout_secs)
            except NotSent as fault:
                teller.last_error = str(fault)
                logger.warning(
                    "notice %s of unit %d: attempt %d of %d: %s", name, matter.seq, number, rule.attempts, fault
                )
            else:
                teller.sent, teller.last_error, teller.last_sent = teller.sent + 1, None, self._hub.now()
                logger.info("notice %s of unit %d sent", name, matter.seq)
                return True
            if number < rule.attempts:
                await trio.sleep(pause_s)
                pause_s = min(PAUSE_MAX_S, pause_s * 2)
        teller.failed += 1
        logger.error("notice %s of unit %d given up; the escalation log has it", name, matter.seq)
        return False

    def _save(self, *, sync: bool) -> None:
        """Where the disk is in the way, a restart tells some things twice; that is not worth an end."""
        pos = NoticesPos(seqs={name: teller.seq for name, teller in self._tellers.items()})
        if not pos.seqs and not self._path.exists():
            return
        try:
            atomic_write(self._path, codec.dumps(pos), sync=sync)
        except OSError as error:
            if self._hub.retried.note(self._path, str(error), self._hub.now()):
                logger.warning("%s cannot be written, tried again at the next notice: %s", self._path, error)
        else:
            self._hub.retried.clear(self._path)


def skip_to(seq: Seq, teller: Teller, why: str) -> None:
    """Goes on with unit `seq`; says so if any are left out."""
    if teller.seq + 1 < seq:
        logger.warning("notice %s: units %d to %d %s and were not told", teller.rule.name, teller.seq + 1, seq - 1, why)
        teller.seq = Seq(seq - 1)


def load_pos(path: Path) -> NoticesPos:
    try:
        return codec.loads(read_regular(path, SMALL_FILE_BYTES), NoticesPos)
    except FileNotFoundError:
        return NoticesPos(seqs={})
    except (OSError, ValueError) as fault:
        logger.warning("%s is not readable (%s): notices begin with what comes now", path, fault)
        return NoticesPos(seqs={})
