"""Lines of the log: their forms, what is not in them, and a stderr that nobody reads."""

import io
import json
import logging
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omkd.logs import LineFormatter, QueuedHandler, is_journal
from omkd.protocol.redaction import REDACTED, is_secret_name, redacted, redacted_text, secrets_in
from tests.kit import Client, Place, running_daemon, serves, wait_until

DEADLINE_S = 20.0


def record(message: str, *arguments: object, level: int = logging.INFO) -> logging.LogRecord:
    made = logging.LogRecord("omkd.part", level, __file__, 1, message, arguments, None)
    made.created = 1_770_000_000.25
    return made


def failed_record() -> logging.LogRecord:
    made = record("it failed", level=logging.ERROR)
    try:
        raise ValueError("API_TOKEN=abcdefgh")
    except ValueError:
        made.exc_info = sys.exc_info()
    return made


def test_a_line_of_text_has_time_level_and_part():
    line = LineFormatter(as_json=False, prefixed=False).format(record("worker %s", "coder"))
    assert line == "2026-02-02T02:40:00.250Z INFO omkd.part: worker coder"


def test_a_line_of_json_is_one_object():
    line = LineFormatter(as_json=True, prefixed=False).format(record("x", level=logging.WARNING))
    assert json.loads(line) == {
        "ts": "2026-02-02T02:40:00.250Z",
        "level": "warning",
        "logger": "omkd.part",
        "message": "x",
    }


@pytest.mark.parametrize(
    ("level", "number"), [(logging.DEBUG, 7), (logging.INFO, 6), (logging.WARNING, 4), (logging.ERROR, 3)]
)
def test_the_journal_is_told_the_priority(level: int, number: int):
    assert LineFormatter(as_json=False, prefixed=True).format(record("x", level=level)) == f"<{number}>omkd.part: x"


def test_each_line_of_a_traceback_has_the_priority():
    lines = LineFormatter(as_json=False, prefixed=True).format(failed_record()).splitlines()
    assert len(lines) > 3
    assert all(line.startswith("<3>") for line in lines)


def test_a_traceback_is_in_the_json_object_and_not_beside_it():
    line = LineFormatter(as_json=True, prefixed=False).format(failed_record())
    assert "\n" not in line
    assert json.loads(line)["trace"].startswith("Traceback")


@pytest.mark.parametrize("as_json", [False, True])
@given(text=st.text())
def test_whatever_a_peer_says_stays_on_one_line(as_json: bool, text: str):
    line = LineFormatter(as_json=as_json, prefixed=False).format(record("client %s", text))
    assert len(line.splitlines()) == 1
    assert "\x1b" not in line


# --- secrets


@pytest.mark.parametrize("name", ["GITHUB_TOKEN", "TOKEN", "OPENAI_API_KEY", "aws_secret_access_key", "DB_PASSWORD_2"])
def test_names_of_secrets_are_known(name: str):
    assert is_secret_name(name)
    assert redacted({name: "x", "PATH": "/bin"}) == {name: REDACTED, "PATH": "/bin"}


@pytest.mark.parametrize("name", ["PATH", "key", "KEYBOARD", "TOKENIZER", "MONKEY", "OMK_WORKER"])
def test_other_names_are_not(name: str):
    assert not is_secret_name(name)


@pytest.mark.parametrize(
    "text",
    [
        "GITHUB_TOKEN=hunter2hunter2",
        "env: {'API_KEY': 'hunter2hunter2', 'A': 'b'}",
        '{"api_key":"hunter2hunter2"}',
        "MY_SECRET: hunter2hunter2",
        "db_password='hunter2hunter2'",
        "Authorization: Bearer hunter2hunter2",
    ],
)
def test_values_of_secret_names_are_not_in_a_line(text: str):
    line = LineFormatter(as_json=False, prefixed=False).format(record("%s and the rest", text))
    assert "hunter2" not in line
    assert REDACTED in line
    assert line.endswith("and the rest")


def test_nor_are_the_values_that_the_environment_calls_secret():
    secrets = secrets_in({"X_TOKEN": "long-enough-1", "Y_KEY": "short", "PATH": "/long/enough/2"})
    text = "failed with long-enough-1 in /long/enough/2 short"
    assert redacted_text(text, secrets) == f"failed with {REDACTED} in /long/enough/2 short"


def test_secrets_in_a_traceback_are_not_shown():
    assert "abcdefgh" not in LineFormatter(as_json=False, prefixed=False).format(failed_record())


# --- a stderr that is not read


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    try:
        yield reading, writing
    finally:
        os.close(reading)
        os.close(writing)


