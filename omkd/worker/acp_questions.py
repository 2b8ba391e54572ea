"""The desk of a run: what the agent asks becomes a line of events.jsonl, its answer comes by control.jsonl.

omkd records both, and that nobody answered in time. Without it nobody can answer; then the host lets the question
expire by itself and says so in events.jsonl, which omkd reads when it is there again. Nothing here raises: what the
disk does not take is logged, and a question is written again until it is taken or its time is over.
"""

import logging
from collections.abc import Callable, Iterable
from typing import Final

import trio

from omkd.protocol import codec
from omkd.protocol.events import (
    Choice,
    ChoiceKind,
    CostDelta,
    DecisionExpired,
    DecisionRequested,
    WorkerFileEvent,
    WorkerProgress,
)
from omkd.protocol.limits import HEADLINE_CHARS
from omkd.protocol.records import AnswerLine
from omkd.protocol.scalars import F32, U32, TaskId, WorkerName
from omkd.protocol.timestamps import later
from omkd.store.files import append_line
from omkd.store.session import WorkerDir

from .acp_desk import Answer, Approved, Closing, Denied, Question
from .acp_events import Usage
from .acp_facts import Option, ToolFacts
from .answers import Answers
from .files import RunFiles
from .mailbox import Handout

log = logging.getLogger(__name__)

REFUSE: Final = Choice(id="omkd-refuse", label="Refuse", kind=ChoiceKind.REJECT_ONCE)
"""Offered where an agent offers no plain no: a person can always refuse."""

RETRY_S: Final = 1.0
PROGRESS_S: Final = 1.0
"""Progress is said so often at most; of several lines the last one counts."""

DETAIL_CHARS: Final = 8000
U32_MAX: Final = 2**32 - 1


class RunDesk:
    """Of one run. `run` says progress now and then; `finish` says the last of it."""

    def __init__(
        self,
        worker: WorkerDir,
        handout: Handout,
        files: RunFiles,
        answers: Answers,
        now_ns: Callable[[], int],
    ) -> None:
        self._worker = worker
        self._handout = handout
        self._files = files
        self._answers = answers
        self._now_ns = now_ns
        self._ids: dict[Question, str] = {}
        self._asked = 0
        self._progress: WorkerProgress | None = None

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            self.finish()
            await trio.sleep(PROGRESS_S)

    def finish(self) -> None:
        if self._progress is not None:
            self._say(self._progress)
            self._progress = None

    async def ask(self, question: Question) -> Answer | None:
        self._asked += 1
        decision = self._ids[question] = f"{self._handout.id}-{self._asked}"
        requested = DecisionRequested(
            decision_id=decision,
            summary=self._summary(question),
            choices=choices_of(question.options),
            expires=later(self._now_ns(), int(question.timeout_s * 1e9)),
            detail=detail_of(question),
            worker=self._name,
            task_id=TaskId(self._handout.task_id),
            handout=U32(self._handout.number),
        )
        await self._record(requested)
        log.info("%s: asks a person: %s (%s)", decision, question.facts.in_words(), question.why)
        line = await self._answers.wait(decision)
        log.info("%s: %s", decision, "nobody decided in time" if line.choice is None else f"{line.choice}, {line.by}")
        return answer_of(line, question.options)

    def closed(self, question: Question, how: Closing) -> None:
        decision = self._ids.get(question)
        if decision is None:
            return
        is_withdrawn = how is Closing.WITHDRAWN
        reason = "the agent does not ask it any more" if is_withdrawn else "nobody decided in time"
        log.info("%s: %s", decision, reason)
        expired = DecisionExpired(
            decision_id=decision,
            reason=reason,
            summary=self._summary(question),
            worker=self._name,
            task_id=TaskId(self._handout.task_id),
            withdrawn=is_withdrawn,
        )
        self._say(expired)

    def allowed(self, facts: ToolFacts, why: str) -> None:
        log.info("%s: allowed unasked: %s (%s)", self._handout.id, facts.in_words(), why)

    def said(self, text: str) -> None:
        try:
            with self._files.stdout.open("ab") as stdout:
                stdout.write(text.encode(errors="replace"))
        except OSError as error:
            log.warning("%s: what the agent says is not written: %s", self._handout.id, error)

    def progress(self, text: str, percent: float | None) -> None:
        message = text[:HEADLINE_CHARS] or None
        shown = None if percent is None else F32(min(100.0, max(0.0, percent)))
        self._progress = WorkerProgress(worker_id=self._name, percent=shown, message=message)

    def usage(self, usage: Usage) -> None:
        cost = CostDelta(
            source=self._name,
            tokens_in=U32(min(U32_MAX, max(0, usage.tokens_in))),
            tokens_out=U32(min(U32_MAX, max(0, usage.tokens_out))),
            usd=F32(max(0.0, usage.usd or 0.0)),
        )
        self._say(cost)

    @property
    def _name(self) -> WorkerName:
        return WorkerName(self._worker.name)

    def _summary(self, question: Question) -> str:
        return f"{self._name} wants: {question.facts.in_words()}"[:HEADLINE_CHARS]

    async def _record(self, requested: DecisionRequested) -> None:
        """Until the disk takes it."""
        while True:
            if self._say(requested):
                return
            await trio.sleep(RETRY_S)

    def _say(self, event: WorkerFileEvent) -> bool:
        """Whether the disk took it."""
        try:
            append_line(self._worker.events, codec.dumps(event))
        except OSError as error:
            log.warning("%s: not written to events.jsonl: %s", self._handout.id, error)
            return False
        return True


def choices_of(options: Iterable[Option]) -> list[Choice]:
    """An agent's options as a person may name them: each id once, and a no among them."""
    found: dict[str, Choice] = {}
    for option in options:
        if option.id and option.id not in found:
            found[option.id] = Choice(id=option.id, label=option.name or option.id, kind=kind_of(option))
    if not any(choice.kind is ChoiceKind.REJECT_ONCE for choice in found.values()):
        found.setdefault(REFUSE.id, REFUSE)
    return list(found.values())


def kind_of(option: Option) -> ChoiceKind:
    try:
        return ChoiceKind(option.kind)
    except ValueError:
        return ChoiceKind.OTHER


def answer_of(line: AnswerLine, options: Iterable[Option]) -> Answer | None:
    """None: nobody decided in time. What is no option of the agent's is a no."""
    if line.choice is None:
        return None
    by = line.by or "a person"
    option = next((option for option in options if option.id == line.choice), None)
    if option is None or option.kind == ChoiceKind.REJECT_ONCE.value:
        return Denied(by=by, note=line.note)
    return Approved(by=by, option_id=option.id)


def detail_of(question: Question) -> str:
    """All of what is asked, a line each; what is not known is left out."""
    facts = question.facts
    lines = {
        "kind": " and ".join(facts.kinds),
        "title": facts.title,
        "command": facts.command or "",
        "paths": ", ".join(facts.paths),
        "arguments": facts.raw_input if facts.command is None else "",
        "text": facts.text,
        "asked because": question.why,
    }
    return "\n".join(f"{name}: {text}" for name, text in lines.items() if text)[:DETAIL_CHARS]
