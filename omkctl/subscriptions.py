"""Following the event log and the escalation log across restarts of the daemon: each item once, in order."""

from collections.abc import Callable, Iterator, Mapping
from typing import cast

from omkd.protocol.jsonrpc import Notification

from .client import Client
from .json_text import Object
from .link import Deadline, Lost
from .shapes import Subscribed

START_KEYS = frozenset({"after", "last", "lines", "since"})


class Cursor:
    """Where a subscription is: behind the `shown`-th item of unit `seq` (a unit may have several escalations)."""

    def __init__(self) -> None:
        self.seq: int | None = None
        self.shown = 0
        self._skip = 0

    def resume(self, params: Mapping[str, object]) -> dict[str, object]:
        """The parameters that go on from here. The last unit is asked for again if items of it may be missing."""
        if self.seq is None:
            return dict(params)
        self._skip = self.shown
        filters = {key: value for key, value in params.items() if key not in START_KEYS}
        return {**filters, "after": self.seq - 1 if self.shown else self.seq}

    def begun(self, seq: int) -> None:
        """The subscription stands: units above `seq` follow."""
        if self.seq is None:
            self.seq = seq

    def is_new(self, seq: int) -> bool:
        """Counts an item of unit `seq`; False for one that was there before the connection ended."""
        if seq == self.seq and self._skip:
            self._skip -= 1
            return False
        self.shown = self.shown + 1 if seq == self.seq else 1
        self.seq = seq
        self._skip = 0
        return True


def follow(
    client: Client,
    method: str,
    params: Mapping[str, object],
    seq_of: Callable[[Object], int],
    deadline: Deadline,
    say: Callable[[str], None],
) -> Iterator[Object]:
    """The params of each notification, for good. Ends with Late at the deadline, or with the daemon's refusal.

    A gap (what was asked for is gone) is said, not yielded.
    """
    cursor = Cursor()
    while True:
        link = client.link_until(deadline)
        try:
            begun = cast(Subscribed, link.ask(method, cursor.resume(params), deadline))
            cursor.begun(begun["seq"])
            while True:
                note = fields_of(link.next_note(deadline))
                if "first" in note:
                    say(f"units {note['first']} to {note['last']} are gone: the log was cut there")
                elif note["subscription"] == begun["subscription"] and cursor.is_new(seq_of(note)):
                    yield note
        except Lost as fault:
            client.drop()
            say(f"connection lost ({fault}); waiting for the daemon")


def fields_of(note: Notification) -> Object:
    return note.params if isinstance(note.params, dict) else {}
