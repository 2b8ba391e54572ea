"""The files of a worker that omkd writes: directory, spec and runner, inbox and control. All follow from the log."""

from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from typing import assert_never

from attrs import asdict, evolve

from omkd.core.decisions import by_words
from omkd.core.ledger import TaskEntry
from omkd.core.roster import WorkerEntry
from omkd.protocol import codec
from omkd.protocol.events import By, ByClient, ByOmkd, ByUnknown, ByWorker, DecisionAnswered, DecisionExpired
from omkd.protocol.handout import handout_id
from omkd.protocol.limits import WORKER_LINE_BYTES
from omkd.protocol.lines import Line, LineSplitter
from omkd.protocol.records import AnswerLine, HandoutDone, InboxLine
from omkd.protocol.scalars import HandoutId
from omkd.store.files import append_lines, atomic_write, make_dir, open_append, open_regular, read_regular
from omkd.store.session import WorkerDir

READ_BYTES = 1024 * 1024


def write_settings(directory: WorkerDir, entry: WorkerEntry) -> None:
    """The directory, `worker-spec.json` and `runner.json` of one of omkd's own workers, as the log has them.

    Durability: on disk. Files that say it already are left alone. Raises OSError.
    """
    make_dir(directory.path)
    write_if_changed(directory, directory.spec.name, codec.dumps_pretty(entry.spec))
    if entry.runner is None:
        directory.runner.unlink(missing_ok=True)
    else:
        write_if_changed(directory, directory.runner.name, codec.dumps(entry.runner))


def write_if_changed(directory: WorkerDir, name: str, content: bytes) -> None:
    path = directory.path / name
    try:
        same = read_regular(path, len(content)) == content
    except (OSError, ValueError):
        same = False
    if not same:
        atomic_write(path, content)


def inbox_line(entry: TaskEntry, handout: int, *, says_by: bool) -> bytes:
    """The line of a hand-out, with its newline. `says_by`: for omk-worker; others get exactly the seeds' keys."""
    task = evolve(entry.task, id=handout_id(entry.id, handout))
    line = InboxLine(**asdict(task, recurse=False), by=by_text(entry.by)) if says_by else task
    return codec.dumps(line) + b"\n"


def is_told_by(worker: WorkerEntry) -> bool:
    """Whether its inbox lines say who sent the task: a worker that omk-worker plays."""
    return worker.runner is not None and not worker.foreign


def by_text(by: By) -> str:
    """Who sent a task, as its agent is told."""
    match by:
        case ByWorker(worker=name):
            return f"worker:{name}"
        case ByClient() | ByOmkd() | ByUnknown():
            return by.KIND
        case _:
            assert_never(by)


def append_missing(directory: WorkerDir, wanted: Mapping[HandoutId, bytes]) -> None:
    """Appends those of `wanted` (lines by their `id`) that are not in the inbox, in order. Raises OSError."""
    there = set(ids_in(directory.inbox, "id")) if wanted else set()
    missing = [line for handout, line in wanted.items() if handout not in there]
    if missing:
        append_to(directory.inbox, b"".join(missing))


def append_missing_dones(directory: WorkerDir, in_hand: Set[str]) -> None:
    """Says `done` in the control file of each hand-out that ended without its worker: its inbox line must not run.

    That is each one in the inbox that is not in hand, has no outbox line, and is not `done` yet. Raises OSError.
    """
    handed_out = dict.fromkeys(ids_in(directory.inbox, "id"))
    ended = set(ids_in(directory.outbox, "task_id")) | set(ids_in(directory.control, "done", "id"))
    dones = [HandoutDone(id=HandoutId(each)) for each in handed_out if each not in in_hand and each not in ended]
    if dones:
        append_to(directory.control, b"".join(codec.dumps(done) + b"\n" for done in dones))


def answer_line(event: DecisionAnswered | DecisionExpired, by: By) -> bytes | None:
    """What the host is told of a question that ended; None for one whose run ended before: nobody waits."""
    match event:
        case DecisionAnswered():
            line = AnswerLine(decision=event.decision_id, choice=event.choice, note=event.note, by=by_words(by))
        case DecisionExpired(withdrawn=True):
            return None
        case DecisionExpired():
            line = AnswerLine(decision=event.decision_id, choice=None, note=event.reason)
        case _:
            assert_never(event)
    return codec.dumps(line) + b"\n"


def append_missing_answers(directory: WorkerDir, wanted: Mapping[str, bytes]) -> None:
    """Appends those of `wanted` (lines by their question) that the control file lacks. Raises OSError."""
    there = set(ids_in(directory.control, "answer", "decision")) if wanted else set()
    missing = [line for decision, line in wanted.items() if decision not in there]
    if missing:
        append_to(directory.control, b"".join(missing))


def append_to(path: Path, lines: bytes) -> None:
    """Raises OSError; what was written then is completed by the next append."""
    descriptor = open_append(path)
    with open(descriptor, "rb", buffering=0):
        append_lines(descriptor, lines)


def ids_in(path: Path, *keys: str) -> Iterator[str]:
    """The text found under `keys`, one within the other, in each complete line that has it. Raises OSError."""
    try:
        descriptor = open_regular(path)
    except FileNotFoundError:
        return
    splitter = LineSplitter(WORKER_LINE_BYTES)
    with open(descriptor, "rb", buffering=0) as opened:
        while data := opened.read(READ_BYTES):
            for line in splitter.receive_data(data):
                found = text_at(line.text, keys) if isinstance(line, Line) else None
                if found is not None:
                    yield found


def text_at(line: bytes, keys: tuple[str, ...]) -> str | None:
    try:
        found = codec.parse(line)
    except ValueError:
        return None
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    return found if isinstance(found, str) else None
