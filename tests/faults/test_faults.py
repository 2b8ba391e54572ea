"""The share of the torture that every run of the tests has: a tenth of what CI has. All of it: `make torture`.

Each program says its seed, and with what it can be run again; so a failure here is not one that nobody sees twice.
"""

import json
import os
import subprocess
import sys
from typing import Any

SEED = int(os.environ.get("OMKD_SEED", "1"))
PART = 1.0 if os.environ.get("CI") else 0.1
"""Of what CI has (`.ci/run` sets CI); the rest of a developer's patience belongs to the other tests."""

DEADLINE_S = 400


def figures(module: str, **options: float) -> dict[str, Any]:
    """What the program did; that it found nothing lost is asserted."""
    arguments = [text for name, value in options.items() for text in (f"--{name}", str(value))]
    command = [sys.executable, "-m", module, "--seed", str(SEED), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == 0, f"{' '.join(command)}:\n{done.stderr[-6000:]}"
    found = json.loads(done.stdout.splitlines()[-1])
    assert isinstance(found, dict)
    return found


def test_nothing_answered_is_lost_whatever_call_fails_or_is_the_last_one() -> None:
    cases = round(100 * PART)
    found = figures("tests.faults.crash_points", cases=cases)
    assert found["points"] > 150, "the trace has lost most of its points"
    assert found["cases"] == cases
    assert found["struck"] > cases / 2, f"the faults do not come where they should: {found}"
    assert found["deaths"] > 0
    assert found["refusals"] > 0


def test_a_hosts_tasks_end_once_whatever_call_of_it_fails_or_is_the_last_one() -> None:
    cases = max(5, round(20 * PART))
    found = figures("tests.faults.host_points", cases=cases)
    assert found["cases"] == cases
    assert found["struck"] > cases / 2, f"the faults do not come where they should: {found}"


def test_nothing_answered_is_lost_when_the_power_goes() -> None:
    cases = round(200 * PART)
    found = figures("tests.faults.power_loss", cases=cases)
    assert found["cases"] == cases
    assert found["told"] > 2 * cases


def test_nothing_answered_is_lost_or_done_twice_when_processes_are_killed_under_load() -> None:
    rounds = round(20 * PART)
    found = figures("tests.faults.kill_loop", cases=rounds)
    assert found["rounds"] == rounds
    assert found["kills"] >= rounds
    assert found["tasks"] > 50 * rounds


def test_what_the_log_still_has_is_found_and_what_it_has_no_more_is_told() -> None:
    steps = max(100, round(400 * PART))
    found = figures("tests.faults.short_memory", cases=steps)
    assert found["steps"] == steps
    assert found["cut"] > 0, "retention has cut nothing"


def test_memory_and_descriptors_stay_flat_under_mixed_load() -> None:
    seconds = round(60 * PART)
    found = figures("tests.faults.soak", seconds=seconds)
    assert found["tasks"] > seconds / 2


def test_bytes_that_no_one_vouches_for_neither_end_nor_stall_nor_fill_anything() -> None:
    found = figures("tests.fuzz.run", seconds=round(60 * PART))
    assert all(found[each] > 0 for each in ("socket", "sessions", "jsonrpc", "records", "tail", "log"))
