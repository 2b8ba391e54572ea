"""The options that several verbs share, and the types of their values."""

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from . import completers, values
from .failures import usage
from .invocation import Invocation

if TYPE_CHECKING:
    ParamType = click.ParamType[object]
else:
    ParamType = click.ParamType  # generic since click 8.3 only

F = TypeVar("F", bound=Callable[..., object])

ALL_LINES: Final = -1
"""What `-n all` is inside."""

DEFAULT_LINES: Final = 10


class Value(ParamType):
    """A value that a function of `values` reads; its ValueError becomes the usage error."""

    def __init__(self, name: str, read: Callable[[str], object]) -> None:
        self.name = name
        self._read = read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> object:
        if not isinstance(value, str):
            return value
        try:
            return self._read(value)
        except ValueError as fault:
            self.fail(str(fault), param, ctx)


def lines_of(text: str) -> int:
    if text == "all":
        return ALL_LINES
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"{text!r}: a number of lines, or all")
    return int(text)


def some_lines(wanted: int) -> int:
    """`wanted`, where nothing is followed. Raises Failure (usage) for none."""
    if wanted == 0:
        raise usage("-n 0 shows nothing: at least 1, or all (with -f, 0 is: from now on)")
    return wanted


DURATION: Final = Value("duration", values.duration_secs)
WHOLE_DURATION: Final = Value("duration", values.whole_secs)
MOMENT: Final = Value("time", lambda text: values.moment(text, datetime.now().astimezone()))
LATER_MOMENT: Final = Value("time", lambda text: values.later_moment(text, datetime.now().astimezone()))
I32: Final = click.IntRange(-(2**31), 2**31 - 1)
LINES: Final = Value("lines", lines_of)
TARGET: Final = Value("target", values.target)
FIELD: Final = Value("field", values.event_field)
ENV_PAIR: Final = Value("name=value", values.env_pair)

follow: Final = click.option(
    "-f", "--follow", is_flag=True, help="Go on with what comes; outlives the daemon's restart."
)
after: Final = click.option("--after", type=click.IntRange(min=0), metavar="SEQ", help="Only units above this.")
since: Final = click.option("--since", type=MOMENT, metavar="TIME", help="RFC 3339, a date, `2h` (ago), `today`.")
timeout: Final = click.option("--timeout", type=DURATION, metavar="DUR", help="End after this, with exit status 124.")
count: Final = click.option("--count", type=click.IntRange(min=1), metavar="N", help="End after this many lines.")
worker: Final = click.option("--worker", metavar="NAME", shell_complete=completers.workers, help="Only this worker's.")


def lines(what: str) -> Callable[[F], F]:
    """`-n`; None when it was not given."""
    text = f"The newest so many {what}, or `all`."
    return click.option("-n", "--lines", type=LINES, metavar="N|all", help=f"{text} [default: {DEFAULT_LINES}]")


def take_global(ctx: click.Context, param: click.Parameter, value: object) -> None:
    """Hands a global option to the invocation; one that was not given behind the verb changes nothing."""
    source = ctx.get_parameter_source(str(param.name))
    typed = source is click.core.ParameterSource.COMMANDLINE
    invocation = ctx.ensure_object(Invocation)
    if typed or source is click.core.ParameterSource.ENVIRONMENT:
        invocation.take(str(param.name), value, typed=typed)


def global_options(*, from_env: bool) -> list[click.Parameter]:
    """The options of every command. The environment is asked once, before the verb."""

    def option(*names: str, env: list[str], **settings: Any) -> click.Option:
        return click.Option(
            names,
            expose_value=False,
            callback=take_global,
            envvar=env if from_env else None,
            show_envvar=from_env,
            allow_from_autoenv=False,
            **settings,
        )

    return [
        option("-S", "--session", env=["OMKCTL_SESSION", "OMK_SESSION"], metavar="NAME", help="The daemon's session."),
        option("--socket", env=["OMKCTL_SOCKET", "OMKD_SOCKET"], metavar="PATH", help="The daemon's socket."),
        option("--state-dir", env=["OMKCTL_STATE_DIR"], metavar="DIR", help="Where the sessions are."),
        option("--json", env=["OMKCTL_JSON"], is_flag=True, help="JSON on stdout and nothing else, errors too."),
        option(
            "--color",
            env=["OMKCTL_COLOR"],
            type=click.Choice(["auto", "always", "never"]),
            help="auto: on a terminal, unless NO_COLOR is set.",
        ),
    ]
