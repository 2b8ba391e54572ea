"""Whether the disk of a session has room: one judgement for `doctor` and `health`."""

import os
from pathlib import Path
from typing import Final

FREE_BYTES: Final = 256 * 1024 * 1024
"""A few segments of the log (64 MiB each), and the output of a few runs (16 MiB each). From 1 GiB down, or a twentieth
of the disk, the daemon asks for a person (`omkd.services.disk_watch`): there is time to act then, nothing is wrong."""

FREE_INODES: Final = 1000


def shortage(session: Path) -> str | None:
    """What there is too little of; None when there is enough, or nobody can say."""
    try:
        room = os.statvfs(session)
    except OSError:
        return None
    free_bytes = room.f_bavail * room.f_frsize
    if free_bytes < FREE_BYTES:
        return f"{free_bytes // 2**20} MiB are free for {session}, there should be {FREE_BYTES // 2**20}"
    if room.f_files and room.f_favail < FREE_INODES:
        return f"{room.f_favail} files more can be made in {session} (inodes)"
    return None
