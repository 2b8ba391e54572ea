"""Real agents against a scripted model: each allowed, refused, left waiting, cancelled, killed, without a valid key.

`make agents` installs them and names the directory in OMK_TEST_AGENTS; a wrong one fails. What each agent does is the
table of `docs/acp.md`. The driver alone is tested here, `test_through_daemon.py` has the rest.
"""

import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from acp_kit import ME, Bench, rulings
from real_agents import INSTALLED, RealAgent, chosen
from scripted_model import Call, Fail, Say, Step, scripted_model

from omkd.protocol.records import ApprovalPolicy, Never, Pattern, ResultStatus, Safe, Yolo
from omkd.worker.acp_agents import AcpSettings
from omkd.worker.acp_desk import Closing, Denied
from omkd.worker.acp_host import TurnEnd
from omkd.worker.acp_outcome import result_of
from omkd.worker.processes import RunProcesses, send_signal
from omkd.worker.report import Cancelled, OutOfBudget

pytestmark = pytest.mark.skipif(INSTALLED is None, reason="real agents are run by `make agents`")

TURN_S = 60.0
DONE = Say("Done.")
MAKE = "echo hello > hello.txt"
FOREVER = "tail -f /dev/null > forever.txt"
"""It writes: some agents run a command that only reads unasked."""


class Real(Bench):
    """A bench with a home of its own for the agent."""

    def __init__(self, root: Path, agent: RealAgent) -> None:
        super().__init__(root)
        self.agent = agent
        self.home = root / "home"

    async def turn(
        self,
        *steps: Step,
        policy: ApprovalPolicy | None = None,
        during: Callable[[], Awaitable[None]] | None = None,
        settings: AcpSettings | None = None,
        **bounds: float,
    ) -> TurnEnd:
        with scripted_model(steps) as model:
            env = self.agent.environment(self.home, model)
            command = self.command(*self.agent.command(), env=env, inherits=False)
            limits = {"budget_s": TURN_S, "approval_timeout_s": TURN_S, **bounds}
            return await self.run(command, policy=policy, during=during, settings=settings or AcpSettings(), **limits)

    def runs(self, command: str) -> Call:
        return self.agent.run(command)

    def status(self, end: TurnEnd) -> ResultStatus:
        return result_of(end.evidence).status


@pytest.fixture(params=chosen(os.environ.get("OMK_TEST_WHICH")), ids=lambda agent: agent.name)
def real(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Real]:
    made = Real(tmp_path, request.param)
    yield made
    made.close()


def said(end: TurnEnd) -> str:
    """For the message of an assertion."""
    return result_of(end.evidence).summary


async def test_what_is_approved_runs_and_what_is_refused_does_not(real: Real) -> None:
    """A command allowed, the write of a file refused."""
    notes = real.project / "notes.md"
    real.desk.answers = [ME, Denied(by="uid 1000")]
    end = await real.turn(real.runs(MAKE), real.agent.write(notes, "# notes\n"), DONE)
    assert end.evidence.fault is None, said(end)
    assert [ruling for ruling, _ in rulings(end)] == ["allowed", "denied"], said(end)
    assert (real.project / "hello.txt").read_text() == "hello\n"
    assert not notes.exists()
    assert real.status(end) is ResultStatus.PARTIAL
    assert f"allowed: {MAKE} (by uid 1000)" in said(end)
    assert end.ended_by is None
    assert real.alive() == []


async def test_a_file_is_written_where_a_pattern_allows_it(real: Real) -> None:
    notes = real.project / "notes.md"
    end = await real.turn(real.agent.write(notes, "# notes\n"), DONE, policy=Pattern(patterns=["edit:^notes.md$"]))
    assert real.desk.questions == [], said(end)
    assert notes.read_text() == "# notes\n"
    assert real.status(end) is ResultStatus.SUCCESS, said(end)


