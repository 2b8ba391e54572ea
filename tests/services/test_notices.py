"""`[[notify]]`: a person is told of each escalation that a rule means, at least once, whatever the command does."""

import json
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from omkd.core.decisions import Question
from omkd.core.state import State
from omkd.protocol.escalation import EscalationKind
from omkd.protocol.events import (
    By,
    ByOmkd,
    ByWorker,
    Choice,
    ChoiceKind,
    DecisionAnswered,
    DecisionRequested,
    Event,
    PersonNeeded,
    TaskLost,
    Unit,
    WorkerCompleted,
    WorkerStalled,
    WorkerStarted,
)
from omkd.protocol.methods import NoticeStatus
from omkd.protocol.scalars import U32, U64, Ns, Seq, TaskId, WorkerName
from omkd.services.hub import Hub
from omkd.services.notice_delivery import NotSent, attempt, delivery_for
from omkd.services.notice_rules import (
    Matter,
    NoticeRule,
    PostTo,
    Reminders,
    RunCommand,
    ShowOnDesktop,
    matters_in,
)
from omkd.services.notices import Notices
from omkd.store.event_log import Base, Draft, open_event_log
from omkd.store.session import SessionDir
from tests.kit import Place, running_daemon, until, wait_until

DEADLINE_S = 20.0
ENVIRONMENT = {"PATH": os.environ["PATH"], "NOTIFY_SOCKET": "/nowhere"}


