"""A daemon in a thread that says what a test tells it to: real socket, real lines, no state of its own."""

import contextlib
import json
import socket
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from omkd.protocol.errors import ApiError

HELLO = {
    "omkd": "9.9.9",
    "protocol": 1,
    "format": 1,
    "session": "t",
    "session_dir": "/nowhere",
    "pid": 4711,
    "capabilities": [],
}

Answer = Callable[[dict[str, object]], object]


class Hangup(Exception):
    """Raised by an answer: the connection ends without one."""


class Silence(Exception):
    """Raised by an answer: none is given, the connection stays."""


@dataclass
class Stream:
    """A result with notifications (method, params) behind it; then the connection ends, if `hang_up`."""

    result: object
    notes: list[tuple[str, dict[str, object]]] = field(default_factory=list)
    hang_up: bool = False


class ScriptedDaemon:
    """`asked` holds (method, params) of all that was asked but hello."""

    def __init__(self, path: Path, answers: dict[str, Answer]) -> None:
        self.path = path
        self.answers: dict[str, Answer] = {"omkd.hello": lambda _: HELLO, **answers}
        self.asked: list[tuple[str, dict[str, object]]] = []
        self._connections: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.unlink(missing_ok=True)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.path))
        self._listener.listen()
        self._run(self._accept, self._listener)

    def stop(self) -> None:
        self.path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(5)
                assert not thread.is_alive()

    def _run(self, target: Callable[[socket.socket], None], argument: socket.socket) -> None:
        thread = threading.Thread(target=target, args=(argument,), daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            self._run(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError, Hangup), connection.makefile("rb") as lines:
            for line in lines:
                self._answer(connection, json.loads(line))

    def _answer(self, connection: socket.socket, request: dict[str, object]) -> None:
        method, params = str(request["method"]), request["params"]
        assert isinstance(params, dict)
        if method != "omkd.hello":
            self.asked.append((method, params))
        try:
            result = self.answers[method](params)
        except Silence:
            return
        except ApiError as error:
            send(connection, {"id": request["id"], "error": error.as_object()})
            return
        stream = result if isinstance(result, Stream) else Stream(result)
        send(connection, {"id": request["id"], "result": stream.result})
        for name, note in stream.notes:
            send(connection, {"method": name, "params": note})
        if stream.hang_up:
            raise Hangup


def send(connection: socket.socket, message: dict[str, object]) -> None:
    connection.sendall(json.dumps({"jsonrpc": "2.0", **message}, ensure_ascii=False).encode() + b"\n")


def in_turn(*answers: Answer) -> Answer:
    """The first answer at first, then the next; the last one for good."""
    left = list(answers)

    def answer(params: dict[str, object]) -> object:
        return (left.pop(0) if len(left) > 1 else left[0])(params)

    return answer


def always(result: object) -> Answer:
    return lambda _: result


def fail(error: Exception) -> Answer:
    def answer(_: dict[str, object]) -> object:
        raise error

    return answer
