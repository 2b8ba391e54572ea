"""Text from a person: as arguments, from a file, on stdin where an option says so."""

import sys

from omkd.protocol.limits import TASK_BYTES

from . import values
from .failures import usage

MISSING = "no text: give it as an argument, after --, with --file F, or on stdin with --file -"

EMPTY = "the text is empty: say what it is about"


def text_of(words: tuple[str, ...], file: str | None) -> str:
    """Raises Failure (usage) when there is none, or two, or nothing in it."""
    if file is None and not words:
        raise usage(MISSING)
    text = text_or_none(words, file) or ""
    if not text.strip():
        raise usage(EMPTY)
    return text


def text_or_none(words: tuple[str, ...], file: str | None) -> str | None:
    if file is not None and words:
        raise usage("the text is given twice: as an argument and with --file")
    if file is not None:
        return read_text(file)
    return checked(" ".join(words), "the text") if words else None


def text_or_file(text: str, what: str) -> str:
    """`@F` stands for what is in F."""
    return read_text(text[1:]) if text.startswith("@") else checked(text, what)


def criteria_of(given: tuple[str, ...]) -> list[str]:
    """What `--criterion` was given. Raises Failure (usage) for one that says nothing."""
    if not all(each.strip() for each in given):
        raise usage("--criterion is empty: say what must hold at the end")
    return [checked(each, "--criterion") for each in given]


def read_text(path: str) -> str:
    """All of a file, `-` being stdin."""
    try:
        if path == "-":
            content = sys.stdin.buffer.read()
        else:
            with open(path, "rb") as opened:
                content = opened.read()
        return checked(content.decode(), path)
    except OSError as fault:
        raise usage(f"cannot read {path}: {fault.strerror}") from fault
    except UnicodeDecodeError as fault:
        raise usage(f"{path} is not UTF-8 (byte {fault.start})") from fault


def checked(text: str, what: str) -> str:
    """`text`, if it may be sent and become an argument of a command. Raises Failure (usage)."""
    try:
        sound = values.checked_text(text, what)
    except ValueError as fault:
        raise usage(str(fault)) from fault
    if (size := len(sound.encode())) > TASK_BYTES:
        raise usage(f"{what} has {size} bytes, at most {TASK_BYTES} are taken: put it into a file and name that")
    return sound
