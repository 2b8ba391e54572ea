"""What can be wrong with the event log. Each says what to do; only `cli.py` turns them into exit statuses."""

from pathlib import Path

from omkd.protocol.scalars import Seq


class LogWriteFailed(Exception):
    """The disk did not take a unit. Nothing was recorded; the log goes on as soon as the cause is gone."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            f"{path}: cannot write the event log: {reason}; nothing was recorded: "
            "make room on that file system (or undo what forbids writing) and send it again"
        )
        self.path = path
        self.reason = reason


class UnitRefused(ValueError):
    """A unit that could not be read again, were it written: each later start would fail on it. Nothing was recorded."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"this cannot be recorded: {reason}")
        self.reason = reason


class LogBroken(Exception):
    """What is on disk is no longer known. The daemon must end; its next start reads the log anew and decides."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(
            f"{path}: the event log cannot go on: {reason}; omkd must end and be started again: "
            "its start finds out what is on disk (see the kernel's log for the cause)"
        )
        self.path = path
        self.reason = reason


class LogDamaged(Exception):
    """What was known to be on disk is not there, or not readable. Nothing was touched."""

    def __init__(self, segment: Path, offset: int, reason: str) -> None:
        super().__init__(
            f"{segment}: damaged at byte {offset}: {reason}; nothing was touched: "
            "restore the file from a backup, or stop omkd and let `omkd repair` move the damage aside "
            "(`omkctl verify` says what there is of it)"
        )
        self.segment = segment
        self.offset = offset
        self.reason = reason


class LogLost(LogDamaged):
    """There is no log any more in a session that had one."""

    def __init__(self, events: Path, seq: Seq, witness: Path) -> None:
        Exception.__init__(
            self,
            f"{events}: the event log is gone: it holds no unit, and {witness} says that unit {seq} was on disk: "
            f"restore {events} from a backup; or, to begin a new log and forget all tasks, remove {witness}",
        )
        self.segment = events
        self.offset = 0
        self.reason = "the log is gone"


class UnitsUnreadable(LogDamaged):
    """Damage that a reader of the log's past met; what follows it begins with unit `readable_from`."""

    def __init__(self, segment: Path, offset: int, reason: str, *, readable_from: Seq) -> None:
        super().__init__(segment, offset, reason)
        self.readable_from = readable_from


class LogTooNew(Exception):
    """A unit is whole, in order, and of a kind this omkd does not know. Nothing was touched."""

    def __init__(self, segment: Path, offset: int, reason: str) -> None:
        super().__init__(
            f"{segment}: byte {offset}: a newer omkd wrote this: {reason}; nothing was touched: use that omkd "
            "(if there never was one, the file is damaged: restore it from a backup)"
        )
        self.segment = segment
        self.offset = offset
        self.reason = reason
