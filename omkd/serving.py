"""Runs the daemon to its end; what ended it -> exit status."""

import errno
import faulthandler
import os
import sys
from typing import Final

import click
import trio

from omkd import logs
from omkd.config import Config
from omkd.daemon import run_daemon
from omkd.exit_statuses import EXIT_DAMAGE_OR_CONFIG, EXIT_FAILED, EXIT_HELD, EXIT_TOO_NEW
from omkd.protocol.address import AddressError
from omkd.store.locks import LockHeld
from omkd.store.log_errors import LogBroken, LogDamaged, LogTooNew, LogWriteFailed
from omkd.systemd import notifier_for

CONFIGURATION_ERRORS: Final = frozenset(
    {errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EROFS, errno.ELOOP, errno.ENAMETOOLONG}
)
"""What a start again would not change. A full disk may be different the next time."""

KNOWN_ERRORS: Final = (LockHeld, LogDamaged, LogTooNew, LogBroken, LogWriteFailed, OSError, AddressError)
"""What is said in one line; anything else is a fault of ours, with its traceback."""


def serve(config: Config) -> int:
    """Runs the daemon; its exit status. Whatever ends it, what it logged is written."""
    settings = config.loaded.settings
    log = logs.start_logging(os.environ, level=settings.log_level, log_format=settings.log_format)
    if sys.stderr is not None:
        faulthandler.enable()  # systemd's watchdog ends a process that hangs with SIGABRT: this says where it hung
    try:
        return run(config)
    finally:
        log.close()


def run(config: Config) -> int:
    try:
        trio.run(run_daemon, config, notifier_for(os.environ), strict_exception_groups=True)
    except (*KNOWN_ERRORS, ExceptionGroup) as raised:
        error = leaf(raised)
        if not isinstance(error, KNOWN_ERRORS):
            raise
        return report(error)
    return 0


def report(error: Exception) -> int:
    """Says it on stderr; the exit status it stands for."""
    click.echo(f"omkd: {error}", err=True)
    match error:
        case LockHeld():
            return EXIT_HELD
        case LogTooNew():
            return EXIT_TOO_NEW
        case LogDamaged() | AddressError() | NotADirectoryError():
            return EXIT_DAMAGE_OR_CONFIG
        case OSError(errno=number) if number in CONFIGURATION_ERRORS:
            return EXIT_DAMAGE_OR_CONFIG
        case _:
            return EXIT_FAILED


def leaf(error: Exception) -> Exception:
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
