"""What the programs of this directory take from the command line, and how they tell what they did."""

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Options:
    """`cases` 0: all there are. After `seconds` nothing more is begun."""

    cases: int
    seed: int
    seconds: float


def options(says: str, *, cases: int = 0) -> Options:
    parser = argparse.ArgumentParser(description=says, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=cases)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--seconds", type=float, default=float("inf"))
    given = parser.parse_args()
    return Options(cases=given.cases, seed=given.seed, seconds=given.seconds)


def report(name: str, run: Callable[[Options], dict[str, Any]], chosen: Options) -> None:
    """Runs it; the last line of stdout is one JSON object. A loss ends it with status 1, and says how to repeat it."""
    print(f"{name}: --seed {chosen.seed}", file=sys.stderr, flush=True)
    began = time.monotonic()
    try:
        figures = run(chosen)
    except AssertionError as lost:
        print(f"{name}, --seed {chosen.seed}: {lost}", file=sys.stderr, flush=True)
        sys.exit(1)
    print(json.dumps({"name": name, "seed": chosen.seed, "seconds": round(time.monotonic() - began), **figures}))
