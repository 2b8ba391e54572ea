"""The log is damaged where a start behind a snapshot does not look: who asks for it is told, all else goes on."""

import os
import signal
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.kit import Client, Place, json_lines, running_daemon, wait_until

NEEDS = 6
REFUSED = 5
DAMAGED = 78


def run(place: Place, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *command],
        env=place.environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def segment_of(place: Place) -> Path:
    return min(place.session.events.glob("*.jsonl"))


@pytest.fixture
def damaged(place: Place) -> tuple[Place, int, int]:
    """The session, the unit that cannot be read, and where it begins. It stands below the snapshot of a clean stop."""
    with running_daemon(place) as daemon, closing(Client(place.socket)) as client:
        for number in range(NEEDS):
            client.call("event.publish", event={"PersonNeeded": {"text": f"need {number}"}})
        wait_until(lambda: len(json_lines(place.session.escalations)) == NEEDS, "no escalations")
        assert daemon.stop() == 0
    spoil(place, b"need 3")
    lines = segment_of(place).read_bytes().splitlines(keepends=True)
    number = next(number for number, line in enumerate(lines, 1) if b"\xff" in line)
    return place, number, len(b"".join(lines[: number - 1]))


def spoil(place: Place, text: bytes) -> None:
    content = segment_of(place).read_bytes()
    assert content.count(text) == 1
    segment_of(place).write_bytes(content.replace(text, b"\xff" * len(text)))


def test_who_asks_for_it_is_told_segment_byte_and_mend_and_the_daemon_goes_on(damaged: tuple[Place, int, int]) -> None:
    place, _, offset = damaged
    with running_daemon(place) as daemon, closing(Client(place.socket)) as client:
        asked: list[tuple[str, dict[str, object]]] = [
            ("event.list", {}),
            ("event.list", {"last": 100}),
            ("escalation.list", {}),
            ("escalation.list", {"lines": 4}),
            ("event.subscribe", {"last": 100}),
            ("escalation.tail", {"lines": 4}),
        ]
        for method, params in asked:
            error: Any = client.ask(method, **params)["error"]
            assert error["data"] == {"name": "log_damaged", "path": str(segment_of(place)), "offset": offset}
            for word in (f"damaged at byte {offset}", "omkctl verify", "stop omkd", "omkd repair", "backup"):
                assert word in error["message"]
        assert len(client.call("escalation.list", lines=2)["escalations"]) == 2  # type: ignore[arg-type]
        said = run(place, "omkctl", "events", "-n", "all")
        assert (said.returncode, "Traceback" in said.stderr, f"byte {offset}" in said.stderr) == (REFUSED, False, True)
        assert [each["kind"] for each in findings(client)] == ["sequence"]
        assert daemon.stop() == 0
        log = daemon.log.read_text()
    assert log.count(f"damaged at byte {offset}") == 1
    assert "Traceback" not in log
    assert "fault" not in log


def findings(client: Client) -> list[Any]:
    found: Any = client.call("omkd.verify")["findings"]
    return list(found)


@pytest.mark.parametrize("method", ["event.subscribe", "escalation.tail"])
def test_a_subscription_is_told_a_gap_and_goes_on_behind_it(damaged: tuple[Place, int, int], method: str) -> None:
    place, number, _ = damaged
    with running_daemon(place) as daemon, closing(Client(place.socket)) as client:
        subscription = client.call(method, after=0)["subscription"]
        seen: list[int] = []
        while not seen or seen[-1] < number + 2:
            note: Any = client.next_notification()
            if note["method"] == "gap":
                assert note["params"] == {"subscription": subscription, "first": number, "last": number}
                assert seen[-1] == number - 1
            else:
                seen.append(note["params"]["seq"] if "seq" in note["params"] else note["params"]["unit"]["seq"])
        assert number not in seen
        assert {number - 1, number + 1, number + 2} <= set(seen)
        live: Any = client.call("event.publish", event={"PersonNeeded": {"text": "live"}})["seq"]
        while seen[-1] < live:
            note = client.next_notification()
            seen.append(note["params"]["seq"] if "seq" in note["params"] else note["params"]["unit"]["seq"])
        assert "Traceback" not in daemon.log.read_text()


def test_repair_moves_it_aside_and_the_next_start_is_clean(damaged: tuple[Place, int, int]) -> None:
    place, number, _ = damaged
    repaired = run(place, "omkd", "repair")
    assert (repaired.returncode, f"units {number} to {number} are lost" in repaired.stdout) == (0, True)
    assert run(place, "omkd", "verify").returncode == 0
    for _ in range(2):
        with running_daemon(place) as daemon, closing(Client(place.socket)) as client:
            listed: Any = client.call("event.list", limit=1000)["units"]
            assert [each["seq"] for each in listed] == [seq for seq in range(1, listed[-1]["seq"] + 1) if seq != number]
            client.call("event.subscribe", after=number - 1)
            gap: Any = client.next_notification()
            assert (gap["method"], gap["params"]["first"], gap["params"]["last"]) == ("gap", number, number)
            assert findings(client) == []
            assert daemon.stop() == 0
        assert "damaged at byte" not in daemon.log.read_text()
    assert run(place, "omkd", "repair").stdout == "nothing is damaged\n"


def test_a_service_that_needs_it_ends_the_daemon_with_78_and_one_line(damaged: tuple[Place, int, int]) -> None:
    place, _, offset = damaged
    place.session.escalations_pos.unlink()
    ended = run(place, "omkd")
    assert ended.returncode == DAMAGED, ended.stderr
    assert f"omkd: {segment_of(place)}: damaged at byte {offset}" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert run(place, "omkd", "repair").returncode == 0
    with running_daemon(place), closing(Client(place.socket)) as client:
        assert findings(client) == []


def test_a_segment_that_is_taken_away_under_the_daemon_is_told_likewise(damaged: tuple[Place, int, int]) -> None:
    place, _, _ = damaged
    with running_daemon(place) as daemon, closing(Client(place.socket)) as client:
        client.call("omkd.status")  # it is answered when no service has to read it any more
        os.rename(segment_of(place), place.root / "taken away")
        error: Any = client.ask("event.list")["error"]
        assert (error["data"]["name"], "No such file" in error["message"]) == ("log_damaged", True)
        assert "Traceback" not in daemon.log.read_text()
        daemon.stop(signal.SIGKILL)
