"""argv and environment -> Config; error -> exit status. The only module that exits."""

import errno
import logging
import os
import sys
import time
from pathlib import Path
from typing import Final, NoReturn

import click
import trio

from omkd.config import Config, config_for
from omkd.protocol import codec
from omkd.protocol.address import AddressError
from omkd.protocol.version import __version__
from omkd.store.event_log import LogBroken, LogDamaged, LogTooNew, LogWriteFailed
from omkd.store.locks import FileLock, LockHeld, take_lock

EXIT_FAILED: Final = 1
EXIT_HELD: Final = 6
EXIT_TOO_NEW: Final = 7
EXIT_DAMAGE_OR_CONFIG: Final = 78

CONFIGURATION_ERRORS: Final = frozenset({errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG})
"""What a start again would not change. A full disk may be different the next time."""

KNOWN_ERRORS: Final = (LockHeld, LogDamaged, LogTooNew, LogBroken, LogWriteFailed, OSError, AddressError)
"""What is said in one line; anything else is a fault of ours, with its traceback."""

LOG_LEVELS: Final = ("debug", "info", "warning", "error")


@click.group(invoke_without_command=True, context_settings={"auto_envvar_prefix": "OMKD"})
@click.option("--session", "-S", envvar="OMK_SESSION", default="default", show_default=True, help="Which session.")
@click.option(
    "--state-dir",
    type=click.Path(path_type=Path),
    help="Where sessions are. Default: $XDG_STATE_HOME/omk/sessions.",
)
@click.option(
    "--socket",
    envvar="OMKD_SOCKET",
    type=click.Path(path_type=Path),
    help="Control socket. Default: $XDG_RUNTIME_DIR/omk/SESSION.sock, else omkd.sock in the session's directory.",
)
@click.option("--log-level", type=click.Choice(LOG_LEVELS), default="info", show_default=True)
@click.version_option(__version__, prog_name="omkd")
@click.pass_context
def cli(context: click.Context, session: str, state_dir: Path | None, socket: Path | None, log_level: str) -> None:
    """Keeps coding agents at work on this machine: serves one session, in the foreground, until it is told to end.

    SIGTERM, Ctrl-C or `omkctl shutdown` end the daemon; agents at work go on.
    """
    start_logging(log_level)
    try:
        config = config_for(os.environ, session=session, state_dir=state_dir, socket=socket)
    except AddressError as fault:
        raise click.UsageError(str(fault)) from fault
    context.obj = config
    if context.invoked_subcommand is None:
        context.exit(serve(config))


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.pass_obj
def verify(config: Config, as_json: bool) -> None:
    """Proves a session consistent, or says what is not. Changes nothing; works without a daemon."""
    from omkd.services.verify import verify_session

    if not config.session.events.is_dir():
        fail(f"there is no session in {config.session.path}", 3)
    result = verify_session(config.session)
    if as_json:
        click.echo(codec.dumps(result).decode())
    else:
        for what, count in result.checked.items():
            click.echo(f"{what}: {count}")
        for finding in result.findings:
            click.echo(f"{finding.kind.value}: {finding.what}\n  {finding.mend}")
        click.echo("consistent" if not result.findings else f"{len(result.findings)} findings")
    sys.exit(EXIT_FAILED if result.findings else 0)


@cli.command()
@click.pass_obj
def repair(config: Config) -> None:
    """Moves what is damaged in the event log aside and records LogDamaged. Only while no daemon serves the session."""
    from omkd.store.repair import repair as repair_log

    if not config.session.events.is_dir():
        fail(f"there is no session in {config.session.path}", 3)
    lock = held_lock(config)
    try:
        repaired = repair_log(config.session.events, time.time_ns)
    except LogTooNew as refusal:
        fail(str(refusal), EXIT_TOO_NEW)
    finally:
        lock.release()
    click.echo("nothing is damaged" if repaired is None else str(repaired))


def held_lock(config: Config) -> FileLock:
    try:
        return take_lock(config.session.lock)
    except LockHeld as held:
        fail(f"{held}: end that daemon first (omkctl shutdown)", EXIT_HELD)


def serve(config: Config) -> int:
    """Runs the daemon; its exit status."""
    from omkd.daemon import run_daemon
    from omkd.systemd import notifier_for

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
        case LogDamaged() | AddressError():
            return EXIT_DAMAGE_OR_CONFIG
        case OSError(errno=number) if number in CONFIGURATION_ERRORS:
            return EXIT_DAMAGE_OR_CONFIG
        case _:
            return EXIT_FAILED


def leaf(error: Exception) -> Exception:
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error


def start_logging(level: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    formatter = logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s", "%Y-%m-%dT%H:%M:%SZ")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    logging.basicConfig(level=level.upper(), handlers=[handler])


def fail(text: str, status: int) -> NoReturn:
    click.echo(f"omkd: {text}", err=True)
    sys.exit(status)


def main() -> None:
    cli(prog_name="omkd")
