"""The end of a command's output as plain text: what a person reads, without what only a terminal understands."""

import os
import re
from pathlib import Path
from typing import Final

from omkd.protocol.limits import SUMMARY_BYTES
from omkd.store.files import open_regular

from .progress import without_progress

READ_BYTES: Final = 16 * SUMMARY_BYTES
"""Of the end of a file: 4 KiB of text may be spread over much colour."""

ESCAPES: Final = re.compile(
    r"""\x1b\[[0-?]*[ -/]*[@-~]            # CSI: colours, cursor
      | \x1b[\]PX^_].*?(?:\x07|\x1b\\|\Z)  # OSC, DCS, SOS, PM, APC: titles, links
      | \x1b[ -/]*[0-~]                    # the rest of ECMA-48
      | \x9b[0-?]*[ -/]*[@-~]              # CSI in one character
    """,
    re.VERBOSE | re.DOTALL,
)
LINE_ENDS: Final = re.compile(r"\r\n?")
CONTROLS: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def plain_text(text: str) -> str:
    """Without escape sequences and control characters, but for newline and tab; stripped at both ends."""
    return CONTROLS.sub("", LINE_ENDS.sub("\n", ESCAPES.sub("", text))).strip()


def last_bytes(text: str, limit_bytes: int) -> str:
    """The end of `text`, at most so many bytes of UTF-8, whole characters."""
    encoded = text.encode()
    if len(encoded) <= limit_bytes:
        return text
    return encoded[-limit_bytes:].decode(errors="ignore") if limit_bytes > 0 else ""


def end_of_output(path: Path, limit_bytes: int = SUMMARY_BYTES) -> str:
    """The end of a file as plain text, without progress lines, at most so many bytes; empty for a missing file."""
    return last_bytes(without_progress(plain_text(read_end(path))), limit_bytes).strip()


def read_end(path: Path) -> str:
    try:
        with open(open_regular(path), "rb") as opened:
            start = max(0, os.fstat(opened.fileno()).st_size - READ_BYTES)
            opened.seek(start)
            content = opened.read(READ_BYTES)
    except FileNotFoundError:
        return ""
    if start:
        content = content.lstrip(bytes(range(0x80, 0xC0)))  # the rest of a character that was cut
    return content.decode(errors="replace")