@asynccontextmanager
async def hub_on(path: Path, base: Base | None = None) -> AsyncIterator[Hub]:
    """A hub whose log is written to disk; `base`: the snapshot that its start begins with."""
    state, clock = State(), iter(range(1_770_000_000_000_000_000, 2**63, 1_000_000_000))
    async with (
        open_event_log(path / "events", fold=state.fold, clock_ns=lambda: next(clock), base=base) as log,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(log.run)
        yield Hub(session=SessionDir(path), log=log, state=state, clock_ns=lambda: 7)
        nursery.cancel_scope.cancel()


@pytest.fixture
async def hub(tmp_path: Path) -> AsyncIterator[Hub]:
    async with hub_on(tmp_path) as hub:
        yield hub


@asynccontextmanager
async def at_work(
    hub: Hub, *rules: NoticeRule, clock: Callable[[], float] = trio.current_time
) -> AsyncIterator[Notices]:
    notices = Notices(hub, ENVIRONMENT, clock)
    notices.use(rules)
    async with trio.open_nursery() as nursery:
        await nursery.start(notices.run)
        await until(lambda: len(notices.status()) == len(rules))
        yield notices
        nursery.cancel_scope.cancel()


def asks(hub: Hub, text: str, by: By | None = None) -> Seq:
    return hub.log.append(Draft(by=by or ByOmkd(), events=(PersonNeeded(text=text),))).seq


def keeps(tmp_path: Path, then: str = "", **settings: Any) -> tuple[NoticeRule, Callable[[], list[dict[str, Any]]]]:
    """A rule whose command keeps what it is told, and what it has been told."""
    kept = tmp_path / "told"
    command = ("sh", "-c", f"cat >> {kept}; {then}")
    rule = NoticeRule(name="keeps", means=RunCommand(argv=command), **settings)
    return rule, lambda: [json.loads(line) for line in kept.read_text().splitlines()] if kept.exists() else []


def only(notices: Notices) -> NoticeStatus:
    (status,) = notices.status()
    return status


# --- which


def unit_of(*events: Event, by: By | None = None) -> Unit:
    return Unit(seq=Seq(1), ts=Ns(0), by=by or ByOmkd(), synced=Seq(0), events=events)


DONE = WorkerCompleted(worker_id="coder", files_touched=U32(0), ok=True)
FAILED = WorkerCompleted(worker_id="coder", files_touched=U32(0), ok=False)
STARTED = WorkerStarted(worker_id="coder", kind="r", task="x")


def named(rule: NoticeRule, *events: Event, by: By | None = None) -> list[Event]:
    return [matter.event for matter in matters_in(rule, unit_of(*events, by=by))]


def test_without_kinds_a_rule_means_what_needs_a_person():
    rule = NoticeRule(name="x", means=ShowOnDesktop())
    assert named(rule, STARTED, DONE, FAILED, PersonNeeded(text="?")) == [FAILED, PersonNeeded(text="?")]


def test_with_kinds_it_means_all_of_them():
    rule = NoticeRule(name="x", means=ShowOnDesktop(), kinds=frozenset({EscalationKind.WORKER_COMPLETED}))
    assert named(rule, STARTED, DONE, FAILED, PersonNeeded(text="?")) == [DONE, FAILED]


def test_with_workers_it_means_what_is_about_them_or_comes_from_them():
    rule = NoticeRule(name="x", means=ShowOnDesktop(), workers=("coder",))
    other = WorkerCompleted(worker_id="docs", files_touched=U32(0), ok=False)
    assert named(rule, FAILED, other) == [FAILED]
    assert named(rule, PersonNeeded(text="?")) == []
    assert named(rule, PersonNeeded(text="?"), by=ByWorker(worker=WorkerName("coder"))) == [PersonNeeded(text="?")]


# --- told


async def test_a_person_is_told_of_what_comes_after_the_start(hub: Hub, tmp_path: Path):
    await hub.log.commit(asks(hub, "before"))
    rule, told = keeps(tmp_path)
    async with at_work(hub, rule) as notices:
        seq = asks(hub, "which port?")
        await until(lambda: only(notices).sent == 1)
    assert told() == [
        {
            "ts": "2026-02-02T02:40:01Z",
            "kind": "router_escalation",
            "goal_id": None,
            "intent": None,
            "summary": "which port?",
            "confidence": None,
            "auto_proceed": False,
            "seq": seq,
            "session": hub.session.name,
            "repeats": 0,
        }
    ]


async def test_what_came_while_the_daemon_was_away_is_told_by_the_next(tmp_path: Path):
    rule, told = keeps(tmp_path)
    async with hub_on(tmp_path) as hub, at_work(hub, rule) as notices:
        asks(hub, "first")
        await until(lambda: only(notices).sent == 1)
    async with hub_on(tmp_path) as hub:
        await hub.log.commit(asks(hub, "second"))
        async with at_work(hub, rule) as notices:
            await until(lambda: only(notices).sent == 1)
    assert [each["summary"] for each in told()] == ["first", "second"]


async def test_damage_in_what_came_meanwhile_is_passed_over(tmp_path: Path):
    """Below a snapshot a start does not look, and the daemon ended there again and again."""
    rule, told = keeps(tmp_path)
    async with hub_on(tmp_path) as hub:
        async with at_work(hub, rule) as notices:
            asks(hub, "first")
            await until(lambda: only(notices).sent == 1)
        damaged = asks(hub, "damaged")
        await hub.log.commit(asks(hub, "second"))
    (segment,) = (tmp_path / "events").iterdir()
    segment.write_bytes(segment.read_bytes().replace(b"damaged", b"\xff" * 7))
    async with hub_on(tmp_path, Base(seq=Seq(damaged + 1), ts=Ns(0))) as hub, at_work(hub, rule) as notices:
        await until(lambda: only(notices).sent == 1)
    assert [each["summary"] for each in told()] == ["first", "second"]


async def test_a_notice_under_way_at_the_end_is_given_again_by_the_next(tmp_path: Path):
    rule, told = keeps(tmp_path, then=f"test -e {tmp_path}/go || exec sleep 60")
    async with hub_on(tmp_path) as hub, at_work(hub, rule):
        asks(hub, "which port?")
        await until(lambda: len(told()) == 1)
    (tmp_path / "go").touch()
    async with hub_on(tmp_path) as hub, at_work(hub, rule) as notices:
        await until(lambda: only(notices).sent == 1)
    assert [each["summary"] for each in told()] == ["which port?"] * 2


async def test_repeats_are_counted_and_the_next_notice_says_how_many(hub: Hub, tmp_path: Path):
    rule, told = keeps(tmp_path, repeat_after_secs=600)
    now = 100.0
    async with at_work(hub, rule, clock=lambda: now) as notices:
        for text in ("again", "again", "again", "again", "another"):
            asks(hub, text)
        await until(lambda: only(notices).sent == 2)
        assert only(notices).suppressed == 3
        now += 599
        asks(hub, "again")
        await until(lambda: only(notices).suppressed == 4)
        now += 1
        asks(hub, "again")
        await until(lambda: only(notices).sent == 3)
    assert [(each["summary"], each["repeats"]) for each in told()] == [("again", 0), ("another", 0), ("again", 4)]


def test_a_worker_that_stalls_again_is_a_repeat_and_another_task_that_is_lost_is_not():
    def subject(event: Event) -> object:
        (matter,) = matters_in(NoticeRule(name="x", means=ShowOnDesktop()), unit_of(event))
        return matter.subject

    stalled = [WorkerStalled(worker=WorkerName("coder"), silent_secs=U64(secs)) for secs in (31, 60)]
    lost = [TaskLost(task_id=TaskId(task), worker=WorkerName("coder"), reason="x") for task in ("t1", "t2")]
    assert subject(stalled[0]) == subject(stalled[1])
    assert subject(lost[0]) != subject(lost[1])


# --- questions


def question(id: str, **more: Any) -> DecisionRequested:
    choices = [Choice(id="yes", label="Yes", kind=ChoiceKind.ALLOW_ONCE)]
    return DecisionRequested(decision_id=id, summary="may I?", choices=choices, expires=Ns(2**62), **more)


def waiting(id: str, seconds: int = 0, **more: Any) -> Question:
    return Question(asked=question(id, **more), seq=Seq(1), ts=Ns(seconds * 10**9), by=ByOmkd())


def reminded(reminders: Reminders, seconds: float, *questions: Question) -> list[tuple[str, int]]:
    """Which questions it reminds of at that time, and how often with this."""
    found = reminders.due(questions, Ns(int(seconds * 10**9)))
    return [(each.event.decision_id, each.reminder) for each in found if isinstance(each.event, DecisionRequested)]


def test_of_a_question_a_person_is_reminded_a_bounded_number_of_times():
    reminders = Reminders(NoticeRule(name="x", means=ShowOnDesktop(), remind_after_secs=100, reminders=2))
    one, later = waiting("d1"), waiting("d2", 150)
    assert reminders.next_at([one, later]) == 100 * 10**9
    assert reminded(reminders, 99.9, one) == []
    assert reminded(reminders, 100, one) == [("d1", 1)]
    assert reminded(reminders, 100, one) == []
    assert reminded(reminders, 250, one, later) == [("d1", 2), ("d2", 1)]
    assert reminders.next_at([one, later]) == 350 * 10**9
    assert reminders.next_at([one]) is None
    assert reminded(reminders, 10_000, one) == []


def test_reminders_that_were_missed_come_as_one():
    reminders = Reminders(NoticeRule(name="x", means=ShowOnDesktop(), remind_after_secs=100, reminders=3))
    assert reminded(reminders, 250, waiting("d1")) == [("d1", 2)]


def test_a_restart_sends_no_reminder_again_and_forgets_none():
    reminders = Reminders(NoticeRule(name="x", means=ShowOnDesktop(), remind_after_secs=100, reminders=2))
    reminders.begin([waiting("d1")], Ns(150 * 10**9))
    assert reminded(reminders, 150, waiting("d1")) == []
    assert reminded(reminders, 200, waiting("d1")) == [("d1", 2)]


def test_without_a_time_nobody_is_reminded_and_a_rule_reminds_of_what_it_means_only():
    never = Reminders(NoticeRule(name="x", means=ShowOnDesktop(), remind_after_secs=0))
    assert (never.next_at([waiting("d1")]), reminded(never, 10_000, waiting("d1"))) == (None, [])
    coders = Reminders(NoticeRule(name="x", means=ShowOnDesktop(), workers=("coder",)))
    mine = waiting("d2", worker=WorkerName("coder"))
    assert reminded(coders, 10_000, waiting("d1"), mine) == [("d2", 2)]


async def test_questions_of_the_same_words_are_told_each(hub: Hub, tmp_path: Path):
    rule, told = keeps(tmp_path)
    async with at_work(hub, rule) as notices:
        for id in ("d1", "d2"):
            hub.log.append(Draft(by=ByOmkd(), events=(question(id),)))
        await until(lambda: only(notices).sent == 2)
    assert [(each["decision"], each["reminder"]) for each in told()] == [("d1", 0), ("d2", 0)]


async def test_reminders_are_sent_counted_and_end_with_the_answer(hub: Hub, tmp_path: Path):
    now = [0]
    hub.clock_ns = lambda: now[0]
    rule, told = keeps(tmp_path, remind_after_secs=100, reminders=5)
    async with at_work(hub, rule) as notices:
        asked = hub.log.append(Draft(by=ByOmkd(), events=(question("d1"),)))
        await until(lambda: only(notices).sent == 1)
        now[0] = asked.ts + 100 * 10**9
        asks(hub, "something else")  # a unit, so that it looks
        await until(lambda: only(notices).reminded == 1)
        assert only(notices).sent == 3
        hub.log.append(
            Draft(by=ByOmkd(), events=(DecisionAnswered(decision_id="d1", choice="yes", kind=ChoiceKind.ALLOW_ONCE),))
        )
        now[0] += 1000 * 10**9
        asks(hub, "last")
        await until(lambda: only(notices).sent == 4)
    assert [(each["summary"], each.get("reminder")) for each in told()] == [
        ("decide: may I?", 0),
        ("something else", None),
        ("decide: may I?", 1),
        ("last", None),
    ]


async def test_a_reminder_that_cannot_be_sent_is_a_failure_that_one_sees(hub: Hub):
    now = [0]
    hub.clock_ns = lambda: now[0]
    rule = NoticeRule(name="x", means=RunCommand(argv=("false",)), attempts=1, remind_after_secs=100)
    async with at_work(hub, rule) as notices:
        asked = hub.log.append(Draft(by=ByOmkd(), events=(question("d1"),)))
        await until(lambda: only(notices).failed == 1)
        now[0] = asked.ts + 100 * 10**9
        hub.log.append(Draft(by=ByOmkd(), events=(DONE,)))
        await until(lambda: only(notices).failed == 2)
        assert (only(notices).reminded, only(notices).last_error) == (0, "false: exit status 1")


def test_the_desktop_says_that_it_is_a_reminder():
    rule = NoticeRule(name="x", means=ShowOnDesktop(), remind_after_secs=1)
    (matter,) = Reminders(rule).due([waiting("d1")], Ns(10**9))
    assert delivery_for(ShowOnDesktop(), matter, "s", 0).argv[-1] == "decide: may I? (reminder 1)"


# --- not told


async def test_a_command_that_fails_is_tried_again_and_then_given_up(hub: Hub, tmp_path: Path):
    rule, told = keeps(tmp_path, then="echo API_TOKEN=hunter2 no such user >&2; exit 3", attempts=2)
    async with at_work(hub, rule) as notices:
        asks(hub, "one")
        await until(lambda: only(notices).failed == 1)
        assert only(notices).last_error == "sh: exit status 3: API_TOKEN=[redacted] no such user"
        assert (only(notices).sent, only(notices).last_sent) == (0, None)
    assert [each["summary"] for each in told()] == ["one", "one"]


async def test_a_rule_whose_command_hangs_does_not_hold_up_another(hub: Hub, tmp_path: Path):
    hangs = NoticeRule(name="hangs", means=RunCommand(argv=("sleep", "60")), timeout_secs=60)
    rule, told = keeps(tmp_path)
    async with at_work(hub, hangs, rule) as notices:
        asks(hub, "one")
        await until(lambda: notices.status()[1].sent == 1)
        assert [each.name for each in notices.status()] == ["hangs", "keeps"]
        assert notices.status()[0].sent == 0
    assert len(told()) == 1


async def test_a_rule_that_is_changed_goes_on_where_it_was(hub: Hub, tmp_path: Path):
    broken = NoticeRule(name="keeps", means=RunCommand(argv=("false",)), attempts=1000)
    rule, told = keeps(tmp_path)
    async with at_work(hub, broken) as notices:
        asks(hub, "one")
        await until(lambda: only(notices).last_error == "false: exit status 1")
        notices.use((rule,))
        await until(lambda: [each.sent for each in notices.status()] == [1])
        notices.use(())
        await until(lambda: notices.status() == [])
    assert [each["summary"] for each in told()] == ["one"]


# --- one attempt


def matter() -> Matter:
    (found,) = matters_in(
        NoticeRule(name="x", means=ShowOnDesktop()), unit_of(PersonNeeded(text='-x "quoted" \\ \x1b line\nend'))
    )
    return found


async def run(argv: tuple[str, ...], tmp_path: Path, timeout_s: float = DEADLINE_S) -> None:
    await attempt(delivery_for(RunCommand(argv=argv), matter(), "s", 0), ENVIRONMENT, tmp_path, timeout_s)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (("omk-no-such-command",), "omk-no-such-command: No such file or directory"),
        (("sh", "-c", "kill -9 $$"), "sh: killed by signal 9"),
        (("sh", "-c", "echo a >&2; echo b >&2; exit 1"), "sh: exit status 1: a b"),
    ],
)
async def test_why_it_failed_is_said(argv: tuple[str, ...], said: str, tmp_path: Path):
    with pytest.raises(NotSent, match=said):
        await run(argv, tmp_path)


