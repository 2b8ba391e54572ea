"""The generated part of docs/cli.md, from omkctl's own commands: usage, what it does, options, variables, statuses."""

import inspect

import click

from omkctl.cli import root
from omkctl.failures import EXIT_MEANINGS
from omkctl.verb import Verb


def commands() -> str:
    """A section for each command, in the order of `omkctl --help`."""
    return "\n\n".join(section(ctx) for ctx in leaves(root_context()))


def global_options() -> str:
    return options_table(root_context(), [param for param in root.params if param.name != "version"])


def exit_statuses() -> str:
    rows = [f"| {status:d} | {meaning} |" for status, meaning in EXIT_MEANINGS.items()]
    return "\n".join(["| status | meaning |", "|---|---|", *rows])


def root_context() -> click.Context:
    return click.Context(root, info_name="omkctl", **root.context_settings)


def leaves(ctx: click.Context) -> list[click.Context]:
    """A context for each command that can be run."""
    if not isinstance(ctx.command, click.Group):
        return [ctx]
    found = [(name, ctx.command.get_command(ctx, name)) for name in ctx.command.list_commands(ctx)]
    below = [click.Context(command, info_name=name, parent=ctx) for name, command in found if command is not None]
    return [leaf for child in below for leaf in leaves(child)]


def section(ctx: click.Context) -> str:
    usage = " ".join([ctx.command_path, *ctx.command.collect_usage_pieces(ctx)])
    own = ctx.command.own_params if isinstance(ctx.command, Verb) else ctx.command.params
    parts = [f"### {ctx.command_path}", f"`{usage}`", prose(ctx.command.help or ""), options_table(ctx, own)]
    return "\n\n".join(part for part in parts if part)


def prose(text: str) -> str:
    """Paragraphs as they are; click's unwrapped ones are commands one types."""
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(
        f"```sh\n{part.removeprefix(chr(8)).strip()}\n```" if part.startswith("\b") else part for part in paragraphs
    )


def options_table(ctx: click.Context, params: list[click.Parameter]) -> str:
    rows = [option_row(ctx, param) for param in params if isinstance(param, click.Option)]
    return "\n".join(["| option | | variable |", "|---|---|---|", *rows]) if rows else ""


def option_row(ctx: click.Context, option: click.Option) -> str:
    names, text = option.get_help_record(ctx) or ("", "")
    shown = escaped(text.split("  [env var:")[0])
    return f"| `{escaped(names)}` | {shown} | {', '.join(f'`{name}`' for name in variables(ctx, option))} |"


def variables(ctx: click.Context, option: click.Option) -> list[str]:
    if option.envvar:
        return [option.envvar] if isinstance(option.envvar, str) else list(option.envvar)
    return [f"{ctx.auto_envvar_prefix}_{str(option.name).upper()}"]


def escaped(text: str) -> str:
    return text.replace("|", "\\|")
