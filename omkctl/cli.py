"""`omkctl`: the table of verbs, and the one place that exits.

A verb is one module of `omkctl.commands` and one row here; its module is imported when the verb is used.
"""

import os
import sys
from io import TextIOWrapper
from typing import Any, Final, TextIO

import click

from omkd.protocol.version import __version__

from . import json_text
from .failures import EXIT_MEANINGS, Exit, Failure, usage
from .options import global_options
from .render import say
from .verb import VerbGroup

VERBS: Final = {
    "demo": ("demo:command", "Real commands doing real tasks, in a throw-away session."),
    "worker": ("worker:group", "Add, declare, list, show, change, pause, restart and remove workers."),
    "workers": ("workers:command", "The workers (`worker list`)."),
    "send-task": ("send_task:command", "Send a task; it is on disk when this returns."),
    "tasks": ("tasks:command", "The tasks."),
    "show": ("show:command", "All that is known of a task."),
    "update": ("update:command", "Change a task that is not handed out."),
    "cancel": ("cancel:command", "End tasks."),
    "retry": ("retry:command", "Run tasks again that ended."),
    "hold": ("hold:command", "Keep queued tasks from being handed out."),
    "release": ("release:command", "Let held tasks be handed out."),
    "wait": ("wait:command", "Wait for tasks to end."),
    "log": ("log:command", "The output of a task's run."),
    "results": ("results:command", "Finished tasks, with summary and artifacts."),
    "inbox": ("inbox:command", "Everything that waits for a person."),
    "approve": ("approve:command", "Say yes to a question."),
    "deny": ("deny:command", "Say no to a question."),
    "answer": ("answer:command", "Answer a question with one of its choices."),
    "ask": ("ask:command", "Ask a person, and wait for the answer; for agents, hooks and scripts."),
    "tail-escalations": ("tail_escalations:command", "The escalation log: what a person ought to see."),
    "escalate": ("escalate:command", "Ask for a person; for agents and scripts."),
    "ack": ("ack:command", "Mark what needed a person as seen."),
    "rotate": ("rotate:command", "Begin a new escalation log, keep the old one."),
    "events": ("events:command", "The event log: everything that happened."),
    "publish": ("publish:command", "Publish an event; for hooks and scripts."),
    "status": ("status:command", "What the daemon is doing, and what needs a person."),
    "health": ("health:command", "Whether all is well, as an exit status."),
    "doctor": ("doctor:command", "What is wrong, and the command that mends it."),
    "verify": ("verify:command", "Prove the session consistent, or say what is not."),
    "config": ("config:group", "Show and check the configuration."),
    "reload": ("reload:command", "Read the configuration again."),
    "service": ("service:group", "omkd as a systemd user service: install, uninstall, status, logs."),
    "completion": ("completion:command", "What makes bash, zsh or fish complete omkctl's words."),
    "rpc": ("rpc:command", "Call a method of the daemon, raw."),
    "version": ("version:command", "Versions of client, daemon and protocol."),
    "shutdown": ("shutdown:command", "End the daemon; agents at work go on, unless told otherwise."),
}
"""Name -> (module:attribute, what `omkctl --help` says)."""


class Root(VerbGroup):
    """Also says what the exit statuses mean."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 (click's signature)
        with formatter.section("Exit status"):
            formatter.write_dl([(str(int(status)), text) for status, text in EXIT_MEANINGS.items()])


root = Root(
    "omkctl",
    VERBS,
    params=global_options(from_env=True),
    help="Talks to omkd, the daemon that keeps coding agents at work.\n\n"
    "Options of every command may stand before or behind its name. "
    "Each option has an environment variable: OMKCTL_OPTION, or OMKCTL_COMMAND_OPTION for a command's own.",
    context_settings={"help_option_names": ["-h", "--help"], "auto_envvar_prefix": "OMKCTL"},
)
click.version_option(__version__, prog_name="omkctl", message="%(prog)s %(version)s")(root)


def main(argv: list[str] | None = None) -> None:
    arguments = sys.argv[1:] if argv is None else argv
    fill_closed_streams()
    sys.exit(run(arguments))


def fill_closed_streams() -> None:
    """Where stdin, stdout or stderr is closed (`>&-`), a command does what it is for all the same: reads nothing, says
    it to nobody.

    Their numbers are taken, too: a socket with the number 1 would be sent what a library prints.
    """
    if sys.stdin is None:
        sys.stdin = open_null(0)
    if sys.stdout is None:
        sys.stdout = open_null(1)
    if sys.stderr is None:
        sys.stderr = open_null(2)


def open_null(descriptor: int) -> TextIO:
    opened = os.open(os.devnull, os.O_RDWR)
    if opened != descriptor:
        os.dup2(opened, descriptor)
        os.close(opened)
    return open(descriptor, "r" if descriptor == 0 else "w", encoding="utf-8", closefd=False)


def run(arguments: list[str]) -> int:
    """The exit status. Every failure becomes words on stderr, or with `--json` one object on stdout."""
    try:
        status = outcome(arguments)
        sys.stdout.flush()
    except BrokenPipeError:
        return reader_gone()
    except OSError as fault:
        if fault.filename is not None:
            raise  # a file's; and what a socket says, `link` has translated
        return stdout_failed(fault)
    return status


def outcome(arguments: list[str]) -> int:
    """Raises OSError when stdout cannot be written."""
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8" if wants_json(arguments) else None, errors="backslashreplace")
    stdout = sys.stdout
    try:
        status: Any = root.main(args=arguments or ["--help"], prog_name="omkctl", standalone_mode=False)
    except click.UsageError as fault:
        return report(usage(fault.format_message() + see_help(fault)), arguments)
    except click.ClickException as fault:
        return report(usage(fault.format_message()), arguments)
    except Failure as failure:
        return report(failure, arguments)
    except (KeyboardInterrupt, click.Abort):
        return Exit.INTERRUPTED
    except SystemExit:
        if sys.stdout is stdout:
            raise
        return reader_gone()  # click wraps a stdout that has no reader, and ends with 1
    if not arguments:
        return Exit.USAGE
    return status if isinstance(status, int) else Exit.DONE


def see_help(fault: click.UsageError) -> str:
    return f" (see {fault.ctx.command_path} --help)" if fault.ctx is not None else ""


def report(failure: Failure, arguments: list[str]) -> int:
    if wants_json(arguments):
        try:
            print(json_text.to_text(failure.as_object()), flush=True)
        except BrokenPipeError:
            reader_gone()
    else:
        say(failure.message)
    return failure.status


def wants_json(arguments: list[str]) -> bool:
    """Also for a command line that could not be read. Of the verb `publish`, `--json` is its own and takes a value."""
    verb = next((argument for argument in arguments if argument in VERBS), None)
    for argument in arguments:
        if argument == "--" or argument == verb == "publish":
            break
        if argument == "--json":
            return True
    return os.environ.get("OMKCTL_JSON", "").lower() in ("1", "true", "yes", "on")


def reader_gone() -> int:
    """Whoever read our stdout has had enough."""
    give_up_stdout()
    return Exit.DONE


def stdout_failed(fault: OSError) -> int:
    give_up_stdout()
    say(f"stdout cannot be written: {fault.strerror}")
    return Exit.NEGATIVE


def give_up_stdout() -> None:
    """Python must not complain when it flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
