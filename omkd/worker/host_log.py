"""host.log, bounded: a full one becomes host.log.1, and the host goes on in a new one."""

import os
from typing import Final

from omkd.protocol.limits import HOST_LOG_BYTES
from omkd.store.files import FILE_MODE, OPEN_FLAGS
from omkd.store.session import WorkerDir

STDOUT: Final = 1
STDERR: Final = 2


def rotate_host_log(worker: WorkerDir, limit_bytes: int = HOST_LOG_BYTES) -> bool:
    """True when a new one was begun. Only if stderr is the worker's host.log: a host in a terminal has none.

    Raises OSError.
    """
    ours = os.fstat(STDERR)
    try:
        named = os.stat(worker.host_log, follow_symlinks=False)
    except FileNotFoundError:
        return False
    if (ours.st_dev, ours.st_ino) != (named.st_dev, named.st_ino) or named.st_size <= limit_bytes:
        return False
    os.replace(worker.host_log, worker.host_log.with_name(f"{worker.host_log.name}.1"))
    fresh = os.open(worker.host_log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | OPEN_FLAGS, FILE_MODE)
    for stream in (STDOUT, STDERR):
        os.dup2(fresh, stream)
    os.close(fresh)
    return True
