"""`omk-worker --dir DIR`: one worker's host in the foreground. The only place where it exits.

Exit statuses: 0 told to stop or idle, 1 the disk did not take a result, 2 usage, 6 another host has the worker,
78 the worker's files do not say what to run.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import trio

from omkd.protocol.version import __version__
from omkd.store.locks import LockHeld, take_lock
from omkd.store.session import WorkerDir

from .children import become_subreaper
from .host import run_host
from .host_log import rotate_host_log
from .settings import SettingsError, load_settings

log = logging.getLogger(__name__)

EXIT_OS_ERROR: Final = 1
EXIT_HELD: Final = 6
EXIT_CONFIG: Final = 78  # EX_CONFIG of sysexits.h


class UtcFormatter(logging.Formatter):
    """Times as RFC 3339, UTC, to the millisecond."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002 (logging's)
        return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def main(argv: Sequence[str] | None = None) -> int:
    """The exit status."""
    options = parser().parse_args(argv)
    log_to_stderr()
    try:
        return serve(WorkerDir(Path(options.dir).resolve()))
    except LockHeld as error:
        log.error("%s: this worker has a host already", error)
        return EXIT_HELD
    except SettingsError as error:
        log.error("%s", error)
        return EXIT_CONFIG
    except OSError as error:
        log.error("%s", error)
        return EXIT_OS_ERROR


def serve(worker: WorkerDir) -> int:
    """Holds the worker's lock while its host runs. Raises LockHeld, SettingsError, OSError."""
    if not worker.path.is_dir():
        raise SettingsError(f"{worker.path} is no worker's directory: `omkctl worker add` makes one")
    lock = take_lock(worker.lock)
    rotate_host_log(worker)
    settings = load_settings(worker)
    become_subreaper()
    log.info("omk-worker %s: worker %s in %s", __version__, worker.name, worker.path)
    status = 0
    try:
        trio.run(run_host, worker, settings)
    except* OSError as group:
        for error in group.exceptions:
            log.error("%s", error)
        status = EXIT_OS_ERROR
    lock.release()
    return status


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="omk-worker",
        description="Runs one worker: does the tasks of DIR/inbox.jsonl with the command of DIR/runner.json.",
        epilog="Exit status: 0 stopped or idle, 1 disk error, 2 usage, 6 worker has a host already, 78 configuration.",
        allow_abbrev=False,
    )
    made.add_argument(
        "--dir", required=True, metavar="DIR", help="the worker's directory, …/sessions/<session>/workers/<name>"
    )
    made.add_argument("--version", action="version", version=f"omk-worker {__version__}")
    return made


def log_to_stderr() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(UtcFormatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
