"""What a turn came to, from evidence: the table of docs/acp.md, each combination it has."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
from attrs import evolve, frozen

from omkd.protocol.limits import SUMMARY_BYTES
from omkd.protocol.records import ResultStatus
from omkd.worker.acp_events import AgentError
from omkd.worker.acp_facts import CallStatus, ToolFacts
from omkd.worker.acp_outcome import (
    NAMED,
    Decided,
    Evidence,
    Ruling,
    artifacts_of,
    result_of,
    status_of_turn,
)

PAGE = Path(__file__).parent.parent.parent / "docs" / "acp.md"
YES_OR_NO = ("yes", "no")
DIED = "nothing (it died, was stopped)"
ENDS = ("an error", DIED, "refusal", "cancelled", "max_tokens", "max_turn_requests", "end_turn")


@frozen
class Case:
    """One combination of what the table's columns say."""

    end: str
    refused: str
    completed: str
    failed_last: str
    unfinished: str
    said: str

    @property
    def evidence(self) -> Evidence:
        statuses = [CallStatus.COMPLETED] * (self.completed == "yes") + [CallStatus.FAILED] * (
            self.failed_last == "yes"
        )
        statuses += [CallStatus.IN_PROGRESS] * (self.unfinished == "yes")
        calls = [call(f"c{number}", status) for number, status in enumerate(statuses)]
        refused = [call("refused", CallStatus.FAILED)] if self.refused == "yes" else []
        found = Evidence(
            stop_reason=self.end,
            decided=tuple(decided(it.tool_call_id, Ruling.DENIED) for it in refused),
            calls=(*calls, *refused),
            said="Done." if self.said == "yes" else "",
        )
        match self.end:
            case "an error":
                return evolve(found, stop_reason=None, error=AgentError(code=401, message="no"))
            case end if end == DIED:
                return evolve(found, stop_reason=None)
            case _:
                return found


def call(id: str, status: CallStatus | None, command: str = "make") -> ToolFacts:
    return ToolFacts(tool_call_id=id, kinds=("execute",), command=command, status=status)


def decided(id: str, ruling: Ruling, words: str = "make") -> Decided:
    return Decided(tool_call_id=id, words=words, ruling=ruling, why="by me")


def rows() -> list[list[str]]:
    _, _, after = PAGE.read_text().partition("<!-- test: outcomes -->\n")
    table = [line.strip("|").split("|") for line in after.strip().split("\n\n")[0].splitlines()[2:]]
    return [[cell.strip().replace("`", "") for cell in row] for row in table]


def row_of(case: Case) -> list[str]:
    """The first that holds."""
    cells = (case.refused, case.completed, case.failed_last, case.unfinished, case.said)
    for row in rows():
        is_end = case.end == row[0] or case.end in row[0].split(", ")
        if is_end and all(want in ("any", is_) for want, is_ in zip(row[1:-1], cells, strict=True)):
            return row
    raise AssertionError(f"no row for {case}")


def all_cases() -> Iterator[Case]:
    for end, *flags in itertools.product(ENDS, *[YES_OR_NO] * 5):
        yield Case(end, *flags)


def test_the_table_of_the_documentation_is_what_the_code_does() -> None:
    for case in all_cases():
        assert status_of_turn(case.evidence) is ResultStatus(row_of(case)[-1]), case


def test_each_row_of_the_table_is_used() -> None:
    unused = rows()
    for case in all_cases():
        row = row_of(case)
        if row in unused:
            unused.remove(row)
    assert unused == []
    assert len(rows()) == 14


@pytest.mark.parametrize("ruling", [Ruling.DENIED, Ruling.EXPIRED, Ruling.CANCELLED])
def test_what_was_not_allowed_is_no_success_in_whatever_way(ruling: Ruling) -> None:
    evidence = Evidence(stop_reason="end_turn", decided=(decided("c1", ruling),), said="All done!")
    assert status_of_turn(evidence) is ResultStatus.FAILED


def test_a_failure_that_was_overcome_is_a_success() -> None:
    calls = (call("c1", CallStatus.FAILED, "make test"), call("c2", CallStatus.COMPLETED))
    result = result_of(Evidence(stop_reason="end_turn", calls=calls, said="Done."))
    assert result.status is ResultStatus.SUCCESS
    assert result.summary == "failed: make test\nDone."


def test_the_summary_names_what_was_refused_expired_and_allowed_and_by_whom() -> None:
    evidence = Evidence(
        stop_reason="cancelled",
        decided=(
            decided("c1", Ruling.ALLOWED, "ls"),
            decided("c2", Ruling.EXPIRED, "rm a"),
            decided("c3", Ruling.DENIED, "rm b"),
            decided("c4", Ruling.CANCELLED, "rm c"),
        ),
        said="Well.",
    )
    assert result_of(evidence).summary.splitlines() == [
        "the agent stopped: cancelled",
        "refused: rm b (by me)",
        "expired: rm a (by me)",
        "not decided: rm c (by me)",
        "allowed: ls (by me)",
        "Well.",
    ]


def test_the_summary_stays_within_its_limit_and_begins_with_the_findings() -> None:
    many = tuple(decided(f"c{number}", Ruling.DENIED, f"rm {number} " + "é" * 190) for number in range(20))
    summary = result_of(Evidence(stop_reason="end_turn", decided=many, said="x" * 10_000)).summary
    assert len(summary.encode()) <= SUMMARY_BYTES
    assert summary.startswith("refused: rm 0 ")
    assert f"; and {20 - NAMED} more" in summary
    assert summary.endswith("xxx")


def test_artifacts_are_the_files_of_completed_changes() -> None:
    def change(id: str, status: CallStatus, kind: str, *paths: str) -> ToolFacts:
        return ToolFacts(tool_call_id=id, kinds=(kind,), paths=paths, status=status)

    calls = (
        change("c1", CallStatus.COMPLETED, "edit", "/p/a.py", "/elsewhere/b"),
        change("c2", CallStatus.FAILED, "edit", "/p/c"),
        change("c3", CallStatus.COMPLETED, "read", "/p/d"),
        change("c4", CallStatus.COMPLETED, "delete", "/p/a.py", "/p/docs/e"),
    )
    assert artifacts_of(Evidence(calls=calls), "/p") == ["a.py", "/elsewhere/b", "docs/e"]
