"""The line that says how far a task is, on a terminal; nothing of it in a pipe. And questions, on a terminal only."""

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import pexpect
import pytest
from ctl_person import DEADLINE_S, Run, good
from ctl_things import task

from omkctl.live_line import fitting
from omkctl.progress import how_far, most_telling
from tests.kit import Place

NOW = datetime(2026, 5, 25, 10, 12, 14, tzinfo=UTC)
CLEAR = "\r\x1b[K"
PROGRESS = {"percent": 40.0, "message": "half\nway", "ts": "2026-05-25T10:11:30Z"}


@contextmanager
def terminal(place: Place, *arguments: str, columns: int = 100) -> Iterator["pexpect.spawn[str]"]:
    """`omkctl …` on a terminal."""
    child = pexpect.spawn(
        sys.executable,
        ["-m", "omkctl", *arguments],
        env={**place.environment, "TERM": "xterm"},
        timeout=DEADLINE_S,
        encoding="utf-8",
        dimensions=(24, columns),
    )
    try:
        yield child
    finally:
        child.close(force=True)


def rest(child: "pexpect.spawn[str]") -> tuple[int | None, str]:
    """Exit status, and what came before the end."""
    child.expect(pexpect.EOF)
    child.wait()
    return child.exitstatus, str(child.before)


def left_on_screen(text: str) -> str:
    """What is still to be read when all that was cleared is gone."""
    return re.sub(r"[^\r\n]*\r\x1b\[K", "", text)


# --- words -------------------------------------------------------------------------------------------------------


def test_how_far_a_task_is_in_words() -> None:
    running = task("t1", "running", started="2026-05-25T10:11:12.5Z", progress=PROGRESS)
    assert how_far(running, 300, NOW) == "t1 running (coder) 1m02s of 5m, 40 % half way"
    assert how_far({**running, "progress": {**PROGRESS, "percent": None}}, None, NOW).endswith("1m02s, half way")
    assert how_far(task(why="waits for t9"), 300, NOW) == "t1 queued for coder 1m02s: waits for t9"
    assert how_far(task(state="success"), 300, NOW) == "t1 success (coder)"


def test_of_several_one_that_runs_is_told() -> None:
    tasks = [task("t1", "success"), task("t2"), task("t3", "running"), task("t4", "dispatched")]
    assert most_telling(tasks)["id"] == "t3"


@pytest.mark.parametrize(
    ("text", "columns", "fits"),
    [("abcdef", 3, "abc"), ("a漢字b", 4, "a漢"), ("e\u0301e\u0301", 1, "e\u0301"), ("", 5, "")],
)
def test_a_line_never_wraps(text: str, columns: int, fits: str) -> None:
    assert fitting(text, columns) == fits


# --- on a terminal -----------------------------------------------------------------------------------------------


@pytest.fixture
def reporter(person: Run, place: Place, gate: Callable[[], None]) -> Callable[[], None]:
    """As `gate`, with a command that says how far it is."""
    script = f"echo OMK_PROGRESS 40 half way; read line < {place.root / 'gate'}; echo ended $line"
    good(person("worker", "update", "gate", "--", "sh", "-c", script))
    good(person("worker", "restart", "gate"))
    return gate


def test_waiting_shows_a_line_that_is_gone_at_the_end(place: Place, reporter: Callable[[], None]) -> None:
    with terminal(place, "send-task", "gate", "x", "--wait") as child:
        child.expect(r"t\d+ running \(gate\) \ds of 5m, 40 % half way")
        reporter()
        status, shown = rest(child)
    assert status == 0
    assert left_on_screen(shown).split("\r\n")[-2:] == ["ended well", ""]
    assert "running" not in left_on_screen(shown)


