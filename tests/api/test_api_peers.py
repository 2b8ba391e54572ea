"""Who may connect, and that no peer disturbs another."""

import os
import resource
import socket
import subprocess
import sys
from typing import Any

import pytest

from omkd.protocol.limits import MAX_CONNECTIONS, MAX_IN_FLIGHT, REQUEST_LINE_BYTES, UNREAD_OUTPUT_BYTES
from tests.kit import Client, Daemon, Place, wait_until

ANOTHER_UID = 65534
ASK_AS_ANOTHER = """
import os, socket, sys
os.setgroups([]); os.setgid(65534); os.setuid(65534)
s = socket.socket(socket.AF_UNIX)
s.settimeout(20)
s.connect(sys.argv[1])
try:
    s.sendall(b'{"jsonrpc":"2.0","id":1,"method":"omkd.status"}\\n')
except BrokenPipeError:
    pass
while data := s.recv(65536):
    sys.stdout.buffer.write(data)
"""


def answers(daemon: Daemon) -> bool:
    client = daemon.client()
    try:
        return bool(client.call("omkd.hello"))
    finally:
        client.close()


def ask_as_another(place: Place) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [sys.executable, "-c", ASK_AS_ANOTHER, str(place.socket)], capture_output=True, timeout=30, check=False
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can speak as another user")
def test_the_socket_cannot_be_reached_by_another_user(daemon: Daemon) -> None:
    daemon.place.root.chmod(0o755)
    (daemon.place.root / "r").chmod(0o755)
    assert daemon.place.socket.parent.stat().st_mode & 0o777 == 0o700
    assert daemon.place.socket.stat().st_mode & 0o777 == 0o600
    assert b"PermissionError" in ask_as_another(daemon.place).stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can speak as another user")
def test_a_peer_of_another_user_is_refused_even_if_it_reaches_the_socket(daemon: Daemon) -> None:
    for path in (daemon.place.root, daemon.place.root / "r", daemon.place.socket.parent):
        path.chmod(0o755)
    daemon.place.socket.chmod(0o666)
    asked = ask_as_another(daemon.place)
    assert b'"name":"refused"' in asked.stdout.replace(b" ", b"")
    assert str(ANOTHER_UID).encode() in asked.stdout
    assert b'"result"' not in asked.stdout
    assert answers(daemon)


def test_peers_that_misbehave_disturb_nobody(daemon: Daemon) -> None:
    peers = [daemon.client() for _ in range(6)]
    silent, half, garbage, gone, stubborn, flood = peers
    half.socket.sendall(b'{"jsonrpc":"2.0","id":1,"meth')
    garbage.socket.sendall(os.urandom(64 * 1024).replace(b"\n", b"") + b"\n")
    gone.socket.sendall(b'{"jsonrpc":"2.0","id":1,"method":"rpc.discover"}\n' * 50)
    gone.close()
    stubborn.socket.sendall(b'{"jsonrpc":"2.0","id":1,"method":"event.subscribe","params":{"after":0}}\n')
    flood.socket.sendall(b"x" * (REQUEST_LINE_BYTES + 1))
    assert answers(daemon)
    half.socket.sendall(b'od":"omkd.hello"}\n')
    answer: Any = half.read_line()
    assert "result" in answer
    assert silent.call("omkd.hello")
    for peer in peers:
        peer.close()
    assert b"a fault in omkd" not in daemon.log.read_bytes()


def test_a_peer_that_reads_nothing_is_not_read_either(daemon: Daemon) -> None:
    before = memory_of(daemon)
    stubborn = socket.socket(socket.AF_UNIX)
    stubborn.settimeout(0.5)
    stubborn.connect(str(daemon.place.socket))
    line = b'{"jsonrpc":"2.0","id":1,"method":"rpc.discover"}\n' * 100
    with pytest.raises(TimeoutError):
        stubborn.sendall(line * 2_000)
    assert answers(daemon)
    assert memory_of(daemon) - before < 4 * UNREAD_OUTPUT_BYTES
    stubborn.close()
    assert answers(daemon)


def memory_of(daemon: Daemon) -> int:
    with open(f"/proc/{daemon.process.pid}/statm") as statm:
        return int(statm.read().split()[1]) * resource.getpagesize()


def test_a_subscriber_that_reads_nothing_costs_bounded_memory_and_holds_nobody_up(daemon: Daemon) -> None:
    publisher, stubborn = daemon.client(), daemon.client()
    stubborn.send_line(b'{"jsonrpc":"2.0","id":1,"method":"event.subscribe","params":{"after":0}}')
    publish_bytes(publisher, 2 * UNREAD_OUTPUT_BYTES)
    before = memory_of(daemon)
    publish_bytes(publisher, 4 * UNREAD_OUTPUT_BYTES)
    assert memory_of(daemon) - before < 2 * UNREAD_OUTPUT_BYTES
    assert answers(daemon)
    publisher.close()
    stubborn.close()


