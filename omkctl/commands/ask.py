"""`omkctl ask`: a person decides; for agents, their hooks, and scripts."""

import sys
from typing import Final

import click

from omkctl import asking, claude_hook, options
from omkctl.client import Unreachable
from omkctl.failures import Exit, usage
from omkctl.invocation import Invocation
from omkctl.link import Deadline, Late
from omkctl.render import say
from omkctl.shapes import Choice
from omkctl.text_input import checked, text_of
from omkctl.verb import Verb

DEFAULT_SECS: Final = 300
HOOK_PATIENCE_SECS: Final = 0.5
HOOK_ANSWER_SECS: Final = 2.0
AFTER_EXPIRY_SECS: Final = 30
"""The daemon says when a question expired; one that is gone for so long after that will not."""

CHOICE: Final = options.Value("choice", asking.choice)


@click.command("ask", cls=Verb)
@click.argument("words", nargs=-1, metavar="[TEXT | -- TEXT...]")
@click.option("--detail", default="", metavar="TEXT", help="All of what is asked, below the one line that TEXT is.")
@click.option(
    "--choice",
    "choices",
    type=CHOICE,
    multiple=True,
    metavar="ID=LABEL",
    help="An answer; repeatable. allow, yes, always, deny and no mean what they say. [default: allow, deny]",
)
@click.option(
    "--timeout",
    type=options.WHOLE_DURATION,
    default=DEFAULT_SECS,
    metavar="DUR",
    help="Then it expires: nobody decided. [default: 5m]",
)
@click.option("--hook", is_flag=True, help="As a PreToolUse hook of Claude Code: the question is on stdin.")
@click.pass_obj
def command(
    invocation: Invocation,
    words: tuple[str, ...],
    detail: str,
    choices: tuple[Choice, ...],
    timeout: int,
    hook: bool,
) -> int:
    """Ask a person, wait for the answer, and print the choice. Exit status 1: denied, 124: nobody decided in time.

    The question is in `omkctl inbox` until it is decided or expires, whether this command waits for it or not.
    With --hook and no daemon it says nothing, and the agent goes by its own rules.
    """
    if hook:
        if words or detail or choices:
            raise usage("--hook takes the question from stdin, and from nowhere else")
        return answer_hook(invocation, timeout)
    client = invocation.client()
    asked = asking.ask(client, text_of(words, None), checked(detail, "the detail"), list(choices), timeout)
    say(f"{asked['id']} waits for a person (omkctl inbox)")
    decided = asking.wait(client, asked)
    if invocation.out.as_json:
        invocation.out.json(decided)
    elif decided["choice"] is not None:
        invocation.out.line(decided["choice"])
    if decided["note"]:
        say(decided["note"])
    return asking.status_of(decided)


def answer_hook(invocation: Invocation, timeout: int) -> int:
    """Says nothing when no daemon answers; a question that was asked is answered with a no unless it was a yes."""
    try:
        asked = claude_hook.question_of(sys.stdin.buffer.read())
    except ValueError as fault:
        raise usage(str(fault)) from fault
    client = invocation.client(patience_s=HOOK_PATIENCE_SECS, answer_s=HOOK_ANSWER_SECS)
    try:
        question = asking.ask(client, asked.summary, asked.detail, [], timeout)
    except Unreachable as fault:
        say(fault.message)
        return Exit.DONE
    try:
        answer = claude_hook.answer_for(asking.wait(client, question, Deadline.after(timeout + AFTER_EXPIRY_SECS)))
    except (Late, Unreachable):
        answer = claude_hook.hook_output(False, "omkd: the daemon ended, and no answer came")
    invocation.out.json(answer)
    return Exit.DONE
