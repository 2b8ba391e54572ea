"""Writes the generated parts of docs/*.md again, or with --check says which are out of date (exit status 1).

A generated part stands between `<!-- generated: NAME -->` and `<!-- /generated -->`; NAME is a key of GENERATORS. What
stands outside the marks is written by hand and never touched. The same bytes for the same code.
"""

import re
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cli_reference
import settings_tables
import state_tables
import tables

from omkd.protocol import records

DOCS = Path(__file__).parent
MARKED = re.compile(r"(<!-- generated: ([\w-]+) -->\n).*?(<!-- /generated -->\n)", re.DOTALL)

GENERATORS: dict[str, Callable[[], str]] = {
    "cli-global": cli_reference.global_options,
    "cli-exit": cli_reference.exit_statuses,
    "cli-commands": cli_reference.commands,
    "own-events": tables.own_events,
    "seeds-events": tables.seeds_events,
    "goal-events": tables.goal_events,
    "unit": tables.unit,
    "methods": tables.methods,
    "notifications": tables.notifications,
    "types": tables.types,
    "errors": tables.errors,
    "limits": tables.limits_table,
    "published-events": tables.published_events,
    "worker-file-events": tables.worker_file_events,
    "control-lines": tables.control_lines,
    "worker-spec": partial(tables.sections, [records.WorkerSpec]),
    "worker-task": partial(tables.sections, [records.WorkerTask]),
    "outbox-line": partial(tables.sections, [records.OutboxLine]),
    "heartbeat": partial(tables.sections, [records.Heartbeat]),
    "runner": partial(tables.sections, [records.Runner]),
    "inbox-line": partial(tables.sections, [records.InboxLine]),
    "task-transitions": state_tables.task_transitions,
    "worker-states": state_tables.worker_states,
    "worker-changes": state_tables.worker_changes,
    "options": settings_tables.options,
    "notify-options": settings_tables.notify_options,
    "run-record": partial(tables.sections, [records.RunRecord]),
}


def generated(page: Path) -> str:
    """The page as it should be. Raises KeyError for a mark that no generator knows."""
    return MARKED.sub(lambda part: f"{part[1]}\n{GENERATORS[part[2]]()}\n\n{part[3]}", page.read_text())


def main(arguments: list[str]) -> int:
    stale = [page for page in sorted(DOCS.glob("*.md")) if generated(page) != page.read_text()]
    if arguments == ["--check"]:
        for page in stale:
            print(f"{page}: out of date, run `make docs`", file=sys.stderr)
        return 1 if stale else 0
    for page in stale:
        page.write_text(generated(page))
        print(f"wrote {page}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
