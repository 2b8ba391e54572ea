"""`health`, `config`, `reload`, and what `status` says of a real daemon."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ctl_calls import Ended, Omkctl, Scripted
from ctl_person import Run, good
from ctl_things import TS, worker
from scripted_daemon import Silence, always, fail

from tests.kit import Daemon, Place

WELL: dict[str, Any] = {
    "omkd": "9.9.9",
    "session": "t",
    "session_dir": "/s/t",
    "socket": "/r/t.sock",
    "pid": 4711,
    "started": TS,
    "seq": 42,
    "tasks": {},
    "oldest_queued": None,
    "last_failures": [],
    "workers": [worker()],
    "invalid_workers": [],
    "unacked": 4,
    "draining": None,
    "rejected_lines": 3,
    "retried_writes": [],
    "notices": [
        {
            "name": "n",
            "sent": 1,
            "failed": 0,
            "suppressed": 0,
            "reminded": 0,
            "last_sent": TS,
            "last_error": None,
            "seq": 9,
        }
    ],
    "connections": 1,
}


def test_a_daemon_is_well_whatever_waits_for_a_person(scripted: Scripted, omkctl: Omkctl) -> None:
    scripted({"omkd.status": always(WELL)})
    assert omkctl("health") == Ended(0, "well\n", "")
    assert json.loads(omkctl("health", "--json").out) == {"state": "well", "complaints": [], "unacked": 4}


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"workers": [worker(state="stalled")]}, "no sign of life from worker coder"),
        ({"workers": [worker(state="dead")]}, "worker coder was given up"),
        ({"retried_writes": [{"path": "/x", "error": "No space left", "since": TS}]}, "cannot use /x: No space left"),
        ({"invalid_workers": [{"worker": "bad", "error": "no role"}]}, "worker bad is not valid: no role"),
        (
            {"notices": [{**WELL["notices"][0], "last_error": "exit status 22"}]},
            "notice n does not reach anybody: exit status 22",
        ),
    ],
)
def test_it_is_degraded(scripted: Scripted, omkctl: Omkctl, changed: dict[str, Any], says: str) -> None:
    scripted({"omkd.status": always({**WELL, **changed})})
    assert omkctl("health") == Ended(1, f"degraded\n  {says}\n", "")


def test_a_disk_without_room_degrades(scripted: Scripted, omkctl: Omkctl) -> None:
    """/proc is a file system on which nothing is free."""
    scripted({"omkd.status": always({**WELL, "session_dir": "/proc"})})
    says = "0 MiB are free for /proc, there should be 256"
    assert omkctl("health") == Ended(1, f"degraded\n  {says}\n", "")
    assert json.loads(omkctl("health", "--json").out)["complaints"] == [says]


def test_a_paused_worker_is_no_fault(scripted: Scripted, omkctl: Omkctl) -> None:
    scripted({"omkd.status": always({**WELL, "workers": [worker(state="paused")]})})
    assert omkctl("health").status == 0


def test_a_daemon_that_is_not_there_or_silent_is_not_reachable(scripted: Scripted, omkctl: Omkctl) -> None:
    assert omkctl("health").status == 4
    scripted({"omkd.status": fail(Silence())})
    assert omkctl("health", "--timeout", "0.1").status == 4


# --- config, reload ----------------------------------------------------------------------------------------------

Configure = Callable[[str], Path]


@pytest.fixture
def configure(place: Place) -> Configure:
    """Writes omkd.toml, where omkd looks for it."""
    path = place.root / ".config" / "omk" / "omkd.toml"
    path.parent.mkdir(parents=True)

    def write(text: str) -> Path:
        path.write_text(text)
        return path

    return write


def test_the_configuration_in_force_and_where_it_comes_from(daemon: Daemon, person: Run, configure: Configure) -> None:
    assert daemon.process.poll() is None
    path = configure("look_secs = 7\n")
    assert "look_secs = 10 s\n" in good(person("config", "show"))
    assert good(person("reload")) == "look_secs: 10 -> 7\n"
    assert "look_secs = 7 s\n" in good(person("config", "show"))
    shown = good(person("config", "show", "--sources"))
    assert f"{path}:1" in shown
    assert "max_restarts" in shown
    assert json.loads(good(person("config", "show", "--json")))["path"] == str(path)
    assert good(person("reload")) == f"{path}: nothing changed\n"


def test_without_a_daemon_it_is_what_one_would_have(person: Run, configure: Configure) -> None:
    path = configure("look_secs = 7\n")
    assert "look_secs = 7 s\n" in good(person("config", "show"))
    assert good(person("config", "path")) == f"{path}\n"
    path.unlink()
    ended = person("config", "path")
    assert (ended.status, ended.out, "no such file" in ended.err) == (0, f"{path}\n", True)
    assert "the defaults are in force" in good(person("config", "check"))


@pytest.mark.parametrize("running", [True, False])
def test_a_fault_is_named_by_file_line_and_field_and_nothing_is_taken(
    request: pytest.FixtureRequest, person: Run, configure: Configure, running: bool
) -> None:
    path = configure("max_restarts = 2\n")
    if running:
        request.getfixturevalue("daemon")
    configure("max_restarts = 3\nlook_secs = true\n")
    says = f"{path}:2: look_secs: it must be a whole number, it is true"
    checked = person("config", "check")
    assert (checked.status, checked.err) == (1, f"omkctl: {says}\n")
    error = json.loads(person("config", "check", "--json").out)["error"]
    assert (error["data"]["line"], error["data"]["field"]) == (2, "look_secs")
    if running:
        reloaded = person("reload")
        assert (reloaded.status, says in reloaded.err) == (5, True)
        assert "max_restarts = 2\n" in good(person("config", "show"))
    else:
        assert person("config", "show").status == 1


def test_a_file_that_is_not_in_use_can_be_checked(person: Run, place: Place) -> None:
    other = place.root / "other.toml"
    other.write_text("look_secs = 0\n")
    assert "look_secs: it is 0" in person("config", "check", str(other)).err
    other.write_text("look_secs = 1\n")
    assert good(person("config", "check", str(other))) == f"{other}: good\n"
    assert json.loads(good(person("config", "check", str(other), "--json")))["good"] is True


def test_what_needs_a_restart_is_said(daemon: Daemon, person: Run, configure: Configure) -> None:
    assert daemon.process.poll() is None
    configure('log_format = "json"\n')
    ended = person("reload")
    assert (ended.status, "after a restart of the daemon only: log_format" in ended.err) == (0, True)
    assert json.loads(good(person("reload", "--json")))["needs_restart"] == ["log_format"]


# --- status ------------------------------------------------------------------------------------------------------


def test_status_says_what_waits_and_why_and_what_failed(daemon: Daemon, person: Run) -> None:
    assert daemon.process.poll() is None
    good(person("worker", "add", "coder", "--", "sh", "-c", "echo no compiler; exit 3"))
    assert person("send-task", "coder", "x", "--id", "build-1", "--wait").status == 1
    good(person("worker", "pause", "coder"))
    good(person("send-task", "coder", "x", "--id", "build-2"))
    good(person("send-task", "coder", "x", "--id", "build-3"))
    said = good(person("status"))
    assert "build-2 waits longest, " in said
    assert "paused" in said.partition("build-2 waits longest, ")[2].partition("\n")[0]
    assert re.search(r"^  failed  build-1 \(coder, \d+s ago\): no compiler$", said, re.MULTILINE)
    assert "  paused: coder (omkctl worker resume NAME)\n" in said
    assert " free\n" in said
    assert "needs a person: 1 " in said