async def test_yolo_allows_and_logs_each(real: Real) -> None:
    end = await real.turn(real.runs(MAKE), DONE, policy=Yolo())
    assert [words for words, _ in real.desk.unasked] == [MAKE], said(end)
    assert (real.project / "hello.txt").exists()
    assert real.status(end) is ResultStatus.SUCCESS, said(end)


async def test_nobody_answers_and_it_expires(real: Real) -> None:
    end = await real.turn(real.runs(MAKE), DONE, policy=Safe(), approval_timeout_s=0.3)
    assert rulings(end) == [("expired", MAKE)], said(end)
    assert not (real.project / "hello.txt").exists()
    assert real.status(end) is ResultStatus.FAILED
    assert real.alive() == []


async def test_a_cancel_at_the_question_ends_the_turn(real: Real) -> None:
    async def cancel() -> None:
        await real.desk.asked.wait()
        real.orders.end_with(Cancelled(reason="not needed"))

    end = await real.turn(real.runs(MAKE), DONE, during=cancel)
    assert end.ended_by == Cancelled(reason="not needed"), said(end)
    assert end.evidence.stop_reason == "cancelled"
    assert real.desk.endings == [(MAKE, Closing.WITHDRAWN)]
    assert real.alive() == []


async def test_a_cancel_ends_a_running_tool(real: Real) -> None:
    real.desk.answers = [ME]

    async def cancel() -> None:
        await real.when_running("tail")
        real.orders.end_with(Cancelled(reason=""))

    end = await real.turn(real.runs(FOREVER), DONE, during=cancel)
    assert end.ended_by == Cancelled(reason=""), said(end)
    assert rulings(end) == [("allowed", FOREVER)]
    assert end.evidence.stop_reason == "cancelled"
    assert real.alive() == []


async def test_an_agent_that_is_killed_leaves_no_tool_behind(real: Real) -> None:
    """The tool lives in a session of its own: killing the agent's process group leaves it with 3 of these."""
    real.desk.answers = [ME]

    async def kill() -> None:
        await real.desk.asked.wait()
        found = await real.when_running("tail")
        for process in RunProcesses(marks=real.marks).alive():
            if process.pid not in found:
                send_signal(process, signal.SIGKILL)

    end = await real.turn(real.runs(FOREVER), DONE, during=kill)
    assert end.evidence.fault is not None
    assert real.status(end) is ResultStatus.FAILED
    assert real.alive() == []


async def test_a_mode_is_set_and_read_back(real: Real) -> None:
    """Gemini agrees to it and says no more: it is not believed."""
    end = await real.turn(DONE, settings=AcpSettings(asks_in=real.agent.another_mode))
    if real.agent.name == "gemini":
        assert "it agreed, but does not say that it is in it now" in said(end)
    else:
        assert end.evidence.fault is None
        assert "Done." in end.evidence.said


async def test_an_agent_that_is_configured_not_to_ask_is_not_started(real: Real) -> None:
    """opencode's agents may be granted what its configuration asks for; the others have no such thing."""
    if real.agent.name == "opencode":
        (real.project / "opencode.json").write_text('{"agent": {"build": {"permission": {"edit": "allow"}}}}')
        end = await real.turn(real.agent.write(real.project / "notes.md", "x"), DONE)
        assert "its configuration allows agent.build.permission.edit beforehand" in said(end)
        assert not (real.project / "notes.md").exists()


async def test_a_key_that_is_refused_is_a_failure_that_says_so(real: Real) -> None:
    """Claude tries again for minutes; the budget ends that."""
    gives_up = real.agent.name != "claude"
    end = await real.turn(Fail(401), policy=Never(), budget_s=TURN_S if gives_up else 10.0)
    assert real.status(end) is ResultStatus.FAILED
    if not gives_up:
        assert end.ended_by == OutOfBudget(budget_secs=10)
    else:
        assert end.evidence.error is not None
        assert real.agent.refusal in said(end)
    assert real.alive() == []
