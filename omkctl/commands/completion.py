"""`omkctl completion`: the script that makes a shell complete omkctl's words."""

from typing import Final

import click
from click.shell_completion import BashComplete, get_completion_class

from omkctl.invocation import Invocation
from omkctl.verb import Verb

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_OMKCTL_COMPLETE"
"""Set by the script when it asks; click answers in place of a command."""

BASH_SCRIPT: Final = r"""
%(complete_func)s() {
    local IFS=$'\n' line=$COMP_LINE words=() before= gap i response type value

    # bash begins a new word at each ':' and '=' (COMP_WORDBREAKS): what was typed as one word is one again, and a value
    # stands behind its option
    for ((i = 0; i <= COMP_CWORD; i++)); do
        value=${COMP_WORDS[i]}
        gap=$line
        [[ -z $value ]] || { gap=${line%%%%"$value"*}; line=${line#*"$value"}; }
        if [[ $i != 0 && -z $gap && ($value == :* || ${COMP_WORDS[i - 1]} == *:) ]]; then
            words[${#words[@]} - 1]+=$value
        elif [[ $value != '=' || -n $gap || $i == "$COMP_CWORD" ]]; then
            words+=("$value")
        fi
    done
    value=${words[${#words[@]} - 1]}
    if [[ $COMP_WORDBREAKS == *:* && $value == *:* && $value != [\"\']* ]]; then
        before=${value%%"${value##*:}"}  # stands there already, and stays
    fi

    response=$(env COMP_WORDS="${words[*]}" COMP_CWORD=$((${#words[@]} - 1)) %(complete_var)s=bash_complete "$1")

    while IFS=',' read -r type value; do
        if [[ $type == 'dir' ]]; then
            COMPREPLY=()
            compopt -o dirnames
        elif [[ $type == 'file' ]]; then
            COMPREPLY=()
            compopt -o default
        elif [[ $type == 'plain' ]]; then
            printf -v value '%%q' "${value#"$before"}"  # an agent may have chosen it
            COMPREPLY+=("$value")
        fi
    done <<< "$response"
    return 0
}

complete -o nosort -F %(complete_func)s %(prog_name)s
"""
"""As click's but for the ':' (as in bash-completion's __ltrimcolon_completions), and for values that a shell reads."""


class Bash(BashComplete):
    """Only its script differs: what asks with it is click's."""

    source_template = BASH_SCRIPT


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
    found = Bash if shell == "bash" else get_completion_class(shell)
    assert found is not None
    root = click.get_current_context().find_root().command
    script = found(root, {}, "omkctl", VARIABLE).source().strip()
    if invocation.out.as_json:
        invocation.out.json({"shell": shell, "script": script})
    else:
        invocation.out.line(script)
