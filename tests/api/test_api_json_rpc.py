"""JSON-RPC 2.0 over the real socket: requests, notifications, batches, and every error rule."""

import json
import socket
from typing import Any

import pytest

from omkd.protocol.limits import BATCH_REQUESTS, REQUEST_LINE_BYTES
from tests.kit import Client, Daemon

PUBLISH = {"event": {"DisclosureLine": "hi"}}


def exchange(client: Client, line: bytes) -> Any:
    client.send_line(line)
    return client.read_line()


def request(method: str, id: object = 1, **params: object) -> dict[str, object]:
    return {"jsonrpc": "2.0", "id": id, "method": method, "params": params}


def test_the_table_of_methods_is_the_table_of_handlers() -> None:
    from omkd.api.handlers import HANDLERS
    from omkd.protocol.methods import METHODS

    assert list(HANDLERS) == list(METHODS)


@pytest.mark.parametrize("id", [0, -1, 2**53, 1.5, "", "a", "ü€\n", None])
def test_an_id_comes_back_as_it_was(shared_client: Client, id: object) -> None:
    answer = exchange(shared_client, json.dumps(request("omkd.hello", id)).encode())
    assert (answer["id"], type(answer["id"])) == (id, type(id))
    assert answer["jsonrpc"] == "2.0"
    assert "error" not in answer


@pytest.mark.parametrize(
    ("line", "name", "id"),
    [
        (b"{", "parse_error", None),
        (b"nonsense", "parse_error", None),
        (b'{"jsonrpc":"2.0","id":1,"method":"omkd.hello"} x', "parse_error", None),
        (b"\xff\xfe", "parse_error", None),
        (b"[" * 5000, "parse_error", None),
        (b"1", "invalid_request", None),
        (b'"omkd.hello"', "invalid_request", None),
        (b"null", "invalid_request", None),
        (b"[]", "invalid_request", None),
        (b"{}", "invalid_request", None),
        (b'{"jsonrpc":"2.0","id":7}', "invalid_request", 7),
        (b'{"id":7,"method":"omkd.hello"}', "invalid_request", 7),
        (b'{"jsonrpc":"1.0","id":7,"method":"omkd.hello"}', "invalid_request", 7),
        (b'{"jsonrpc":"2.0","id":7,"method":7}', "invalid_request", 7),
        (b'{"jsonrpc":"2.0","id":true,"method":"omkd.hello"}', "invalid_request", None),
        (b'{"jsonrpc":"2.0","id":[7],"method":"omkd.hello"}', "invalid_request", None),
        (b'{"jsonrpc":"2.0","id":7,"method":"omkd.hello","params":3}', "invalid_request", 7),
        (b'{"jsonrpc":"2.0","id":7,"result":3}', "invalid_request", None),
        (b'{"jsonrpc":"2.0","id":7,"method":"omkd.helo"}', "method_not_found", 7),
        (b'{"jsonrpc":"2.0","id":7,"method":"omkd.hello","params":["me"]}', "invalid_params", 7),
        (b'{"jsonrpc":"2.0","id":7,"method":"omkd.status","params":[]}', "invalid_params", 7),
        (b'{"jsonrpc":"2.0","id":7,"method":"task.get"}', "invalid_params", 7),
        (b'{"jsonrpc":"2.0","id":7,"method":"task.get","params":{"id":"none"}}', "not_found", 7),
        (b'{"jsonrpc":"2.0","id":7,"method":"omkd.hello","params":{"version":99}}', "version_mismatch", 7),
    ],
)
def test_a_bad_line_gets_its_error_and_the_connection_lives_on(
    shared_client: Client, line: bytes, name: str, id: object
) -> None:
    answer = exchange(shared_client, line)
    assert answer["id"] == id
    assert answer["error"]["data"]["name"] == name
    assert answer["error"]["message"]
    shared_client.call("omkd.hello")


def test_an_unknown_method_is_told_the_nearest(shared_client: Client) -> None:
    error = exchange(shared_client, json.dumps(request("task.sent")).encode())["error"]
    assert "did you mean 'task.send'?" in error["message"]


def test_empty_lines_and_blanks_are_no_messages(shared_client: Client) -> None:
    shared_client.send_line(b"\n\r\n   \n\t")
    assert exchange(shared_client, b"  " + json.dumps(request("omkd.hello", 5)).encode() + b" \r")["id"] == 5


def test_a_message_may_come_byte_by_byte(shared_client: Client) -> None:
    for byte in json.dumps(request("omkd.hello", 9)).encode() + b"\n":
        shared_client.socket.sendall(bytes([byte]))
    answer = shared_client.read_line()
    assert isinstance(answer, dict)
    assert answer["id"] == 9


def test_a_notification_acts_and_is_never_answered(shared_client: Client) -> None:
    before = shared_client.call("omkd.status")["seq"]
    for method, params in [("event.publish", PUBLISH), ("no.method", {}), ("task.get", {"id": 3}), ("task.get", [])]:
        shared_client.send_line(json.dumps({"jsonrpc": "2.0", "method": method, "params": params}).encode())
    answer = shared_client.call("event.publish", **PUBLISH)
    assert answer["seq"] == int(str(before)) + 2
    assert shared_client.notifications == []


