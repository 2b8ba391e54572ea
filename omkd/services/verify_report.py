"""What a verification counts and finds."""

from collections import Counter
from typing import Final

from attrs import Factory, define

from omkd.protocol.methods import Finding, FindingKind, VerifyResult
from omkd.protocol.scalars import U64

MAX_FINDINGS: Final = 200
"""Of one verification: they are told in one reply, and one cause makes thousands."""

TO_BE_COMPLETED: Final = "to_be_completed"
"""What a crash left undone and the next start does: no finding."""


@define
class Report:
    """`untold` counts the findings past the limit."""

    counted: Counter[str] = Factory(Counter)
    findings: list[Finding] = Factory(list)
    untold: int = 0

    def count(self, what: str, number: int = 1) -> None:
        self.counted[what] += number

    def find(self, kind: FindingKind, what: str, mend: str) -> None:
        if len(self.findings) < MAX_FINDINGS:
            self.findings.append(Finding(kind=kind, what=what, mend=mend))
        else:
            self.untold += 1

    def result(self) -> VerifyResult:
        findings = list(self.findings)
        if self.untold:
            what = f"{self.untold} more findings, not told"
            findings.append(Finding(kind=findings[-1].kind, what=what, mend="mend those above and verify again"))
        return VerifyResult(checked={what: U64(number) for what, number in self.counted.items()}, findings=findings)
