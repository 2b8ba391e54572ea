"""event.publish, list, subscribe."""

from omkd.api.calls import Answer, Call, Follow
from omkd.api.filters import unit_matches
from omkd.api.history import newest, oldest, seq_before
from omkd.api.live import follow_units
from omkd.core.reports import PERSON_ANSWERS, Rejected, spoken_by, with_question
from omkd.core.state import State
from omkd.core.views import shown_unit
from omkd.protocol import codec
from omkd.protocol.errors import ApiError, ErrorKind
from omkd.protocol.events import (
    By,
    ByClient,
    ByWorker,
    Event,
    PersonNeeded,
    PreflightRequest,
    PreflightResponse,
    PublishedEvent,
    Unit,
)
from omkd.protocol.jsonrpc import Connection
from omkd.protocol.limits import PAGE_BYTES, PAGE_LIMIT, TASK_BYTES
from omkd.protocol.methods import (
    EventListParams,
    EventListResult,
    EventSubscribeParams,
    PublishParams,
    SeqResult,
    SubscribeResult,
)
from omkd.protocol.scalars import Seq
from omkd.services.hub import Hub
from omkd.store.event_log import Draft, StoredUnit


def publish(call: Call, params: PublishParams) -> Answer:
    """From a worker only with its own `worker_id`; from anybody else with any."""
    by = call.caller.by()
    event: PublishedEvent = params.event
    refuse_answer(call.hub.state, by, event)
    if isinstance(by, ByWorker):
        event = spoken(by, event)
    size = len(codec.dumps(event))
    if size > TASK_BYTES:
        raise ApiError(
            ErrorKind.TOO_LARGE, f"the event has {size} bytes, at most {TASK_BYTES} are taken", limit=TASK_BYTES
        )
    seq = call.hub.log.append(Draft(by=by, events=recorded_as(call, by, event))).seq
    return Answer(result=SeqResult(seq=seq), seq=seq)


def recorded_as(call: Call, by: By, event: PublishedEvent) -> tuple[Event, ...]:
    """A router's PreflightRequest is a question for a person, too."""
    if not isinstance(event, PreflightRequest):
        return (event,)
    worker = by.worker if isinstance(by, ByWorker) else None
    verdict = with_question(call.hub.state, event, worker, call.hub.now())
    if isinstance(verdict, Rejected):
        raise ApiError(ErrorKind.CONFLICT, verdict.detail, ticket_id=event.ticket_id)
    return verdict


def refuse_answer(state: State, by: By, event: PublishedEvent) -> None:
    """While a router waits for a person, nobody else says what the person would, and the person answers the question:
    the event alone would leave it open."""
    waits = state.decisions.oldest_preflight()
    if waits is None or not isinstance(event, PreflightResponse):
        return
    if not isinstance(by, ByClient):
        raise ApiError(ErrorKind.REFUSED, PERSON_ANSWERS)
    id = waits.asked.decision_id
    text = f"a question waits for that answer, {id!r}: give it with omkctl answer ID {event.value.value}"
    raise ApiError(ErrorKind.REFUSED, text, id=id)


def spoken(by: ByWorker, event: PublishedEvent) -> PublishedEvent:
    verdict = spoken_by(by.worker, event)
    if isinstance(verdict, Rejected):
        text = f"worker {by.worker} speaks for itself only: {verdict.detail}"
        raise ApiError(ErrorKind.REFUSED, text, worker=by.worker)
    (allowed,) = verdict
    return allowed if isinstance(allowed, PersonNeeded) else event


async def list_events(call: Call, params: EventListParams) -> Answer:
    log = call.hub.log
    after = params.after if params.since is None else max(params.after, await seq_before(log, params.since))
    limit = min(params.limit, PAGE_LIMIT)

    def pick(stored: StoredUnit) -> list[Unit]:
        return [shown_unit(stored.unit)] if unit_matches(params.filter, stored.unit) else []

    async with call.caller.reading:
        if params.last is not None or (params.before is not None and params.after == 0):
            before = params.before or Seq(log.committed + 1)
            count = limit if params.last is None else min(params.last, PAGE_LIMIT)
            units, more = await newest(log, before, pick, count=count, since=after, max_bytes=PAGE_BYTES)
            return Answer(result=EventListResult(units=units, next=more))
        units, more = await oldest(log, after, pick, limit=limit, below=params.before)
        return Answer(result=EventListResult(units=units, next=more))


async def subscribe(call: Call, params: EventSubscribeParams) -> Answer:
    after = await first_of(call.hub, params)
    subscription = call.caller.new_subscription()

    def lines(stored: StoredUnit) -> bytes:
        if not unit_matches(params.filter, stored.unit):
            return b""
        shown = shown_unit(stored.unit)
        line = stored.line if shown is stored.unit else codec.dumps(shown)
        return Connection.encode_notification_raw("event", b'{"subscription":%d,"unit":%b}' % (subscription, line))

    return Answer(
        result=SubscribeResult(subscription=subscription, seq=after),
        follow=Follow(subscription=subscription, run=lambda: follow_units(call, subscription, after, lines)),
    )


async def first_of(hub: Hub, params: EventSubscribeParams) -> Seq:
    """Behind which unit a subscription begins."""
    after = hub.log.committed if params.after is None else params.after
    if params.since is not None:
        after = max(params.after or Seq(0), await seq_before(hub.log, params.since))
    if params.last is not None:
        floor = after if params.after is not None or params.since is not None else Seq(0)

        def pick(stored: StoredUnit) -> list[Seq]:
            return [stored.seq] if unit_matches(params.filter, stored.unit) else []

        wanted, _ = await newest(hub.log, Seq(hub.log.committed + 1), pick, count=params.last, since=floor)
        after = Seq(wanted[0] - 1) if wanted else hub.log.committed
    return after