def test_several_are_counted(place: Place, person: Run, reporter: Callable[[], None]) -> None:
    ids = [good(person("send-task", "gate", "x", "--print-id")).strip() for _ in range(2)]
    with terminal(place, "wait", *ids) as child:
        child.expect(rf"0 of 2 ended; {ids[0]} running \(gate\) \ds of 5m, 40 % half way")
        reporter()
        child.expect(rf"1 of 2 ended; {ids[1]} running")
        reporter()
        status, shown = rest(child)
    assert status == 0
    assert f"{ids[0]} success (gate)\r\n{ids[1]} success (gate)\r\n" in shown


def test_output_and_the_line_do_not_mix(place: Place, gate: Callable[[], None]) -> None:
    with terminal(place, "send-task", "gate", "x", "--follow") as child:
        child.expect("begun\r\n")
        child.expect(r"running \(gate\) \ds of 5m")
        gate()
        status, shown = rest(child)
    assert status == 0
    assert CLEAR + "ended well\r\n" in shown
    assert "running" not in left_on_screen(shown)


def test_a_narrow_terminal_gets_what_fits(place: Place, reporter: Callable[[], None]) -> None:
    with terminal(place, "send-task", "gate", "x", "--wait", columns=20) as child:
        child.expect(r"\x1b\[K(t\d+ running \(gate\)[^\r]*)\r")
        assert child.match is not None
        assert len(child.match[1]) <= 19
        reporter()
        assert rest(child)[0] == 0


def test_an_interrupt_leaves_no_line(place: Place, reporter: Callable[[], None]) -> None:
    with terminal(place, "send-task", "gate", "x", "--wait") as child:
        child.expect("half way")
        child.sendintr()
        status, shown = rest(child)
    assert status == 130
    assert re.search(r"\r\x1b\[Komkctl: t\d+ stays with the daemon", shown)
    reporter()


def test_a_shutdown_shows_what_it_waits_for(place: Place, person: Run, gate: Callable[[], None]) -> None:
    id = good(person("send-task", "gate", "x", "--wait", "started", "--print-id")).strip()
    with terminal(place, "shutdown", "--drain", "1m") as child:
        child.expect(rf"\x1b\[K\ds: waits for {id}")
        gate()
        status, shown = rest(child)
    assert status == 0
    assert "has ended" in left_on_screen(shown)


@pytest.mark.usefixtures("daemon")
def test_colours_of_an_agent_reach_a_terminal_and_no_pipe(place: Place, person: Run) -> None:
    good(person("worker", "add", "loud", "--", "printf", r"\033[32mgreen\033[0m \033[2Jend\n"))
    id = good(person("send-task", "loud", "x", "--print-id")).strip()
    with terminal(place, "log", "-f", id) as child:
        assert "\x1b[32mgreen\x1b[0m end\r\n" in rest(child)[1]
    assert good(person("log", "-f", id)) == "green end\n"
    assert good(person("log", id)) == "green end\n"


# --- questions ---------------------------------------------------------------------------------------------------


def test_a_terminal_is_asked_before_a_worker_goes(place: Place, wc: str, person: Run) -> None:
    with terminal(place, "worker", "remove", wc) as child:
        child.expect(r"remove worker wc\? Its files are moved to removed/ \[y/N\]")
        child.sendline("n")
        status, shown = rest(child)
    assert (status, "nothing was done" in shown) == (1, True)
    file = place.root / "empty.toml"
    file.write_text("")
    with terminal(place, "worker", "apply", str(file), "--prune") as child:
        child.expect(r"remove wc\?")
        child.sendline("n")
        assert rest(child)[0] == 1
    assert good(person("worker", "show", wc))
    with terminal(place, "cancel", "t999", "--force") as child:
        child.expect(r"force the end of t999\?")
        child.sendline("y")
        assert rest(child)[0] == 3
    with terminal(place, "worker", "remove", wc, "--yes") as child:
        assert rest(child)[0] == 0


def test_a_dry_run_asks_nothing(place: Place, wc: str) -> None:
    file = place.root / "empty.toml"
    file.write_text("")
    with terminal(place, "worker", "apply", str(file), "--prune", "--dry-run") as child:
        assert f"worker {wc} would be removed" in rest(child)[1]
