"""`omkctl publish`: an event from a hook or a script. Quick, whatever state the daemon is in.

Never reads stdin without `--stdin`: a hook inherits the stdin of its agent. When no daemon answers, an event from
inside a worker goes into that worker's own events file, where the daemon finds it.
"""

import os
import sys
from collections.abc import Iterator, Mapping
from typing import Final

import click

from omkctl import completers, json_text, values
from omkctl.failures import usage
from omkctl.invocation import Invocation
from omkctl.publishing import Publisher
from omkctl.verb import Verb

OWN_EVENTS = ("WorkerStarted", "WorkerProgress", "WorkerCompleted", "PersonNeeded")
"""Inside a worker these are about that worker unless they say something else (which is refused)."""

TEXT_FIELDS: Final[Mapping[str, frozenset[str]]] = {
    "ClassifierDecided": frozenset({"reasoning"}),
    "WorkerStarted": frozenset({"worker_id", "kind", "task"}),
    "WorkerProgress": frozenset({"worker_id", "message"}),
    "WorkerCompleted": frozenset({"worker_id"}),
    "ChildGoalCreated": frozenset({"goal_id", "parent_conv_id"}),
    "ChildGoalEvent": frozenset({"goal_id"}),
    "CostDelta": frozenset({"source"}),
    "PreflightRequest": frozenset({"headline", "ticket_id"}),
    "AutonomousProceed": frozenset({"reasoning"}),
    "DisclosureLine": frozenset({"value"}),
    "Refused": frozenset({"reason"}),
    "PersonNeeded": frozenset({"text", "worker_id", "task_id"}),
}
"""What a hook fills from a variable may look like a number: in these it is text. (A test holds it true.)"""


@click.command("publish", cls=Verb)
@click.argument("type", required=False, shell_complete=completers.published_types)
@click.argument("fields", nargs=-1, metavar="[FIELD=VALUE... | JSON]")
@click.option("--json", "text", metavar="JSON", help="The fields of TYPE; without TYPE, the event as {TYPE:{...}}.")
@click.option("--stdin", "from_stdin", is_flag=True, help="As --json, one a line, from stdin.")
@click.pass_obj
def command(
    invocation: Invocation, type: str | None, fields: tuple[str, ...], text: str | None, from_stdin: bool
) -> int:
    """Publish an event of TYPE. FIELD:=JSON is JSON. After = a number, true, false and null are what they say, but in
    a field that is text they are text.

    \b
    omkctl publish WorkerProgress worker_id=coder percent=40 message='half way'
    omkctl publish DisclosureLine value='I may be wrong'
    """
    publisher = Publisher(invocation)
    if from_stdin:
        for event in events_from_stdin(type):
            publisher.publish(event)
    else:
        publisher.publish(event_of(type, fields, text))
    return publisher.status


def event_of(type: str | None, fields: tuple[str, ...], text: str | None) -> object:
    """The event in the log's form. A single JSON object as the last argument is taken as `--json`."""
    given = fields if type is None else (type, *fields)
    last = given[-1] if given else ""
    if text is None and last.lstrip().startswith("{"):
        given, text = given[:-1], last
    if text is not None and len(given) > 1:
        raise usage("the fields are given twice: as FIELD=VALUE and as JSON")
    if text is not None:
        return event_from_json(given[0] if given else None, text, "the JSON")
    if type is None:
        raise usage("no event: give TYPE FIELD=VALUE..., --json '{...}', or --stdin")
    try:
        texts = TEXT_FIELDS.get(type, frozenset())
        return named(type, dict(values.event_field(field, texts) for field in fields))
    except ValueError as fault:
        raise usage(str(fault)) from fault


def events_from_stdin(type: str | None) -> Iterator[object]:
    for number, line in enumerate(sys.stdin.buffer, 1):
        if line.strip():
            yield event_from_json(type, line, f"line {number}")


def event_from_json(type: str | None, text: str | bytes, where: str) -> object:
    try:
        value = json_text.parse(text)
    except ValueError as fault:
        raise usage(f"{where} is not JSON: {fault}") from fault
    if type is None:
        return value
    return named(type, value) if isinstance(value, dict) else {type: value}


def named(type: str, fields: dict[str, object]) -> object:
    """`{"Type":{…}}`, and the log's two short forms: without fields, and with no field but `value`."""
    if type in OWN_EVENTS and os.environ.get("OMK_WORKER"):
        fields = {"worker_id": os.environ["OMK_WORKER"], **fields}
    if not fields:
        return type
    return {type: fields["value"] if set(fields) == {"value"} else fields}
