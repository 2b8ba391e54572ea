"""A verb: a click command that also takes the options of every command, behind its name."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click

from .options import global_options


class Verb(click.Command):
    """A callback gets the Invocation first (`@click.pass_obj`) and returns its exit status; None is 0.

    An option of the verb's own hides the global one of the same name.
    """

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        taken = {name for param in self.params for name in param.opts}
        self.global_params = [param for param in global_options(from_env=False) if not taken.intersection(param.opts)]
        self.own_params = list(self.params)
        self.params.extend(self.global_params)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        shared = {param.name for param in self.global_params}
        own = [param for param in self.get_params(ctx) if isinstance(param, click.Option) and param.name not in shared]
        for title, params in (("Options", own), ("Options of every command", self.global_params)):
            rows = [row for param in params if (row := param.get_help_record(ctx)) is not None]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


def unknown(name: str, known: list[str]) -> click.UsageError:
    """No such command; names the nearest and lists what there is."""
    from difflib import get_close_matches

    near = get_close_matches(name, known, 1)
    guess = f"did you mean {near[0]!r}? " if near else ""
    return click.UsageError(f"no command {name!r} ({guess}known: {', '.join(known)})")


class VerbGroup(click.Group):
    """Verbs by name -> (module:attribute in omkctl.commands, what the help says); a module is imported when used."""

    def __init__(self, name: str, verbs: Mapping[str, tuple[str, str]], **settings: Any) -> None:
        super().__init__(name, no_args_is_help=False, **settings)
        self.verbs = verbs

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 (click's signature)
        return list(self.verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 (click's signature)
        if cmd_name not in self.verbs:
            return None
        module, _, attribute = self.verbs[cmd_name][0].partition(":")
        found: click.Command = getattr(import_module(f"omkctl.commands.{module}"), attribute)
        return found

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 (click's signature)
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self.verbs.items()])

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and self.get_command(ctx, args[0]) is None:
            raise unknown(args[0], self.list_commands(ctx))
        return super().resolve_command(ctx, args)
