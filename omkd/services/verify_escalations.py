"""Holds `pending_escalations.jsonl` against the log, from the saved position on, as a start of its writer does."""

import os
from pathlib import Path
from typing import BinaryIO

from omkd.protocol.events import Unit
from omkd.protocol.methods import FindingKind
from omkd.protocol.scalars import Seq
from omkd.store.files import OPEN_FLAGS
from omkd.store.session import SessionDir

from .escalation_pos import load_pos
from .escalation_writer import lines_of
from .verify_report import TO_BE_COMPLETED, Report

IN_THE_LOG = "nothing is lost: the event log has every escalation (`omkctl tail-escalations`)"


class EscalationCheck:
    """Takes the units in order, then `conclude`. Close it.

    `written_to`: the unit that a running writer has come to; None: none runs. A file that another program put in the
    place of omkd's begins somewhere in the log, nobody knows where: it is not compared.
    """

    def __init__(self, session: SessionDir, report: Report, *, written_to: Seq | None) -> None:
        self._path = session.escalations
        self._report = report
        self._written_to = written_to
        self._pos = load_pos(session.escalations_pos)
        self._file = open_file(self._path)
        status = None if self._file is None else os.fstat(self._file.fileno())
        self._size = 0 if status is None else status.st_size
        self._at: int = self._pos.offset
        is_known = self._pos.inode == 0 or (status is not None and status.st_ino == self._pos.inode)
        self._comparing = is_known and self._begins_well()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def take(self, unit: Unit) -> None:
        if self._comparing and unit.seq > self._pos.seq and (lines := lines_of(unit)):
            self._compare(unit.seq, lines)

    def pass_gap(self, before: Seq) -> None:
        """Units in front of `before` are gone from the log; the file may have their lines."""
        if before > self._pos.seq + 1:
            self._comparing = False

    def conclude(self, last: Seq) -> None:
        """`last`: the newest unit of the log."""
        if self._pos.seq > last:
            what = f"{self._path.name} was written up to unit {self._pos.seq}, the event log ends with {last}"
            self._find(what, "the log lost its end, or is an older copy: restore the newer one from a backup")
        elif self._comparing and self._at < self._size:
            what = (
                f"{self._path}: from byte {self._at} on {self._size - self._at} bytes that the event log does not know"
            )
            self._find(
                what, "another program wrote them; the next start keeps the file under another name, begins anew"
            )

    def _begins_well(self) -> bool:
        if self._size < self._at:
            what = f"{self._path}: {self._size} bytes are left of the {self._at} that omkd wrote"
            self._find(what, f"somebody cut the file; {IN_THE_LOG}")
            return False
        if self._file is not None and self._at > 0:
            self._file.seek(self._at - 1)
            if self._file.read(1) != b"\n":
                self._find(f"{self._path}: no line ends at byte {self._at}", f"somebody wrote into it; {IN_THE_LOG}")
                return False
        return True

    def _compare(self, seq: Seq, lines: bytes) -> None:
        there = b"" if self._file is None else self._file.read(min(len(lines), self._size - self._at))
        if not lines.startswith(there):
            what = f"{self._path}: what stands at byte {self._at} is not what unit {seq} says"
            self._find(what, f"another program wrote into it, or lines were taken out; {IN_THE_LOG}")
            self._comparing = False
            return
        self._at += len(there)
        self._report.count("escalation_lines", there.count(b"\n"))
        if there != lines:
            self._miss(seq, lines[len(there) :].count(b"\n"))

    def _miss(self, seq: Seq, number: int) -> None:
        if self._written_to is None:
            self._report.count(TO_BE_COMPLETED, number)
        elif seq <= self._written_to:
            what = f"{self._path} ends at byte {self._size}, before the lines of unit {seq}"
            self._find(what, f"somebody cut the file, or it cannot be written (`omkctl status`); {IN_THE_LOG}")
            self._comparing = False

    def _find(self, what: str, mend: str) -> None:
        self._report.find(FindingKind.ESCALATIONS, what, mend)


def open_file(path: Path) -> BinaryIO | None:
    """None: there is no such file. Raises OSError (ELOOP: a symlink)."""
    try:
        descriptor = os.open(path, os.O_RDONLY | OPEN_FLAGS)
    except FileNotFoundError:
        return None
    return open(descriptor, "rb")