async def test_a_command_that_takes_too_long_is_ended_with_all_that_it_started(tmp_path: Path):
    pids = tmp_path / "pids"
    script = f"sleep 60 & echo $! > {pids}; echo $$ >> {pids}; wait"
    with pytest.raises(NotSent, match=r"sh took longer than 0\.5 s"):
        await run(("sh", "-c", script), tmp_path, 0.5)
    await until(lambda: not any(is_alive(int(pid)) for pid in pids.read_text().split()))


@pytest.mark.parametrize("how", ["too long", "cancelled"])
async def test_what_left_the_commands_session_is_ended_too(tmp_path: Path, how: str):
    """It lived on: only the process group was killed. One is below the command, one below nobody any more."""
    ready = tmp_path / "ready"
    script = (
        "setsid sh -c 'echo $$ >> pids; exec sleep 777' & "
        "(setsid sh -c 'echo $$ >> pids; exec sleep 777' &) ; "
        "(env -i setsid sh -c 'echo $$ >> pids; exec sleep 777') & "
        f"while [ $(wc -l < pids) -lt 3 ]; do :; done; touch {ready}; sleep 778"
    )
    (tmp_path / "pids").touch()
    if how == "too long":
        with pytest.raises(NotSent, match="sh took longer than 3 s"):
            await run(("sh", "-c", script), tmp_path, 3)
    else:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, ("sh", "-c", script), tmp_path)
            await until(ready.exists)
            nursery.cancel_scope.cancel()
    pids = (tmp_path / "pids").read_text().split()
    assert [pid for pid in pids if is_alive(int(pid))] == []


