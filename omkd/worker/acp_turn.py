"""One prompt turn of an agent: what it asks is judged, asked or answered; what it does is kept as evidence.

A question is a task of its own: the agent goes on being read while a person thinks. Each ends in one ruling.
"""

from typing import Final, assert_never

import trio

from omkd.protocol.jsonrpc import Id

from .acp_agent import Agent
from .acp_budget import Budget
from .acp_desk import Answer, Approved, Closing, Denied, Desk, Question
from .acp_events import (
    AcpEvent,
    AgentText,
    FileReadAsked,
    FileWriteAsked,
    ModeChanged,
    PermissionAsked,
    PermissionWithdrawn,
    Progress,
    ProtocolFault,
    ToolCallSeen,
    TurnEnded,
    Usage,
)
from .acp_facts import Option, ToolFacts, absolute
from .acp_files import FileRefused, read_text, write_text
from .acp_opening import AcpTask, open_session
from .acp_outcome import Decided, Evidence, Ruling
from .acp_peer import METHOD_NOT_FOUND, NOT_FOUND
from .policy import Allow, AllowLogged, Ask, option_to_allow, option_to_reject

SAID_CHARS: Final = 64 * 1024
"""Of the agent's last words that are kept; the summary takes less."""

FOLLOW_UPS: Final = 3
"""How often a turn is gone on with to tell the agent why it was refused."""

NO_PLAIN_YES: Final = "the agent offers no option that plainly allows this one call"


