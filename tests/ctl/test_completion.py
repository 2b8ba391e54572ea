"""Completion in the real shells: what TAB offers, asked of a real daemon."""

import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pexpect
import pytest
from ctl_person import COMMAND, DEADLINE_S, Run, good

from tests.kit import Client, Daemon, Place

BIN = Path(sys.executable).parent
SHELLS = ("bash", "zsh", "fish")
TERMINAL = re.compile(r"\x1b(\[[0-9;?<>=]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|[()][A-Z0-9]|[=>78P])")
PROMPT = "READY> "

Complete = Callable[[str], list[str]]


def needed(shell: str) -> str:
    """The shell, or the test is skipped; in CI it must be there."""
    found = shutil.which(shell)
    if found is None:
        if os.environ.get("CI") == "true":
            pytest.fail(f"in CI this must run: {shell} is not installed")
        pytest.skip(f"{shell} is not installed")
    return found


@pytest.fixture
def crew(daemon: Daemon, place: Place, person: Run) -> Place:
    """Two workers, a task that waits, one that ended."""
    assert daemon.process.poll() is None
    good(person("worker", "add", "coder", "--role", "dev", "--", "cat"))
    good(person("worker", "add", "critic", "--role", "reviewer"))
    good(person("send-task", "coder", "done", "--id", "build-1", "--wait"))
    good(person("send-task", "critic", "waits", "--id", "build-2"))
    good(person("send-task", "any", "waits", "--id", "build-3", "--hold"))
    return place


def completing(place: Place) -> Complete:
    """What is offered for the last word of a line, asked as bash's script asks."""

    def run(line: str) -> list[str]:
        done = subprocess.run(
            [BIN / "omkctl"],
            env={
                **place.environment,
                "_OMKCTL_COMPLETE": "bash_complete",
                "COMP_WORDS": line,
                "COMP_CWORD": str(line.count(" ")),
            },
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return [offered.partition(",")[2] for offered in done.stdout.splitlines() if offered]

    return run


@pytest.fixture
def complete(place: Place) -> Complete:
    return completing(place)


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("omkctl worker sh", ["show"]),
        ("omkctl worker show c", ["coder", "critic"]),
        ("omkctl worker update cr", ["critic"]),
        ("omkctl worker pause cri", ["critic"]),
        ("omkctl tasks --worker co", ["coder"]),
        ("omkctl send-task ", ["coder", "critic", "role:dev", "role:reviewer", "any"]),
        ("omkctl send-task role:r", ["role:reviewer"]),
        ("omkctl show ", ["build-3", "build-2", "build-1"]),
        ("omkctl log build-1", ["build-1"]),
        ("omkctl cancel ", ["build-3", "build-2"]),
        ("omkctl cancel build-3 ", ["build-2"]),
        ("omkctl release ", ["build-3"]),
        ("omkctl retry ", ["build-1"]),
        ("omkctl events --type TaskQ", ["TaskQueued"]),
        ("omkctl publish Person", ["PersonNeeded"]),
        ("omkctl publish TaskQ", []),
        ("omkctl rpc worker.p", ["worker.pause"]),
        ("omkctl tail-escalations --kind worker_", ["worker_started", "worker_completed"]),
        ("omkctl -S other worker show ", []),
        ("omkctl service ", ["install", "uninstall", "status", "logs"]),
    ],
)
def test_what_the_daemon_knows_is_offered(shared_complete: Complete, line: str, offered: list[str]) -> None:
    assert shared_complete(line) == offered


@pytest.fixture(scope="module")
def shared_crew(shared_daemon: Daemon) -> Place:
    client = Client(shared_daemon.place.socket)
    client.call("worker.add", name="coder", role="dev", runner={"command": ["cat"]})
    client.call("worker.add", name="critic", role="reviewer")
    for name, target in (("build-1", {"worker": "coder"}), ("build-2", {"worker": "critic"})):
        client.call("task.send", target=target, task={"task": "x", "id": name})
    client.call("task.send", target="any", task={"task": "x", "id": "build-3"}, hold=True)
    client.call("task.wait", ids=["build-1"], timeout=30)
    client.close()
    return shared_daemon.place


@pytest.fixture
def shared_complete(shared_crew: Place) -> Complete:
    return completing(shared_crew)


def test_what_waits_for_a_person_is_offered(daemon: Daemon, complete: Complete) -> None:
    client = daemon.client()
    asked = [
        client.call(
            "decision.ask",
            summary="delete it?",
            choices=[
                {"id": f"yes{n}", "label": "Yes", "kind": "allow_once"},
                {"id": "no", "label": "No", "kind": "reject_once"},
            ],
            timeout_secs=300,
        )["id"]
        for n in range(2)
    ]
    seen, unseen = [
        str(client.call("event.publish", event={"PersonNeeded": {"text": "look"}})["seq"]) for _ in range(2)
    ]
    for verb in ("approve", "deny", "answer"):
        assert complete(f"omkctl {verb} ") == asked
    assert complete(f"omkctl answer {asked[1]} ") == ["yes1", "no"]
    assert complete(f"omkctl answer {asked[0]} n") == ["no"]
    assert complete("omkctl ack ")[-2:] == [seen, unseen]
    assert complete(f"omkctl ack {seen} ")[-1:] == [unseen]
    assert seen not in complete(f"omkctl ack {seen} ")


def test_without_a_daemon_nothing_is_offered_and_nothing_is_said(complete: Complete) -> None:
    assert complete("omkctl worker show ") == []
    assert complete("omkctl rpc ") == []


