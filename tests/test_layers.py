"""The import rules of the packages, held by reading every import statement."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted([*(ROOT / "omkd").rglob("*.py"), *(ROOT / "omkctl").rglob("*.py")])

STDLIB_ONLY = {f"omkd.protocol.{name}" for name in ("jsonrpc", "errors", "address", "limits", "lines", "version")}
"""What omkctl may import: it passes through `omkd` and `omkd.protocol`, which are docstrings only."""

MAY_IMPORT = {
    "protocol": set(),
    "store": {"protocol"},
    "core": {"protocol"},
    "services": {"protocol", "store", "core", "worker"},  # of worker: how what is left of a run is ended
    "worker": {"protocol", "store"},
    "api": {"protocol", "store", "core", "services", "worker"},  # of worker: which policies and agents it takes
}
"""The packages of omkd, and whose modules each may use beside its own. What stands above them may use all."""

FORBIDDEN = {
    "protocol": {"trio", "socket", "os", "time", "asyncio", "threading", "subprocess"},
    "core": {"trio", "socket", "os", "time", "asyncio", "threading", "subprocess", "pathlib", "logging"},
}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_names(path: Path, source: str | None = None) -> Iterator[str]:
    """Every module, and every name imported from one, absolute."""
    package = module_name(path).split(".") if path.name == "__init__.py" else module_name(path).split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text() if source is None else source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, node.module] if node.module else above)
            yield from (f"{base}.{alias.name}" for alias in node.names)


def part_of(name: str) -> str | None:
    """`store` for `omkd.store.files`; None outside omkd and for what stands above the parts."""
    parts = name.split(".")
    return parts[1] if parts[0] == "omkd" and len(parts) > 1 and parts[1] in MAY_IMPORT else None


def is_within(name: str, modules: set[str]) -> bool:
    return any(name == module or name.startswith(module + ".") for module in modules)


def faults_of(path: Path, source: str | None = None) -> list[str]:
    own, own_part = module_name(path), part_of(module_name(path))
    faults = []
    for name in imported_names(path, source):
        part, top = part_of(name), name.partition(".")[0]
        if own.startswith("omkctl"):
            if top == "omkd" and not is_within(name, STDLIB_ONLY):
                faults.append(f"{own} imports {name}: omkctl uses only {', '.join(sorted(STDLIB_ONLY))}")
        elif top == "omkctl":
            faults.append(f"{own} imports {name}: omkd does not know its client")
        elif own_part is not None and top == "omkd" and part != own_part and part not in MAY_IMPORT[own_part]:
            faults.append(f"{own} imports {name}: {own_part} is below it or beside it")
        if own_part is not None and top in FORBIDDEN.get(own_part, set()):
            faults.append(f"{own} imports {top}: {own_part} has no I/O and no clock")
    return faults


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_imports_point_down(path: Path):
    assert faults_of(path) == []


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("omkd/protocol/x.py", "import trio"),
        ("omkd/protocol/x.py", "from time import monotonic_ns"),
        ("omkd/protocol/x.py", "from ..store import files"),
        ("omkd/core/x.py", "from omkd.store.files import append_line"),
        ("omkd/core/x.py", "def f():\n    import os.path"),
        ("omkd/store/x.py", "from omkd.core import ledger"),
        ("omkd/store/x.py", "from omkd import daemon"),
        ("omkd/worker/x.py", "from ..services.hub import Hub"),
        ("omkd/services/x.py", "from ..api import server"),
        ("omkd/api/handlers/x.py", "from ...daemon import run"),
        ("omkd/daemon.py", "import omkctl.client"),
        ("omkctl/x.py", "from omkd.protocol.records import WorkerTask"),
        ("omkctl/x.py", "from omkd.protocol import codec"),
        ("omkctl/commands/x.py", "import omkd.store.session"),
    ],
)
def test_an_import_that_points_up_is_found(module: str, source: str):
    assert len(faults_of(ROOT / module, source)) == 1


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("omkd/api/handlers/x.py", "from ..peer import Peer\nfrom ...protocol.methods import Task"),
        ("omkd/daemon.py", "import os\nfrom .api import server\nfrom omkd.core import ledger"),
        ("omkctl/commands/x.py", "from omkd.protocol import jsonrpc\nfrom omkd.protocol.version import __version__"),
    ],
)
def test_an_import_that_points_down_is_not(module: str, source: str):
    assert faults_of(ROOT / module, source) == []


@pytest.mark.parametrize("module", sorted(STDLIB_ONLY))
def test_what_omkctl_imports_needs_the_standard_library_only(module: str):
    code = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert set(done.stdout.split()) - sys.stdlib_module_names - {"__main__"} == {"omkd"}


@pytest.mark.parametrize(
    ("module", "later"),
    [
        ("omkd.cli", "trio"),
        ("omkd.cli", "omkd.protocol.codec"),
        ("omkd.worker.cli", "omkd.worker.acp_run"),
        ("omkd.worker.cli", "omkd.worker.acp_events"),
        ("omkd.settings.live", "omkd.services.hub"),
    ],
)
def test_what_takes_long_to_import_is_imported_when_it_is_needed(module: str, later: str) -> None:
    code = f"import sys, {module}; print({later!r} in sys.modules); import {later}"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "False"
