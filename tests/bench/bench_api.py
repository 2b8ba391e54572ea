"""What a client gets from the daemon, beside the machine's floor. `python -m tests.bench.bench_api`

A burst of events, tasks sent one by one and many at once, an outbox line until its notification, the start of omkctl.
The floor is a bare write(2), and write(2) with fdatasync(2), of as many bytes as one of the burst's units has.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.bench.bench_event_log import floor_per_second, show
from tests.kit import Client, Daemon, Place, append, json_lines, running_daemon, wait_until

BURST = 100_000
EVENTS: tuple[dict[str, object], ...] = (
    {"WorkerProgress": {"worker_id": "w", "percent": 40.0, "message": "half way"}},
    {"CostDelta": {"source": "w", "tokens_in": 1200, "tokens_out": 300, "usd": 0.01}},
    {"DisclosureLine": "the parser's tests fail"},
    {"PersonNeeded": {"text": "which of the two?"}},
)
"""Mixed: each fourth has its line in the escalation log."""

AT_ONCE = 1000
SENDS = 2000
IN_FLIGHT = 32
RESULTS = 500
STARTS = 20
DEADLINE_S = 300.0


def request(number: int, method: str, **params: object) -> bytes:
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}).encode() + b"\n"


def burst(client: Client, place: Place, floor: float) -> None:
    """All of it pipelined on one connection; until every answer is there, then until every escalation line is."""
    lines = [request(n, "event.publish", event=EVENTS[n % len(EVENTS)]) for n in range(BURST)]
    expected = sum("PersonNeeded" in EVENTS[n % len(EVENTS)] for n in range(BURST))
    before = client.call("omkd.status")["seq"]
    start = time.perf_counter()
    sender = threading.Thread(target=send_all, args=(client, lines))
    sender.start()
    answered = [seq_in(client.read_line()) for _ in lines]
    took = time.perf_counter() - start
    sender.join()
    wait_until(lambda: size_in_lines(place.session.escalations) >= expected, "escalations are missing", DEADLINE_S)
    written = time.perf_counter() - start
    lost = BURST - len(set(answered) & set(range(before + 1, before + BURST + 1)))
    lost += expected - len(json_lines(place.session.escalations))
    assert lost == 0, f"{lost} lost"
    show(
        "burst: events through one connection",
        BURST / took,
        f"{BURST / took / floor:.1f} x write+fdatasync, lost {lost}",
    )
    show("burst: lines of the escalation log", expected / written)


def send_all(client: Client, lines: list[bytes]) -> None:
    for first in range(0, len(lines), AT_ONCE):
        client.socket.sendall(b"".join(lines[first : first + AT_ONCE]))


def seq_in(answer: Any) -> int:
    assert "result" in answer, answer
    return int(answer["result"]["seq"])


def size_in_lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def sends(client: Client, floor: float) -> None:
    params: dict[str, object] = {"target": {"worker": "idle"}, "task": {"task": "Make the tests of the parser pass"}}
    took = [timed(lambda: client.call("task.send", **params)) for _ in range(SENDS)]
    show_latency("task.send, one by one", took, floor)
    start = time.perf_counter()
    for number in range(IN_FLIGHT):
        client.socket.sendall(request(number, "task.send", **params))
    for number in range(IN_FLIGHT, SENDS):
        client.read_line()
        client.socket.sendall(request(number, "task.send", **params))
    for _ in range(IN_FLIGHT):
        client.read_line()
    rate = SENDS / (time.perf_counter() - start)
    show(f"task.send, {IN_FLIGHT} in flight", rate, f"{rate / floor:.1f} x write+fdatasync")


def results(daemon: Daemon, client: Client, place: Place, floor: float) -> None:
    """From the write of a line into the outbox until a subscriber has its event."""
    watcher = daemon.client()
    client.call("worker.add", name="w", role="dev", window=0)
    ids = [client.call("task.send", target={"worker": "w"}, task={"task": "x"})["id"] for _ in range(RESULTS)]
    wait_until(lambda: size_in_lines(place.session.worker("w").inbox) == RESULTS, "not all is handed out", DEADLINE_S)
    watcher.call("event.subscribe", filter={"types": ["TaskFinished"]})
    took = []
    for task_id in ids:
        line = {"task_id": task_id, "status": "success", "summary": "ok", "artifacts": [], "elapsed_secs": 0}
        start = time.perf_counter()
        append(place.session.worker("w").outbox, line)
        watcher.next_notification()
        took.append(time.perf_counter() - start)
    show_latency("outbox line until its notification", took, floor)


def starts(place: Place) -> None:
    ours = str(Path(sys.executable).with_name("omkctl"))
    with environment(place):
        status = [timed(lambda: run([ours, "status", "--json"])) for _ in range(STARTS)]
        bare = [timed(lambda: run([sys.executable, "-c", "pass"])) for _ in range(STARTS)]
    found, floor = statistics.median(status), statistics.median(bare)
    print(f"{'omkctl status --json':<44} median {found * 1e3:>9.0f} ms  {found / floor:.1f} x python -c pass")


def run(command: list[str]) -> None:
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)


@contextmanager
def environment(place: Place) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(place.environment)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def timed(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def show_latency(what: str, took: list[float], floor: float) -> None:
    median, p99 = statistics.median(took), statistics.quantiles(took, n=100)[98]
    note = f"{median * floor:.1f} x write+fdatasync"
    print(f"{what:<44} median {median * 1e6:>9,.0f} us  p99 {p99 * 1e6:>9,.0f} us  {note}")


def main() -> None:
    # Beside the checkout, not in /tmp: that is often a tmpfs, where a sync costs nothing.
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".b-") as name:
        place = Place(Path(name))
        unit = b"x" * 220 + b"\n"
        show("floor: write", floor_per_second(place.root, unit, sync=False))
        floor = floor_per_second(place.root, unit)
        show("floor: write + fdatasync, one after the other", floor)
        with running_daemon(place) as daemon:
            client = daemon.client()
            burst(client, place, floor)
            client.call("worker.add", name="idle", role="dev", window=0)
            client.call("worker.pause", name="idle")
            sends(client, floor)
            results(daemon, client, place, floor)
            starts(place)
            findings = client.call("omkd.verify")["findings"]
            assert findings == [], findings


if __name__ == "__main__":
    main()
