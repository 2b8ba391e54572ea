"""What is wrong with a configuration: file, line and field."""

from pathlib import Path

from attrs import frozen


@frozen
class ConfigError(Exception):
    """Nothing of the file is in force. `line` counts from 1; None: the fault is not at one place of the file."""

    path: Path
    line: int | None
    field: str
    reason: str

    def __str__(self) -> str:
        place = f"{self.path}:{self.line}" if self.line else str(self.path)
        return f"{place}: {self.field}: {self.reason}" if self.field else f"{place}: {self.reason}"
