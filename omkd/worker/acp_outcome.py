"""What a turn came to, from evidence. The stop reason proves nothing: `end_turn` with "Done" follows a refusal too.

Pure. The table of `docs/acp.md` is `status_of_turn`, case by case.
"""

from enum import Enum
from typing import Final

from attrs import frozen

from omkd.protocol.limits import SUMMARY_BYTES
from omkd.protocol.records import ResultStatus

from .acp_events import AgentError
from .acp_facts import CallStatus, ToolFacts
from .summary import last_bytes, plain_text

NAMED: Final = 5
"""How many calls a summary names; the rest are counted."""

END_TURN: Final = "end_turn"
CHANGING: Final = frozenset({"edit", "delete", "move"})


class Ruling(Enum):
    """What became of a request for permission."""

    ALLOWED = "allowed"
    DENIED = "denied"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


@frozen(kw_only=True)
class Decided:
    """One request and what became of it; `why` names who said so (`uid 1000: not here`, `pattern '^ls'`)."""

    tool_call_id: str
    words: str
    ruling: Ruling
    why: str

    @property
    def is_refused(self) -> bool:
        return self.ruling is not Ruling.ALLOWED


@frozen(kw_only=True)
class Evidence:
    """All that is known of a turn. `stop_reason` None: it did not end by itself. `fault`: the agent or its protocol."""

    stop_reason: str | None = None
    error: AgentError | None = None
    fault: str | None = None
    decided: tuple[Decided, ...] = ()
    calls: tuple[ToolFacts, ...] = ()
    said: str = ""

    @property
    def ended_well(self) -> bool:
        """The turn ended by itself, whatever came of it."""
        return self.stop_reason is not None and self.error is None and self.fault is None

    @property
    def refused(self) -> list[Decided]:
        return [decided for decided in self.decided if decided.is_refused]

    @property
    def allowed(self) -> list[Decided]:
        return [decided for decided in self.decided if not decided.is_refused]

    @property
    def own_calls(self) -> list[ToolFacts]:
        """Those that nobody refused."""
        refused = {decided.tool_call_id for decided in self.refused}
        return [call for call in self.calls if call.tool_call_id not in refused]

    def with_status(self, *statuses: CallStatus | None) -> list[ToolFacts]:
        return [call for call in self.own_calls if call.status in statuses]


@frozen(kw_only=True)
class TurnResult:
    """`summary` begins with what a person must know, then what the agent said."""

    status: ResultStatus
    summary: str


def result_of(evidence: Evidence) -> TurnResult:
    head = "\n".join(findings(evidence))
    room = SUMMARY_BYTES - len(head.encode()) - 1
    said = last_bytes(plain_text(evidence.said), max(0, room)).strip()
    summary = last_bytes(f"{head}\n{said}".strip(), SUMMARY_BYTES) if room > 0 else head[: SUMMARY_BYTES // 4]
    return TurnResult(status=status_of_turn(evidence), summary=summary)


def artifacts_of(evidence: Evidence, project: str) -> list[str]:
    """The files that completed calls of a changing kind named, those of the project as seen from it.

    What a command changed nobody tells; so this is what is known, not all there is.
    """
    changing = [call for call in evidence.with_status(CallStatus.COMPLETED) if CHANGING.intersection(call.kinds)]
    paths = dict.fromkeys(path for call in changing for path in call.paths)
    inside = project.rstrip("/") + "/"
    return [path.removeprefix(inside) for path in paths]


def status_of_turn(evidence: Evidence) -> ResultStatus:
    """The first that holds."""
    if evidence.fault is not None or evidence.error is not None or evidence.stop_reason is None:
        return ResultStatus.FAILED
    completed = evidence.with_status(CallStatus.COMPLETED)
    if evidence.stop_reason != END_TURN or evidence.refused or evidence.with_status(None, *UNFINISHED):
        return ResultStatus.PARTIAL if completed and evidence.stop_reason != "refusal" else ResultStatus.FAILED
    if last_failed(evidence):
        return ResultStatus.PARTIAL if completed else ResultStatus.FAILED
    if not evidence.own_calls and not evidence.said.strip():
        return ResultStatus.FAILED
    return ResultStatus.SUCCESS


UNFINISHED: Final = (CallStatus.PENDING, CallStatus.IN_PROGRESS)


def last_failed(evidence: Evidence) -> bool:
    """A failure that a completed call followed was overcome: agents run tests to see them fail."""
    ended = evidence.with_status(CallStatus.COMPLETED, CallStatus.FAILED)
    return bool(ended) and ended[-1].status is CallStatus.FAILED


def findings(evidence: Evidence) -> list[str]:
    """What stands before the agent's own words; nothing if all went well and nobody was asked."""
    found: list[str] = []
    if evidence.fault is not None:
        found.append(evidence.fault)
    if evidence.error is not None:
        found.append(f"the agent reports: {evidence.error}")
    if evidence.stop_reason not in (END_TURN, None):
        found.append(f"the agent stopped: {evidence.stop_reason}")
    for ruling, title in ((Ruling.DENIED, "refused"), (Ruling.EXPIRED, "expired"), (Ruling.CANCELLED, "not decided")):
        found += named(title, [f"{it.words} ({it.why})" for it in evidence.decided if it.ruling is ruling])
    found += named("allowed", [f"{it.words} ({it.why})" for it in evidence.allowed])
    found += named("failed", [call.in_words() for call in evidence.with_status(CallStatus.FAILED)])
    if evidence.stop_reason == END_TURN:
        found += named("never finished", [call.in_words() for call in evidence.with_status(None, *UNFINISHED)])
        if not evidence.calls and not evidence.said.strip():
            found.append("the agent ended its turn without a word and without a tool call")
    return found


def named(title: str, words: list[str]) -> list[str]:
    if not words:
        return []
    more = f"; and {len(words) - NAMED} more" if len(words) > NAMED else ""
    return [f"{title}: {'; '.join(words[:NAMED])}{more}"]
