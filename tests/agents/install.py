"""Installs the agents that `package-lock.json` pins: `python install.py DIRECTORY`. What is there already is kept.

Exit status 69 says that the registry did not answer, 1 that something else is wrong. npm would try a silent registry
again for a quarter of an hour, so it gets little patience. It is `npm install` with the lock file, not `npm ci`: that
one refuses the lock for the packages of other platforms.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

PINNED = ("package.json", "package-lock.json")
HERE = Path(__file__).parent

INSTALL_S = 180.0
"""Seven times what it takes: 400 MB to fetch, 1.2 GB to unpack."""

PATIENCE = (
    "--fetch-retries=1",
    "--fetch-retry-mintimeout=1000",
    "--fetch-retry-maxtimeout=2000",
    "--fetch-timeout=60000",
)
QUIET = ("--no-save", "--no-audit", "--no-fund", "--loglevel=error")

UNANSWERED = re.compile(
    r"code (ECONN(REFUSED|RESET|ABORTED)|ENOTFOUND|EAI_AGAIN|E(NET|HOST)UNREACH|\w*TIMED?OUT|E429|E5\d\d)\b"
)
"""npm's word for it, its own or that of an npm that a package's script started."""


class Failed(Exception):
    """The text says what went wrong."""


class NoAnswer(Failed):
    """The registry is to blame, or what is between."""


def install(directory: Path, timeout_s: float) -> None:
    """Raises NoAnswer, Failed."""
    npm = shutil.which("npm")
    if npm is None:
        raise Failed("npm is missing (Debian: apt install npm)")
    directory.mkdir(parents=True, exist_ok=True)
    for name in PINNED:
        shutil.copyfile(HERE / name, directory / name)
    status, said = run([npm, "install", *QUIET, *PATIENCE], directory, timeout_s)
    if status and UNANSWERED.search(said):
        raise NoAnswer("the registry does not answer")
    if status:
        raise Failed(f"npm ended with status {status}")


def run(command: list[str], directory: Path, timeout_s: float) -> tuple[int, str]:
    """Status, and what it said, which is shown, too. Raises NoAnswer: it, and what it started, was ended."""
    with subprocess.Popen(
        command,
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as npm:
        try:
            said, _ = npm.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired as exc:
            os.killpg(npm.pid, signal.SIGKILL)
            raise NoAnswer(f"npm was not done after {timeout_s:g} s") from exc
        except BaseException:
            os.killpg(npm.pid, signal.SIGKILL)
            raise
    print(said, end="", flush=True)
    return npm.returncode, said


def main() -> int:
    parser = argparse.ArgumentParser(description="Installs the pinned agents.")
    parser.add_argument("directory", type=Path)
    parser.add_argument("--timeout", type=float, default=INSTALL_S, metavar="SECONDS")
    options = parser.parse_args()
    try:
        install(options.directory, options.timeout)
    except Failed as failure:
        print(f"no agents: {failure}", file=sys.stderr)
        return os.EX_UNAVAILABLE if isinstance(failure, NoAnswer) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