def test_a_daemon_that_is_silent_is_not_waited_for(place: Place, complete: Complete) -> None:
    place.socket.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(place.socket))
        silent.listen()
        began = time.monotonic()
        assert complete("omkctl worker show ") == []
        assert time.monotonic() - began < 10


@contextmanager
def at_a_shell(place: Place, shell: str, *arguments: str) -> Iterator[pexpect.spawn]:
    """An interactive shell with nothing of its user's, in which the completion is installed as the help says."""
    program = needed(shell)
    child = pexpect.spawn(
        program,
        list(arguments),
        env={**place.environment, "PATH": f"{BIN}:{place.environment['PATH']}", "TERM": "xterm", "PS1": PROMPT},
        cwd=str(place.root),
        timeout=DEADLINE_S,
        encoding="utf-8",
        dimensions=(50, 200),
    )
    try:
        yield child
    finally:
        child.close(force=True)


def seen(child: pexpect.spawn, *wanted: str) -> None:
    """All of these appear, in any order."""
    left = set(wanted)
    screen = ""
    while left:
        child.expect(".+")
        screen += str(child.after)
        left = {each for each in left if each not in TERMINAL.sub("", screen)}


def test_bash_completes(crew: Place) -> None:
    with at_a_shell(crew, "bash", "--norc", "--noprofile") as child:
        child.expect_exact(PROMPT)
        child.sendline('bind "set enable-bracketed-paste off"; eval "$(omkctl completion bash)"; echo in-$((40+2))')
        seen(child, "in-42")
        child.send("omkctl worker show cod\t")
        seen(child, "coder ")
        child.send("\x15omkctl show build-\t\t")
        seen(child, "build-1", "build-2", "build-3")
        child.send("\x15omkctl events --type TaskQ\t")
        seen(child, "TaskQueued ")
        child.send("\x15omkctl doc\t")
        seen(child, "omkctl doctor ")


IN_BASH = (
    'bind "set enable-bracketed-paste off"; eval "$(omkctl completion bash)"; '
    "omkctl() { printf '<%s>' \"$@\"; echo; }; echo in-$((40+2))"
)
"""The completion asks the program; what is then typed goes to a function that shows its words."""


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("send-task role:r\t", "<send-task><role:reviewer>"),
        ("send-task rol\trev\t", "<send-task><role:reviewer>"),
        ("send-task role:\t\td\t", "<send-task><role:dev>"),
        ("update build-2 --target role:d\t", "<update><build-2><--target><role:dev>"),
        ("update build-2 --target=role:d\t", "<update><build-2><--target=role:dev>"),
        ("send-task 'role:r\t", "<send-task><role:reviewer>"),
        ("send-task coder a:b : --id :c worker show cod\t", "<send-task><coder><a:b><:><--id><:c><worker><show><cod>"),
        ("worker show cod\t", "<worker><show><coder>"),
    ],
)
def test_bash_completes_a_word_with_a_colon_in_it(shared_crew: Place, typed: str, words: str) -> None:
    """It offered nothing: to bash `role:r` is three words."""
    with at_a_shell(shared_crew, "bash", "--norc", "--noprofile") as child:
        child.expect_exact(PROMPT)
        child.sendline(IN_BASH)
        seen(child, "in-42")
        child.send(f"omkctl {typed}\r")
        seen(child, words)


def test_bash_quotes_what_a_shell_would_read(daemon: Daemon, place: Place) -> None:
    request = {"headline": "m", "ticket_id": "x; echo owned *", "kind": "large_escalation", "timeout_ms": 60_000}
    daemon.client().call("event.publish", event={"PreflightRequest": request})
    with at_a_shell(place, "bash", "--norc", "--noprofile") as child:
        child.expect_exact(PROMPT)
        child.sendline(IN_BASH)
        seen(child, "in-42")
        child.send("omkctl approve \t\r")
        seen(child, "<approve><x; echo owned *>")


def test_zsh_completes(crew: Place) -> None:
    with at_a_shell(crew, "zsh", "-f", "-i") as child:
        child.sendline(
            "autoload -Uz compinit; compinit -u -D; zstyle ':completion:*' menu no; "
            'eval "$(omkctl completion zsh)"; echo in-$((40+2))'
        )
        seen(child, "in-42")
        child.send("omkctl worker show cod\t")
        seen(child, "omkctl worker show coder")
        child.send("\x15omkctl show build-\t\t")
        seen(child, "build-1", "build-2", "build-3")
        child.send("\x15omkctl events --type TaskQ\t")
        seen(child, "--type TaskQueued")


def test_fish_completes(crew: Place) -> None:
    """As fish itself is asked what it would offer: its screen is redrawn at every key."""
    program = needed("fish")
    script = crew.root / "omkctl.fish"

    def offered(line: str) -> list[str]:
        done = subprocess.run(
            [program, "--no-config", "--command", f"source {script}; complete --do-complete '{line}'"],
            env={**crew.environment, "PATH": f"{BIN}:{crew.environment['PATH']}"},
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=True,
        )
        return sorted(each.partition("\t")[0] for each in done.stdout.splitlines())

    with script.open("w") as output:
        subprocess.run([*COMMAND, "completion", "fish"], stdout=output, check=True, timeout=DEADLINE_S)
    assert offered("omkctl worker show c") == ["coder", "critic"]
    assert offered("omkctl show build-") == ["build-1", "build-2", "build-3"]
    assert offered("omkctl events --type TaskQ") == ["TaskQueued"]


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_of_each_shell_names_the_variable_by_which_it_asks(person: Run, shell: str) -> None:
    assert "_OMKCTL_COMPLETE" in good(person("completion", shell))
    assert "_OMKCTL_COMPLETE" in good(person("completion", shell, "--json"))
    assert person("completion", "tcsh").status == 2
