"""`inbox --watch`: the questions on a terminal, one after the other as they arrive, each answered with one key.

A thread of its own follows the log and says through a pipe that something changed; what waits is then asked for anew.
"""

import os
import select
import sys
import termios
import threading
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from omkd.protocol.limits import TASK_BYTES

from .client import Client
from .deciding import ALLOW_ALWAYS, ALLOW_ONCE, REJECT_ONCE, asker, decide, only_choice, open_questions
from .failures import Exit, Failure, usage
from .invocation import Invocation
from .link import NEVER
from .render import Output, one_line, say, shown
from .shapes import Decision
from .stream import EVENT_LOG
from .subscriptions import follow

KINDS: Final = {"a": ALLOW_ONCE, "A": ALLOW_ALWAYS, "d": REJECT_ONCE}
KEYS: Final = "a allow once, A always, d deny, s skip, q quit"
DETAIL_LINES: Final = 40
"""Of what is asked; more would push the question itself off the screen."""

CHANGES: Final = ("DecisionRequested", "DecisionAnswered", "DecisionExpired")


def watch_inbox(invocation: Invocation) -> int:
    """Until the person quits."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise usage("--watch asks on a terminal, and stdin or stdout is none: omkctl inbox lists what waits")
    with changes(invocation) as changed, keys() as terminal:
        return Watch(invocation.client(), invocation.out, terminal, changed).run()


class Watch:
    """`terminal` and `changed` are descriptors to read from."""

    def __init__(self, client: Client, out: Output, terminal: int, changed: int) -> None:
        self._client = client
        self._out = out
        self._terminal = terminal
        self._changed = changed
        self._skipped: set[str] = set()
        self._shown: Decision | None = None
        self._waits_said = False

    def run(self) -> int:
        while True:
            self._look()
            ready, _, _ = select.select([self._terminal, self._changed], [], [])
            if self._changed in ready:
                note = os.read(self._changed, TASK_BYTES)
                if not note:
                    raise Failure(Exit.UNREACHABLE, "unreachable", "the daemon's log can be followed no more")
            elif not self._obey(os.read(self._terminal, 1).decode(errors="replace")):
                return Exit.DONE

    def _look(self) -> None:
        """Shows the oldest question that waits, if it is not the one that stands there."""
        waiting = open_questions(self._client)
        ids = {each["id"] for each in waiting}
        if self._shown is not None and self._shown["id"] not in ids:
            self._out.line(f"{one_line(self._shown['id'])} is over: decided elsewhere, or nobody needs it any more")
            self._shown = None
        if self._shown is None:
            self._shown = next((each for each in waiting if each["id"] not in self._skipped), None)
            if self._shown is not None:
                termios.tcflush(self._terminal, termios.TCIFLUSH)  # a key that was meant for another question
                self._show(self._shown)
            elif not self._waits_said:
                self._out.line("waits for questions (q quit)")
            self._waits_said = self._shown is None

    def _show(self, asked: Decision) -> None:
        self._out.line(f"\n{one_line(asked['id'])}  {one_line(asker(asked))}  until {self._out.time(asked['expires'])}")
        self._out.line(f"  {one_line(asked['summary'])}")
        lines = shown(asked["detail"]).split("\n") if asked["detail"] else []
        for text in lines[:DETAIL_LINES]:
            self._out.line(f"    {text}")
        if len(lines) > DETAIL_LINES:
            self._out.line(f"    … {len(lines) - DETAIL_LINES} more lines: omkctl inbox --json")
        for number, choice in enumerate(asked["choices"], 1):
            self._out.line(f"  {number} {one_line(choice['id'])} ({one_line(choice['label'])}, {choice['kind']})")
        self._out.line(f"  {KEYS}, or a number")

    def _obey(self, key: str) -> bool:
        """False: quit."""
        asked = self._shown
        if key in ("q", "", "\x04"):
            return False
        if asked is None:
            return True
        if key == "s":
            self._skipped.add(asked["id"])
            self._shown = None
            self._out.line(f"{one_line(asked['id'])} skipped; it waits on")
            return True
        try:
            choice = self._choice(asked, key)
            if choice is not None:
                decided = decide(self._client, asked["id"], choice, "")
                self._shown = None
                self._out.line(one_line(f"{asked['id']}: {decided['choice']}"))
        except Failure as failure:
            self._refused(failure)
        return True

    def _choice(self, asked: Decision, key: str) -> str | None:
        """The id of what a key means; None: nothing. Raises Failure."""
        if key in KINDS:
            return only_choice(asked, KINDS[key])["id"]
        if key.isascii() and key.isdigit() and 1 <= int(key) <= len(asked["choices"]):
            return asked["choices"][int(key) - 1]["id"]
        self._out.line(f"  {KEYS}, or a number")
        return None

    def _refused(self, failure: Failure) -> None:
        """Goes on with what the person can mend, and with what somebody else decided first."""
        if failure.status in (Exit.UNREACHABLE, Exit.REFUSED, Exit.VERSION):
            raise failure
        self._out.line(f"  {one_line(failure.message)}")


@contextmanager
def keys() -> Iterator[int]:
    """stdin, each key as it is pressed; Ctrl-C still interrupts."""
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    tty.setcbreak(terminal)
    try:
        yield terminal
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


@contextmanager
def changes(invocation: Invocation) -> Iterator[int]:
    """Readable after each change of a question; at its end when the daemon cannot be followed any more."""
    readable, writable = os.pipe()
    client = Client(invocation.address)

    def run() -> None:
        params = {"filter": {"types": list(CHANGES)}, "last": 1}  # one at once: nothing is missed before it stands
        try:
            for _ in follow(client, EVENT_LOG.subscribe, params, EVENT_LOG.seq_of, NEVER, say):
                os.write(writable, b".")
        except Failure as fault:
            say(fault.message)
        except BrokenPipeError:
            pass  # the person quit
        finally:
            os.close(writable)

    threading.Thread(target=run, name="changes", daemon=True).start()
    try:
        yield readable
    finally:
        os.close(readable)
