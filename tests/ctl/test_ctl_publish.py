"""`publish` is called by hooks: quick, silent, never at stdin, and nothing lost while no daemon answers."""

import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from types import NoneType
from typing import Any, get_args

import pytest
from ctl_calls import Ended, Omkctl, Scripted
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scripted_daemon import Hangup, Silence, always, fail

from omkctl import client
from omkctl.commands.publish import TEXT_FIELDS
from omkctl.failures import Failure
from omkctl.locate import Address
from omkctl.own_events import append_event
from omkctl.publishing import ANSWER_SECS, PATIENCE_SECS
from omkd.protocol.errors import ApiError, ErrorKind
from omkd.protocol.events import PublishedEvent
from omkd.protocol.wire_forms import tag_of, wire_fields


def omkctl_process(*arguments: str, stdin: bytes = b"") -> Ended:
    command = [sys.executable, "-m", "omkctl", *arguments]
    ran = subprocess.run(command, input=stdin, capture_output=True, timeout=30, check=False)
    return Ended(ran.returncode, ran.stdout.decode(), ran.stderr.decode())


def assert_quick(begun: float) -> None:
    """What it waits for is below the two seconds that hooks are promised, and it waits for nothing else."""
    assert PATIENCE_SECS + ANSWER_SECS < 1.5
    assert time.monotonic() - begun < client.ANSWER_SECS / 3  # a busy machine's start of Python may be long


