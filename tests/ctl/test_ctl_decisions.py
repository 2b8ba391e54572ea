"""The inbox, a person's answers, and `ask`: what is printed, asked of the daemon, and said by the exit status."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pexpect
import pytest
from ctl_calls import Ended, Omkctl, Scripted
from ctl_person import COMMAND, DEADLINE_S, Run, ended, good, lines, started
from ctl_things import ALLOW, DENY, decision, escalation, task, worker
from scripted_daemon import Answer, always, fail

from omkctl import claude_hook
from omkctl.asking import choice, status_of
from omkctl.inbox import CANNOT
from omkd.core.state import State
from omkd.core.views import why_nobody
from omkd.protocol.errors import ApiError, ErrorKind
from omkd.protocol.events import ToAny, ToRole, ToWorker
from omkd.protocol.scalars import WorkerName
from tests.kit import Daemon, Place, running_daemon, wait_until


def daemon_with(*open_: dict[str, Any], **more: Answer) -> dict[str, Answer]:
    """Questions that wait, and nothing else that does; an answer is taken."""

    def take(params: dict[str, object]) -> object:
        return decision(str(params["id"]), state="answered", choice=params["choice"], note=params["note"])

    return {
        "decision.list": always({"decisions": list(open_)}),
        "decision.answer": take,
        "escalation.list": always({"escalations": [], "next": None}),
        "worker.list": always({"workers": []}),
        "task.list": always({"tasks": [], "next": None}),
        **{name.replace("_", "."): answer for name, answer in more.items()},
    }


# --- inbox ---


def full() -> dict[str, Answer]:
    """One of each kind, and of each one that does not wait for a person."""
    stuck = task("t4", why="no worker of role docs is ready", queued="2026-05-25T10:00:04Z")
    return daemon_with(
        decision(asked="2026-05-25T10:00:03Z", seq=7),
        escalation_list=always(
            {"escalations": [escalation(7, "decide: wants", "router_escalation"), failed()], "next": None}
        ),
        worker_list=always(
            {"workers": [worker("slow", state="stalled", last_sign="2026-05-25T10:00:02Z"), worker("fine")]}
        ),
        task_list=always({"tasks": [stuck, task("t5", why="waits for t4")], "next": None}),
    )


def failed() -> dict[str, Any]:
    found = escalation(3, "t9 lost", "failed")
    found["entry"]["ts"] = "2026-05-25T10:00:01Z"
    return found


def test_the_inbox_has_all_that_waits_oldest_first_and_each_once(scripted: Scripted, omkctl: Omkctl) -> None:
    scripted(full())
    ran = omkctl("inbox")
    assert ran.status == 1
    rows = [line.split()[:3:2] for line in lines(ran.out)]
    assert rows == [["ID", "WHAT"], ["3", "escalation"], ["slow", "worker"], ["t1-1", "decision"], ["t4", "task"]]
    assert "t4 cannot be handed out: no worker of role docs is ready" in ran.out
    assert "omkctl approve t1-1" in ran.out


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"summary": "coder wants: make all"}, "coder (t1) wants: make all"),
        ({"summary": "which port?"}, "coder (t1): which port?"),
        ({"summary": "coders wants it"}, "coder (t1): coders wants it"),
        ({"summary": "None of it?", "worker": None, "task_id": None}, "worker coder: None of it?"),
    ],
)
def test_the_inbox_says_once_who_asks(scripted: Scripted, omkctl: Omkctl, changed: dict[str, Any], says: str) -> None:
    scripted(daemon_with(decision(**changed)))
    (item,) = [json.loads(line) for line in lines(omkctl("inbox", "--json").out)]
    assert item["summary"] == says


@pytest.mark.parametrize(
    ("changed", "says", "helps"),
    [
        ({"state": "dead"}, "coder dead: given up after its restarts", "omkctl worker restart coder"),
        ({"state": "stalled"}, "coder stalled: no sign of life from it", "omkctl worker restart coder"),
        (
            {"state": "dead", "foreign": True, "runner": None},
            "coder dead: no sign of life from it",
            "start the program of coder again",
        ),
        (
            {"state": "stalled", "foreign": False, "runner": None},
            "coder stalled: no sign of life from it",
            "start the program of coder again",
        ),
    ],
)
def test_the_inbox_says_what_helps_a_worker_that_omkd_plays_and_another(
    scripted: Scripted, omkctl: Omkctl, changed: dict[str, Any], says: str, helps: str
) -> None:
    scripted(daemon_with(worker_list=always({"workers": [worker(**changed)]})))
    said = omkctl("inbox").out
    assert says in said
    assert said.splitlines()[-1].endswith(helps)


def test_the_inbox_names_the_choices_where_there_is_no_plain_yes(scripted: Scripted, omkctl: Omkctl) -> None:
    scripted(daemon_with(decision(choices=[DENY, {**ALLOW, "id": "a"}, {**ALLOW, "id": "b"}])))
    assert "omkctl answer t1-1 'no|a|b'" in omkctl("inbox").out


CHOICES = [{**ALLOW, "id": "main|next"}, {**ALLOW, "id": "-n"}]


@pytest.mark.parametrize(
    ("changed", "argv"),
    [
        ({"id": "x; touch pwned #"}, ["approve", "x; touch pwned #"]),
        ({"id": "$(touch pwned)'`touch pwned`"}, ["approve", "$(touch pwned)'`touch pwned`"]),
        ({"id": "-x"}, ["approve", "--", "-x"]),
        ({"id": ""}, ["approve", ""]),
        ({"choices": CHOICES}, ["answer", "t1-1", "main|next|-n"]),
        ({"choices": CHOICES[::-1]}, ["answer", "--", "t1-1", "-n|main|next"]),
    ],
)
def test_what_is_to_be_typed_is_the_same_to_a_shell(
    scripted: Scripted, omkctl: Omkctl, tmp_path: Path, changed: dict[str, Any], argv: list[str]
) -> None:
    """Whoever asks chooses the ids: a ticket `x; rm -rf ~` was printed as a command to copy."""
    scripted(daemon_with(decision(**changed)))
    row = lines(omkctl("inbox").out)[1]
    typed = row[row.index("omkctl ") :]
    script = f'omkctl() {{ printf "%s\\0" "$@"; }}; {typed}'
    done = subprocess.run(["sh", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.split("\0")[:-1] == argv
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("ticket", ["", "-x", "x; touch pwned #"])
def test_a_question_is_answered_as_the_inbox_says_whatever_its_id(daemon: Daemon, person: Run, ticket: str) -> None:
    client = daemon.client()
    request = {"headline": "merge?", "ticket_id": ticket, "kind": "large_escalation", "timeout_ms": 60_000}
    client.call("event.publish", event={"PreflightRequest": request})
    row = lines(person("inbox").out)[1]
    typed = shlex.split(row[row.index("omkctl ") :])
    assert good(person(*typed[1:])) == f"{ticket}: accept (large escalation: merge?)\n"


def test_the_inbox_in_json_is_one_object_a_line(scripted: Scripted, omkctl: Omkctl) -> None:
    scripted(full())
    items = [json.loads(line) for line in lines(omkctl("inbox", "--json").out)]
    assert [(each["id"], each["kind"]) for each in items] == [
        ("3", "escalation"),
        ("slow", "worker"),
        ("t1-1", "decision"),
        ("t4", "task"),
    ]
    common = {"id", "kind", "ts", "summary", "worker", "task_id"}
    assert [set(each) - common for each in items] == [
        {"seq", "escalation"},
        set(),
        {"detail", "choices", "expires"},
        set(),
    ]


def test_the_count_is_a_number_and_the_status_says_whether_there_is_anything(
    scripted: Scripted, omkctl: Omkctl
) -> None:
    scripted(full())
    assert omkctl("inbox", "--count") == Ended(1, "4\n", "")


def test_an_empty_inbox(scripted: Scripted, omkctl: Omkctl) -> None:
    scripted(daemon_with())
    assert omkctl("inbox") == Ended(0, "nothing waits for a person\n", "")
    assert omkctl("inbox", "--count") == Ended(0, "0\n", "")
    assert omkctl("inbox", "--json") == Ended(0, "", "")


@pytest.mark.parametrize(
    "target", [ToWorker(value=WorkerName("coder")), ToRole(value="docs"), ToAny()], ids=["worker", "role", "any"]
)
def test_that_nobody_can_take_a_task_is_read_from_the_daemons_own_words(target: Any) -> None:
    words = why_nobody(State(), target)
    assert CANNOT.search(words)
    assert CANNOT.search(f"failed, retry 1 of 2; {words}")
    assert CANNOT.search("worker coder is paused")


@pytest.mark.parametrize("why", ["is handed out in its turn", "waits for t4", "coder: no room for more in hand", ""])
def test_what_passes_by_itself_does_not_wait_for_a_person(why: str) -> None:
    assert not CANNOT.search(why)


def test_watching_needs_a_terminal(omkctl: Omkctl) -> None:
    ran = omkctl("inbox", "--watch")
    assert ran.status == 2
    assert "stdin or stdout is none" in ran.err
    assert omkctl("inbox", "--watch", "--count").status == 2


# --- approve, deny, answer ---


@pytest.mark.parametrize(
    ("words", "chosen"),
    [
        (["approve", "t1-1"], "yes"),
        (["approve", "t1-1", "--always"], "ever"),
        (["deny", "t1-1"], "no"),
        (["answer", "t1-1", "ever"], "ever"),
    ],
)
def test_an_answer_names_the_choice_that_means_it(
    scripted: Scripted, omkctl: Omkctl, words: list[str], chosen: str
) -> None:
    daemon = scripted(daemon_with(decision()))
    assert omkctl(*words, "--note", "well") == Ended(0, f"t1-1: {chosen} (wants to run make)\n", "")
    assert daemon.asked[-1] == ("decision.answer", {"id": "t1-1", "choice": chosen, "note": "well"})


def test_a_choice_whose_id_says_yes_and_means_for_ever_is_not_taken_for_once(
    scripted: Scripted, omkctl: Omkctl
) -> None:
    odd = {"id": "allow_once", "label": "for ever", "kind": "allow_always"}
    daemon = scripted(daemon_with(decision(choices=[odd, ALLOW])))
    assert omkctl("approve", "t1-1").status == 0
    assert daemon.asked[-1][1]["choice"] == "yes"


@pytest.mark.parametrize(
    ("choices", "words", "said"),
    [
        ([ALLOW, {**ALLOW, "id": "too"}], ["approve"], "t1-1 has 2 choices to allow it this once"),
        ([ALLOW, DENY], ["approve", "--always"], "t1-1 has no choice to allow it for good"),
        ([ALLOW], ["deny"], "t1-1 has no choice to refuse it this once"),
    ],
)
def test_where_no_choice_or_several_mean_it_they_are_named(
    scripted: Scripted, omkctl: Omkctl, choices: list[Any], words: list[str], said: str
) -> None:
    daemon = scripted(daemon_with(decision(choices=choices)))
    ran = omkctl(*words, "t1-1")
    assert ran.status == 2
    assert said in ran.err
    assert "yes (Allow once, allow_once)" in ran.err
    assert [method for method, _ in daemon.asked] == ["decision.list"]


@pytest.mark.parametrize(
    ("kind", "status"), [(ErrorKind.REFUSED, 5), (ErrorKind.CONFLICT, 6), (ErrorKind.NOT_FOUND, 3)]
)
def test_what_the_daemon_refuses_is_said(scripted: Scripted, omkctl: Omkctl, kind: ErrorKind, status: int) -> None:
    scripted(daemon_with(decision_answer=fail(ApiError(kind, "because"))))
    for words in (["approve", "x"], ["deny", "x"], ["answer", "x", "yes"]):
        assert omkctl(*words) == Ended(status, "", "omkctl: because\n")


# --- ask ---


@pytest.mark.parametrize(
    ("end", "status", "out"),
    [
        ({"choice": "yes"}, 0, "yes\n"),
        ({"choice": "no"}, 1, "no\n"),
        ({"choice": "later", "choices": [{"id": "later", "label": "", "kind": "other"}]}, 0, "later\n"),
        ({"state": "expired", "choice": None}, 124, ""),
    ],
)
def test_the_answer_is_printed_and_its_meaning_is_the_status(
    scripted: Scripted, omkctl: Omkctl, end: dict[str, Any], status: int, out: str
) -> None:
    daemon = scripted({"decision.ask": always(decision("d7")), "decision.wait": always(decision("d7", **end))})
    ran = omkctl("ask", "delete", "it?", "--detail", "all", "--choice", "later=Ask later", "--timeout", "2m")
    assert (ran.status, ran.out) == (status, out)
    assert ran.err == "omkctl: d7 waits for a person (omkctl inbox)\n"
    assert daemon.asked[0][1] == {
        "summary": "delete it?",
        "detail": "all",
        "choices": [{"id": "later", "label": "Ask later", "kind": "other"}],
        "timeout_secs": 120,
    }


@pytest.mark.parametrize(
    ("id", "kind"), [("allow", "allow_once"), ("always", "allow_always"), ("no", "reject_once"), ("blue", "other")]
)
def test_what_a_choice_means_is_said_by_its_id(id: str, kind: str) -> None:
    assert choice(f"{id}=In words") == {"id": id, "label": "In words", "kind": kind}
    assert choice(id)["label"] == id


def test_a_choice_without_an_id_is_none(omkctl: Omkctl) -> None:
    assert omkctl("ask", "x", "--choice", "=x").status == 2


def test_a_lasting_no_is_a_no() -> None:
    never: Any = decision(choice="never", choices=[{"id": "never", "label": "", "kind": "reject_always"}])
    assert status_of(never) == 1


# --- as a hook ---

HOOK = {"session_id": "s1", "cwd": "/p", "tool_name": "Bash", "tool_input": {"command": "make\nall", "timeout": 5}}


def hook(person: Run, told: object = HOOK, **env: str) -> Ended:
    return person("ask", "--hook", stdin=json.dumps(told), **env)


def hook_output(ran: Ended) -> tuple[str, str]:
    assert ran.status == 0, ran
    said = json.loads(ran.out)["hookSpecificOutput"]
    assert said["hookEventName"] == "PreToolUse"
    return said["permissionDecision"], said["permissionDecisionReason"]


@pytest.mark.parametrize(("verb", "decided"), [("approve", "allow"), ("deny", "deny")])
def test_a_hook_is_answered_from_the_inbox(daemon: Daemon, place: Place, person: Run, verb: str, decided: str) -> None:
    client = daemon.client()
    asking = subprocess.Popen(
        [*COMMAND, "ask", "--hook"],
        env=place.environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert asking.stdin is not None
        asking.stdin.write(json.dumps(HOOK))
        asking.stdin.close()
        asking.stdin = None
        wait_until(lambda: bool(client.call("decision.list")["decisions"]), "the question is not there")
        (asked,) = client.call("decision.list")["decisions"]
        assert asked["summary"] == "Bash: make all"
        assert asked["detail"] == "directory: /p\nsession: s1\nBash\ncommand: make\nall\ntimeout: 5"
        good(person(verb, asked["id"], "--note", "as I said"))
        said, reason = hook_output(ended(asking))
    finally:
        asking.kill()
        asking.communicate()
    assert said == decided
    assert reason.startswith(f"omkd: {'allow' if decided == 'allow' else 'deny'}, by ")
    assert reason.endswith(": as I said")


def test_without_a_daemon_a_hook_says_nothing(place: Place, person: Run) -> None:
    ran = hook(person)
    assert (ran.status, ran.out) == (0, "")
    assert not place.socket.exists()


def test_a_hook_that_nobody_answers_is_refused_with_the_reason(daemon: Daemon, person: Run) -> None:
    assert daemon.process.poll() is None
    ran = person("ask", "--hook", "--timeout", "1", stdin=json.dumps(HOOK))
    assert hook_output(ran) == ("deny", "omkd: nobody decided: nobody decided in time")


@pytest.mark.parametrize("told", ["", "{}", "[]", '{"tool_name":1}'])
def test_what_is_no_hooks_input_blocks(person: Run, told: str) -> None:
    ran = person("ask", "--hook", stdin=told)
    assert (ran.status, ran.out) == (2, "")


def test_a_hook_takes_the_question_from_stdin_alone(omkctl: Omkctl) -> None:
    assert omkctl("ask", "--hook", "text").status == 2


@pytest.mark.parametrize(
    ("told", "summary"),
    [
        ({"tool_name": "Write", "tool_input": {"content": "x", "file_path": "/a"}}, "Write: /a"),
        ({"tool_name": "mcp__x", "tool_input": {"n": 1}}, 'mcp__x: {"n":1}'),
        ({"tool_name": "Stop"}, "Stop"),
        ({"tool_name": "X", "tool_input": "text"}, 'X: "text"'),
        ({"tool_name": "X", "tool_input": {"command": "a" * 999}}, "X: " + "a" * 196 + "…"),
    ],
)
def test_a_summary_says_what_a_tool_is_about(told: object, summary: str) -> None:
    assert claude_hook.question_of(json.dumps(told).encode()).summary == summary


def test_a_long_input_is_cut() -> None:
    told = {"tool_name": "Write", "tool_input": {"file_path": "/a", "content": "x" * 100_000}}
    detail = claude_hook.question_of(json.dumps(told).encode()).detail
    assert detail.endswith(" more characters")
    assert len(detail) < 33_000


# --- the real daemon ---


def test_ask_waits_across_a_restart_of_the_daemon(place: Place, person: Run) -> None:
    with running_daemon(place) as first, started(place, "ask", "go?") as asking:
        client = first.client()
        wait_until(lambda: bool(client.call("decision.list")["decisions"]), "the question is not there")
        (asked,) = client.call("decision.list")["decisions"]
        first.kill()
        with running_daemon(place):
            good(person("approve", asked["id"]))
            done = ended(asking)
    assert (done.status, done.out) == (0, "allow\n")


def test_who_stops_waiting_leaves_the_question(daemon: Daemon, place: Place, person: Run) -> None:
    client = daemon.client()
    with started(place, "ask", "go?"):
        wait_until(lambda: bool(client.call("decision.list")["decisions"]), "the question is not there")
    ran = person("inbox", "--json")
    assert ran.status == 1
    (item,) = [json.loads(line) for line in lines(ran.out)]
    assert item["summary"].endswith(": go?")
    good(person("deny", item["id"]))
    again = person("approve", item["id"])
    assert again.status == 6
    assert f"{item['id']} was decided already: deny (Deny), by uid {os.getuid()}" in again.err
    assert good(person("inbox", "--count")) == "0\n"


def test_what_a_worker_answers_is_refused(daemon: Daemon, place: Place, person: Run, wc: str) -> None:
    client = daemon.client()
    id = client.call("decision.ask", summary="go?")["id"]
    for words in (["approve", id], ["deny", id], ["answer", id, "allow"]):
        ran = person(*words, OMK_WORKER=wc, OMK_SESSION=place.name)
        assert (ran.status, ran.out) == (5, "")
    assert person("answer", f"{id}x", "allow").status == 3
    assert [each["id"] for each in client.call("decision.list")["decisions"]] == [id]


# --- on a terminal ---

Watching = Callable[[], "pexpect.spawn[str]"]


@pytest.fixture
def watching(daemon: Daemon, place: Place) -> Iterator[Watching]:
    """`omkctl inbox --watch` on a terminal."""
    assert daemon.process.poll() is None
    made: list[pexpect.spawn[str]] = []

    def watch() -> "pexpect.spawn[str]":
        child: pexpect.spawn[str] = pexpect.spawn(
            sys.executable,
            ["-m", "omkctl", "inbox", "--watch"],
            env={**place.environment, "TERM": "xterm"},
            timeout=DEADLINE_S,
            encoding="utf-8",
            dimensions=(50, 100),
        )
        made.append(child)
        return child

    yield watch
    for child in made:
        child.close(force=True)


def test_watching_asks_each_question_as_it_arrives(daemon: Daemon, watching: Watching) -> None:
    client = daemon.client()
    child = watching()
    child.expect("waits for questions")
    ids = []
    for key, chosen in (("a", "allow"), ("d", "deny"), ("1", "allow")):
        id = client.call("decision.ask", summary="go\x1b[2J on?", detail="line 1\n\x1b]0;owned\x07line 2")["id"]
        ids.append((id, chosen))
        child.expect("or a number\r\n")
        assert "line 1" in child.before
        assert not re.search("[\x1b\x07\x9b]", child.before)
        child.send(key)
        child.expect(f"{id}: {chosen}\r\n")
        child.expect("waits for questions")
    child.send("q")
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 0
    decided = client.call("decision.list", all=True)["decisions"]
    assert [(each["id"], each["choice"]) for each in decided] == ids


def test_watching_skips_says_what_cannot_be_and_what_others_decided(daemon: Daemon, watching: Watching) -> None:
    client = daemon.client()
    first, second = (client.call("decision.ask", summary="go?")["id"] for _ in range(2))
    child = watching()
    child.expect(f"{first}  .*or a number\r\n")
    child.send("A")
    child.expect(f"{first} has no choice to allow it for good")
    child.send("s")
    child.expect(f"{first} skipped")
    child.expect(f"{second}  .*or a number\r\n")
    client.call("decision.answer", id=second, choice="deny")
    child.expect(f"{second} is over")
    child.expect("waits for questions")
    child.sendintr()
    child.expect(pexpect.EOF)
    child.close()
    assert child.exitstatus == 130
    assert [each["id"] for each in client.call("decision.list")["decisions"]] == [first]
