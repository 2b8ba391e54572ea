"""A task of a scripted ACP agent, run for real: processes, pipes, files. Nothing is left running."""

import json
import os
import signal
import sys
import uuid
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import trio
from attrs import Factory, define

from omkd.protocol.records import ApprovalPolicy, Never
from omkd.store.procfs import environ_of, name_of, processes
from omkd.worker.acp_agents import AcpSettings
from omkd.worker.acp_desk import Answer, Approved, Closing, Question
from omkd.worker.acp_events import Usage
from omkd.worker.acp_facts import ToolFacts
from omkd.worker.acp_host import TurnEnd, agent_for, run_turn
from omkd.worker.acp_keeper import Keeper, open_keeper
from omkd.worker.acp_opening import AcpTask, Waits
from omkd.worker.acp_outcome import Decided, Evidence, TurnResult, result_of
from omkd.worker.children import Children
from omkd.worker.command import Command
from omkd.worker.files import RunFiles
from omkd.worker.policy import judge_for
from omkd.worker.processes import RunMarks, RunProcesses, carries
from omkd.worker.run import Orders

DEADLINE_S = 20.0
AGENT = Path(__file__).parent.parent / "agents" / "acp_agent.py"
ME = Approved(by="uid 1000")


@define
class ScriptedDesk:
    """Answers each question with the next of `answers`; with none left it never answers."""

    answers: list[Answer] = Factory(list)
    questions: list[Question] = Factory(list)
    endings: list[tuple[str, Closing]] = Factory(list)
    unasked: list[tuple[str, str]] = Factory(list)
    told: list[tuple[str, float | None]] = Factory(list)
    usages: list[Usage] = Factory(list)
    words: list[str] = Factory(list)
    asked: trio.Event = Factory(trio.Event)
    heard: trio.Event = Factory(trio.Event)

    async def ask(self, question: Question) -> Answer:
        self.questions.append(question)
        self.asked.set()
        if not self.answers:
            await trio.sleep_forever()
        return self.answers.pop(0)

    def closed(self, question: Question, how: Closing) -> None:
        self.endings.append((question.facts.in_words(), how))

    def allowed(self, facts: ToolFacts, why: str) -> None:
        self.unasked.append((facts.in_words(), why))

    def said(self, text: str) -> None:
        self.words.append(text)

    def progress(self, text: str, percent: float | None) -> None:
        self.told.append((text, percent))
        self.heard.set()

    def usage(self, usage: Usage) -> None:
        self.usages.append(usage)


class Bench:
    """One run's directories. `marks` are in the environment of all its processes."""

    def __init__(self, root: Path) -> None:
        self.files = RunFiles(root / "run")
        self.project = root / "project"
        self.files.path.mkdir()
        self.project.mkdir()
        self.files.stderr.touch()
        self.marks = RunMarks(session="s", worker="w", handout=uuid.uuid4().hex, task_file=str(self.files.task))
        self.orders = Orders()
        self.desk = ScriptedDesk()

    def command(self, *argv: str, env: dict[str, str] | None = None, inherits: bool = True) -> Command:
        full = {**(os.environ if inherits else {}), **(env or {}), **self.marks.environment()}
        encoded = {name.encode(): value.encode() for name, value in full.items()}
        return Command(argv=[word.encode() for word in argv], env=encoded, cwd=self.project, reads_prompt=False)

    def scripted(self, *steps: dict[str, Any], **script: Any) -> Command:
        return self.command(sys.executable, str(AGENT), json.dumps({"steps": list(steps), **script}))

    def task(
        self,
        policy: ApprovalPolicy | None = None,
        prompt: str = "do it",
        settings: AcpSettings | None = None,
        budget_s: float = DEADLINE_S,
        approval_timeout_s: float = DEADLINE_S,
        waits: Waits | None = None,
        *,
        keeps_session: bool = False,
    ) -> AcpTask:
        return AcpTask(
            prompt=prompt,
            judge=judge_for(policy or Never(), cwd=str(self.project)),
            project=self.project,
            budget_s=budget_s,
            approval_timeout_s=approval_timeout_s,
            settings=settings or AcpSettings(asks_anyway=True),
            waits=waits or Waits(),
            keeps_session=keeps_session,
        )

    async def run(
        self,
        command: Command,
        *,
        policy: ApprovalPolicy | None = None,
        prompt: str = "do it",
        settings: AcpSettings | None = None,
        during: Callable[[], Awaitable[None]] | None = None,
        grace_s: float = 1.0,
        waits: Waits | None = None,
        **bounds: float,
    ) -> TurnEnd:
        """The turn's end; `during` runs beside it."""
        task = self.task(policy, prompt, settings, waits=waits, keeps_session=False, **bounds)
        with trio.fail_after(3 * DEADLINE_S):
            async with trio.open_nursery() as nursery:
                if during is not None:
                    nursery.start_soon(during)
                async with self.keeper() as keeper:
                    return await self.take(keeper, command, task, grace_s=grace_s)

    def keeper(self) -> AbstractAsyncContextManager[Keeper]:
        return open_keeper(Children(), RunProcesses(marks=self.marks))

    async def take(self, keeper: Keeper, command: Command, task: AcpTask, *, grace_s: float = 1.0) -> TurnEnd:
        """As the host does it: the agent, the turn, and whether the agent is kept."""
        agent = await agent_for(command, self.files, task, keeper, grace_s=grace_s)
        if isinstance(agent, Evidence):
            return TurnEnd(evidence=agent, ended_by=None, is_usable=False)
        end = await run_turn(agent, task, self.files, self.desk, self.orders)
        await keeper.turn_over(is_usable=end.is_usable, patience=self.orders.patience)
        self.orders = Orders()
        return end

    async def result(self, *steps: dict[str, Any], **settings: Any) -> TurnResult:
        return result_of((await self.run(self.scripted(*steps), **settings)).evidence)

    def transcript(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.files.path / "acp.jsonl").read_bytes().splitlines()]

    def alive(self) -> list[int]:
        return [it.pid for it in processes() if it.is_alive and carries(environ_of(it.pid), self.marks)]

    async def when_running(self, program: str) -> set[int]:
        """The processes of this program, once there are some. /proc tells nobody of news: it is looked at again."""
        while True:
            found = {pid for pid in self.alive() if name_of(pid) == program}
            if found:
                return found
            await trio.sleep(0.05)

    def close(self) -> None:
        for pid in self.alive():
            os.kill(pid, signal.SIGKILL)


def rulings(end: TurnEnd) -> list[tuple[str, str]]:
    return [(decided.ruling.value, decided.words) for decided in end.evidence.decided]


def whys(end: TurnEnd) -> list[str]:
    return [decided.why for decided in end.evidence.decided if isinstance(decided, Decided)]
