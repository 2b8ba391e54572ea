"""A unit on its way into the log: drafted by a caller, numbered by the log, read back before it is written."""

from attrs import frozen

from omkd.protocol import codec
from omkd.protocol.events import By, Event, Source, Unit
from omkd.protocol.scalars import Ns, Seq

from .log_errors import UnitRefused


@frozen(kw_only=True)
class Draft:
    """What is to be recorded as one unit; the log adds number and time."""

    by: By
    events: tuple[Event, ...]
    src: Source | None = None

    def unit(self, seq: Seq, ts: Ns, synced: Seq) -> Unit:
        return Unit(seq=seq, ts=ts, by=self.by, src=self.src, synced=synced, events=list(self.events))


def read_back(unit: Unit) -> tuple[Unit, bytes]:
    """The unit as a later start will read it, and its line. Raises UnitRefused.

    Costs 25 us. Without it a value that encodes and does not decode (a worker's JSON, nested to the limit before it is
    put into a unit; a number out of its range) would make the log unreadable from there on. And what is folded now is
    for certain what is folded then.
    """
    try:
        line = codec.dumps(unit)
        return codec.loads(line, Unit), line
    except codec.CodecError as exc:
        raise UnitRefused(str(exc)) from exc