def publish_bytes(client: Client, size: int) -> None:
    text = "x" * 60_000
    for _ in range(size // len(text)):
        client.call("event.publish", event={"DisclosureLine": text})


def test_connections_over_the_limit_are_refused_and_taken_again_when_some_end(daemon: Daemon) -> None:
    clients = [daemon.client() for _ in range(MAX_CONNECTIONS)]
    clients[-1].call("omkd.hello")
    over = daemon.client()
    answer: Any = over.read_line()
    assert answer["error"]["data"]["name"] == "too_many"
    assert str(MAX_CONNECTIONS) in answer["error"]["message"]
    with pytest.raises((EOFError, ConnectionResetError)):
        over.read_line()
    wait_until(lambda: clients[0].call("omkd.status")["connections"] == MAX_CONNECTIONS, "the refused one is counted")
    for client in [over, *clients[1:]]:
        client.close()
    wait_until(lambda: clients[0].call("omkd.status")["connections"] == 1, "connections stay")
    assert answers(daemon)
    clients[0].close()


def test_requests_that_wait_are_limited_and_others_are_not(daemon: Daemon, client: Client) -> None:
    client.call("worker.add", name="w", role="r")
    task = client.call("task.send", target={"worker": "w"}, task={"task": "x"})
    for number in range(MAX_IN_FLIGHT):
        client.send_line(
            b'{"jsonrpc":"2.0","id":"w%d","method":"task.wait","params":{"ids":["%b"]}}'
            % (number, str(task["id"]).encode())
        )
    refused: Any = client.ask("task.wait", ids=[task["id"]])["error"]
    assert (refused["data"]["name"], refused["data"]["limit"]) == ("too_many", MAX_IN_FLIGHT)
    assert client.call("omkd.hello")
    other = daemon.client()
    assert other.call("event.subscribe")["subscription"] == 1
    other.close()


def test_a_connection_that_ends_lets_go_of_what_waits_on_it(daemon: Daemon, client: Client) -> None:
    client.call("worker.add", name="w", role="r")
    task = client.call("task.send", target={"worker": "w"}, task={"task": "x"})
    waiting = daemon.client()
    waiting.send_line(
        b'{"jsonrpc":"2.0","id":1,"method":"task.wait","params":{"ids":["%b"]}}' % str(task["id"]).encode()
    )
    waiting.call("event.subscribe")
    waiting.close()
    wait_until(lambda: client.call("omkd.status")["connections"] == 1, "the connection stays")
    assert b"a fault in omkd" not in daemon.log.read_bytes()


def test_a_peer_that_sent_its_last_line_hears_what_it_waits_for(daemon: Daemon, client: Client) -> None:
    waiting = daemon.client()
    waiting.call("event.subscribe", filter={"types": ["DisclosureLine"]})
    waiting.socket.shutdown(socket.SHUT_WR)
    client.call("event.publish", event={"DisclosureLine": "for you"})
    heard: Any = waiting.next_notification()
    assert heard["params"]["unit"]["events"] == [{"DisclosureLine": "for you"}]
    waiting.close()
    wait_until(lambda: client.call("omkd.status")["connections"] == 1, "the connection stays")


def test_a_peer_without_a_line_in_time_is_told_and_let_go(daemon: Daemon) -> None:
    """The real limit of 10 s, once: an idle connection beside it that has said something is kept."""
    spoken, silent, dripping = daemon.client(), daemon.client(), daemon.client()
    spoken.call("omkd.hello")
    dripping.socket.sendall(b'{"jsonrpc"')
    for peer in (silent, dripping):
        answer: Any = peer.read_line()
        assert answer["error"]["data"]["name"] == "refused"
        assert "no complete line within 10 s" in answer["error"]["message"]
        with pytest.raises(EOFError):
            peer.read_line()
        peer.close()
    assert spoken.call("omkd.hello")
    spoken.close()


def test_two_requests_that_wait_and_a_reader_that_is_slow_get_all_they_are_owed(daemon: Daemon) -> None:
    """Two subscriptions on one connection that is read late: each goes on when there is room again."""
    publisher, slow = daemon.client(), daemon.client()
    publish_bytes(publisher, 3 * UNREAD_OUTPUT_BYTES)
    first: Any = slow.call("event.subscribe", after=0)["subscription"]
    second: Any = slow.call("event.subscribe", after=0)["subscription"]
    last = publisher.call("event.publish", event={"DisclosureLine": "last"})["seq"]
    seen: dict[Any, list[int]] = {first: [], second: []}
    while any(not seqs or seqs[-1] != last for seqs in seen.values()):
        params: Any = slow.next_notification()["params"]
        seen[params["subscription"]].append(params["unit"]["seq"])
    assert seen[first] == seen[second] == list(range(1, int(str(last)) + 1))
    publisher.close()
    slow.close()
