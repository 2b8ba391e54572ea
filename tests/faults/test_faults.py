"""The share of the torture that every run of the tests has. All of it: `make torture`.

Each program says its seed, and with what it can be run again; so a failure here is not one that nobody sees twice.
"""

import json
import os
import subprocess
import sys
from typing import Any

SEED = int(os.environ.get("OMKD_SEED", "1"))
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
    found = figures("tests.faults.crash_points", seconds=50)
    assert found["points"] > 150, "the trace has lost most of its points"
    assert found["struck"] > found["cases"] / 2, "the faults do not come where they should"
    assert found["deaths"] + found["refusals"] > 0, "how far the sample comes depends on the machine, but not nowhere"


def test_a_hosts_tasks_end_once_whatever_call_of_it_fails_or_is_the_last_one() -> None:
    found = figures("tests.faults.host_points", seconds=25)
    assert found["struck"] > found["cases"] / 2, "the faults do not come where they should"


def test_nothing_answered_is_lost_when_the_power_goes() -> None:
    found = figures("tests.faults.power_loss", cases=200)
    assert found["cases"] >= 200
    assert found["told"] > 500


def test_nothing_answered_is_lost_or_done_twice_when_processes_are_killed_under_load() -> None:
    found = figures("tests.faults.kill_loop", cases=20)
    assert found["rounds"] == 20
    assert found["kills"] >= 20
    assert found["tasks"] > 1000


def test_memory_and_descriptors_stay_flat_under_mixed_load() -> None:
    found = figures("tests.faults.soak", seconds=60)
    assert found["tasks"] > 50


def test_bytes_that_no_one_vouches_for_neither_end_nor_stall_nor_fill_anything() -> None:
    found = figures("tests.fuzz.run", seconds=60)
    assert all(found[each] > 0 for each in ("socket", "sessions", "jsonrpc", "records", "tail", "log"))
