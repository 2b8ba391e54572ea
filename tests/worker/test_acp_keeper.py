"""One agent process for task after task: when it is kept, when it is ended, and what it is never kept with."""

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from acp_kit import DEADLINE_S, Bench

from omkd.protocol.records import Yolo
from omkd.worker.acp_agent import open_agent
from omkd.worker.acp_agents import AcpSettings
from omkd.worker.children import Children
from omkd.worker.processes import RunProcesses, signal_each, wait_ended
from omkd.worker.report import OutOfBudget

TOUCH = "echo hi > hi.txt"
SAID = {"say": "Done."}


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()


def sent(bench: Bench) -> list[str]:
    return [line["msg"]["method"] for line in bench.transcript() if line["dir"] == "out" and "method" in line["msg"]]


async def test_one_process_takes_task_after_task_each_in_a_session_of_its_own(bench: Bench) -> None:
    command = bench.scripted({"plan": [0, 1]}, SAID)
    pids = []
    with trio.fail_after(DEADLINE_S):
        async with bench.keeper() as keeper:
            for _ in range(3):
                end = await bench.take(keeper, command, bench.task())
                assert end.evidence.said == "Done."
                pids.append(bench.alive())
    assert pids[0] == pids[1] == pids[2] != []
    assert sent(bench) == ["initialize", *["session/new", "session/prompt", "session/close"] * 3]
    assert bench.alive() == []


async def test_one_session_for_all_tasks_where_that_is_asked_for(bench: Bench) -> None:
    command = bench.scripted(SAID, modes=["free", "ask"])
    task = bench.task(settings=AcpSettings(asks_in="ask"), keeps_session=True)
    with trio.fail_after(DEADLINE_S):
        async with bench.keeper() as keeper:
            for _ in range(2):
                assert (await bench.take(keeper, command, task)).is_usable
    assert sent(bench) == [
        "initialize",
        "session/new",
        "session/set_config_option",
        "session/prompt",
        "session/prompt",
    ]


async def test_a_kept_session_that_is_not_in_its_mode_any_more_is_not_used(bench: Bench) -> None:
    """It left it under yolo, which may; the next task's policy asks."""
    command = bench.scripted({"mode": "free"}, modes=["free", "ask"])
    settings = AcpSettings(asks_in="ask")
    with trio.fail_after(DEADLINE_S):
        async with bench.keeper() as keeper:
            for _ in range(2):
                await bench.take(keeper, command, bench.task(Yolo(), settings=settings, keeps_session=True))
    assert sent(bench).count("session/new") == 2


async def test_an_agent_that_cannot_close_a_session_is_not_kept(bench: Bench) -> None:
    with trio.fail_after(DEADLINE_S):
        async with bench.keeper() as keeper:
            end = await bench.take(keeper, bench.scripted(SAID, closes=False), bench.task())
            assert bench.alive() == []
    assert not end.is_usable


async def test_an_agent_whose_turn_left_a_process_is_ended_with_it(bench: Bench) -> None:
    """It ended well, and so the tool is nobody's any more."""
    with trio.fail_after(DEADLINE_S):
        async with bench.keeper() as keeper:
            end = await bench.take(keeper, bench.scripted({"orphan": str(bench.project / "pid")}, SAID), bench.task())
            assert bench.alive() == []
    assert end.is_usable


async def test_a_spent_budget_ends_the_agent_and_the_next_task_has_another(bench: Bench) -> None:
    command = bench.scripted({"hang": True})
    with trio.fail_after(DEADLINE_S):
        async with bench.keeper() as keeper:
            end = await bench.take(keeper, command, bench.task(budget_s=0.3))
            assert end.ended_by == OutOfBudget(budget_secs=0)
            assert bench.alive() == []
            await bench.take(keeper, command, bench.task(budget_s=0.3))
    assert sent(bench).count("initialize") == 2


async def test_an_agent_that_died_between_two_tasks_is_replaced(bench: Bench) -> None:
    command, members = bench.scripted(SAID), RunProcesses(marks=bench.marks)
    with trio.fail_after(DEADLINE_S):
        async with bench.keeper() as keeper:
            await bench.take(keeper, command, bench.task())
            found = members.alive()
            signal_each(found, signal.SIGKILL)
            await wait_ended(found)
            end = await bench.take(keeper, command, bench.task())
    assert end.evidence.said == "Done."
    assert sent(bench).count("initialize") == 2


async def test_what_an_agent_says_between_two_tasks_fills_nothing(bench: Bench) -> None:
    """It was kept for the next task, which may come next week."""
    talking = bench.command(sys.executable, "-c", "for _ in range(50_000): print('so they say')")
    members = RunProcesses(marks=bench.marks)
    with trio.fail_after(DEADLINE_S):
        async with open_agent(talking, Children(), members, stderr=bench.files.stderr, grace_s=1.0) as agent:
            agent.rest()
            await wait_ended(members.alive())
            assert agent.unheard == 0


@pytest.mark.parametrize("changed", ["command", "policy"])
async def test_settings_that_changed_take_another_agent(bench: Bench, changed: str) -> None:
    """An agent that was let run unasked was not looked at: it is not trusted to ask."""
    first, second = bench.scripted(SAID), bench.scripted(SAID, name="another" if changed == "command" else "scripted")
    policy = Yolo() if changed == "policy" else None
    with trio.fail_after(DEADLINE_S):
        async with bench.keeper() as keeper:
            await bench.take(keeper, first, bench.task(policy))
            before = bench.alive()
            await bench.take(keeper, second, bench.task())
            assert not set(before) & set(bench.alive())


async def test_what_a_kept_agent_says_on_stderr_goes_to_the_run_in_hand(bench: Bench) -> None:
    command = bench.scripted({"run": "echo from the tool"})
    with trio.fail_after(DEADLINE_S):
        async with bench.keeper() as keeper:
            for _ in range(2):
                bench.files.stderr.write_bytes(b"")
                await bench.take(keeper, command, bench.task())
                assert bench.files.stderr.read_text() == "from the tool\n"


async def test_the_time_of_a_question_is_not_the_agents(bench: Bench) -> None:
    """Its budget would be used up before the question expires."""
    end = await bench.run(bench.scripted({"ask": TOUCH}, SAID), budget_s=0.5, approval_timeout_s=1.0)
    assert end.ended_by is None
    assert [decided.ruling.value for decided in end.evidence.decided] == ["expired"]
