"""`omkctl rpc`: any method, raw."""

import json

import click

from omkctl import completers
from omkctl.failures import usage
from omkctl.invocation import Invocation
from omkctl.json_text import parse
from omkctl.verb import Verb


@click.command("rpc", cls=Verb)
@click.argument("method", shell_complete=completers.methods)
@click.argument("params", required=False, metavar="[PARAMS-JSON]")
@click.pass_obj
def command(invocation: Invocation, method: str, params: str | None) -> None:
    """Call METHOD and print its result as JSON. `omkctl rpc rpc.discover` describes them all.

    Sent once: it is not tried again when the daemon restarts midway.
    """
    try:
        fields = {} if params is None else parse(params)
    except ValueError as fault:
        raise usage(f"PARAMS-JSON is not JSON: {fault}") from fault
    if not isinstance(fields, dict):
        raise usage('PARAMS-JSON must be an object, as {"id":"t1"}')
    out = invocation.out
    result = invocation.client(check_version=False).call(method, fields, object, repeatable=False)
    if out.is_terminal and not out.as_json:
        out.text(json.dumps(result, indent=2, ensure_ascii=False))
    else:
        out.json(result)
