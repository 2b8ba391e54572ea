"""`omkctl completion`: the script that makes a shell complete omkctl's words."""

import click
from click.shell_completion import get_completion_class

from omkctl.invocation import Invocation
from omkctl.verb import Verb

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_OMKCTL_COMPLETE"
"""Set by the script when it asks; click answers in place of a command."""


@click.command("completion", cls=Verb)
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_obj
def command(invocation: Invocation, shell: str) -> None:
    """The script that makes SHELL complete commands, options, and what the daemon knows: workers, tasks, questions.

    \b
    echo 'eval "$(omkctl completion bash)"' >> ~/.bashrc
    echo 'eval "$(omkctl completion zsh)"' >> ~/.zshrc      # behind compinit
    omkctl completion fish > ~/.config/fish/completions/omkctl.fish
    """
    found = get_completion_class(shell)
    assert found is not None
    root = click.get_current_context().find_root().command
    script = found(root, {}, "omkctl", VARIABLE).source().strip()
    if invocation.out.as_json:
        invocation.out.json({"shell": shell, "script": script})
    else:
        invocation.out.line(script)