async def test_what_a_command_starts_to_stay_stays_when_it_ends_by_itself(tmp_path: Path):
    script = "setsid sh -c 'echo $$ > pid; exec sleep 777 2>&-' & while [ ! -s pid ]; do :; done"
    await run(("sh", "-c", script), tmp_path)
    pid = int((tmp_path / "pid").read_text())
    assert is_alive(pid)
    os.kill(pid, signal.SIGKILL)


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


async def test_a_command_that_leaves_its_stdin_and_floods_its_stderr_is_no_trouble(tmp_path: Path):
    script = "exec 0<&-; head -c 3000000 /dev/zero | tr '\\0' x >&2; exit 4"
    with pytest.raises(NotSent) as caught:
        await run(("sh", "-c", script), tmp_path)
    assert str(caught.value).startswith("sh: exit status 4: xxx")
    assert len(str(caught.value)) < 1000


async def test_a_command_does_not_hear_of_systemd(tmp_path: Path):
    await run(("sh", "-c", "test -z $NOTIFY_SOCKET"), tmp_path)


async def test_the_desktop_is_given_the_text_as_one_argument(tmp_path: Path):
    program = tmp_path / "notify-send"
    program.write_text(f"#!{sys.executable}\nimport sys, json\njson.dump(sys.argv[1:], open('argv', 'w'))\n")
    program.chmod(0o755)
    environment = ENVIRONMENT | {"PATH": f"{tmp_path}:{ENVIRONMENT['PATH']}"}
    await attempt(delivery_for(ShowOnDesktop(), matter(), "s", 2), environment, tmp_path, DEADLINE_S)
    argv = json.loads((tmp_path / "argv").read_text())
    text = '-x "quoted" \\ \x1b line\nend (and 2 times before)'
    assert argv == ["--app-name=omkd", "--", "omkd s: router_escalation", text]


