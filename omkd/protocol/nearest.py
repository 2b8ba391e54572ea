"""What was meant, for the text of an error. Standard library only."""

import difflib
from collections.abc import Iterable

from .limits import NAME_CHARS_SHOWN

SHOWN = 10


def shown_name(name: str) -> str:
    """In quotes, on one line, and not longer than a name can be."""
    return repr(name if len(name) <= NAME_CHARS_SHOWN else name[:NAME_CHARS_SHOWN] + "…")


def nearest(wanted: str, known: Iterable[str]) -> str | None:
    found = difflib.get_close_matches(wanted, list(known), n=1)
    return found[0] if found else None


def did_you_mean(wanted: str, known: Iterable[str]) -> str:
    """` (did you mean 'coder'?)`, or nothing."""
    found = nearest(wanted, known)
    return f" (did you mean {found!r}?)" if found else ""


def hint(wanted: str, known: Iterable[str], nothing: str) -> str:
    """` (did you mean 'coder'? known: coder, docs)`; `nothing` is said when none is known."""
    names = sorted(known)
    if not names:
        return f" ({nothing})"
    shown = ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
    found = nearest(wanted, names)
    return f" (did you mean {found!r}? known: {shown})" if found else f" (known: {shown})"
