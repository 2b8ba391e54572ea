"""What a client that behaves notices of one that does not. `python -m tests.bench.bench_hostile`

Latency of `task.list` (answered from memory) and of `event.publish` (answered once on disk), alone and beside one
connection that floods, stalls, sends garbage or never reads: medians, 99th percentiles, and their ratio to being alone.
"""

import multiprocessing
import os
import socket
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.kit import Place, running_daemon

SECONDS = 3.0
REQUEST = b'{"jsonrpc":"2.0","id":1,"method":"omkd.status","params":{}}\n'
SUBSCRIBE = b'{"jsonrpc":"2.0","id":1,"method":"event.subscribe","params":{"after":0}}\n'
LIST = b'{"jsonrpc":"2.0","id":1,"method":"event.list","params":{"limit":1000}}\n'
EVENTS_BEFORE = 2000
AT_ONCE = 1000
STALLED = 100

Hostile = Callable[[str], None]
"""Runs in a process of its own, until that is ended."""


def connected(path: str) -> socket.socket:
    peer = socket.socket(socket.AF_UNIX)
    peer.settimeout(60)
    peer.connect(path)
    return peer


def flood(path: str) -> None:
    """Requests as fast as they are taken, every answer read."""
    peer = connected(path)
    threading.Thread(target=read_all, args=(peer,), daemon=True).start()
    while True:
        peer.sendall(REQUEST * AT_ONCE)


def read_all(peer: socket.socket) -> None:
    while peer.recv(1 << 20):
        pass


def never_read(path: str) -> None:
    """Asks for the largest answers there are, and for every event there will be; takes none of them."""
    peer = connected(path)
    peer.sendall(SUBSCRIBE)
    while True:
        peer.sendall(LIST)


def stall(path: str) -> None:
    """A byte of a request now and then, on many connections."""
    peers = [connected(path) for _ in range(STALLED)]
    while True:
        time.sleep(0.1)
        for peer in peers:
            with suppress(OSError):
                peer.sendall(b" ")


def garbage(path: str) -> None:
    """Bytes that are no JSON, line after line; a new connection when it is hung up on."""
    noise = os.urandom(65536)
    while True:
        with connected(path) as peer, suppress(OSError):
            while True:
                peer.sendall(noise)


def measured(call: Callable[[], object]) -> tuple[float, float]:
    """Median and 99th percentile, in microseconds."""
    found, end = [], time.perf_counter() + SECONDS
    while time.perf_counter() < end:
        start = time.perf_counter()
        call()
        found.append((time.perf_counter() - start) * 1e6)
    return statistics.median(found), statistics.quantiles(found, n=100)[98]


@contextmanager
def beside(hostile: Hostile | None, path: Path) -> Iterator[None]:
    if hostile is None:
        yield
        return
    process = multiprocessing.get_context("spawn").Process(target=hostile, args=(str(path),))
    process.start()
    time.sleep(1)  # a spawned Python begins; what is measured is not its beginning
    try:
        yield
    finally:
        process.terminate()
        process.join()


def main() -> None:
    # Beside the checkout, not in /tmp: that is often a tmpfs, where a sync costs nothing.
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".b-") as name:
        place = Place(Path(name))
        place.environment["XDG_RUNTIME_DIR"] = str(place.root / "r")
        with running_daemon(place) as daemon:
            client = daemon.client()
            for _ in range(EVENTS_BEFORE):
                client.call("event.publish", event={"DisclosureLine": "x" * 500})
            calls: dict[str, Callable[[], object]] = {
                "task.list": lambda: client.call("task.list", limit=10),
                "event.publish": lambda: client.call("event.publish", event={"DisclosureLine": "x"}),
            }
            alone: dict[str, tuple[float, float]] = {}
            for label, hostile in HOSTILE.items():
                for method, call in calls.items():
                    with beside(hostile, place.socket):
                        found = measured(call)
                    base = alone.setdefault(method, found)
                    show(f"{method}, {label}", found, base)


HOSTILE: dict[str, Hostile | None] = {
    "alone": None,
    "beside one that floods": flood,
    "beside one that never reads": never_read,
    "beside 100 that stall": stall,
    "beside one that sends garbage": garbage,
}


def show(what: str, found: tuple[float, float], alone: tuple[float, float]) -> None:
    median, p99 = found
    ratios = f"{median / alone[0]:>6.1f} x {p99 / alone[1]:>6.1f} x"
    print(f"{what:<44} median {median:>9,.0f} us  p99 {p99:>9,.0f} us  {ratios}")


if __name__ == "__main__":
    main()
