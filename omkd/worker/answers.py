"""People's answers to what agents ask, as they come by the control file."""

import trio

from omkd.protocol.records import AnswerLine

from .mailbox import Mailbox


class Answers:
    """`look` after the file was read; `wait` for the answer to one question."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox
        self._read = trio.Event()

    def look(self) -> None:
        self._read.set()
        self._read = trio.Event()

    async def wait(self, decision: str) -> AnswerLine:
        while (line := self._mailbox.take_answer(decision)) is None:
            await self._read.wait()
        return line
