"""JSON-RPC message -> handler -> line to answer with. Parameters are checked, errors become their JSON-RPC form.

An ApiError is answered. Any other exception of a handler is a fault of ours: it is answered as `internal_error`, logged
with its traceback, and ends the connection.
"""

import inspect
import logging
from collections.abc import Awaitable, Mapping, Sequence
from typing import cast

from attrs import frozen

from omkd.protocol import codec
from omkd.protocol.codec import CodecError
from omkd.protocol.errors import ApiError, ErrorKind
from omkd.protocol.json_text import as_text
from omkd.protocol.jsonrpc import (
    Batch,
    Connection,
    ErrorResponse,
    Malformed,
    Message,
    Notification,
    Request,
    Response,
)
from omkd.protocol.limits import SERVER_LINE_BYTES
from omkd.protocol.methods import METHODS
from omkd.protocol.nearest import did_you_mean, shown_name
from omkd.protocol.scalars import Json, Seq
from omkd.store.event_log import LogBroken, LogDamaged, LogWriteFailed, UnitRefused

from .calls import Answer, Call, Follow, Handler
from .pages import too_long

logger = logging.getLogger(__name__)


@frozen(kw_only=True)
class Done:
    """`line` (empty: nothing to answer) is sent once `seq` is on disk; then `follows` begin. `fatal`: then it ends."""

    line: bytes
    seq: Seq = Seq(0)
    follows: tuple[Follow, ...] = ()
    fatal: bool = False


class AnswerNotEncoded(Exception):
    """An answer has no JSON form, which is a fault of ours, not of the peer's parameters."""


class Dispatcher:
    """Calls the handlers in the name of one connection."""

    def __init__(self, handlers: Mapping[str, Handler], call: Call) -> None:
        self._handlers = handlers
        self._call = call

    def begin(self, message: Message | Batch) -> Done | Awaitable[Done]:
        """What to answer; an awaitable for a call that must wait for something."""
        match message:
            case Request() | Notification():
                return self._begin_call(message)
            case Batch(items=items):
                return joined(items, [self.begin(item) for item in items])
            case Malformed(id=id, error=error):
                return Done(line=encode_error(id, error))
            case Response() | ErrorResponse():
                return Done(line=encode_error(None, ApiError(ErrorKind.INVALID_REQUEST, "an answer to no question")))

    def _begin_call(self, message: Request | Notification) -> Done | Awaitable[Done]:
        try:
            handler, params = self._handler_and_params(message)
            if inspect.iscoroutinefunction(handler):
                self._call.caller.refuse_too_many()
            answer = handler(self._call, params)
        except Exception as error:
            return self._failed(message, error)
        if not isinstance(answer, Answer):
            return self._finish(message, answer)
        try:
            return done(message, answer)
        except CodecError as error:
            return self._failed(message, AnswerNotEncoded(str(error)))

    async def _finish(self, message: Request | Notification, answer: Awaitable[Answer]) -> Done:
        try:
            answered = await answer
        except Exception as error:
            return self._failed(message, error)
        try:
            return done(message, answered)
        except CodecError as error:
            return self._failed(message, AnswerNotEncoded(str(error)))

    def _handler_and_params(self, message: Request | Notification) -> tuple[Handler, object]:
        handler = self._handlers.get(message.method)
        if handler is None:
            hint = did_you_mean(message.method, self._handlers)
            text = f"no method {shown_name(message.method)}{hint}"
            raise ApiError(ErrorKind.METHOD_NOT_FOUND, text, method=message.method)
        if isinstance(message.params, list):
            raise ApiError(ErrorKind.INVALID_PARAMS, "parameters go by name: an object, not an array")
        wanted = METHODS[message.method].params
        return handler, codec.structure(cast(Json, message.params or {}), wanted, forbid_unknown=True)

    def _failed(self, message: Request | Notification, error: Exception) -> Done:
        id = message.id if isinstance(message, Request) else None
        match error:
            case LogBroken():
                raise error
            case ApiError():
                answered = error
            case CodecError():
                answered = ApiError(ErrorKind.INVALID_PARAMS, str(error), path=error.path)
            case UnitRefused():
                answered = ApiError(ErrorKind.INVALID_PARAMS, str(error))
            case LogWriteFailed():
                answered = ApiError(ErrorKind.WRITE_FAILED, str(error), path=str(error.path))
            case LogDamaged():
                place = {"path": str(error.segment), "offset": error.offset}
                answered = ApiError(ErrorKind.LOG_DAMAGED, str(error), **place)
            case _:
                logger.error("fault in %s", message.method, exc_info=error)
                text = f"a fault in omkd, its log has the traceback: {error!r}"
                return Done(line=encode_error(id, ApiError(ErrorKind.INTERNAL_ERROR, text)), fatal=True)
        return Done(line=encode_error(id, answered) if isinstance(message, Request) else b"")


def done(message: Request | Notification, answer: Answer) -> Done:
    follows = () if answer.follow is None else (answer.follow,)
    if isinstance(message, Notification):
        return Done(line=b"", seq=answer.seq, follows=follows)
    encoded = answer.result if isinstance(answer.result, bytes) else codec.dumps(answer.result)
    line = Connection.encode_result_raw(message.id, encoded)
    if len(line) > SERVER_LINE_BYTES:
        return Done(line=encode_error(message.id, too_long(len(line))), seq=answer.seq)
    return Done(line=line, seq=answer.seq, follows=follows)


def joined(items: Sequence[Message], parts: list[Done | Awaitable[Done]]) -> Done | Awaitable[Done]:
    """The one answer to a batch; an awaitable if any part is."""
    there = [part for part in parts if isinstance(part, Done)]
    return join(items, there) if len(there) == len(parts) else join_later(items, parts)


async def join_later(items: Sequence[Message], parts: list[Done | Awaitable[Done]]) -> Done:
    return join(items, [part if isinstance(part, Done) else await part for part in parts])


def join(items: Sequence[Message], parts: list[Done]) -> Done:
    return Done(
        line=Connection.encode_batch(lines_that_fit(items, [part.line for part in parts])),
        seq=max(part.seq for part in parts),
        follows=tuple(follow for part in parts for follow in part.follows),
        fatal=any(part.fatal for part in parts),
    )


def lines_that_fit(items: Sequence[Message], lines: list[bytes]) -> list[bytes]:
    """The answers to a batch. Where they are too much for one line, the longest are replaced by an error."""
    size = sum(map(len, lines)) + len(lines) + len("[]")
    for number in sorted(range(len(lines)), key=lambda number: -len(lines[number])):
        item = items[number]
        if size <= SERVER_LINE_BYTES or not isinstance(item, Request):
            break
        instead = encode_error(item.id, too_long(size))
        size += len(instead) - len(lines[number])
        lines[number] = instead
    return [line for line in lines if line]


def encode_error(id: str | int | float | None, error: ApiError) -> bytes:
    """Of one whose words have a path in them that is not UTF-8 the words alone."""
    connection = Connection(codec.parse, codec.encode, line_limit_bytes=0)
    try:
        return connection.encode_error(id, error)
    except CodecError:
        return connection.encode_error(id, ApiError(error.kind, as_text(error.message)))
