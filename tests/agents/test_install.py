"""What `make agents` says of a registry: silent, gone, or there without what is pinned."""

import http.server
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path

import pytest
from real_agents import INSTALLED

pytestmark = pytest.mark.skipif(INSTALLED is None, reason="npm is there where `make agents` runs")

INSTALLER = Path(__file__).parent / "install.py"
DEADLINE_S = 60


def installed_from(registry: str, tmp_path: Path, timeout_s: float = DEADLINE_S) -> subprocess.CompletedProcess[str]:
    """With an empty cache."""
    return subprocess.run(
        [sys.executable, str(INSTALLER), str(tmp_path / "agents"), "--timeout", str(timeout_s)],
        env={**os.environ, "npm_config_registry": registry, "npm_config_cache": str(tmp_path / "cache")},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=2 * DEADLINE_S,
        check=False,
    )


@contextmanager
def port(*, listens: bool) -> Iterator[str]:
    """One that nobody answers on: it refuses connections, or takes them and is silent."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        if listens:
            taken.listen()
        yield f"http://127.0.0.1:{taken.getsockname()[1]}/"


@contextmanager
def server(status: HTTPStatus) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("content-length", "0")
            self.end_headers()

    serving = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=serving.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{serving.server_address[1]}/"
    finally:
        serving.shutdown()
        thread.join()
        serving.server_close()


def test_a_registry_that_is_not_there_is_said_as_that(tmp_path: Path) -> None:
    with port(listens=False) as registry:
        ran = installed_from(registry, tmp_path)
    assert (ran.returncode, ran.stderr) == (os.EX_UNAVAILABLE, "no agents: the registry does not answer\n")
    assert "ECONNREFUSED" in ran.stdout


def test_a_silent_registry_is_given_up(tmp_path: Path) -> None:
    with port(listens=True) as registry:
        ran = installed_from(registry, tmp_path, timeout_s=3)
    assert (ran.returncode, ran.stderr) == (os.EX_UNAVAILABLE, "no agents: npm was not done after 3 s\n")


def test_a_registry_out_of_order_is_said_as_that(tmp_path: Path) -> None:
    with server(HTTPStatus.SERVICE_UNAVAILABLE) as registry:
        ran = installed_from(registry, tmp_path)
    assert (ran.returncode, ran.stderr) == (os.EX_UNAVAILABLE, "no agents: the registry does not answer\n")


def test_what_the_registry_does_not_have_is_our_fault(tmp_path: Path) -> None:
    with server(HTTPStatus.NOT_FOUND) as registry:
        ran = installed_from(registry, tmp_path)
    assert (ran.returncode, ran.stderr) == (1, "no agents: npm ended with status 1\n")
