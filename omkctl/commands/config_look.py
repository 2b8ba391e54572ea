"""`omkctl config show`, `check` and `path`. All work without a daemon."""

import click

from omkctl import configured
from omkctl.failures import Exit
from omkctl.invocation import Invocation
from omkctl.json_text import to_text
from omkctl.render import say
from omkctl.shapes import ConfigOption
from omkctl.verb import Verb


@click.command("show", cls=Verb)
@click.option("--sources", is_flag=True, help="Also where each value comes from, and what it is for.")
@click.pass_obj
def show(invocation: Invocation, sources: bool) -> None:
    """The options in force in the daemon; without a daemon, those it would start with."""
    config = configured.in_force(invocation)
    out = invocation.out
    if out.as_json:
        out.json(config)
    elif sources:
        header = ("option", "value", "source", "what it is")
        out.table(header, [[each["name"], value(each), source(each), each["says"]] for each in config["options"]])
    else:
        for each in config["options"]:
            out.line(f"{each['name']} = {value(each)}")


def value(option: ConfigOption) -> str:
    return to_text(option["value"]) + (f" {option['unit']}" if option["unit"] else "")


def source(option: ConfigOption) -> str:
    return option["source"] + (" (a change needs a restart)" if option["restart"] else "")


@click.command("check", cls=Verb)
@click.argument("file", required=False, type=click.Path())
@click.pass_obj
def check(invocation: Invocation, file: str | None) -> int:
    """Whether FILE, or the configuration where the daemon has it, is good; exit status 1 if it is not. Changes nothing.

    A fault is named by file, line and field.
    """
    path = file or where(invocation)
    checked = configured.check_file(invocation.session, path)
    if checked.fault is not None:
        raise configured.as_failure(checked.fault)
    out = invocation.out
    if out.as_json:
        out.json({"good": True, "config": checked.config})
    else:
        assert checked.config is not None
        exists = checked.config["exists"]
        out.line(f"{checked.config['path']}: " + ("good" if exists else "not there; the defaults are in force"))
    return Exit.DONE


@click.command("path", cls=Verb)
@click.pass_obj
def path(invocation: Invocation) -> None:
    """Where the configuration is: the daemon's, or, without one, where it would look."""
    config = configured.in_force(invocation)
    if invocation.out.as_json:
        invocation.out.json({"path": config["path"], "exists": config["exists"]})
        return
    invocation.out.line(config["path"])
    if not config["exists"]:
        say("there is no such file; it need not be there")


def where(invocation: Invocation) -> str | None:
    """The daemon's own file, if it is there; None: where one that starts now would look."""
    config = configured.of_daemon(invocation)
    return config["path"] if config is not None and config["exists"] else None
