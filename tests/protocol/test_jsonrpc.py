import json
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omkd.protocol import codec
from omkd.protocol.errors import ApiError, ErrorKind
from omkd.protocol.jsonrpc import (
    Batch,
    Connection,
    ErrorResponse,
    Event,
    Id,
    LineTooLong,
    Malformed,
    Notification,
    Request,
    Response,
)

LIMIT = 200
IDS = [1, 0, -7, 2**63, 1.5, "", "a", 'quote" and \\ and \n', "ümläut ", None]


def encode(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def connection(*, line_limit_bytes: int = LIMIT, batch_limit: int = 5) -> Connection:
    return Connection(json.loads, encode, line_limit_bytes=line_limit_bytes, batch_limit=batch_limit)


def events_of(data: bytes, *, chunk_bytes: int | None = None) -> list[Event]:
    return list(read(connection(), data, chunk_bytes or len(data) or 1))


def read(peer: Connection, data: bytes, chunk_bytes: int) -> Iterator[Event]:
    for at in range(0, len(data), chunk_bytes):
        peer.receive_data(data[at : at + chunk_bytes])
        while (event := peer.next_event()) is not None:
            yield event


def event_of(message: object) -> Event:
    [event] = events_of(encode(message) + b"\n")
    return event


def refusal_of(message: object) -> tuple[Id, ErrorKind]:
    event = event_of(message)
    assert isinstance(event, Malformed)
    return event.id, event.error.kind


def call(**members: object) -> dict[str, object]:
    return {"jsonrpc": "2.0", **members}


# --- what comes in -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("id", IDS)
def test_a_request_keeps_its_id(id: Id):
    event = event_of(call(id=id, method="task.get", params={"id": "t1"}))
    assert event == Request(id, "task.get", {"id": "t1"})
    assert type(event[0]) is type(id)


@pytest.mark.parametrize("params", [{}, {"a": None}, [], [1, "x"]])
def test_params_come_as_they_were(params: object):
    assert event_of(call(id=1, method="m", params=params)) == Request(1, "m", params)


def test_params_may_be_missing():
    assert event_of(call(id=1, method="rpc.discover")) == Request(1, "rpc.discover", None)
    assert event_of(call(method="m")) == Notification("m", None)


def test_without_an_id_it_is_a_notification_and_with_id_null_a_request():
    assert isinstance(event_of(call(method="m", params=[])), Notification)
    assert isinstance(event_of(call(id=None, method="m", params=[])), Request)


@pytest.mark.parametrize("result", [None, 0, [], {"a": 1}])
def test_a_result_is_a_response(result: object):
    event = event_of(call(id=0, result=result))
    assert isinstance(event, Response)
    assert event == Response(0, result)


@pytest.mark.parametrize("id", [3, None])
def test_an_error_is_an_error_response(id: Id):
    error = {"code": -32001, "message": "no task 't9'", "data": [1]}
    assert event_of(call(id=id, error=error)) == ErrorResponse(id, error)


@pytest.mark.parametrize(
    ("message", "id"),
    [
        (1, None),
        (1.5, None),
        ("text", None),
        (True, None),
        (None, None),
        ({}, None),
        ({"foo": "boo"}, None),
        ({"jsonrpc": "2.0", "method": 1, "params": "bar"}, None),
        ({"method": "m", "id": 4}, 4),
        ({"jsonrpc": "1.0", "method": "m", "id": 4}, 4),
        ({"jsonrpc": 2.0, "method": "m", "id": "x"}, "x"),
        (call(method=None, id=4), 4),
        (call(method={}, id=4), 4),
        (call(method="\ud800", id=4), 4),
        (call(method="m", id=4, params=None), 4),
        (call(method="m", id=4, params="p"), 4),
        (call(method="m", params=7), None),
        (call(method="m", id=True), None),
        (call(method="m", id=[1]), None),
        (call(method="m", id={}), None),
        (call(id=4), 4),
        (call(id=False), None),
    ],
    ids=repr,
)
def test_what_is_no_request_is_an_invalid_request_with_its_id_if_it_has_one(message: object, id: Id):
    [event] = events_of(json.dumps(message).encode() + b"\n")
    assert isinstance(event, Malformed)
    assert (event.id, event.error.kind) == (id, ErrorKind.INVALID_REQUEST)


@pytest.mark.parametrize(
    "message",
    [
        {"id": 1, "result": 1},
        call(result=1),
        call(id=True, result=1),
        call(id=1, result=1, error={"code": 1, "message": "m"}),
        call(id=1, error=None),
        call(id=1, error={}),
        call(id=1, error={"code": True, "message": "m"}),
        call(id=1, error={"code": 1.0, "message": "m"}),
        call(id=1, error={"code": 1, "message": None}),
    ],
    ids=repr,
)
def test_an_unusable_answer_is_never_reported_under_an_id_of_ours(message: object):
    assert refusal_of(message) == (None, ErrorKind.INVALID_REQUEST)


@pytest.mark.parametrize("id", [b"NaN", b"Infinity", b"1e999", rb'"\ud800"'])
def test_an_id_that_could_not_be_echoed_is_refused(id: bytes):
    [event] = events_of(b'{"jsonrpc":"2.0","method":"m","id":%b}\n' % id)
    assert isinstance(event, Malformed)
    assert (event.id, event.error.kind) == (None, ErrorKind.INVALID_REQUEST)


@pytest.mark.parametrize("id", [b"123456789012345678901234567890", b"18446744073709551616", b"-9223372036854775809"])
def test_a_number_that_our_codec_would_not_keep_is_no_id(id: bytes):
    peer = Connection(codec.parse, codec.encode, line_limit_bytes=LIMIT)
    [event] = read(peer, b'{"jsonrpc":"2.0","method":"m","id":%b}\n' % id, LIMIT)
    assert isinstance(event, Malformed)
    assert (event.id, event.error.kind) == (None, ErrorKind.INVALID_REQUEST)
    assert "a number of at most 64 bits or null, this is a longer number" in str(event.error.as_object())


@pytest.mark.parametrize("id", [b"18446744073709551615", b"-9223372036854775808"])
def test_a_whole_number_that_it_keeps_comes_back(id: bytes):
    peer = Connection(codec.parse, codec.encode, line_limit_bytes=LIMIT)
    [event] = read(peer, b'{"jsonrpc":"2.0","method":"m","id":%b}\n' % id, LIMIT)
    assert isinstance(event, Request)
    assert peer.encode_result(event.id, None) == b'{"jsonrpc":"2.0","id":%b,"result":null}\n' % id


@pytest.mark.parametrize("line", [b"{", b"\xff", b'{"jsonrpc":"2.0","method":"m', b"[" * 100_000, b"nul", b"\x0b"])
def test_what_is_no_json_is_a_parse_error_and_the_next_line_is_read(line: bytes):
    peer = connection(line_limit_bytes=1_000_000)
    first, second = read(peer, line + b'\n{"jsonrpc":"2.0","method":"m"}\n', 1_000_000)
    assert isinstance(first, Malformed)
    assert (first.id, first.error.kind) == (None, ErrorKind.PARSE_ERROR)
    assert second == Notification("m", None)


def test_blank_lines_are_nothing_and_crlf_ends_a_line():
    assert events_of(b'\n  \n\r\n\t\n{"jsonrpc":"2.0","method":"m"}\r\n\r\n') == [Notification("m", None)]


def test_a_line_without_its_newline_is_not_there_yet():
    peer = connection()
    assert peer.next_event() is None
    peer.receive_data(b'{"jsonrpc":"2.0","method":"m"}')
    assert peer.next_event() is None
    peer.receive_data(b"\n")
    assert peer.next_event() == Notification("m", None)
    assert peer.next_event() is None


# --- batches -----------------------------------------------------------------------------------------------------


def test_a_batch_holds_each_of_its_messages_in_order():
    messages = [call(id=1, method="a"), call(method="b"), call(id=2, result=3)]
    assert event_of(messages) == Batch((Request(1, "a", None), Notification("b", None), Response(2, 3)))


def test_an_empty_batch_is_one_invalid_request():
    assert refusal_of([]) == (None, ErrorKind.INVALID_REQUEST)


def test_each_invalid_entry_of_a_batch_is_refused_by_itself():
    event = event_of([1, [], call(id=7, method=None), call(id=8, method="m")])
    assert isinstance(event, Batch)
    assert [(item.id, type(item)) for item in event.items] == [
        (None, Malformed),
        (None, Malformed),
        (7, Malformed),
        (8, Request),
    ]


def test_a_batch_over_the_limit_is_refused_whole():
    assert isinstance(event_of([call(method="m")] * 5), Batch)
    assert refusal_of([call(method="m")] * 6) == (None, ErrorKind.TOO_LARGE)


# --- lines over the limit ----------------------------------------------------------------------------------------


def test_a_line_over_the_limit_is_reported_before_its_newline():
    peer = connection()
    peer.receive_data(b"x" * LIMIT)
    assert peer.next_event() is None
    peer.receive_data(b"x")
    assert peer.next_event() == LineTooLong(LIMIT)


def test_a_line_of_the_limit_is_read():
    line = encode(call(id="", method="m")).replace(b'""', b'"%b"')
    line %= b"x" * (LIMIT - len(line) + 2)
    assert len(line) == LIMIT
    assert isinstance(events_of(line + b"\n")[0], Request)


@pytest.mark.parametrize("chunk_bytes", [1, 3, None])
def test_what_came_before_a_long_line_counts_and_nothing_after_it(chunk_bytes: int | None):
    small = b'{"jsonrpc":"2.0","method":"m"}\n'
    data = small + b"x" * (LIMIT + 1) + b"\n" + small
    assert events_of(data, chunk_bytes=chunk_bytes) == [Notification("m", None), LineTooLong(LIMIT)]


def test_the_answer_to_a_long_line_says_the_limit():
    error = LineTooLong(LIMIT).error
    assert error.kind is ErrorKind.TOO_LARGE
    assert error.data == {"limit": LIMIT}
    assert str(LIMIT) in error.message


# --- what goes out -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("id", IDS)
def test_what_is_encoded_is_one_line_and_reads_back(id: Id):
    peer = connection()
    error = ApiError(ErrorKind.NOT_FOUND, "no task 't9'", known=["t1"])
    lines = [
        peer.encode_request(id, "m", {"a": 1}),
        peer.encode_request(id, "m", []),
        peer.encode_request(id, 'odd " method'),
        peer.encode_notification("n", {"a": "ü\n"}),
        peer.encode_notification("n"),
        peer.encode_result(id, None),
        peer.encode_result_raw(id, b'{"a":[1]}'),
        peer.encode_notification_raw("n", b'{"a":1}'),
        peer.encode_error(id, error),
    ]
    assert all(line.endswith(b"\n") and line.count(b"\n") == 1 for line in lines)
    assert events_of(b"".join(lines)) == [
        Request(id, "m", {"a": 1}),
        Request(id, "m", []),
        Request(id, 'odd " method', None),
        Notification("n", {"a": "ü\n"}),
        Notification("n", None),
        Response(id, None),
        Response(id, {"a": [1]}),
        Notification("n", {"a": 1}),
        ErrorResponse(id, {"code": -32001, "message": "no task 't9'", "data": {"name": "not_found", "known": ["t1"]}}),
    ]


def test_a_batch_of_replies_is_one_line_and_of_none_nothing():
    peer = connection()
    assert peer.encode_batch([]) == b""
    replies = [peer.encode_result(1, True), peer.encode_result(None, [])]
    assert peer.encode_batch(replies) == (
        b'[{"jsonrpc":"2.0","id":1,"result":true},{"jsonrpc":"2.0","id":null,"result":[]}]\n'
    )


def test_the_bytes_of_a_reply():
    assert connection().encode_result("a", {"x": 1}) == b'{"jsonrpc":"2.0","id":"a","result":{"x":1}}\n'


# --- what holds for all input ------------------------------------------------------------------------------------

scalars = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=5))
members = st.fixed_dictionaries(
    {},
    optional={
        "jsonrpc": st.sampled_from(["2.0", "1.0", 2, None]),
        "id": st.one_of(scalars, st.just([])),
        "method": st.sampled_from(["m", "rpc.discover", "", 1, None]),
        "params": st.one_of(scalars, st.lists(scalars, max_size=2), st.dictionaries(st.text(max_size=2), scalars)),
        "result": scalars,
        "error": st.one_of(scalars, st.just({"code": 1, "message": "m"})),
    },
)
messages = st.one_of(members, scalars, st.lists(members, max_size=7))
pieces = st.one_of(messages.map(encode), st.binary(max_size=20), st.just(b"x" * 150))
streams = st.lists(st.tuples(pieces, st.sampled_from([b"\n", b"\r\n", b""]))).map(
    lambda parts: b"".join(text + end for text, end in parts)
)


def comparable(event: Event) -> object:
    match event:
        case Malformed(id, error):
            return Malformed, id, error.as_object()
        case Batch(items):
            return [comparable(item) for item in items]
        case _:
            return type(event), repr(event)


@given(streams)
def test_chunks_make_no_difference(data: bytes):
    whole = [comparable(event) for event in events_of(data)]
    assert [comparable(event) for event in events_of(data, chunk_bytes=1)] == whole
    assert [comparable(event) for event in events_of(data, chunk_bytes=3)] == whole


@given(streams)
def test_whatever_comes_can_be_answered(data: bytes):
    for event in events_of(data):
        for item in event.items if isinstance(event, Batch) else [event]:
            match item:
                case Request(id, method, _):
                    reply = connection().encode_error(id, ApiError(ErrorKind.METHOD_NOT_FOUND, f"no method {method!r}"))
                    assert json.loads(reply)["id"] == id
                case Malformed(id, error):
                    assert json.loads(connection().encode_error(id, error))["error"]["code"] == error.kind.code
                case LineTooLong():
                    assert connection().encode_error(None, item.error)
