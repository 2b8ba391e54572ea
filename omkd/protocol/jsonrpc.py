"""JSON-RPC 2.0 as newline-delimited JSON, without I/O: bytes in, events out, bytes out.

Standard library only, the JSON codec is an argument: `omkctl` needs this module at start and brings its own. The same
class serves the daemon, the client and any peer that speaks in both directions. No bytes of a peer make it raise.

Source: https://www.jsonrpc.org/specification. Where it leaves room: a message that is no Request object is answered
even without an id (as in the specification's examples), with its id if it has a usable one; an unusable answer is
reported with id null, since its id is one of ours.
"""

from collections import deque
from collections.abc import Callable, Iterable
from json.encoder import encode_basestring
from typing import Final, NamedTuple, TypeAlias, TypeGuard

from .errors import ApiError, ErrorKind
from .limits import BATCH_REQUESTS
from .lines import LineSplitter, LongLine

Id: TypeAlias = str | int | float | None
"""`None` is the id null; a message without an id is a Notification."""

Params: TypeAlias = dict[str, object] | list[object] | None
"""`None`: the message has no params."""

ID_IS: Final = "a string, a number of at most 64 bits or null"
"""A longer whole number is a float to our codec: its id would come back with other digits."""

BLANKS: Final = b" \t\r"


class Request(NamedTuple):
    """`{"jsonrpc":"2.0","id":1,"method":"task.get","params":{"id":"t12"}}`"""

    id: Id
    method: str
    params: Params


class Notification(NamedTuple):
    """`{"jsonrpc":"2.0","method":"event","params":{"subscription":1}}`; never answered, not even with an error."""

    method: str
    params: Params


class Response(NamedTuple):
    """`{"jsonrpc":"2.0","id":1,"result":{}}`"""

    id: Id
    result: object


class ErrorResponse(NamedTuple):
    """`{"jsonrpc":"2.0","id":1,"error":{"code":-32001,"message":"no task 't9'","data":{"name":"not_found"}}}`

    `error` has an integer `code` and a string `message`; `id` None when the peer could not tell what it answers.
    """

    id: Id
    error: dict[str, object]


class Malformed(NamedTuple):
    """The peer's fault, to be answered with `encode_error(id, error)`."""

    id: Id
    error: ApiError


Message: TypeAlias = Request | Notification | Response | ErrorResponse | Malformed


class Batch(NamedTuple):
    """`[{…},{…}]`, never empty. Answered in one `encode_batch`, in any order; not at all if nothing asks for it."""

    items: tuple[Message, ...]


class LineTooLong(NamedTuple):
    """The line now coming in has more than `limit_bytes`. The last event: where the next message begins is unknown."""

    limit_bytes: int

    @property
    def error(self) -> ApiError:
        """What to answer, with id None, before the connection ends."""
        text = f"the line has more than {self.limit_bytes} bytes: send less at once"
        return ApiError(ErrorKind.TOO_LARGE, text, limit=self.limit_bytes)


Event: TypeAlias = Message | Batch | LineTooLong


class Connection:
    """One side of a connection.

    `parse` raises ValueError for what is not JSON (RecursionError counts as the same), `encode` writes one line without
    its newline. `line_limit_bytes` counts a received line without its newline.
    """

    def __init__(
        self,
        parse: Callable[[bytes], object],
        encode: Callable[[object], bytes],
        *,
        line_limit_bytes: int,
        batch_limit: int = BATCH_REQUESTS,
    ) -> None:
        self._parse = parse
        self._encode = encode
        self._line_limit_bytes = line_limit_bytes
        self._batch_limit = batch_limit
        self._splitter = LineSplitter(line_limit_bytes)
        self._lines: deque[bytes] = deque()
        self._too_long = False
        self._ended = False

    def receive_data(self, data: bytes) -> None:
        """Takes what was read, in chunks of any size. After a line that is too long, nothing is taken any more."""
        if self._too_long:
            return
        for line in self._splitter.receive_data(data):
            if isinstance(line, LongLine):
                self._too_long = True
                return
            self._lines.append(line.text)
        self._too_long = self._splitter.overlong

    def next_event(self) -> Event | None:
        """The next event, None when more data is needed (or, after LineTooLong, for good)."""
        while self._lines:
            text = self._lines.popleft().strip(BLANKS)
            if text:
                return self._event_for(text)
        if self._too_long and not self._ended:
            self._ended = True
            return LineTooLong(self._line_limit_bytes)
        return None

    def _event_for(self, text: bytes) -> Event:
        try:
            message = self._parse(text)
        except (ValueError, RecursionError) as fault:
            return Malformed(None, ApiError(ErrorKind.PARSE_ERROR, f"the line is not JSON: {fault}"))
        if isinstance(message, list):
            return self._batch_for(message)
        return message_for(message)

    def _batch_for(self, messages: list[object]) -> Batch | Malformed:
        if not messages:
            return invalid(None, "the batch is empty")
        if len(messages) > self._batch_limit:
            text = f"the batch has {len(messages)} entries, at most {self._batch_limit} are allowed: split it"
            return Malformed(None, ApiError(ErrorKind.TOO_LARGE, text, limit=self._batch_limit))
        return Batch(tuple(message_for(message) for message in messages))

    def encode_request(self, id: Id, method: str, params: object = None) -> bytes:
        """A request's line; without params if they are None."""
        return b'{"jsonrpc":"2.0","id":%b,"method":%b%b}\n' % (encode_id(id), quote(method), self._params(params))

    def encode_notification(self, method: str, params: object = None) -> bytes:
        """A notification's line; without params if they are None."""
        return b'{"jsonrpc":"2.0","method":%b%b}\n' % (quote(method), self._params(params))

    def encode_result(self, id: Id, result: object) -> bytes:
        return self.encode_result_raw(id, self._encode(result))

    def encode_error(self, id: Id, error: ApiError) -> bytes:
        return b'{"jsonrpc":"2.0","id":%b,"error":%b}\n' % (encode_id(id), self._encode(error.as_object()))

    @staticmethod
    def encode_result_raw(id: Id, result: bytes) -> bytes:
        """A result's line around JSON that is encoded already (one line, no newline)."""
        return b'{"jsonrpc":"2.0","id":%b,"result":%b}\n' % (encode_id(id), result)

    @staticmethod
    def encode_notification_raw(method: str, params: bytes) -> bytes:
        """A notification's line around params that are encoded already (one line, no newline)."""
        return b'{"jsonrpc":"2.0","method":%b,"params":%b}\n' % (quote(method), params)

    @staticmethod
    def encode_batch(lines: Iterable[bytes]) -> bytes:
        """What the other encoders returned, as one line; nothing at all for nothing, as the specification asks."""
        entries = b",".join(line[:-1] for line in lines)
        return b"[%b]\n" % entries if entries else b""

    def _params(self, params: object) -> bytes:
        return b"" if params is None else b',"params":' + self._encode(params)