def test_a_stderr_that_nobody_reads_holds_nobody_up_and_what_was_dropped_is_said(pipe: tuple[int, int]):
    reading, writing = pipe
    handler = QueuedHandler(writing, LineFormatter(as_json=False, prefixed=False), max_queued=50)
    began = time.monotonic()
    for number in range(5000):
        handler.emit(record("%d %s", number, "x" * 100))
    assert time.monotonic() - began < DEADLINE_S / 4
    text = b""
    os.set_blocking(reading, False)
    with io.FileIO(reading, closefd=False) as file:
        while text.count(b"x" * 100) + sum(map(int, re.findall(rb": (\d+) lines of this log", text))) < 5000:
            text += file.readall() or b""
            assert time.monotonic() - began < DEADLINE_S, text[-1000:]
        handler.close()
        text += file.readall() or b""
    dropped = sum(map(int, re.findall(rb": (\d+) lines of this log were dropped", text)))
    assert dropped > 0
    assert text.count(b"x" * 100) + dropped == 5000


def test_what_waits_is_written_at_the_end(pipe: tuple[int, int]):
    reading, writing = pipe
    handler = QueuedHandler(writing, LineFormatter(as_json=False, prefixed=False))
    for number in range(300):
        handler.emit(record("%d", number))
    handler.close()
    lines = os.read(reading, 1_000_000).decode().splitlines()
    assert [line.rsplit(" ", 1)[1] for line in lines] == [str(number) for number in range(300)]


def test_the_end_waits_for_a_stalled_stderr_not_for_long(pipe: tuple[int, int]):
    handler = QueuedHandler(pipe[1], LineFormatter(as_json=False, prefixed=False), max_queued=50)
    for _ in range(200):
        handler.emit(record("%s", "x" * 4096))
    began = time.monotonic()
    handler.close()
    assert time.monotonic() - began < DEADLINE_S / 2
    os.set_blocking(pipe[0], False)
    with io.FileIO(pipe[0], closefd=False) as left:  # lets the thread end
        wait_until(lambda: left.readall() is None and not handler._thread.is_alive(), "the thread stays")


def test_a_stderr_whose_reader_is_gone_is_no_fault():
    reading, writing = os.pipe()
    os.close(reading)
    handler = QueuedHandler(writing, LineFormatter(as_json=False, prefixed=False))
    handler.emit(record("x"))
    handler.close()
    os.close(writing)


# --- the daemon


def test_the_journals_stream_is_told_by_its_inode(tmp_path: Path):
    with (tmp_path / "x").open("w") as file:
        status = os.fstat(file.fileno())
        assert is_journal({"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino}"}, file.fileno())
        assert not is_journal({"JOURNAL_STREAM": f"{status.st_dev}:{status.st_ino + 1}"}, file.fileno())
        assert not is_journal({}, file.fileno())


def test_omkd_writes_to_the_journal_with_priorities(place: Place):
    log = place.root / "omkd.log"
    log.touch()
    status = log.stat()
    place.environment["JOURNAL_STREAM"] = f"{status.st_dev}:{status.st_ino}"
    with running_daemon(place) as daemon:
        client = daemon.client()
        client.call("event.publish", event={"PersonNeeded": {"text": "which port?"}})
        client.close()
        wait_until(lambda: "which port" in log.read_text(), "the event is not in the log")
        assert daemon.stop() == 0
    lines = log.read_text().splitlines()
    assert all(line.startswith(("<6>omkd.", "<4>omkd.")) for line in lines)
    (asked,) = [line for line in lines if "which port" in line]
    assert asked.startswith("<4>omkd.services.event_lines: unit 2 by pid ")


def test_one_line_for_each_event_from_outside_without_the_tasks_text(place: Place):
    log = place.root / "omkd.log"
    with running_daemon(place, "--log-format", "json") as daemon:
        client = daemon.client()
        client.call("worker.add", name="w", role="r")
        client.call("task.send", target={"worker": "w"}, task={"task": "my secret plan"})
        client.close()
        wait_until(lambda: "TaskQueued" in log.read_text(), "the event is not in the log")
        daemon.stop()
    messages = [json.loads(line)["message"] for line in log.read_text().splitlines()]
    ours = [message.partition(": ")[2] for message in messages if message.startswith("unit ")]
    assert ours == ["WorkerRegistered w", "TaskQueued t3"]
    assert "secret plan" not in log.read_text()


def test_a_daemon_whose_stderr_nobody_reads_goes_on_and_ends(place: Place, pipe: tuple[int, int]):
    process = subprocess.Popen(
        [sys.executable, "-m", "omkd"],
        env=place.environment | {"OMKD_LOG_LEVEL": "debug"},
        stderr=pipe[1],
        start_new_session=True,
    )
    try:
        wait_until(lambda: serves(place, process.pid), "omkd does not start")
        client = Client(place.socket)
        for _ in range(300):  # four times what a pipe holds
            client.call("event.publish", event={"PersonNeeded": {"text": "x" * 1000}})
        client.close()
        process.terminate()
        assert process.wait(DEADLINE_S) == 0
    finally:
        process.kill()
        process.wait()
