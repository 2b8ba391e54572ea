"""argv and environment -> Config. The only module that exits.

What a command needs is imported when it runs: `omkd --version` is asked for often, and the daemon's modules take long.
"""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click
from click.core import ParameterSource

from omkd.exit_statuses import EXIT_DAMAGE_OR_CONFIG, EXIT_FAILED, EXIT_HELD, EXIT_NO_SESSION, EXIT_TOO_NEW
from omkd.logs import LOG_FORMATS, LOG_LEVELS
from omkd.protocol.address import AddressError
from omkd.protocol.version import __version__

if TYPE_CHECKING:
    from omkd.config import Place
    from omkd.settings.loading import ConfigFile, Override
    from omkd.store.locks import FileLock


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
@click.option(
    "--config",
    "named",
    envvar="OMKD_CONFIG",
    type=click.Path(path_type=Path),
    help="Configuration. Default: $XDG_CONFIG_HOME/omk/omkd.toml, which need not be there.",
)
@click.option("--log-level", type=click.Choice(LOG_LEVELS), help="Instead of the configuration's; default: info.")
@click.option("--log-format", type=click.Choice(LOG_FORMATS), help="Instead of the configuration's; default: text.")
@click.option("--check-config", is_flag=True, help="Says whether the configuration is good, and what it sets; no more.")
@click.option("--json", "as_json", is_flag=True, help="With --check-config: one JSON object.")
@click.version_option(__version__, prog_name="omkd")
@click.pass_context
def cli(
    context: click.Context,
    session: str,
    state_dir: Path | None,
    socket: Path | None,
    named: Path | None,
    log_level: str | None,
    log_format: str | None,
    check_config: bool,
    as_json: bool,
) -> None:
    """Keeps coding agents at work on this machine: serves one session, in the foreground, until it is told to end.

    SIGTERM, Ctrl-C, the end of its terminal or `omkctl shutdown` end the daemon; agents at work go on. Without a
    terminal SIGHUP reads the configuration again.
    """
    from omkd.config import config_file, config_for, place_for

    try:
        place = place_for(os.environ, session=session, state_dir=state_dir, socket=socket)
    except AddressError as fault:
        raise click.UsageError(str(fault)) from fault
    context.obj = place
    if context.invoked_subcommand is not None:
        return
    overrides = overrides_in(context, log_level=log_level, log_format=log_format)
    try:
        file = config_file(os.environ, session=session, named=named, overrides=overrides)
    except AddressError as fault:
        raise click.UsageError(str(fault)) from fault
    if check_config:
        context.exit(report_config(file, as_json))

    from omkd.serving import serve
    from omkd.settings.errors import ConfigError
    from omkd.systemd import ActivationError

    try:
        config = config_for(os.environ, place, file, file.load())
    except (ConfigError, ActivationError) as fault:
        fail(str(fault), EXIT_DAMAGE_OR_CONFIG)
    context.exit(serve(config))


def overrides_in(context: click.Context, **given: str | None) -> "dict[str, Override]":
    """What the command line or the environment says of options that omkd.toml has too."""
    from omkd.settings.loading import Override

    found = {}
    for name, value in given.items():
        if value is not None:
            option = "--" + name.replace("_", "-")
            by_variable = context.get_parameter_source(name) is ParameterSource.ENVIRONMENT
            found[name] = Override(value=value, source=f"OMKD_{name.upper()}" if by_variable else option)
    return found


def report_config(file: "ConfigFile", as_json: bool) -> int:
    """Says whether the file is good and what is set; the exit status."""
    from omkd.protocol import codec
    from omkd.settings.errors import ConfigError
    from omkd.settings.live import shown

    try:
        loaded = file.load()
    except ConfigError as fault:
        if as_json:
            place = {"path": str(fault.path), "line": fault.line, "field": fault.field, "reason": fault.reason}
            click.echo(codec.encode({"good": False, "fault": place}).decode())
        click.echo(f"omkd: {fault}", err=True)
        return EXIT_DAMAGE_OR_CONFIG
    result = shown(file, loaded, loaded.settings)
    if as_json:
        click.echo(codec.encode({"good": True, "config": codec.unstructure(result)}).decode())
        return 0
    click.echo(f"{file.path}: " + ("good" if loaded.exists else "is not there, so the defaults are in force"))
    for option in result.options:
        unit = f" {option.unit}" if option.unit else ""
        click.echo(f"{option.name} = {codec.encode(option.value).decode()}{unit}  ({option.source})")
    return 0


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
@click.pass_obj
def verify(place: "Place", as_json: bool) -> None:
    """Proves a session consistent, or says what is not. Changes nothing; works without a daemon."""
    from omkd.protocol import codec
    from omkd.services.verify import verify_session

    with disk_faults_said():
        if not (place.session.events.is_dir() or place.session.escalations_pos.exists()):
            fail(f"there is no session in {place.session.path}", EXIT_NO_SESSION)
        result = verify_session(place.session)
    if as_json:
        click.echo(codec.dumps(result).decode())
    else:
        for what, count in result.checked.items():
            click.echo(f"{what}: {count}")
        for finding in result.findings:
            click.echo(f"{finding.kind.value}: {finding.what}\n  {finding.mend}")
        found = len(result.findings)
        click.echo("consistent" if not found else f"{found} finding{'s' if found > 1 else ''}")
    sys.exit(EXIT_FAILED if result.findings else 0)


@cli.command()
@click.option(
    "--unknown-is-damage",
    is_flag=True,
    help="Takes a unit of a kind this omkd does not know for damage, not for the work of a newer omkd.",
)
@click.pass_obj
def repair(place: "Place", unknown_is_damage: bool) -> None:
    """Moves what is damaged in the event log aside and records LogDamaged. Only while no daemon serves the session."""
    from omkd.store.log_errors import LogTooNew
    from omkd.store.repair import repair as repair_log
    from omkd.store.snapshot import newest_known

    with disk_faults_said():
        if not place.session.events.is_dir():
            fail(f"there is no session in {place.session.path}", EXIT_NO_SESSION)
        lock = held_lock(place)
        try:
            known = newest_known(place.session.path)
            repaired = repair_log(place.session.events, time.time_ns, known=known, unknown_is_damage=unknown_is_damage)
        except LogTooNew as refusal:
            fail(str(refusal), EXIT_TOO_NEW)
        finally:
            lock.release()
    click.echo("nothing is damaged" if repaired is None else str(repaired))


@contextmanager
def disk_faults_said() -> Iterator[None]:
    from omkd.serving import report

    try:
        yield
    except OSError as error:
        sys.exit(report(error))


def held_lock(place: "Place") -> "FileLock":
    from omkd.store.locks import LockHeld, take_lock

    try:
        return take_lock(place.session.lock)
    except LockHeld as held:
        fail(f"{held}: end that daemon first (omkctl shutdown)", EXIT_HELD)


def fail(text: str, status: int) -> NoReturn:
    click.echo(f"omkd: {text}", err=True)
    sys.exit(status)


def main() -> None:
    cli(prog_name="omkd")
