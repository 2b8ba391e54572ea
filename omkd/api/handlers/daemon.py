"""omkd.hello, status, shutdown, reload, config, verify, rpc.discover, subscription.cancel."""

import os
from functools import cache
from itertools import islice
from typing import Final

import trio

from omkd.api.calls import Answer, Call
from omkd.core.state import State
from omkd.core.views import task_view, worker_view
from omkd.protocol import codec
from omkd.protocol.errors import ApiError, ErrorKind
from omkd.protocol.methods import (
    METHODS,
    Empty,
    HelloParams,
    HelloResult,
    NoParams,
    ShutdownParams,
    ShutdownResult,
    StatusResult,
    SubscriptionParams,
    Task,
    TaskState,
)
from omkd.protocol.openrpc import openrpc_document
from omkd.protocol.scalars import U32, U64, TaskId
from omkd.protocol.version import LOG_FORMAT, PROTOCOL_VERSION, __version__

FAILURES_SHOWN: Final = 3
FAILURES_AMONG: Final = 1000


def hello(call: Call, params: HelloParams) -> Answer:
    if params.version is not None and params.version != PROTOCOL_VERSION:
        text = (
            f"this omkd {__version__} speaks protocol {PROTOCOL_VERSION}, the client speaks {params.version}: "
            "use the omkctl of the same release"
        )
        raise ApiError(ErrorKind.VERSION_MISMATCH, text, omkd=__version__, protocol=PROTOCOL_VERSION)
    result = HelloResult(
        omkd=__version__,
        protocol=U32(PROTOCOL_VERSION),
        format=U32(LOG_FORMAT),
        session=call.hub.session.name,
        session_dir=str(call.hub.session.path),
        pid=U64(os.getpid()),
        capabilities=sorted(METHODS),
    )
    return Answer(result=result)


def status(call: Call, _: NoParams) -> Answer:
    hub = call.hub
    ledger, roster = hub.state.ledger, hub.state.roster
    result = StatusResult(
        omkd=__version__,
        session=hub.session.name,
        session_dir=str(hub.session.path),
        socket=str(call.desk.socket),
        pid=U64(os.getpid()),
        started=call.desk.started,
        seq=hub.log.committed,
        tasks={state.value: U32(count) for state, count in ledger.counts.items()},
        oldest_queued=oldest_queued(hub.state),
        last_failures=last_failures(hub.state),
        workers=[worker_view(hub.state, roster.workers[name]) for name in sorted(roster.workers)],
        invalid_workers=[hub.invalid_specs[name] for name in sorted(hub.invalid_specs)],
        unacked=U32(len(hub.state.unacked)),
        draining=running(call) if hub.draining else None,
        rejected_lines=U32(hub.state.rejected_lines),
        retried_writes=list(hub.retried.by_path.values()),
        notices=call.desk.notices.status(),
        connections=U32(call.desk.connections),
    )
    return Answer(result=result)


def oldest_queued(state: State) -> Task | None:
    if not state.ledger.counts[TaskState.QUEUED]:
        return None
    first = next((entry for entry in state.ledger.tasks.values() if entry.state is TaskState.QUEUED), None)
    return None if first is None else task_view(state, first)


def last_failures(state: State) -> list[Task]:
    """Of the newest tasks only: status is asked for often."""
    newest = islice(state.ledger.newest_first(), FAILURES_AMONG)
    failed = (entry for entry in newest if entry.state in (TaskState.FAILED, TaskState.LOST))
    return [task_view(state, entry) for entry in islice(failed, FAILURES_SHOWN)]


def shutdown(call: Call, params: ShutdownParams) -> Answer:
    """Answered at once; a drain is followed through `omkd.status`, and the end by the connection's."""
    call.desk.end_hosts = params.workers
    waits_for: list[TaskId] = []
    if params.drain_secs is None:
        call.desk.end("omkd.shutdown")
    else:
        call.hub.draining = True
        call.desk.drain_until(trio.current_time() + params.drain_secs)
        waits_for = running(call)
    return Answer(result=ShutdownResult(waits_for=waits_for))


def running(call: Call) -> list[TaskId]:
    """What a drain waits for."""
    return [entry.id for entry in call.hub.state.ledger.running()]


def reload(call: Call, _: NoParams) -> Answer:
    return Answer(result=call.desk.configuration.reload())


def config(call: Call, _: NoParams) -> Answer:
    return Answer(result=call.desk.configuration.shown())


async def verify(call: Call, _: NoParams) -> Answer:
    """Of all that is on disk now; the writers have caught up with it when it begins."""
    from omkd.services.verify import verify_session  # rarely needed

    desk = call.desk
    up_to = call.hub.log.committed
    call.hub.readers_of_files += 1
    try:
        result = await trio.to_thread.run_sync(
            lambda: verify_session(
                call.hub.session,
                up_to=up_to,
                mailbox_position=desk.mailbox_writer.position,
                escalation_position=desk.escalation_writer.position,
            )
        )
    finally:
        call.hub.readers_of_files -= 1
    return Answer(result=result)


def discover(_: Call, __: NoParams) -> Answer:
    return Answer(result=encoded_document())


@cache
def encoded_document() -> bytes:
    return codec.encode(openrpc_document())


def cancel_subscription(call: Call, params: SubscriptionParams) -> Answer:
    if not call.caller.cancel_subscription(params.subscription):
        text = f"this connection has no subscription {params.subscription}"
        raise ApiError(ErrorKind.NOT_FOUND, text, subscription=params.subscription)
    return Answer(result=Empty())
