"""The fixture of this directory's tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from worker_kit import Workspace


@pytest.fixture
def space(tmp_path: Path) -> Iterator[Workspace]:
    made = Workspace(tmp_path)
    yield made
    made.close()
