"""The wrappers of docs/examples, run for real; the agent is a script that says what the real one says."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "docs" / "examples"
DEADLINE_S = 30

pytestmark = pytest.mark.skipif(
    shutil.which("jq") is None or shutil.which("git") is None, reason="the wrappers need jq and git"
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    project = tmp_path / "project"
    project.mkdir()
    return project


def program(tmp_path: Path, name: str, script: str) -> None:
    """A program of that name, first on the PATH of what `run` starts."""
    path = tmp_path / "bin" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def run(project: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    directory = project.parent
    environment = {
        "PATH": f"{directory / 'bin'}:{os.environ['PATH']}",
        "HOME": str(directory),
        "OMK_RESULT_FILE": str(directory / "result.json"),
        "GIT_CONFIG_COUNT": "2",
        "GIT_CONFIG_KEY_0": "user.name",
        "GIT_CONFIG_VALUE_0": "Tester",
        "GIT_CONFIG_KEY_1": "user.email",
        "GIT_CONFIG_VALUE_1": "tester@localhost",
    }
    return subprocess.run(
        argv, cwd=project, env=environment, input="", capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )


def result(project: Path) -> object:
    return json.loads((project.parent / "result.json").read_text())


def test_git_tells_the_files_that_a_command_changed_also_what_it_committed(project: Path):
    run(project, "git", "init", "-q")
    run(project, "sh", "-c", "echo 1 > same; echo 1 > changed; echo '*.o' > .gitignore; git add . && git commit -qm 1")
    work = "echo 2 > changed; echo 2 > 'new ü'; echo 2 > x.o; echo 2 > done; git add done; git commit -qm 2; exit 3"
    done = run(project, str(EXAMPLES / "with-git-artifacts.sh"), "sh", "-c", f"{work}")
    assert done.returncode == 3
    assert result(project) == {"artifacts": ["changed", "done", "new ü"]}


def test_git_tells_the_files_in_a_repository_without_a_commit(project: Path):
    run(project, "git", "init", "-q")
    done = run(project, str(EXAMPLES / "with-git-artifacts.sh"), "sh", "-c", "echo 1 > a; git add a; echo 1 > b")
    assert (done.returncode, done.stderr) == (0, "")
    assert result(project) == {"artifacts": ["a", "b"]}


@pytest.mark.parametrize(
    ("said", "status", "expected"),
    [
        ('{"is_error":false,"result":"did it"}', 0, {"status": "success", "summary": "did it"}),
        ('{"is_error":true,"result":"no key"}', 1, {"status": "failed", "summary": "no key"}),
        (
            '{"is_error":false,"result":"did it","permission_denials":[{"tool_name":"Write"},{"tool_name":"Bash"}]}',
            0,
            {"status": "partial", "summary": "did it\n(denied: Bash, Write)"},
        ),
    ],
)
def test_claudes_report_becomes_the_result(project: Path, said: str, status: int, expected: object):
    program(project.parent, "claude", f"echo '{said}'; exit {status}")
    done = run(project, str(EXAMPLES / "claude-result.sh"))
    assert (done.returncode, done.stdout) == (status, "")
    assert result(project) == expected


def test_what_claude_says_without_json_stays_the_output(project: Path):
    program(project.parent, "claude", "echo 'Please log in'; exit 1")
    done = run(project, str(EXAMPLES / "claude-result.sh"))
    assert (done.returncode, done.stdout) == (1, "Please log in\n")
    assert not (project.parent / "result.json").exists()


def test_codex_is_not_disturbed_when_the_event_cannot_be_delivered(project: Path):
    program(project.parent, "omkctl", 'printf "%s\\n" "$@" > ../arguments; exit 4')
    payload = '{"type":"agent-turn-complete","last-assistant-message":"did \\"it\\""}'
    done = run(project, str(EXAMPLES / "codex-notify.sh"), payload)
    assert done.returncode == 0
    assert (project.parent / "arguments").read_text().splitlines() == [
        "publish",
        "DisclosureLine",
        'value=codex, agent-turn-complete: did "it"',
    ]