def test_a_webhook_gets_the_escalation_and_its_address_is_not_in_the_arguments():
    delivery = delivery_for(PostTo(url="http://127.0.0.1/{a}?secret=[1]"), matter(), "s", 0)
    assert not any("secret" in argument for argument in delivery.argv)


def serve_once(listener: trio.SocketListener, answer: bytes, got: list[bytes]) -> Callable[[], Awaitable[None]]:
    async def served() -> None:
        stream = await listener.accept()
        async with stream:
            data = b""
            while b"\r\n\r\n" not in data or len(data.partition(b"\r\n\r\n")[2]) < length_in(data):
                data += await stream.receive_some()
            got.append(data)
            await stream.send_all(answer)

    return served


def length_in(data: bytes) -> int:
    lines = data.lower().split(b"\r\n")
    return next(int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:"))


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
@pytest.mark.parametrize(("status", "fails"), [("204 No Content", False), ("500 Oh No", True)])
async def test_a_webhook_in_earnest(status: str, fails: bool, tmp_path: Path):
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    got: list[bytes] = []
    answer = f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
    port = listener.socket.getsockname()[1]
    delivery = delivery_for(PostTo(url=f"http://127.0.0.1:{port}/a[1]"), matter(), "s", 0)
    async with listener, trio.open_nursery() as nursery:
        nursery.start_soon(serve_once(listener, answer, got))
        if fails:
            with pytest.raises(NotSent, match=r"curl: exit status 22: .*500"):
                await attempt(delivery, ENVIRONMENT, tmp_path, DEADLINE_S)
        else:
            await attempt(delivery, ENVIRONMENT, tmp_path, DEADLINE_S)
    head, _, body = got[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /a[1] HTTP/1.1\r\n")
    assert json.loads(body)["summary"] == matter().entry.summary


# --- the daemon


def test_status_shows_what_became_of_the_notices(place: Place):
    config = place.root / ".config" / "omk" / "omkd.toml"
    config.parent.mkdir(parents=True)
    config.write_text('[[notify]]\nname = "mine"\ncommand = ["false"]\nattempts = 1\n')
    with running_daemon(place) as daemon:
        client = daemon.client()
        client.call("event.publish", event={"PersonNeeded": {"text": "which port?"}})

        def notice() -> Any:
            notices = client.call("omkd.status")["notices"]
            assert isinstance(notices, list)
            return notices[0]

        wait_until(lambda: notice()["failed"] == 1, "the notice is not given up")
        assert (notice()["name"], notice()["last_error"]) == ("mine", "false: exit status 1")
        client.close()