def test_a_batch_is_answered_in_one_line_without_its_notifications(shared_client: Client) -> None:
    notification = {"jsonrpc": "2.0", "method": "event.publish", "params": PUBLISH}
    batch = [
        request("omkd.hello", "a"),
        notification,
        request("event.publish", "b", **PUBLISH),
        1,
        request("no.method", "c"),
        request("event.list", "d", limit=1),
        {"jsonrpc": "2.0", "id": "e"},
    ]
    answers = exchange(shared_client, json.dumps(batch).encode())
    assert [answer["id"] for answer in answers] == ["a", "b", None, "c", "d", "e"]
    errors = [answer["error"]["data"]["name"] if "error" in answer else None for answer in answers]
    assert errors == [None, None, "invalid_request", "method_not_found", None, "invalid_request"]


def test_a_batch_acts_in_its_order(shared_client: Client) -> None:
    answers = exchange(shared_client, json.dumps([request("event.publish", n, **PUBLISH) for n in range(50)]).encode())
    seqs = [answer["result"]["seq"] for answer in answers]
    assert seqs == list(range(seqs[0], seqs[0] + 50))


def test_a_batch_of_notifications_is_not_answered(shared_client: Client) -> None:
    notification = {"jsonrpc": "2.0", "method": "omkd.hello"}
    shared_client.send_line(json.dumps([notification, notification]).encode())
    before = len(shared_client.notifications)
    assert "result" in shared_client.ask("omkd.hello")
    assert len(shared_client.notifications) == before, "something else came before the answer"


def test_a_batch_of_batches_is_invalid(shared_client: Client) -> None:
    (answer,) = exchange(shared_client, json.dumps([[request("omkd.hello")]]).encode())
    assert answer["error"]["data"]["name"] == "invalid_request"


def test_a_batch_with_too_many_entries_is_refused_whole(shared_client: Client) -> None:
    before = shared_client.call("omkd.status")["seq"]
    batch = [request("event.publish", **PUBLISH)] * (BATCH_REQUESTS + 1)
    answer = exchange(shared_client, json.dumps(batch).encode())
    assert (answer["error"]["data"]["name"], answer["error"]["data"]["limit"]) == ("too_large", BATCH_REQUESTS)
    assert shared_client.call("omkd.status")["seq"] == before


@pytest.mark.parametrize("ended", [False, True])
def test_an_oversized_line_gets_an_error_with_the_limit_and_ends_the_connection(
    shared_daemon: Daemon, shared_client: Client, ended: bool
) -> None:
    line = b" " * (REQUEST_LINE_BYTES + 1) + (b"\n" if ended else b"")
    shared_client.socket.sendall(line)
    answer: Any = shared_client.read_line()
    assert answer["id"] is None
    assert (answer["error"]["data"]["name"], answer["error"]["data"]["limit"]) == ("too_large", REQUEST_LINE_BYTES)
    assert str(REQUEST_LINE_BYTES) in answer["error"]["message"]
    with pytest.raises((EOFError, ConnectionResetError)):
        shared_client.read_line()
    other = shared_daemon.client()
    other.call("omkd.hello")
    other.close()


def test_a_line_of_exactly_the_limit_is_taken(shared_client: Client) -> None:
    line = json.dumps(request("omkd.hello", 3)).encode()
    assert exchange(shared_client, line.ljust(REQUEST_LINE_BYTES))["id"] == 3


def test_what_was_asked_before_an_oversized_line_is_answered(shared_client: Client) -> None:
    shared_client.socket.sendall(
        json.dumps(request("omkd.hello", 3)).encode() + b"\n" + b"x" * (REQUEST_LINE_BYTES + 1)
    )
    first: Any = shared_client.read_line()
    second: Any = shared_client.read_line()
    assert (first["id"], second["error"]["data"]["name"]) == (3, "too_large")


@pytest.mark.parametrize("method", ["omkd.hello", "event.list", "worker.list", "event.publish"])
def test_a_peer_that_sends_no_more_is_still_answered(shared_client: Client, method: str) -> None:
    params = PUBLISH if method == "event.publish" else {}
    shared_client.send_line(json.dumps(request(method, 4, **params)).encode())
    shared_client.socket.shutdown(socket.SHUT_WR)
    answer: Any = shared_client.read_line()
    assert (answer["id"], "result" in answer) == (4, True)
    with pytest.raises(EOFError):
        shared_client.read_line()


def test_a_last_line_without_a_newline_is_not_a_message(shared_client: Client) -> None:
    shared_client.socket.sendall(json.dumps(request("event.publish", 4, **PUBLISH)).encode())
    shared_client.socket.shutdown(socket.SHUT_WR)
    with pytest.raises(EOFError):
        shared_client.read_line()
