"""The README and docs/architecture.md are true: sessions are run on a real daemon, what they name exists."""

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from omkctl.failures import Exit
from omkd import cli
from tests.kit import Place, end_hosts

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
DEADLINE_S = 60

MARK = "--- readme ---"
UNTIL_IT_SERVES = "for _ in $(seq 100); do omkctl status > /dev/null 2>&1 && break; sleep 0.1; done"
VARYING = (
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z +"), "TIME "),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"), "TIME"),
    (re.compile(r"\(pid \d+\)"), "(pid N)"),
    (re.compile(r"^( *)\d+(?=  TIME )", re.MULTILINE), r"\1N"),
)


def block(name: str) -> str:
    """The fenced block behind `<!-- test: NAME -->`."""
    found = re.search(rf"<!-- test: {re.escape(name)} -->\n```\w+\n(.*?)```", README, re.DOTALL)
    assert found is not None, f"README.md has no block {name!r}"
    return found[1]


def steps(session: str) -> list[tuple[str, str]]:
    """Each command of a console session, and what it prints."""
    parts = re.split(r"^\$ (.*)\n", session, flags=re.MULTILINE)[1:]
    return list(zip(parts[::2], parts[1::2], strict=True))


def script_for(commands: list[str]) -> str:
    """Runs them in one shell; a mark stands before the output of each. `$?` and `$!` stay those of the commands."""
    lines = ["mark() { local status=$?; echo '" + MARK + "'; return $status; }"]
    for command in commands:
        lines += ["mark", command]
        if command.startswith("omkd"):
            lines.append(UNTIL_IT_SERVES)
    return "\n".join(lines) + "\n"


def as_it_varies(text: str, home: Path) -> str:
    text = text.replace(str(home), "~")
    for pattern, replacement in VARYING:
        text = pattern.sub(replacement, text)
    return text


@pytest.fixture
def home() -> Iterator[Place]:
    """A home directory with nothing in it but the README's script, the session where the README says it is."""
    with tempfile.TemporaryDirectory(prefix="omk-") as directory:
        root = Path(directory)
        (root / ".local" / "state").mkdir(parents=True)
        (root / "s").symlink_to(root / ".local" / "state")
        (root / "worker.sh").write_text(block("worker.sh"))
        place = Place(root, name="default")
        del place.environment["XDG_STATE_HOME"], place.environment["OMK_SESSION"]
        place.environment["PATH"] = f"{Path(sys.executable).parent}:{place.environment['PATH']}"
        try:
            yield place
        finally:
            end_hosts(place)


def outputs_of(commands: list[str], home: Place) -> list[str]:
    """What each printed on stdout and stderr, in the order in which a terminal shows it."""
    with (home.root / "output").open("w+") as output:  # a pipe would end only with the last process that has it
        shell = subprocess.Popen(
            ["bash", "-c", script_for(commands)],
            env=home.environment,
            cwd=home.root,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
        try:
            shell.wait(DEADLINE_S)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)  # a failure in the middle leaves daemon and worker
            shell.wait()
        output.seek(0)
        return output.read().split(f"{MARK}\n")[1:]


@pytest.mark.skipif(shutil.which("jq") is None, reason="the shell worker of README.md needs jq")
def test_the_sessions_of_the_readme_print_what_it_says(home: Place):
    told = [*steps(block("first session")), *steps(block("a worker of your own"))]
    printed = outputs_of([command for command, _ in told], home)
    assert [as_it_varies(text, home.root) for text in printed] == [as_it_varies(text, home.root) for _, text in told]


def readme_statuses(column: int) -> dict[int, str]:
    rows = re.findall(r"^\|(.*)\|$", README.partition("## Exit statuses")[2].partition("\n## ")[0], re.MULTILINE)
    cells = [[cell.strip() for cell in row.split("|")] for row in rows]
    return {int(row[column]): row[column + 1] for row in cells if row[column].isdecimal()}


def test_the_exit_statuses_of_the_readme_are_those_of_omkctl():
    assert set(readme_statuses(0)) == {int(status) for status in Exit}


def test_the_exit_statuses_of_the_readme_are_those_of_omkd():
    known = {cli.EXIT_FAILED, cli.EXIT_HELD, cli.EXIT_TOO_NEW, cli.EXIT_DAMAGE_OR_CONFIG}
    assert set(readme_statuses(2)) == {0, 2, 3, *known}


def test_the_make_targets_that_the_readme_names_exist():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"^    make ([\w-]+)", README, re.MULTILINE)) <= targets


def test_the_files_that_the_pages_link_to_exist():
    for page in (ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))):
        for link in re.findall(r"\]\(([\w./-]+)(?:#[\w-]+)?\)", page.read_text()):
            assert (page.parent / link).is_file(), f"{page.name}: {link}"


def test_the_verbs_that_the_readme_names_exist():
    verbs = set(re.findall(r"^(?:\$ |    )omkctl ([\w-]+)", README, re.MULTILINE))
    for verb in sorted(verbs):
        asked = [sys.executable, "-m", "omkctl", *shlex.split(verb), "--help"]
        assert subprocess.run(asked, capture_output=True, timeout=DEADLINE_S, check=False).returncode == 0, verb


def test_the_modules_that_the_architecture_names_exist():
    text = (ROOT / "docs" / "architecture.md").read_text()
    named = set(re.findall(r"`((?:omkd|omkctl|tests)/[\w/]*(?:\.py)?)`", text))
    assert len(named) > 20
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []


def test_the_modules_that_the_architecture_lists_by_room_exist():
    text = (ROOT / "docs" / "architecture.md").read_text()
    rooms = re.findall(r"^\| `(omkd/\w+/|omkctl/)` \| (.*) \|$", text, re.MULTILINE)
    assert len(rooms) >= 7
    for room, says in rooms:
        for module in re.findall(r"`(\w+\.py)`", says):
            assert (ROOT / room / module).is_file(), room + module
