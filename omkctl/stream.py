"""`-n`, `--since`, `--after`, `-f`, `--count`, `--timeout`: which part of a log is printed, the same for both logs."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import cast

from . import options
from .client import Client
from .failures import Exit, timed_out, usage
from .history import log_items
from .json_text import Object
from .link import Deadline, Late
from .render import say
from .subscriptions import follow


@dataclass(frozen=True, kw_only=True)
class Log:
    """One of the daemon's logs: how its past is listed and what is subscribed to for what comes.

    `newest` is the parameter that asks for the newest so many, `items` the list in a page; `seq_of` and `item_of`
    read a notification.
    """

    listing: str
    items: str
    newest: str
    subscribe: str
    seq_of: Callable[[Object], int]
    item_of: Callable[[Object], Object]


@dataclass(frozen=True, kw_only=True)
class Part:
    """What was asked for. `lines` None: ten, but everything above a place that was named, and with `whole`."""

    follow: bool = False
    lines: int | None = None
    since: str | None = None
    after: int | None = None
    count: int | None = None
    timeout: float | None = None
    whole: bool = False
    filters: dict[str, object] = field(default_factory=dict)

    @property
    def wanted(self) -> int:
        whole = self.names_a_place or self.whole
        return self.lines if self.lines is not None else options.ALL_LINES if whole else options.DEFAULT_LINES

    @property
    def names_a_place(self) -> bool:
        return self.since is not None or self.after is not None

    @property
    def narrows(self) -> bool:
        """Not everything there is was asked for."""
        chosen = (each.values() if isinstance(each, dict) else [each] for each in self.filters.values())
        return self.names_a_place or any(any(values) for values in chosen)


EVENT_LOG = Log(
    listing="event.list",
    items="units",
    newest="last",
    subscribe="event.subscribe",
    seq_of=lambda note: cast(int, cast(Object, note["unit"])["seq"]),
    item_of=lambda note: cast(Object, note["unit"]),
)

ESCALATION_LOG = Log(
    listing="escalation.list",
    items="escalations",
    newest="lines",
    subscribe="escalation.tail",
    seq_of=lambda note: cast(int, note["seq"]),
    item_of=lambda note: note,
)


def print_part(client: Client, log: Log, part: Part, show: Callable[[Object], None]) -> int:
    """Shows each item of the part; NEGATIVE: none matched. Raises Failure (timeout) when `--timeout` ran out first."""
    shown = 0
    try:
        for item in islice(items_of(client, log, part), part.count):
            show(item)
            shown += 1
    except Late:
        wanted = f" of {part.count}" if part.count is not None else ""
        raise timed_out(f"{shown}{wanted} lines within {part.timeout:g} s") from None
    return Exit.NEGATIVE if part.narrows and not shown else Exit.DONE


def items_of(client: Client, log: Log, part: Part) -> Iterator[Object]:
    if not part.follow:
        start = {key: value for key, value in (("after", part.after), ("since", part.since)) if value is not None}
        wanted = options.some_lines(part.wanted)
        return log_items(client, log.listing, log.items, log.newest, {**part.filters, **start}, wanted)
    notes = follow(
        client, log.subscribe, {**part.filters, **start_of(log, part)}, log.seq_of, Deadline.after(part.timeout), say
    )
    return map(log.item_of, notes)


def start_of(log: Log, part: Part) -> dict[str, object]:
    """Where a subscription begins: at a place that was named, or with the newest so many."""
    if part.lines is not None and part.lines > 0 and part.names_a_place:
        raise usage("with -f, -n does not go together with --since or --after: say from where, or how many")
    if part.after is not None:
        return {"after": part.after}
    if part.since is not None:
        return {"since": part.since}
    match part.wanted:
        case options.ALL_LINES:
            return {"after": 0}
        case 0:
            return {}
        case wanted:
            return {log.newest: wanted}
