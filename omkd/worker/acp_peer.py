"""One side of a JSON-RPC conversation in ACP's terms, without I/O: our calls and their answers, the peer's messages.

Batches come apart: ACP has none, but an answer to each is right either way.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final, TypeAlias

from omkd.protocol.errors import ApiError, ErrorKind
from omkd.protocol.jsonrpc import Batch, Connection, ErrorResponse, Id, LineTooLong, Message, Response

from .acp_reading import encode, parse_line

LINE_BYTES: Final = 64 * 1024 * 1024
"""A line of an agent: a tool's output of tens of MB has been seen in one. More is a fault."""

METHOD_NOT_FOUND: Final = -32601
INVALID_PARAMS: Final = -32602
NOT_FOUND: Final = -32002
"""ACP's own: the resource is not there."""

Answer: TypeAlias = Response | ErrorResponse


class AnswerError(ApiError):
    """An error in ACP's codes, without omkd's name for it."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(ErrorKind.INTERNAL_ERROR, message)
        self.code = code

    def as_object(self) -> dict[str, object]:
        return {"code": self.code, "message": self.message}


class Peer:
    """What it has to say collects in `data_to_send`."""

    def __init__(self) -> None:
        self._connection = Connection(parse_line, encode, line_limit_bytes=LINE_BYTES)
        self._out = bytearray()
        self._handlers: dict[Id, Callable[[Answer], None]] = {}
        self._last_id = 0

    def data_to_send(self) -> bytes:
        data = bytes(self._out)
        self._out.clear()
        return data

    def receive(self, data: bytes) -> Iterator[Message | LineTooLong]:
        """What came whole with these bytes, which come in chunks of any size."""
        self._connection.receive_data(data)
        while (event := self._connection.next_event()) is not None:
            if isinstance(event, Batch):
                yield from event.items
            else:
                yield event

    def call(self, method: str, params: Mapping[str, object], handler: Callable[[Answer], None]) -> None:
        self._last_id += 1
        self._handlers[self._last_id] = handler
        self._out += self._connection.encode_request(self._last_id, method, params)

    def take_answer(self, answer: Answer) -> None:
        """To the handler of its call; an answer to nothing we asked is dropped."""
        handler = self._handlers.pop(answer.id, None)
        if handler is not None:
            handler(answer)

    def forget_calls(self) -> None:
        self._handlers.clear()

    def notify(self, method: str, params: Mapping[str, object]) -> None:
        self._out += self._connection.encode_notification(method, params)

    def answer(self, id: Id, result: object) -> None:
        self._out += self._connection.encode_result(id, result)

    def refuse(self, id: Id, code: int, message: str) -> None:
        self._out += self._connection.encode_error(id, AnswerError(code, message))
