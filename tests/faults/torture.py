"""All of the torture, and its figures into docs/reliability.md: `make torture`, or a part: `make torture SHARE=0.05`.

    python -m tests.faults.torture [--share F] [--seed S] [--at-once N]

One program after the other (`--at-once`: so many beside each other); whatever finds something lost ends with status 1,
says how to repeat it, and the page stays as it is.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parent.parent.parent / "docs" / "reliability.md"
TABLE = re.compile(r"(?<=<!-- torture -->\n).*?(?=<!-- /torture -->)", re.DOTALL)
MODEL_EXAMPLES = 3000


@dataclass(frozen=True)
class Program:
    """`amount` of `unit` is all of it; `says` is filled with its figures."""

    module: str
    unit: str
    amount: int
    what: str
    says: str


PROGRAMS = (
    Program(
        "tests.faults.kill_loop",
        "cases",
        500,
        "kill loop",
        "{rounds} rounds in {sessions} sessions, {kills} kills (daemon, host, client), {tasks} tasks",
    ),
    Program(
        "tests.faults.crash_points",
        "cases",
        3000,
        "crash points of the daemon",
        "{cases} of {of_cases} cases from {points} points, {struck} faults, {deaths} deaths, {tasks} tasks",
    ),
    Program(
        "tests.faults.host_points",
        "cases",
        1000,
        "crash points of a worker's host",
        "{cases} of {of_cases} cases, {struck} faults, {tasks} tasks",
    ),
    Program(
        "tests.faults.power_loss",
        "cases",
        20_000,
        "power loss",
        "{cases} losses in {lives} lives, {told} answers held against what survived",
    ),
    Program(
        "tests.faults.short_memory",
        "cases",
        20_000,
        "short memory",
        "{steps} steps in {lives} lives, {tasks} tasks, {cut} units cut",
    ),
    Program(
        "tests.fuzz.run",
        "seconds",
        600,
        "fuzz",
        "{jsonrpc} inputs of JSON-RPC, {records} of records, {tail} of the tail, {log} of logs, "
        "{socket} floods of a daemon, {sessions} starts on changed files",
    ),
    Program("tests.faults.soak", "seconds", 600, "soak", "{seconds} s, {tasks} tasks, {events} events"),
)


def run(program: Program, share: float, seed: int) -> dict[str, Any]:
    amount = max(1, round(program.amount * share))
    command = [sys.executable, "-m", program.module, f"--{program.unit}", str(amount), "--seed", str(seed)]
    print(" ".join(command[1:]), flush=True)
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{program.what}: something is lost, see above; nothing was written to {PAGE.name}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    print(done.stdout.splitlines()[-1], flush=True)
    return found


def run_model(share: float) -> int:
    """The state machine with more examples; how many."""
    examples = max(60, round(MODEL_EXAMPLES * share))
    environment = {**os.environ, "OMKD_MODEL_EXAMPLES": str(examples)}
    command = [sys.executable, "-m", "pytest", "-q", "-o", "faulthandler_timeout=0", "tests/faults/test_model.py"]
    subprocess.run(command, env=environment, check=True)
    return examples


def table(found: dict[str, dict[str, Any]], examples: int, share: float) -> str:
    day = datetime.now(UTC).date().isoformat()
    rows = [f"| {each.what} | {each.says.format(**found[each.what])} | 0 | 0 |" for each in PROGRAMS]
    rows.append(f"| model | {examples} histories of up to 40 steps | 0 | 0 |")
    seconds = sum(each["seconds"] for each in found.values())
    head = f"{day}, share {share:g} of all of it, {seconds // 60} minutes of programs."
    return "\n".join(
        [f"\n{head}\n", "| what | how much | lost | recorded twice |", "| --- | --- | --- | --- |", *rows, "\n"]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--at-once", type=int, default=1)
    given = parser.parse_args()
    with ThreadPoolExecutor(given.at_once) as pool:
        results = pool.map(lambda each: run(each, given.share, given.seed), PROGRAMS)
        found = {each.what: result for each, result in zip(PROGRAMS, results, strict=True)}
    text = PAGE.read_text()
    PAGE.write_text(TABLE.sub(lambda _: table(found, run_model(given.share), given.share), text))


if __name__ == "__main__":
    main()
