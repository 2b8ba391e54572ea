"""A client under load, in a process of its own so that it can be killed: `python -m tests.faults.sender PLACE NAME`.

Reads lines `COUNT WORKER` from stdin. Sends so many tasks, all at once on one connection, each with a key; what is not
answered is sent again with the same key, as omkctl does, also over the daemon's end. Each answer is a line `KEY ID` in
`PLACE/NAME.answers`, written when the answer came. When all are answered it says `done` on stdout.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from tests.kit import Client

PAUSE_S = 0.02
AGAIN = frozenset({"write_failed", "shutting_down"})


def main(socket: Path, answers: int, name: str) -> None:
    sent = 0
    for order in sys.stdin:
        count, worker = order.split()
        wanted = {f"{name}-{os.getpid()}-{number}": worker for number in range(sent, sent + int(count))}
        sent += int(count)
        while wanted:
            try:
                send_all(socket, wanted, answers)
            except (OSError, EOFError):
                time.sleep(PAUSE_S)
        print("done", flush=True)


def send_all(socket: Path, wanted: dict[str, str], answers: int) -> None:
    """Takes out of `wanted` what was answered. Raises OSError, EOFError."""
    client = Client(socket)
    try:
        for key, worker in wanted.items():
            params = {"target": {"worker": worker}, "task": {"task": key}, "key": key}
            request = {"jsonrpc": "2.0", "id": key, "method": "task.send", "params": params}
            client.send_line(json.dumps(request).encode())
        for _ in range(len(wanted)):
            answer: Any = client.read_line()
            if "error" in answer:
                assert answer["error"]["data"]["name"] in AGAIN, answer
                continue
            os.write(answers, f"{answer['id']} {answer['result']['id']}\n".encode())
            del wanted[answer["id"]]
    finally:
        client.close()


if __name__ == "__main__":
    socket, answers, name = sys.argv[1:]
    main(Path(socket), os.open(answers, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600), name)
