"""`pending_escalations.jsonl`: the escalation log as a file, each line once, whatever happens to it or the daemon."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.kit import Client, Place, append, json_lines, running_daemon, wait_until


def publish(client: Client, *texts: str) -> None:
    for text in texts:
        client.call("event.publish", event={"PersonNeeded": {"text": text}})


def listed(client: Client) -> list[Any]:
    """All lines, as the control API has them."""
    found: list[Any] = []
    after: Any = 0
    while after is not None:
        page: Any = client.call("escalation.list", after=after, limit=1000)
        found += [each["entry"] for each in page["escalations"]]
        after = page["next"]
    return found


def texts(path: Path) -> list[str]:
    return [entry["summary"] for entry in json_lines(path)]


def wait_texts(path: Path, *wanted: str) -> None:
    wait_until(lambda: path.exists() and texts(path) == list(wanted), f"{path} never has {wanted}")


def aside(place: Place) -> list[Path]:
    return sorted(place.session.path.glob("pending_escalations.jsonl.aside-*"))


def test_the_file_is_what_the_api_lists(client: Client, place: Place) -> None:
    publish(client, *(f"é{number}" for number in range(100)))
    wait_until(lambda: len(json_lines(place.session.escalations)) == 100, "lines are missing")
    assert json_lines(place.session.escalations) == listed(client)


def test_kills_and_restarts_repeat_and_lose_nothing(place: Place) -> None:
    count = 0
    for _ in range(4):
        with running_daemon(place) as daemon:
            client = daemon.client()
            publish(client, *(str(number) for number in range(count, count + 50)))
            count += 50
            daemon.kill()
    with running_daemon(place):
        wait_texts(place.session.escalations, *map(str, range(count)))
    assert aside(place) == []


def test_a_torn_last_line_is_completed(place: Place) -> None:
    with running_daemon(place) as daemon:
        publish(daemon.client(), "one", "two")
        wait_texts(place.session.escalations, "one", "two")
        daemon.kill()
    whole = place.session.escalations.read_bytes()
    for cut in (1, 30, len(whole) - whole.index(b"\n") - 1):
        place.session.escalations.write_bytes(whole[:-cut])
        with running_daemon(place) as daemon:
            wait_texts(place.session.escalations, "one", "two")
            daemon.kill()
        assert place.session.escalations.read_bytes() == whole
    assert aside(place) == []


def test_a_file_that_is_removed_or_renamed_meanwhile_is_begun_anew(client: Client, place: Place) -> None:
    path = place.session.escalations
    publish(client, "one")
    wait_texts(path, "one")
    path.unlink()
    publish(client, "two")
    wait_texts(path, "two")
    path.rename(place.root / "rotated")
    publish(client, "three")
    wait_texts(path, "three")
    assert texts(place.root / "rotated") == ["two"]
    assert [entry["summary"] for entry in listed(client)] == ["one", "two", "three"]
    assert aside(place) == []


def test_a_file_that_is_emptied_meanwhile_goes_on(client: Client, place: Place) -> None:
    publish(client, "one")
    wait_texts(place.session.escalations, "one")
    os.truncate(place.session.escalations, 0)
    publish(client, "two")
    wait_texts(place.session.escalations, "two")


@pytest.mark.parametrize("cut", [1, 10, 200])
def test_a_file_that_is_cut_meanwhile_gets_back_what_it_lost(client: Client, place: Place, cut: int) -> None:
    """Within its last line, and within the one before that."""
    publish(client, "one", "two", "three")
    wait_texts(place.session.escalations, "one", "two", "three")
    os.truncate(place.session.escalations, place.session.escalations.stat().st_size - cut)
    publish(client, "four")
    wait_texts(place.session.escalations, "one", "two", "three", "four")
    assert client.call("omkd.verify")["findings"] == []
    assert aside(place) == []


def test_a_file_that_is_cut_while_nobody_serves_gets_back_what_it_lost(place: Place) -> None:
    with running_daemon(place) as daemon:
        publish(daemon.client(), "one", "two")
        wait_texts(place.session.escalations, "one", "two")
        daemon.stop()
    os.truncate(place.session.escalations, place.session.escalations.stat().st_size - 5)
    with running_daemon(place):
        wait_texts(place.session.escalations, "one", "two")
    assert aside(place) == []


def test_a_file_renamed_while_the_daemon_is_down_loses_nothing(place: Place) -> None:
    path = place.session.escalations
    with running_daemon(place) as daemon:
        publish(daemon.client(), "one")
        wait_texts(path, "one")
        daemon.stop()
    path.rename(place.root / "rotated")
    with running_daemon(place) as daemon:
        publish(daemon.client(), "two")
        wait_texts(path, "two")
        daemon.kill()
    path.rename(place.root / "rotated again")
    with running_daemon(place) as daemon:
        publish(daemon.client(), "three")
        wait_until(lambda: path.exists() and texts(path)[-1:] == ["three"], "the line does not come")
    everything = [text for each in ("rotated", "rotated again") for text in texts(place.root / each)] + texts(path)
    assert list(dict.fromkeys(everything)) == ["one", "two", "three"]


def test_text_that_is_not_the_logs_is_kept_under_another_name(place: Place) -> None:
    path = place.session.escalations
    with running_daemon(place) as daemon:
        client = daemon.client()
        publish(client, "one")
        wait_texts(path, "one")
        append(path, {"summary": "written by another"})
        publish(client, "two")
        wait_texts(path, "two")
        (kept,) = aside(place)
        assert texts(kept) == ["one", "written by another"]
        assert str(kept) in daemon.log.read_text()
        daemon.stop()
    append(path, {"summary": "again"})
    with running_daemon(place) as daemon:
        publish(daemon.client(), "three")
        wait_texts(path, "three")
    assert len(aside(place)) == 2
    assert texts(kept) == ["one", "written by another"]


def test_a_position_that_cannot_be_read_is_found_again(place: Place) -> None:
    with running_daemon(place) as daemon:
        publish(daemon.client(), "one", "two")
        wait_texts(place.session.escalations, "one", "two")
        daemon.stop()
    place.session.escalations_pos.write_text("nonsense")
    with running_daemon(place) as daemon:
        publish(daemon.client(), "three")
        wait_texts(place.session.escalations, "one", "two", "three")
    assert aside(place) == []


def test_a_symlink_in_its_place_is_not_written_through(client: Client, place: Place) -> None:
    publish(client, "one")
    wait_texts(place.session.escalations, "one")
    target = place.root / "target"
    target.write_text("")
    place.session.escalations.unlink()
    place.session.escalations.symlink_to(target)
    publish(client, "two")

    def retried() -> list[str]:
        writes: Any = client.call("omkd.status")["retried_writes"]
        return [each["path"] for each in writes]

    wait_until(lambda: retried() == [str(place.session.escalations)], "it is not shown")
    assert target.read_text() == ""
    place.session.escalations.unlink()
    wait_texts(place.session.escalations, "two")
    wait_until(lambda: retried() == [], "it is shown for ever")


# --- rotation


def rotated(place: Place) -> list[Path]:
    return sorted(place.session.path.glob("pending_escalations.jsonl.2*"))


def test_a_rotation_begins_a_new_file_and_keeps_the_old(client: Client, place: Place) -> None:
    assert client.call("escalation.rotate") == {"kept": None}
    publish(client, "one")
    wait_texts(place.session.escalations, "one")
    kept = client.call("escalation.rotate")["kept"]
    assert [str(path) for path in rotated(place)] == [kept]
    publish(client, "two")
    wait_texts(place.session.escalations, "two")
    assert texts(rotated(place)[0]) == ["one"]
    client.call("escalation.rotate")
    client.call("escalation.rotate")
    assert len(rotated(place)) == 3
    assert client.call("omkd.verify")["findings"] == []


def test_a_kill_behind_any_step_of_a_rotation_repeats_and_loses_nothing(place: Place) -> None:
    """Position written; old file renamed; new file named: the states between, made by hand."""
    current = place.session.escalations
    nameless = current.with_name(f".{current.name}.new")
    for step in range(3):
        with running_daemon(place) as daemon:
            publish(daemon.client(), f"{step}a")
            daemon.stop()
        assert texts(current) == [f"{step}a"]
        nameless.touch()
        pos = json.loads(place.session.escalations_pos.read_bytes())
        pos |= {"inode": nameless.stat().st_ino, "offset": 0}
        place.session.escalations_pos.write_text(json.dumps(pos))
        if step > 0:
            current.rename(current.with_name(f"{current.name}.2000-01-0{step}T000000Z"))
        if step > 1:
            nameless.rename(current)
    with running_daemon(place) as daemon:
        publish(daemon.client(), "last")
        wait_texts(current, "last")
        daemon.stop()
    assert sorted(text for path in rotated(place) for text in texts(path)) == ["0a", "1a", "2a"]
    assert aside(place) == []


@pytest.mark.parametrize("kind", ["symlink", "directory", "fifo"])
def test_what_is_no_file_in_its_place_holds_no_start_up_and_is_said(place: Place, kind: str) -> None:
    with running_daemon(place) as daemon:
        publish(daemon.client(), "one")
        daemon.kill()
    place.session.escalations.unlink(missing_ok=True)
    match kind:
        case "symlink":
            place.session.escalations.symlink_to(place.root / "elsewhere")
        case "directory":
            place.session.escalations.mkdir()
        case _:
            os.mkfifo(place.session.escalations)
    with running_daemon(place) as daemon:
        client = daemon.client()
        publish(client, "two")
        told: Any = client.call("omkd.status")["retried_writes"]
        assert [each["path"] for each in told] == [str(place.session.escalations)]
        if kind == "directory":
            place.session.escalations.rmdir()
        else:
            place.session.escalations.unlink()
        wait_until(lambda: len(json_lines(place.session.escalations)) == 2, "it does not go on")
