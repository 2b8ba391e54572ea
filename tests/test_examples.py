"""The wrappers of docs/examples, run for real; agent, docker and ssh are scripts that do what the real ones do here."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.kit import is_alive, wait_until

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


def environment(project: Path) -> dict[str, str]:
    directory = project.parent
    return {
        "PATH": f"{directory / 'bin'}:{os.environ['PATH']}",
        "HOME": str(directory),
        "OMK_SESSION": str(directory),
        "OMK_WORKER": "coder",
        "OMK_TASK_ID": "t12",
        "OMK_RESULT_FILE": str(directory / "result.json"),
        "GIT_CONFIG_COUNT": "2",
        "GIT_CONFIG_KEY_0": "user.name",
        "GIT_CONFIG_VALUE_0": "Tester",
        "GIT_CONFIG_KEY_1": "user.email",
        "GIT_CONFIG_VALUE_1": "tester@localhost",
    }


def run(project: Path, *argv: str, prompt: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv,
        cwd=project,
        env=environment(project),
        input=prompt,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


@contextmanager
def running(project: Path, *argv: str) -> Iterator[subprocess.Popen[bytes]]:
    """It has said a line on stdout when this is entered."""
    process = subprocess.Popen(
        argv, cwd=project, env=environment(project), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    )
    with process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline()
            yield process
        finally:
            process.kill()


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


# --- a container -------------------------------------------------------------------------------------------------

DOCKER = """
echo "$*" >> ../calls
case $1 in
  run)
    for each; do case $each in *:/omk) given=${each%:/omk};; esac; done
    echo '{"status":"partial"}' > "$given/result.json"
    cat
    if [ -p ../ends ]; then echo runs; read status < ../ends; exit "$status"; fi
    exit 3;;
  stop) echo 137 > ../ends;;
esac
"""
"""`run` goes on until `stop` if there is a pipe ../ends, whatever signals come."""


def calls(project: Path) -> list[str]:
    return (project.parent / "calls").read_text().splitlines()


def test_a_container_gets_the_prompt_and_gives_result_and_status(project: Path):
    program(project.parent, "docker", DOCKER)
    done = run(project, str(EXAMPLES / "in-container.sh"), "image", "agent", "-p", prompt="do it\nwell")
    assert (done.returncode, done.stdout, done.stderr) == (3, "do it\nwell", "")
    assert result(project) == {"status": "partial"}
    before, ran, after = calls(project)
    name = f"omk.{project.parent}.coder"
    assert before == after == f"rm -f {name}"
    assert ran.startswith(f"run --rm -i --init --name {name} -v {project}:{project} -w {project} -v ")
    assert ran.endswith(" -e OMK_RESULT_FILE=/omk/result.json -e OMK_TASK_ID image agent -p")


def test_a_container_is_stopped_and_removed_when_its_run_is_to_end(project: Path):
    program(project.parent, "docker", DOCKER)
    os.mkfifo(project.parent / "ends")
    with running(project, str(EXAMPLES / "in-container.sh"), "image", "agent") as process:
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_S) == 143
    name = f"omk.{project.parent}.coder"
    assert calls(project)[2:] == [f"stop -t 5 {name}", f"rm -f {name}"]


# --- another machine ---------------------------------------------------------------------------------------------

SSH = 'for line; do :; done; exec setsid -w sh -c "$line"'
"""What sshd does: the login shell gets the line, in a session of its own, and lives on when the client is gone."""


def over_ssh(*argv: str) -> tuple[str, ...]:
    return (str(EXAMPLES / "over-ssh.sh"), "far", *argv)


def test_arguments_prompt_directory_and_status_cross_ssh_as_they_are(project: Path):
    program(project.parent, "ssh", SSH)
    script = 'printf "<%s>" "$@"; pwd; cat; exit 3'
    arguments = ("it's", "$HOME `id` \\", "two\nlines", "*", "", "ü")
    done = run(project, *over_ssh(str(project), "sh", "-c", script, "sh", *arguments), prompt="do 'it'\n\nwell")
    said = "".join(f"<{each}>" for each in arguments)
    assert (done.returncode, done.stdout, done.stderr) == (3, f"{said}{project}\ndo 'it'\n\nwell", "")


def test_a_directory_that_is_not_there_is_a_failure(project: Path):
    program(project.parent, "ssh", SSH)
    done = run(project, *over_ssh(str(project / "none"), "true"))
    assert done.returncode == 1
    assert "none" in done.stderr


def test_a_lost_connection_is_later_and_a_far_255_is_not(project: Path):
    program(project.parent, "ssh", "exit 255")
    assert run(project, *over_ssh(str(project), "true")).returncode == 75
    program(project.parent, "ssh", SSH)
    assert run(project, *over_ssh(str(project), "sh", "-c", "exit 255")).returncode == 254


def test_what_runs_far_away_ends_when_the_near_side_is_gone(project: Path):
    program(project.parent, "ssh", SSH)
    forever = "tail -f /dev/null > /dev/null"  # to a pipe that nobody reads it would end by itself
    script = f'setsid sh -c "trap : TERM; echo \\$\\$ >> pids; {forever}" & echo $$ >> pids; echo runs; wait'
    with running(project, *over_ssh(str(project), "sh", "-c", script)) as process:
        wait_until(lambda: len(pids(project)) == 2, "the command does not start")
        process.kill()
    wait_until(lambda: not any(map(is_alive, pids(project))), "what ran far away goes on")


def test_a_new_run_ends_what_a_lost_one_left_far_away(project: Path):
    program(project.parent, "ssh", SSH)
    mark = {"OMK_OVER_SSH": f"{project.parent}.coder@{os.uname().nodename}"}
    with subprocess.Popen(["tail", "-f", "/dev/null"], env={**os.environ, **mark}) as left:
        try:
            assert run(project, *over_ssh(str(project), "true")).returncode == 0
            assert left.wait(DEADLINE_S) == -signal.SIGKILL
        finally:
            left.kill()


def pids(project: Path) -> list[int]:
    path = project / "pids"
    return [int(line) for line in path.read_text().split()] if path.exists() else []