class Turn:
    """Its owner runs `go`; when that is over or cut short, `cancel`, `converse` for what is said to that, `close`."""

    def __init__(self, agent: Agent, task: AcpTask, desk: Desk, budget: Budget) -> None:
        self._agent = agent
        self._client = agent.client
        self._task = task
        self._desk = desk
        self._budget = budget
        self._mode: str | None = None
        self._has_begun = False
        self._waiting: dict[Id, trio.CancelScope] = {}
        self._decided: list[Decided] = []
        self._calls: dict[str, ToolFacts] = {}
        self._allowed_paths: set[str] = set()
        self._notes: list[str] = []
        self._follow_ups = 0
        self._words = ""
        self._said = ""
        self._is_new_paragraph = False
        self._fault: str | None = None
        self._end: TurnEnded | None = None
        self._is_dead = False
        self._is_cancelled = False

    @property
    def is_over(self) -> bool:
        """Nothing more is to be heard of it."""
        return self._end is not None or self._is_dead

    @property
    def is_settled(self) -> bool:
        """What came of it is known, be it that the agent must be stopped."""
        return self.is_over or self._fault is not None

    @property
    def evidence(self) -> Evidence:
        return Evidence(
            stop_reason=self._end.stop_reason if self._end else None,
            error=self._end.error if self._end else None,
            fault=self._fault,
            decided=tuple(self._decided),
            calls=tuple(self._calls.values()),
            said=self._said,
        )

    async def go(self, questions: trio.Nursery) -> None:
        """Until it is settled. `questions` waits for persons. Cancellation: `converse` goes on where it was."""
        opened = await open_session(self._agent, self._task)
        if isinstance(opened, str):
            self._fault, self._is_dead = opened, True
            return
        self._mode = opened.mode
        self._client.prompt(self._task.prompt)
        self._has_begun = True
        self._agent.flush()
        await self.converse(questions)

    async def converse(self, questions: trio.Nursery) -> None:
        """Until it is settled; once it is cancelled, until it is over."""
        while self._has_begun and not (self.is_over if self._is_cancelled else self.is_settled):
            self._on_event(await self._agent.next_event(), questions)
            self._agent.flush()

    def cancel(self) -> None:
        """The agent is told, what waits for a person is withdrawn; nothing if it is over."""
        self._is_cancelled = True
        self._client.cancel()
        self._agent.flush()

    def close(self) -> None:
        """No question waits any longer."""
        for withdrawal in self._waiting.values():
            withdrawal.cancel()

    # --- what the agent says -------------------------------------------------------------------------------------

    def _on_event(self, event: AcpEvent, questions: trio.Nursery) -> None:
        match event:
            case PermissionAsked():
                self._on_permission(event, questions)
            case PermissionWithdrawn(request_id=request_id):
                if (withdrawal := self._waiting.get(request_id)) is not None:
                    withdrawal.cancel()
            case ToolCallSeen(facts=facts):
                self._on_call(event, facts)
            case AgentText(text=text):
                kept = "" if self._is_new_paragraph else self._said
                self._desk.said(f"\n\n{text}" if self._is_new_paragraph and self._said else text)
                self._said, self._is_new_paragraph = (kept + text)[-SAID_CHARS:], False
            case Progress(text=text, percent=percent):
                self._desk.progress(text, percent)
            case Usage():
                self._desk.usage(event)
            case FileReadAsked() | FileWriteAsked():
                self._on_file(event)
            case ModeChanged(mode=mode):
                self._on_mode(mode)
            case TurnEnded():
                self._on_end(event)
            case ProtocolFault(why=why):
                self._fault, self._is_dead = self._fault or why, True
            case _:
                pass  # of the opening of a session, and lines that are no message

    def _on_call(self, event: ToolCallSeen, facts: ToolFacts) -> None:
        self._calls[facts.tool_call_id] = facts
        self._is_new_paragraph = self._is_new_paragraph or event.is_new
        if (words := facts.in_words()) != self._words:
            self._words = words
            self._desk.progress(words, None)

    def _on_mode(self, mode: str) -> None:
        if self._mode not in (None, mode) and self._task.must_ask:
            self._fault = f"the agent left its mode {self._mode!r}, in which it asks, for {mode!r}"

    def _on_end(self, event: TurnEnded) -> None:
        """A person's note has no field in the protocol: it is told in a further prompt of the same turn."""
        is_to_go_on = self._notes and event.error is None and not self._is_cancelled and self._follow_ups < FOLLOW_UPS
        if not is_to_go_on:
            self._end = event
            return
        notes, self._notes = self._notes, []
        self._follow_ups += 1
        self._is_new_paragraph = True
        self._client.prompt(
            "\n".join(["A person refused what you asked for, and says why:", *notes, "Go on as far as that allows."])
        )

    # --- permissions ---------------------------------------------------------------------------------------------

    def _on_permission(self, event: PermissionAsked, questions: trio.Nursery) -> None:
        verdict = self._task.judge.verdict(event.facts)
        match verdict:
            case Allow(why=why) | AllowLogged(why=why):
                if (option := option_to_allow(event.options)) is None:
                    self._ask(event, NO_PLAIN_YES, questions)
                elif self._client.allow(event.request_id, option):
                    self._desk.allowed(event.facts, why)
                    self._rule(event.facts, Ruling.ALLOWED, why)
            case Ask(why=why):
                self._ask(event, why, questions)
            case _:
                assert_never(verdict)

    def _ask(self, event: PermissionAsked, why: str, questions: trio.Nursery) -> None:
        question = Question(
            request_id=event.request_id,
            facts=event.facts,
            options=event.options,
            why=why,
            timeout_s=self._task.approval_timeout_s,
        )
        withdrawal = self._waiting[event.request_id] = trio.CancelScope()
        questions.start_soon(self._wait_for_answer, question, withdrawal)

    async def _wait_for_answer(self, question: Question, withdrawal: trio.CancelScope) -> None:
        answer: Answer | None = None
        wait_s = question.timeout_s + self._task.waits.answer_s
        with self._budget.standing(), withdrawal, trio.move_on_after(wait_s) as patience:
            answer = await self._desk.ask(question)
        self._waiting.pop(question.request_id, None)
        if answer is not None:
            self._on_answer(question, answer)
        elif not withdrawal.cancelled_caught:
            if patience.cancelled_caught:
                self._desk.closed(question, Closing.EXPIRED)
            self._refuse(question, Ruling.EXPIRED, f"nobody answered within {question.timeout_s:g}s")
        else:
            self._desk.closed(question, Closing.WITHDRAWN)
            self._rule(question.facts, Ruling.CANCELLED, "the turn ended first")
        self._agent.flush()

    def _on_answer(self, question: Question, answer: Answer) -> None:
        match answer:
            case Approved(by=by):
                option = option_chosen(question.options, answer)
                if option is None:
                    self._refuse(question, Ruling.DENIED, f"{by} approved, but {NO_PLAIN_YES}")
                elif option.kind.startswith("reject"):
                    self._refuse(question, Ruling.DENIED, f"by {by}", option)
                elif self._client.allow(question.request_id, option):
                    self._rule(question.facts, Ruling.ALLOWED, f"by {by}")
                else:
                    self._rule(question.facts, Ruling.CANCELLED, "the turn ended first")
            case Denied(by=by, note=note):
                self._refuse(question, Ruling.DENIED, f"by {by}: {note}" if note else f"by {by}")
                if note:
                    self._notes.append(f"- {question.facts.in_words()}: {note}")
            case _:
                assert_never(answer)

    def _refuse(self, question: Question, ruling: Ruling, why: str, option: Option | None = None) -> None:
        """It may be over by now: then that is what happened."""
        no = option or option_to_reject(question.options)
        is_told = self._client.reject(question.request_id, no, why)
        self._rule(question.facts, ruling if is_told else Ruling.CANCELLED, why if is_told else "the turn ended first")

    def _rule(self, facts: ToolFacts, ruling: Ruling, why: str) -> None:
        if ruling is Ruling.ALLOWED:
            self._allowed_paths.update(facts.paths)
        self._decided.append(Decided(tool_call_id=facts.tool_call_id, words=facts.in_words(), ruling=ruling, why=why))

    # --- files ---------------------------------------------------------------------------------------------------

    def _on_file(self, event: FileReadAsked | FileWriteAsked) -> None:
        """Some agents write through their client although it offers nothing; but only what was allowed."""
        project = self._task.project
        try:
            match event:
                case FileReadAsked(path=path, line=line, limit=limit):
                    self._client.answer_file(event.request_id, read_text(project, path, line, limit))
                case FileWriteAsked(path=path, content=content):
                    if not self._may_write(path):
                        why = "not offered: use your own tools, and ask for permission"
                        self._client.refuse_file(event.request_id, METHOD_NOT_FOUND, f"fs/write_text_file is {why}")
                        return
                    write_text(project, path, content)
                    self._client.answer_file(event.request_id, None)
        except FileRefused as refusal:
            self._client.refuse_file(event.request_id, NOT_FOUND, str(refusal))

    def _may_write(self, path: str) -> bool:
        return not self._task.must_ask or absolute(path, str(self._task.project)) in self._allowed_paths


def option_chosen(options: tuple[Option, ...], answer: Approved) -> Option | None:
    if answer.option_id is not None:
        return next((option for option in options if option.id == answer.option_id), None)
    return option_to_allow(options, always=answer.always)
