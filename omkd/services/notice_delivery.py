"""One attempt to tell a person: a command with a time limit, the escalation on its stdin. Nothing else runs here."""

import os
import secrets
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import trio
from attrs import frozen

from omkd.protocol import codec
from omkd.protocol.events import DecisionRequested
from omkd.protocol.redaction import redacted_text
from omkd.store.procfs import process_of
from omkd.worker.processes import RunProcesses, kill_until_none

from .hosts import HIDDEN_FROM_HOSTS
from .notice_rules import Matter, Means, PostTo, RunCommand, ShowOnDesktop

COMPLAINT_BYTES: Final = 400
"""Of what a command says on stderr: its end is shown in `status`."""

READ_BYTES: Final = 4096


class NotSent(Exception):
    """The command did not do its work; the text says why."""


@frozen(kw_only=True)
class Delivery:
    """argv, and what is on its stdin."""

    argv: tuple[str, ...]
    stdin: bytes


def delivery_for(means: Means, matter: Matter, session: str, repeats: int) -> Delivery:
    said = notice_json(matter, session, repeats)
    match means:
        case RunCommand(argv=argv):
            return Delivery(argv=argv, stdin=said + b"\n")
        case ShowOnDesktop():
            title = f"omkd {session}: {matter.entry.kind.value}"
            again = f" (and {repeats} times before)" if repeats else ""
            again += f" (reminder {matter.reminder})" if matter.reminder else ""
            argv = ("notify-send", "--app-name=omkd", "--", title, matter.entry.summary + again)
            return Delivery(argv=argv, stdin=b"")
        case PostTo(url=url):
            return Delivery(argv=("curl", "--disable", "--config", "-"), stdin=curl_config(url, said))


def notice_json(matter: Matter, session: str, repeats: int) -> bytes:
    """The escalation's own fields, then `seq`, as `tail-escalations --json` has them; then what only a notice has.

    `{"ts":"…","kind":"failed",…,"auto_proceed":false,"seq":12,"session":"default","repeats":0}`, and of a question
    `"decision":"t12-1","reminder":0`.
    """
    entry = codec.parse(codec.dumps(matter.entry))
    assert isinstance(entry, dict)
    event, asked = matter.event, {}
    if isinstance(event, DecisionRequested):
        asked = {"decision": event.decision_id, "reminder": matter.reminder}
    return codec.encode({**entry, "seq": matter.seq, "session": session, "repeats": repeats, **asked})


def curl_config(url: str, body: bytes) -> bytes:
    """On stdin and not as arguments: those are shown to every user, and the address is often the secret."""
    lines = [
        "silent",
        "show-error",
        "fail",
        "globoff",
        f"url = {quoted(url)}",
        'header = "Content-Type: application/json"',
        f"data-binary = {quoted(body.decode())}",
        'output = "/dev/null"',
    ]
    return "\n".join(lines).encode() + b"\n"


def quoted(text: str) -> str:
    """As curl's configuration has it (curl(1), --config)."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


@frozen(kw_only=True)
class NoticeMarks:
    """What every process of one attempt has in its environment."""

    attempt: str

    def environment(self) -> dict[str, str]:
        return {"OMK_NOTICE": self.attempt}


async def attempt(delivery: Delivery, environment: Mapping[str, str], directory: Path, timeout_s: float) -> None:
    """Returns when the command ended with 0. Raises NotSent.

    The command is in a session of its own. After `timeout_s`, or when this is cancelled, it is killed with all that it
    started, wherever that went; after its own end, with what is left in its process group.
    """
    marks = NoticeMarks(attempt=secrets.token_hex(8))
    try:
        process = await trio.lowlevel.open_process(
            list(delivery.argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={name: text for name, text in environment.items() if name not in HIDDEN_FROM_HOSTS}
            | marks.environment(),
            cwd=directory,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        raise NotSent(f"{delivery.argv[0]}: {getattr(error, 'strerror', None) or error}") from error
    complaint = bytearray()
    has_ended = False
    try:
        with trio.move_on_after(timeout_s) as patience:
            await converse(process, delivery.stdin, complaint)
            has_ended = True
    finally:
        with trio.CancelScope(shield=True):
            if not has_ended:
                await end_all(process, marks)
            await end(process)
    if patience.cancelled_caught:
        raise NotSent(f"{delivery.argv[0]} took longer than {timeout_s:g} s")
    if process.returncode:
        raise NotSent(f"{delivery.argv[0]}: {status_words(process.returncode)}{complaint_words(complaint)}")


async def converse(process: trio.Process, stdin: bytes, complaint: bytearray) -> None:
    """Feeds it, keeps the end of what it says, and waits for its end."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(feed, process, stdin)
        assert process.stderr is not None
        async for chunk in process.stderr:
            complaint += chunk
            del complaint[:-READ_BYTES]
        await process.wait()
        nursery.cancel_scope.cancel()


async def feed(process: trio.Process, stdin: bytes) -> None:
    """One that does not read its stdin has no need of it."""
    assert process.stdin is not None
    try:
        async with process.stdin:
            await process.stdin.send_all(stdin)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return


async def end_all(process: trio.Process, marks: NoticeMarks) -> None:
    """The command, what is below it, and what carries its marks; not more than 10 s."""
    leader = process_of(process.pid)
    command = None if leader is None else (leader.pid, leader.start_time)
    await kill_until_none(RunProcesses(marks=marks, command=command))


async def end(process: trio.Process) -> None:
    """Nothing of it is left in its session's process group."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
    for stream in (process.stdin, process.stderr):
        if stream is not None:
            await stream.aclose()


def status_words(status: int) -> str:
    return f"killed by signal {-status}" if status < 0 else f"exit status {status}"


def complaint_words(complaint: bytearray) -> str:
    text = " ".join(complaint.decode(errors="replace").split())[-COMPLAINT_BYTES:]
    return f": {redacted_text(text)}" if text else ""