def message_for(message: object) -> Message:
    """What a parsed message, or an entry of a batch, is."""
    if not isinstance(message, dict):
        return invalid(None, f"a message is an object, this is {kind_of(message)}")
    if "method" in message:
        return call_for(message)
    return answer_for(message)


def call_for(message: dict[str, object]) -> Request | Notification | Malformed:
    id, method, params = message.get("id"), message["method"], message.get("params")
    if not is_id(id):
        what = "a longer number" if kind_of(id) == "a number" else kind_of(id)
        return invalid(None, f"'id' must be {ID_IS}, this is {what}")
    if message.get("jsonrpc") != "2.0":
        return invalid(id, "'jsonrpc' must be \"2.0\"")
    if not isinstance(method, str) or not is_text(method):
        return invalid(id, f"'method' must be a string, this is {kind_of(method)}")
    if not is_params(params) or (params is None and "params" in message):
        return invalid(id, f"'params' must be an object or an array, this is {kind_of(params)}")
    return Request(id, method, params) if "id" in message else Notification(method, params)


def answer_for(message: dict[str, object]) -> Response | ErrorResponse | Malformed:
    id, error = message.get("id"), message.get("error")
    if "result" not in message and "error" not in message:
        return invalid(id if is_id(id) else None, "'method' is missing")
    if message.get("jsonrpc") != "2.0":
        return invalid(None, "'jsonrpc' must be \"2.0\"")
    if "id" not in message or not is_id(id):
        return invalid(None, f"an answer's 'id' must be {ID_IS}")
    if "error" not in message:
        return Response(id, message["result"])
    if "result" in message or not is_error(error):
        return invalid(None, "an answer has either 'result' or 'error', with an integer 'code' and a string 'message'")
    return ErrorResponse(id, error)


def invalid(id: Id, text: str) -> Malformed:
    return Malformed(id, ApiError(ErrorKind.INVALID_REQUEST, text))


def is_id(value: object) -> TypeGuard[Id]:
    """True for what can be echoed: no bool (an int to Python), no number past 64 bits, no NaN, no lone surrogate."""
    if isinstance(value, str):
        return is_text(value)
    if isinstance(value, float):
        return -(2.0**63) < value < 2.0**64
    return value is None or (isinstance(value, int) and not isinstance(value, bool))


def is_params(value: object) -> TypeGuard[Params]:
    return value is None or isinstance(value, dict | list)


def is_error(value: object) -> TypeGuard[dict[str, object]]:
    return isinstance(value, dict) and type(value.get("code")) is int and isinstance(value.get("message"), str)


def is_text(value: str) -> bool:
    """Has a UTF-8 form. JSON's `\\ud800` alone has none; a parser may let it through."""
    return value.isascii() or not any("\ud800" <= character <= "\udfff" for character in value)


def kind_of(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "an array"
        case _:
            return "an object"


def encode_id(id: Id) -> bytes:
    if isinstance(id, int):
        return b"%d" % id
    if isinstance(id, str):
        return quote(id)
    return b"null" if id is None else repr(id).encode()


def quote(text: str) -> bytes:
    return encode_basestring(text).encode()
