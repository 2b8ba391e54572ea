"""A worker's own settings, runner.json and worker-spec.json: read at start, and again before each run."""

from pathlib import Path
from typing import Final, TypeVar

from attrs import frozen

from omkd.protocol import codec
from omkd.protocol.records import Runner, WorkerSpec
from omkd.store.files import read_regular
from omkd.store.session import WorkerDir

SETTINGS_BYTES: Final = 1024 * 1024
"""Of one of the two files; as much as a line may have."""

T = TypeVar("T")


class SettingsError(ValueError):
    """A worker's files do not say what to run; the text says which and why."""


@frozen(kw_only=True)
class Settings:
    runner: Runner
    spec: WorkerSpec


def load_settings(worker: WorkerDir) -> Settings:
    """Raises SettingsError."""
    runner = load(worker.runner, Runner)
    spec = load(worker.spec, WorkerSpec)
    if not runner.command:
        raise SettingsError(f"{worker.runner}: `command` is empty: nothing to run")
    if spec.name != worker.name:
        raise SettingsError(f"{worker.spec}: `name` is {spec.name!r}, the directory's is {worker.name!r}")
    return Settings(runner=runner, spec=spec)


def load(path: Path, kind: type[T]) -> T:
    try:
        return codec.loads(read_regular(path, SETTINGS_BYTES), kind)
    except FileNotFoundError:
        raise SettingsError(f"{path} is missing: `omkctl worker add` writes it") from None
    except (OSError, ValueError) as error:
        raise SettingsError(f"{path} cannot be used: {error}") from error