@pytest.fixture
def events_file(address: Address, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of worker `coder`, in whose run we are."""
    directory = address.session_dir / "workers" / "coder"
    directory.mkdir(parents=True)
    monkeypatch.setenv("OMK_SESSION", "default")
    monkeypatch.setenv("OMK_WORKER", "coder")
    return directory / "events.jsonl"


@pytest.mark.parametrize(
    ("arguments", "event"),
    [
        (["WorkerProgress", "worker_id=c", "percent=40"], {"WorkerProgress": {"worker_id": "c", "percent": 40}}),
        (["CostDelta", "usd=0.10"], {"CostDelta": {"usd": 0.1}}),
        (["DisclosureLine", "value=I may be wrong"], {"DisclosureLine": "I may be wrong"}),
        (["Odd"], "Odd"),
        (["PersonNeeded", "text=42"], {"PersonNeeded": {"text": "42"}}),
        (["PersonNeeded", "text=true", "task_id=null"], {"PersonNeeded": {"text": "true", "task_id": "null"}}),
        (["PersonNeeded", "text:=42"], {"PersonNeeded": {"text": 42}}),
        (["DisclosureLine", "value=null"], {"DisclosureLine": "null"}),
        (["WorkerCompleted", "worker_id=7", "ok=true"], {"WorkerCompleted": {"worker_id": "7", "ok": True}}),
        (["PersonNeeded", "--json", '{"text":"help"}'], {"PersonNeeded": {"text": "help"}}),
        (["PersonNeeded", '{"text":"help"}'], {"PersonNeeded": {"text": "help"}}),
        (["--json", '{"PersonNeeded":{"text":"help"}}'], {"PersonNeeded": {"text": "help"}}),
        (['{"PersonNeeded":{"text":"help"}}'], {"PersonNeeded": {"text": "help"}}),
    ],
)
def test_an_event_goes_to_the_daemon_in_the_logs_form(
    scripted: Scripted, omkctl: Omkctl, arguments: list[str], event: object
) -> None:
    daemon = scripted({"event.publish": always({"seq": 7})})
    assert omkctl("publish", *arguments) == Ended(0, "", "")
    assert daemon.asked == [("event.publish", {"event": event})]


def test_which_fields_are_text_is_what_the_daemon_takes_for_text() -> None:
    def is_text(type_: Any) -> bool:
        types = set(get_args(type_)) - {NoneType} if NoneType in get_args(type_) else {type_}
        return {getattr(each, "__supertype__", each) for each in types} == {str}

    texts = {
        tag_of(cls): frozenset(field.key for field in wire_fields(cls) if is_text(field.type))
        for cls in get_args(PublishedEvent)
    }
    assert {tag: fields for tag, fields in texts.items() if fields} == TEXT_FIELDS


def test_with_json_before_the_verb_it_says_where_it_is(scripted: Scripted, omkctl: Omkctl) -> None:
    scripted({"event.publish": always({"seq": 7})})
    assert omkctl("--json", "publish", "A", "b=1") == Ended(0, '{"seq":7}\n', "")


def test_many_events_come_on_stdin(scripted: Scripted) -> None:
    daemon = scripted({"event.publish": always({"seq": 7})})
    stdin = b'{"A":{"b":1}}\n\n{"C":{"d":0.10}}'
    assert omkctl_process("publish", "--stdin", stdin=stdin) == Ended(0, "", "")
    assert omkctl_process("publish", "T", "--stdin", stdin=b'{"b":1}\n') == Ended(0, "", "")
    assert [params["event"] for _, params in daemon.asked] == [{"A": {"b": 1}}, {"C": {"d": 0.1}}, {"T": {"b": 1}}]


def test_a_line_that_is_not_json_is_named(scripted: Scripted) -> None:
    daemon = scripted({"event.publish": always({"seq": 7})})
    ended = omkctl_process("publish", "--stdin", stdin=b'{"A":{}}\nnot json\n')
    assert (ended.status, len(daemon.asked)) == (2, 1)
    assert "line 2 is not JSON" in ended.err


def test_stdin_is_left_alone_without_its_option(scripted: Scripted) -> None:
    scripted({"event.publish": always({"seq": 7})})
    reading, writing = os.pipe()
    os.write(writing, b"the agent's own stream\n")
    subprocess.run([sys.executable, "-m", "omkctl", "publish", "A", "b=1"], stdin=reading, check=True, timeout=30)
    os.close(writing)
    with os.fdopen(reading, "rb") as left:
        assert left.read() == b"the agent's own stream\n"


def test_in_a_worker_an_event_is_about_that_worker(scripted: Scripted, omkctl: Omkctl, events_file: Path) -> None:
    daemon = scripted({"event.publish": always({"seq": 7})})
    assert omkctl("publish", "WorkerProgress", "percent=40").status == 0
    assert omkctl("publish", "CostDelta", "usd=1").status == 0
    assert [params["event"] for _, params in daemon.asked] == [
        {"WorkerProgress": {"worker_id": "coder", "percent": 40}},
        {"CostDelta": {"usd": 1}},
    ]
    assert not events_file.exists()


def test_without_a_daemon_an_event_goes_into_the_workers_own_file(omkctl: Omkctl, events_file: Path) -> None:
    ended = omkctl("publish", "WorkerProgress", "percent=40")
    assert (ended.status, ended.out) == (0, "")
    assert str(events_file) in ended.err
    assert events_file.read_text() == '{"WorkerProgress":{"worker_id":"coder","percent":40}}\n'
    assert events_file.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("name", "below"), [("OMK_TASK_FILE", "runs/t1/t1/task.json"), ("OMK_AGENT_OF", "")])
def test_the_host_says_where_the_workers_file_is(
    omkctl: Omkctl, home: Path, events_file: Path, monkeypatch: pytest.MonkeyPatch, name: str, below: str
) -> None:
    """A daemon with --state-dir keeps its sessions elsewhere than this environment says."""
    elsewhere = home / "elsewhere" / "default" / "workers" / "coder"
    (elsewhere / "runs" / "t1" / "t1").mkdir(parents=True)
    monkeypatch.setenv(name, str(elsewhere / below))
    assert omkctl("publish", "WorkerProgress", "percent=40").status == 0
    assert (elsewhere / "events.jsonl").exists()
    assert not events_file.exists()


def test_outside_of_a_worker_it_ends_in_4_without_a_daemon(
    omkctl: Omkctl, events_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OMK_WORKER")
    assert omkctl("publish", "WorkerProgress", "percent=40").status == 4
    monkeypatch.setenv("OMK_WORKER", "../coder")
    assert omkctl("publish", "WorkerProgress", "percent=40").status == 4
    monkeypatch.setenv("OMK_WORKER", "nobody")
    assert omkctl("publish", "WorkerProgress", "percent=40").status == 4
    assert not events_file.exists()


def test_what_the_daemon_refuses_does_not_go_into_the_file(
    scripted: Scripted, omkctl: Omkctl, events_file: Path
) -> None:
    scripted({"event.publish": fail(ApiError(ErrorKind.REFUSED, "not yours"))})
    assert omkctl("publish", "WorkerProgress", "worker_id=other").status == 5
    assert not events_file.exists()


def test_a_daemon_that_hangs_costs_a_hook_less_than_two_seconds(scripted: Scripted, events_file: Path) -> None:
    scripted({"event.publish": always({}), "omkd.hello": fail(Silence())})
    begun = time.monotonic()
    assert omkctl_process("publish", "WorkerProgress", "percent=40").status == 0
    assert_quick(begun)
    assert events_file.read_text().count("\n") == 1


@pytest.mark.parametrize("how", [Silence, Hangup])
def test_an_event_that_a_daemon_took_and_did_not_answer_goes_into_no_file(
    scripted: Scripted, events_file: Path, how: type[Exception]
) -> None:
    """It would be recorded twice. What comes behind it was not sent, and goes there."""
    scripted({"event.publish": fail(how())})
    begun = time.monotonic()
    ended = omkctl_process("publish", "--stdin", stdin=b'{"A":{}}\n' * 50)
    assert_quick(begun)
    assert (ended.status, events_file.read_text().count("\n")) == (4, 49)
    assert "whether it is recorded `omkctl events -n 5` shows" in ended.err


def test_what_a_daemon_that_is_ending_did_not_take_goes_into_the_file(scripted: Scripted, events_file: Path) -> None:
    scripted({"event.publish": fail(ApiError(ErrorKind.SHUTTING_DOWN, "omkd is ending"))})
    assert omkctl_process("publish", "WorkerProgress", "percent=40").status == 0
    assert events_file.read_text().count("\n") == 1


def test_a_write_that_is_cut_short_is_a_failure(events_file: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(Failure, match="File too large"):
            append_event(events_file, {"DisclosureLine": "x" * 3000})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_torn_line_is_ended_first(events_file: Path) -> None:
    events_file.write_bytes(b'{"a":1}\n{"torn')
    append_event(events_file, {"B": {}})
    assert events_file.read_bytes() == b'{"a":1}\n{"torn\n{"B":{}}\n'


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), st.integers()), max_size=5))
def test_each_event_is_one_line(events_file: Path, events: list[dict[str, int]]) -> None:
    events_file.unlink(missing_ok=True)
    for event in events:
        append_event(events_file, event)
    lines = events_file.read_bytes().split(b"\n")[:-1] if events else []
    assert [json.loads(line) for line in lines] == events


def test_a_symlink_in_place_of_the_file_is_refused(omkctl: Omkctl, events_file: Path, home: Path) -> None:
    events_file.symlink_to(home / "elsewhere")
    ended = omkctl("publish", "WorkerProgress", "percent=40")
    assert ended.status == 5
    assert "cannot write" in ended.err


def test_an_event_that_is_too_large_is_refused(omkctl: Omkctl, events_file: Path) -> None:
    ended = omkctl("publish", "PersonNeeded", f"text={'x' * 300_000}")
    assert ended.status == 2
    assert not events_file.exists()
