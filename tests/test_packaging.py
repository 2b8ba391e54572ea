"""What is built carries all that runs, and works where nothing else of the project is."""

import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from omkd.protocol.version import __version__

ROOT = Path(__file__).parent.parent
DEADLINE_S = 120


def run(*arguments: str | Path, cwd: Path = ROOT) -> str:
    done = subprocess.run(arguments, cwd=cwd, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert done.returncode == 0, done
    return done.stdout


def built(source: Path, target: str, into: Path) -> Path:
    """The one file that `target` (wheel, sdist) of a source tree is; without a network."""
    run(sys.executable, "-m", "hatchling", "build", "-t", target, "-d", into, cwd=source)
    (found,) = into.iterdir()
    return found


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(ROOT, "wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def venv(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of a fresh venv with the wheel in it. What it depends on is that of the tests: no network."""
    venv = tmp_path_factory.mktemp("venv")
    run(sys.executable, "-m", "venv", "--without-pip", venv)
    run(sys.executable, "-m", "pip", "--python", venv / "bin" / "python", "install", "--no-deps", "--no-index", wheel)
    (site,) = venv.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return venv / "bin"


def names_in(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_has_the_programs_the_units_and_nothing_of_the_tests(wheel: Path) -> None:
    names = names_in(wheel)
    assert wheel.name == f"omkd-{__version__}-py3-none-any.whl"
    assert {f"omkctl/units/{path.name}" for path in (ROOT / "systemd").iterdir()} <= names
    modules = {str(path.relative_to(ROOT)) for part in ("omkd", "omkctl") for path in (ROOT / part).rglob("*.py")}
    assert modules <= names
    assert {name.split("/")[0] for name in names} == {"omkd", "omkctl", f"omkd-{__version__}.dist-info"}


def test_the_wheel_of_the_sdist_is_the_same(wheel: Path, tmp_path: Path) -> None:
    sdist = built(ROOT, "sdist", tmp_path / "sdist")
    (tmp_path / "unpacked").mkdir()
    subprocess.run(["tar", "-xzf", sdist, "-C", tmp_path / "unpacked"], check=True)  # tarfile's filter is of 3.11.4
    (source,) = (tmp_path / "unpacked").iterdir()
    assert (source / "systemd" / "omkd@.service").is_file()
    assert (source / "CHANGELOG.md").is_file()
    assert (source / "docs" / "operations.md").is_file()
    assert names_in(built(source, "wheel", tmp_path / "again")) == names_in(wheel)


@pytest.mark.parametrize("program", ["omkd", "omkctl", "omk-worker"])
def test_each_program_runs_where_only_the_wheel_is_installed(venv: Path, tmp_path: Path, program: str) -> None:
    assert __version__ in run(venv / program, "--version", cwd=tmp_path)


def test_the_installed_units_are_found_and_are_those_of_the_project(venv: Path, tmp_path: Path) -> None:
    script = "from omkctl import service_units as it; print(it.__file__); print(it.templates()[it.SERVICE], end='')"
    where, _, text = run(venv / "python", "-c", script, cwd=tmp_path).partition("\n")
    assert where.startswith(str(venv.parent))
    assert text == (ROOT / "systemd" / "omkd@.service").read_text()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_installed_omkctl_brings_completion(venv: Path, tmp_path: Path, shell: str) -> None:
    assert "_OMKCTL_COMPLETE" in run(venv / "omkctl", "completion", shell, cwd=tmp_path)


def test_the_changelog_knows_the_version_or_says_that_it_is_not_released() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    assert __version__ in text or "Unreleased" in text
