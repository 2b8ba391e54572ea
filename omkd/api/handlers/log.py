"""task.log: the output of a run, so far or live."""

import base64
import contextlib
import errno
import os
from pathlib import Path
from typing import Final

import trio

from omkd.api.calls import Answer, Call, Follow
from omkd.core.ledger import TaskEntry
from omkd.protocol import codec
from omkd.protocol.errors import ApiError, ErrorKind
from omkd.protocol.handout import handout_id
from omkd.protocol.jsonrpc import Connection
from omkd.protocol.methods import TaskLogNotification, TaskLogParams, TaskLogResult
from omkd.protocol.scalars import U64
from omkd.services.hub import Hub, Wakeup
from omkd.store.files import open_regular
from omkd.store.trimming import left_out_line
from omkd.store.watch import Watcher, open_watcher

from .tasks import entry_of

CHUNK_BYTES: Final = 256 * 1024
"""Of output in one reply or notification; base64 makes a third more of it."""

LOOK_AGAIN_S: Final = 60


async def log(call: Call, params: TaskLogParams) -> Answer:
    entry = entry_of(call.hub, params.id)
    number = await handout_of(call.hub, entry, params)
    path = run_output(call.hub, entry, number, params)
    start = params.offset if params.tail is None else max(0, size_of(path) - params.tail)
    data, end = read_chunk(path, start)
    follow = None
    if params.follow and not (is_over(entry, number) and end >= size_of(path)):
        subscription = call.caller.new_subscription()
        follow = Follow(
            subscription=subscription, run=lambda: follow_output(call, entry, number, path, subscription, end)
        )
    result = TaskLogResult(
        subscription=None if follow is None else follow.subscription,
        data=base64.b64encode(data).decode(),
        offset=U64(end),
        size=U64(size_of(path)),
        path=str(path),
    )
    return Answer(result=result, follow=follow)


async def handout_of(hub: Hub, entry: TaskEntry, params: TaskLogParams) -> int:
    """The hand-out asked for, or the newest that has run; with `follow`, waits for the first to begin."""
    if params.handout is not None:
        if not 1 <= params.handout <= entry.handout:
            text = f"{entry.id} has {entry.handout} hand-outs, there is no number {params.handout}"
            raise ApiError(ErrorKind.NOT_FOUND, text, id=entry.id)
        return params.handout
    while params.follow and entry.handout == 0 and not entry.state.is_final:
        await hub.log.wait_beyond(hub.log.written)
    if entry.handout == 0:
        raise ApiError(ErrorKind.NOT_FOUND, f"{entry.id} was not handed out, it has no output", id=entry.id)
    newest_ran = entry.started is not None or entry.handout == 1 or params.follow
    return entry.handout if newest_ran else entry.handout - 1


def run_output(hub: Hub, entry: TaskEntry, number: int, params: TaskLogParams) -> Path:
    if entry.worker is None or entry.worker not in hub.state.roster.workers:
        text = f"the worker that ran {entry.id} is gone; its runs are under {hub.session.removed}"
        raise ApiError(ErrorKind.NOT_FOUND, text, id=entry.id)
    directory = hub.session.worker(entry.worker)
    path = directory.run(entry.id, handout_id(entry.id, number)) / f"{params.stream.value}.log"
    if not params.follow and not path.exists():
        begun = "has not begun" if entry.started is None else "has no output kept"
        raise ApiError(ErrorKind.NOT_FOUND, f"{entry.id} {begun} at {entry.worker}: there is no {path}", id=entry.id)
    return path


async def follow_output(call: Call, entry: TaskEntry, number: int, path: Path, subscription: U64, offset: int) -> None:
    """Sends what is appended, until the hand-out is over and all of it was sent.

    From one open file: when the run ends, the host may put a shorter one in its place.
    """
    with contextlib.ExitStack() as opened:
        async with open_watcher() as watcher, trio.open_nursery() as nursery:
            grown = Wakeup()
            nursery.start_soon(wake_on_growth, watcher, path, grown)
            nursery.start_soon(wake_on_facts, call.hub, grown)
            output: int | None = None
            while True:
                over = is_over(entry, number)
                if output is None and (output := open_output(path)) is not None:
                    opened.callback(os.close, output)
                while output is not None and (chunk := chunk_at(output, offset))[0]:
                    data, offset = chunk
                    await notify(call, subscription, data, offset, end=False)
                if over:
                    await notify(call, subscription, b"", offset, end=True)
                    nursery.cancel_scope.cancel()
                await grown.wait()


async def wake_on_growth(watcher: Watcher, path: Path, grown: Wakeup) -> None:
    """The run's directory appears with the run; until then facts wake."""
    while not path.parent.is_dir():
        grown.wake()
        await trio.sleep(0.2)
    watcher.add(path.parent)
    while True:
        grown.wake()
        await watcher.changes(LOOK_AGAIN_S)


async def wake_on_facts(hub: Hub, grown: Wakeup) -> None:
    seen = hub.log.committed
    while True:
        seen = await hub.log.wait_beyond(seen)
        grown.wake()


async def notify(call: Call, subscription: U64, data: bytes, offset: int, *, end: bool) -> None:
    notification = TaskLogNotification(
        subscription=subscription, data=base64.b64encode(data).decode(), offset=U64(offset), end=end
    )
    await call.caller.send(Connection.encode_notification_raw("task_log", codec.dumps(notification)))


def is_over(entry: TaskEntry, number: int) -> bool:
    """Whether that hand-out has ended."""
    return entry.handout > number or not entry.in_hand


def size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def read_chunk(path: Path, offset: int) -> tuple[bytes, int]:
    """Of what the path names now, see `chunk_at`; nothing while there is no file. Raises ApiError."""
    output = open_output(path)
    if output is None:
        return b"", offset
    try:
        return chunk_at(output, offset)
    finally:
        os.close(output)


def open_output(path: Path) -> int | None:
    """A descriptor; None while there is no file. Raises ApiError for what cannot be read."""
    try:
        return open_regular(path)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ApiError(ErrorKind.NOT_FOUND, f"{path}: {error}", path=str(path)) from error


def chunk_at(output: int, offset: int) -> tuple[bytes, int]:
    """The next bytes and where they end; none at the end of the file.

    A hole is where the host left out the middle of a long output: a line stands for it.
    """
    try:
        start = os.lseek(output, offset, os.SEEK_DATA)
        end = os.lseek(output, start, os.SEEK_HOLE)
    except OSError as error:
        if error.errno != errno.ENXIO:  # nothing but a hole, or nothing at all, from there on
            raise
        return b"", offset
    data = os.pread(output, min(CHUNK_BYTES, end - start), start)
    skipped = left_out_line(start - offset) if start > offset else b""
    return skipped + data, start + len(data)
