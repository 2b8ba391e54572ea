"""escalation.list, tail: the escalation log, read from the event log, so that it has the same cursor."""

from omkd.api.calls import Answer, Call, Follow
from omkd.api.filters import escalations_in
from omkd.api.history import newest, oldest, seq_before
from omkd.api.live import follow_units
from omkd.protocol import codec
from omkd.protocol.errors import ApiError, ErrorKind
from omkd.protocol.escalation import needs_person
from omkd.protocol.events import EscalationAcked
from omkd.protocol.jsonrpc import Connection
from omkd.protocol.limits import PAGE_BYTES, PAGE_LIMIT
from omkd.protocol.methods import (
    AckParams,
    Escalation,
    EscalationListParams,
    EscalationListResult,
    EscalationNotification,
    EscalationTailParams,
    SeqResult,
    SubscribeResult,
)
from omkd.protocol.scalars import Seq
from omkd.services.hub import Hub
from omkd.store.event_log import Draft, StoredUnit

from .tasks import invalid


async def list_escalations(call: Call, params: EscalationListParams) -> Answer:
    log = call.hub.log
    after = params.after if params.since is None else max(params.after, await seq_before(log, params.since))

    def pick(stored: StoredUnit) -> list[Escalation]:
        return escalations_in(params, stored, call.hub.state.unacked)

    async with call.caller.reading:
        if params.lines is not None:
            count = min(params.lines, PAGE_LIMIT)
            before = params.before or Seq(log.committed + 1)
            found, more = await newest(log, before, pick, count=count, since=after, max_bytes=PAGE_BYTES)
            return Answer(result=EscalationListResult(escalations=found, next=more))
        found, more = await oldest(log, after, pick, limit=min(params.limit, PAGE_LIMIT), below=params.before)
        return Answer(result=EscalationListResult(escalations=found, next=more))


def ack(call: Call, params: AckParams) -> Answer:
    """What was acknowledged before stays so; a unit that needs nobody is refused."""
    hub = call.hub
    for seq in params.seqs:
        refuse_unless_needed(hub, seq)
    if not params.seqs:
        raise invalid("seqs", "nothing is named")
    acked = hub.log.append(Draft(by=call.caller.by(), events=(EscalationAcked(seqs=params.seqs, note=params.note),)))
    return Answer(result=SeqResult(seq=acked.seq), seq=acked.seq)


def refuse_unless_needed(hub: Hub, seq: Seq) -> None:
    if seq in hub.state.unacked:
        return
    found = hub.log.read_after(Seq(max(0, seq - 1)), max_units=1)
    if not found or found[0].seq != seq:
        raise ApiError(ErrorKind.NOT_FOUND, f"there is no unit {seq}", seq=seq)
    if not any(needs_person(event) for event in found[0].unit.events):
        raise ApiError(ErrorKind.REFUSED, f"unit {seq} holds nothing that needs a person", seq=seq)


async def tail(call: Call, params: EscalationTailParams) -> Answer:
    after, first = await first_of(call.hub, params)
    subscription = call.caller.new_subscription()
    skip = first

    def lines(stored: StoredUnit) -> bytes:
        nonlocal skip
        found = escalations_in(params, stored, call.hub.state.unacked)[skip:]
        skip = 0
        return b"".join(
            Connection.encode_notification_raw(
                "escalation",
                codec.dumps(EscalationNotification(subscription=subscription, seq=each.seq, entry=each.entry)),
            )
            for each in found
        )

    return Answer(
        result=SubscribeResult(subscription=subscription, seq=after),
        follow=Follow(subscription=subscription, run=lambda: follow_units(call, subscription, after, lines)),
    )


async def first_of(hub: Hub, params: EscalationTailParams) -> tuple[Seq, int]:
    """Behind which unit the tail begins, and how many lines of the first unit it leaves out (`lines` may cut one)."""
    after = hub.log.committed if params.after is None else params.after
    if params.since is not None:
        after = max(params.after or Seq(0), await seq_before(hub.log, params.since))
    if params.lines is None:
        return after, 0
    floor = after if params.after is not None or params.since is not None else Seq(0)
    end = Seq(hub.log.committed + 1)
    wanted, _ = await newest(
        hub.log, end, lambda stored: escalations_in(params, stored, hub.state.unacked), count=params.lines, since=floor
    )
    if not wanted:
        return Seq(end - 1), 0
    first = wanted[0].seq
    of_first_unit = escalations_in(params, hub.log.read_after(Seq(first - 1), max_units=1)[0], hub.state.unacked)
    return Seq(first - 1), len(of_first_unit) - sum(each.seq == first for each in wanted)
