"""A person's regular expressions, matched within a time. The only module that imports `regex`, once there is a pattern.

`re` cannot be told to stop: `^(a|aa)+$` and a long command of an agent would hold up the host's loop for ever, and with
it the budget, a cancel, and the heartbeat. `regex` takes a time; but it unrolls repeats when it compiles, so a pattern
that would fill the memory then is refused before.
"""

import re
import time
from typing import TYPE_CHECKING, Final

from attrs import Factory, define

if TYPE_CHECKING:
    import regex

VERDICT_S: Final = 0.2
"""For all patterns of one verdict, in seconds of the processor: a person waits longer for a key's echo over a phone."""

UNROLLED_ITEMS: Final = 20_000
"""Of one pattern, some 25 MB while it is compiled; no command that is matched is half as long."""

TOKEN: Final = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|(?P<count>\{\s*(?P<least>\d+)\s*,?\s*\d*\s*\})|.", re.DOTALL)


class TooSlow(Exception):
    """It could not be told in time whether it matches."""


@define
class Patience:
    """What is left for one verdict. As `regex` does, it counts the processor's time: a busy machine decides nothing."""

    until: float = Factory(lambda: time.process_time() + VERDICT_S)

    def left(self) -> float:
        """Raises TooSlow when nothing is."""
        left = self.until - time.process_time()
        if left <= 0:
            raise TooSlow
        return left


def compiled(source: str) -> "regex.Pattern[str]":
    """Raises ValueError that says why it cannot be used."""
    if (items := unrolled_items(source)) > UNROLLED_ITEMS:
        raise ValueError(f"its repeats come to {items} items, at most {UNROLLED_ITEMS} are allowed: {source!r}")
    import regex

    try:
        return regex.compile(source)
    except (regex.error, OverflowError, RecursionError) as error:
        raise ValueError(f"no regular expression: {error} in {source!r}") from error


def is_found(expression: "regex.Pattern[str]", text: str, patience: Patience, *, whole: bool = False) -> bool:
    """Raises TooSlow."""
    find = expression.fullmatch if whole else expression.search
    try:
        return find(text, timeout=patience.left()) is not None
    except TimeoutError as error:
        raise TooSlow from error


def unrolled_items(source: str) -> int:
    """About how many characters and classes the pattern has with its repeats written out: `+` two, `{3}` four times."""
    totals, last = [0], 0
    for token in TOKEN.finditer(source):
        text = token[0]
        times = 2 if text == "+" else int(token["least"]) + 1 if token["count"] else 0
        if times:
            totals[-1] += last * (times - 1)
            last *= times
        elif text == "(":
            totals.append(0)
            last = 0
        elif text == ")" and len(totals) > 1:
            last = totals.pop()
            totals[-1] += last
        elif not text.isspace():
            last = 1
            totals[-1] += 1
    return sum(totals)
