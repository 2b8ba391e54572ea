"""A session that remembers little: small segments, a log that is cut behind every snapshot, few finished tasks kept.

    python -m tests.faults.short_memory [--cases STEPS] [--seed S] [--seconds T]

Clients do this and that, the daemon is killed or ended, now and then its newest snapshot is spoilt. Whatever the log
still has is found, listed once and told in order; what it has no more is told as gone, and never as something else.
"""

import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from random import Random
from typing import Any

from tests.faults.figures import Options, options, report
from tests.faults.forked import Lost, Session, fast_directory, session_in

# isort: split
from omkd.core import kept
from omkd.services.verify import verify_session
from omkd.store.segments import first_seq_of, list_segments
from omkd.store.snapshot import list_snapshots
from tests.kit import Client

SEGMENT_BYTES = 4000
FINISHED_KEPT = 4
UNCUT_EVERY = 3
"""Of the lives: in that one everything is found for good."""

STEPS_A_LIFE = 100

ENDS = ("cancelled", "success", "lost")
GONE = "gone"

W, V = {"worker": "w"}, {"worker": "v"}


class Life:
    """One session and what it was told. `ended` has the state a task was seen to end in."""

    def __init__(self, session: Session, rng: Random, *, cuts: bool) -> None:
        self.session = session
        self.rng = rng
        self.cuts = cuts
        self.texts: dict[str, str] = {}
        self.keys: dict[str, str] = {}
        self.ended: dict[str, str] = {}
        self.figures: Counter[str] = Counter()
        config = session.place.root / "omkd.toml"
        config.write_text("keep_bytes = 1\n" if cuts else "")
        session.place.environment["OMKD_CONFIG"] = str(config)
        for name in ("w", "v"):
            session.call("worker.add", name=name, role="r", window=0)

    def step(self) -> None:
        acts: tuple[tuple[int, Callable[[], None]], ...] = (
            (8, self.send),
            (6, self.work),
            (3, self.cancel),
            (3, self.escalate),
            (2, self.acknowledge),
            (1, self.rotate),
            (2, self.restart),
            (1, self.spoil_snapshot),
            (3, self.look_at_one),
            (2, self.look_at_all),
            (3, self.follow),
            (1, self.send_again),
            (1, self.verify),
        )
        act = self.rng.choices([act for _, act in acts], [weight for weight, _ in acts])[0]
        act()
        self.figures[act.__name__] += 1

    # --- what happens ---

    def send(self) -> None:
        text = f"task {len(self.texts)} " + "x" * self.rng.choice((10, 500))
        task = self.session.send(text, self.rng.choice((W, W, V)))
        self.texts[task] = text
        self.keys[next(key for key, each in self.session.answered.items() if each == task)] = task

    def work(self) -> None:
        done = [each for name in ("w", "v") for each in self.session.work(name)]
        for each in set(done) - set(self.ended):
            self.session.until(lambda each=each: self.state(each) in ("success", GONE), f"{each} has no result")
            self.ended[each] = "success"

    def cancel(self) -> None:
        open_tasks = [each for each in self.texts if each not in self.ended]
        if open_tasks:
            task = self.rng.choice(open_tasks)
            self.session.call("task.cancel", known=("conflict", "refused", "not_found"), ids=[task], force=True)
            self.session.until(lambda: self.state(task) in (*ENDS, GONE), f"{task} does not end")
            self.ended[task] = self.state(task)

    def escalate(self) -> None:
        for _ in range(self.rng.choice((1, 5))):
            self.session.call("event.publish", event={"PersonNeeded": {"text": "which " + "y" * 200}})

    def acknowledge(self) -> None:
        listed = self.session.call("escalation.list", unacked=True, limit=1000)["escalations"]
        if listed:
            self.session.call("escalation.ack", known=("not_found",), seqs=[self.rng.choice(listed)["seq"]])

    def rotate(self) -> None:
        self.session.call("escalation.rotate")

    def restart(self) -> None:
        self.session.call("omkd.status")
        if self.session.end(self.rng.choice((signal.SIGKILL, signal.SIGTERM))) == 0:
            self.verify_at_rest()

    def spoil_snapshot(self) -> None:
        """One that cannot be used is passed over. Two are not spoilt: with the log cut, nothing stands for the rest."""
        self.session.end(signal.SIGKILL)
        found = list_snapshots(self.session.place.session.path)
        if len(found) > 1:
            content = bytearray(found[0].read_bytes())
            content[self.rng.randrange(len(content))] ^= 1
            found[0].write_bytes(content)

    # --- what must be so ---

    def state(self, task: str) -> str:
        """GONE: the log no longer has what queued it, and others ended after it."""
        found = self.session.call("task.get", known=("not_found",) if self.cuts else (), id=task)
        if not found and int(task[1:]) >= self.first_seq():
            raise Lost(f"{task} is not found, its units are there")
        return str(found.get("state", GONE))

    def first_seq(self) -> int:
        return first_seq_of(list_segments(self.session.place.session.events)[0])

    def look_at_one(self) -> None:
        if self.texts:
            task = self.rng.choice(list(self.texts))
            found = self.session.call("task.get", known=("not_found",), id=task)
            if found:
                self.check_task(found)
            elif not self.may_be_gone(task):
                raise Lost(f"{task} is not found, its units are there")

    def may_be_gone(self, task: str) -> bool:
        return self.cuts and task in self.ended and int(task[1:]) < self.first_seq()

    def check_task(self, found: dict[str, Any]) -> None:
        task = found["id"]
        if found["task"]["task"] != self.texts[task] or self.ended.get(task, GONE) not in (found["state"], GONE):
            raise Lost(f"{task} was {self.ended.get(task)} with {self.texts[task]!r}, and is {found}")

    def look_at_all(self) -> None:
        found: list[dict[str, Any]] = []
        before: object = None
        while True:
            page = self.session.call("task.list", limit=7, before=before)
            found[:0] = page["tasks"]
            before = page["next"]
            if before is None:
                break
        ids = [each["id"] for each in found]
        if ids != sorted(set(ids), key=lambda each: int(each[1:])):
            raise Lost(f"listed twice, or not in order: {ids}")
        for each in found:
            self.check_task(each)
        missing = [each for each in self.texts if each not in ids and not self.may_be_gone(each)]
        status = self.session.call("omkd.status")
        if missing or sum(status["tasks"].values()) != len(self.texts):
            raise Lost(f"not listed: {missing}; {len(self.texts)} were sent, status counts {status['tasks']}")
        self.session.until(self.shows_all_that_waits, "another number waits for a person than is listed")

    def shows_all_that_waits(self) -> bool:
        """Between the two the log may be cut."""
        unacked = self.session.call("escalation.list", unacked=True, limit=1000)["escalations"]
        return len(unacked) == self.session.call("omkd.status")["unacked"]

    def follow(self) -> None:
        """All units behind a place come once, in order; those that are gone are told, and are gone."""
        self.session.call("omkd.status")
        first, last = self.first_seq(), int(self.session.call("event.list", last=1)["units"][-1]["seq"])
        at = self.rng.choice((0, self.rng.randint(0, last), last))
        with closing(Client(self.session.place.socket)) as client:
            client.call("event.subscribe", after=at)
            while at < last:
                note: Any = client.next_notification()
                if note["method"] == "gap":
                    if note["params"]["first"] != at + 1 or note["params"]["last"] >= self.first_seq():
                        raise Lost(f"at {at}, {first} is the first: {note}")
                    at = note["params"]["last"]
                else:
                    if note["params"]["unit"]["seq"] != at + 1:
                        raise Lost(f"at {at}, {first} is the first: {note}")
                    at += 1

    def send_again(self) -> None:
        """A key is known for days, whatever became of its task: nothing is queued a second time."""
        if self.keys:
            key = self.rng.choice(list(self.keys))
            task = self.keys[key]
            body = {"target": self.rng.choice((W, V)), "task": {"task": self.texts[task]}, "key": key}
            again = self.session.call("task.send", known=("conflict", "not_found"), **body)
            if again and again["id"] != task:
                raise Lost(f"{key} brought {task}, and now {again}")

    def verify(self) -> None:
        self.session.until(lambda: not self.failing(), "a write fails for ever")
        findings = self.session.call("omkd.verify")["findings"]
        if findings:
            raise Lost(f"verify: {findings}")

    def failing(self) -> bool:
        return bool(self.session.call("omkd.status")["retried_writes"])

    def verify_at_rest(self) -> None:
        findings = verify_session(self.session.place.session).findings
        if findings:
            raise Lost(f"verify at rest: {findings}")

    def conclude(self) -> None:
        self.work()
        self.look_at_all()
        for _ in range(5):
            self.follow()
        self.verify()
        if self.session.end() != 0:
            raise Lost("it does not end cleanly")
        self.verify_at_rest()
        log = self.session.log.read_text()
        if "Traceback" in log:
            raise Lost(log[log.index("Traceback") - 500 :][:4000])


def remember_little() -> None:
    """The bound is a default that no caller changes."""
    kept.Bounds.__init__.__kwdefaults__["finished"] = FINISHED_KEPT


def run(chosen: Options) -> dict[str, Any]:
    remember_little()
    rng, directory = Random(chosen.seed), fast_directory()
    figures: Counter[str] = Counter(lives=0, steps=0, cut=0)
    deadline = time.monotonic() + chosen.seconds
    while figures["steps"] < chosen.cases and time.monotonic() < deadline:
        with session_in(directory, segment_bytes=SEGMENT_BYTES) as session:
            figures["lives"] += 1
            life = Life(session, rng, cuts=figures["lives"] % UNCUT_EVERY > 0)
            for _ in range(min(STEPS_A_LIFE, chosen.cases - figures["steps"])):
                life.step()
                figures["steps"] += 1
            life.conclude()
            figures["cut"] += life.first_seq() - 1
            figures["tasks"] += len(life.texts)
            figures.update(life.figures)
    return dict(figures)


if __name__ == "__main__":
    report("short memory", run, options(__doc__ or "", cases=600))
