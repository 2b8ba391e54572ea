"""`worker compact` and `rotate` against the real daemon."""

import gzip
import json
from pathlib import Path

from ctl_person import Run, good

from tests.kit import Daemon


def test_an_idle_worker_is_compacted_and_works_on(wc: str, person: Run, daemon: Daemon) -> None:
    assert good(person("send-task", wc, "one two", "--wait")) == "2\n"
    paths = [Path(line) for line in good(person("worker", "compact", wc)).splitlines()]
    kept = [path if path.is_absolute() else daemon.place.session.path / path for path in paths]
    assert any(b'"task_id"' in gzip.decompress(path.read_bytes()) for path in kept)
    assert good(person("send-task", wc, "one two three", "--wait")) == "3\n"
    assert person("verify").status == 0


def test_a_rotated_escalation_log_is_kept_and_the_tail_still_shows_all(wc: str, person: Run, daemon: Daemon) -> None:
    good(person("send-task", wc, "one", "--wait"))
    before = good(person("tail-escalations", "-n", "all", "--json"))
    kept = json.loads(good(person("rotate", "--json")))["kept"]
    assert len((daemon.place.session.path / kept).read_text().splitlines()) == len(before.splitlines())
    assert good(person("tail-escalations", "-n", "all", "--json")) == before
    good(person("send-task", wc, "two", "--wait"))
    assert len(daemon.place.session.escalations.read_text().splitlines()) == 2
    assert person("verify").status == 0
