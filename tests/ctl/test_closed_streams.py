"""omkctl and omkd in a shell that closed a stream, or whose pipe has a reader that has had enough."""

import subprocess
import sys

import pytest
from ctl_person import DEADLINE_S, Run, good

from tests.kit import Daemon, Place, running_daemon, wait_until

OMKCTL = f"{sys.executable} -m omkctl"


def shell(place: Place, text: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", text], env=place.environment, capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )


@pytest.mark.parametrize(
    "verb", ["workers", "status", "verify", "--help", "rpc omkd.status", "send-task wc x --print-id", "events -n all"]
)
@pytest.mark.usefixtures("wc")
def test_a_reader_that_has_had_enough_is_no_failure(place: Place, verb: str) -> None:
    ran = shell(place, f"{OMKCTL} {verb} | true; exit ${{PIPESTATUS[0]}}")
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.parametrize(
    ("verb", "status"),
    [
        ("publish --stdin", 0),
        ("send-task wc --file -", 2),
        ("escalate --file -", 2),
        ("inbox --watch", 2),
        ("worker remove wc", 0),
    ],
)
@pytest.mark.usefixtures("wc")
def test_a_closed_stdin_is_an_empty_one(place: Place, verb: str, status: int) -> None:
    ran = shell(place, f"{OMKCTL} {verb} <&-")
    assert "Traceback" not in ran.stderr
    assert ran.returncode == status, ran


def test_omkd_serves_with_all_streams_closed(place: Place) -> None:
    shell(place, f"{sys.executable} -m omkd <&- >&- 2>&- &")
    wait_until(place.socket.exists, "omkd does not start")
    ran = shell(place, f"{OMKCTL} status --json && {OMKCTL} shutdown")
    assert (ran.returncode, ran.stderr) == (0, "")


@pytest.mark.parametrize("verb", ["worker show publish", "send-task publish hi"])
@pytest.mark.usefixtures("daemon")
def test_a_thing_may_be_called_publish(person: Run, verb: str) -> None:
    ran = person(*verb.split(), "--json")
    assert '"name":"not_found"' in ran.out, ran


def test_offline_an_error_of_verify_is_json_too(person: Run, place: Place) -> None:
    ran = person("-S", "nosuch", "verify", "--json")
    assert ran.status == 3
    assert '"name":"not_found"' in ran.out, ran
    place.session.path.mkdir(parents=True)
    place.session.events.symlink_to(place.session.events)
    ran = person("verify", "--json")
    assert "Traceback" not in ran.err + ran.out
    assert ran.status != 0


def test_a_directory_whose_name_is_no_text_is_shown_as_invalid(daemon: Daemon, person: Run, place: Place) -> None:
    bad = place.session.workers / "n\udcff"
    bad.mkdir()
    (bad / "worker-spec.json").write_text("{}")
    client = daemon.client()
    client.call("worker.add", name="w", role="r")  # the scan has seen the other by then, or the next look has
    while not (invalid := client.call("omkd.status")["invalid_workers"]):
        client.call("omkd.hello")
    assert [each["worker"] for each in invalid] == ["n\\xff"]  # type: ignore[index]
    assert "worker n\\xff is not valid" in good(person("status"))


@pytest.mark.parametrize("variable", ["XDG_STATE_HOME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"])
def test_a_path_that_is_no_text_is_refused_at_the_start(place: Place, variable: str) -> None:
    other = f"{variable}={place.root}/$'\\xff' {sys.executable} -m omkd"
    ran = shell(place, other)
    assert ran.returncode == 2
    assert rf"the path {place.root}/\xff/omk" in ran.stderr
    assert "is not UTF-8" in ran.stderr


def test_an_error_with_a_path_that_is_no_text_is_answered(place: Place) -> None:
    place.environment["PATH"] += ":/\udcff"
    with running_daemon(place, environ_shows=True) as daemon:
        refused = daemon.client().ask("worker.add", name="w", role="r", runner={"command": ["no-such-command"]})
    assert r"/\xff" in refused["error"]["message"]
