"""Tasks of a scripted ACP agent, with real processes: what it asks, what is decided, how it ends."""

import json
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from acp_kit import AGENT, DEADLINE_S, ME, Bench, rulings, whys

from omkd.protocol.records import Never, Pattern, ResultStatus, Safe, Yolo
from omkd.worker.acp_agents import AcpSettings
from omkd.worker.acp_desk import Approved, Closing, Denied
from omkd.worker.acp_events import Usage
from omkd.worker.acp_opening import Waits
from omkd.worker.acp_outcome import result_of
from omkd.worker.processes import RunProcesses, send_signal
from omkd.worker.report import Cancelled, Interrupted, OutOfBudget

TOUCH = "echo hi > hi.txt"
SAID = {"say": "Done."}


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.close()


# --- decisions ---------------------------------------------------------------------------------------------------


async def test_what_a_person_approves_runs_and_the_result_says_who(bench: Bench) -> None:
    bench.desk.answers = [ME]
    result = await bench.result({"ask": TOUCH}, SAID)
    assert (bench.project / "hi.txt").read_text() == "hi\n"
    assert result.status is ResultStatus.SUCCESS
    assert result.summary == f"allowed: {TOUCH} (by uid 1000)\nDone."
    assert bench.alive() == []


async def test_what_a_person_denies_does_not_run_and_done_is_no_success(bench: Bench) -> None:
    bench.desk.answers = [Denied(by="uid 1000")]
    result = await bench.result({"ask": TOUCH}, SAID)
    assert not (bench.project / "hi.txt").exists()
    assert result.status is ResultStatus.FAILED
    assert result.summary == f"refused: {TOUCH} (by uid 1000)\nDone."


async def test_one_refused_and_one_allowed_is_partial(bench: Bench) -> None:
    bench.desk.answers = [Denied(by="me"), ME]
    result = await bench.result({"ask": "false"}, {"ask": TOUCH}, SAID)
    assert result.status is ResultStatus.PARTIAL
    assert result.summary.splitlines()[:2] == ["refused: false (by me)", f"allowed: {TOUCH} (by uid 1000)"]


async def test_nobody_answers_and_it_expires_which_is_not_denied(bench: Bench) -> None:
    end = await bench.run(bench.scripted({"ask": TOUCH}, SAID), approval_timeout_s=0.05)
    assert rulings(end) == [("expired", TOUCH)]
    assert bench.desk.endings == [(TOUCH, Closing.EXPIRED)]
    (answer,) = [line["msg"] for line in bench.transcript() if line["dir"] == "out" and "result" in line["msg"]]
    assert answer["id"] == 0
    assert answer["result"] == {
        "outcome": {"outcome": "selected", "optionId": "no"},
        "_meta": {"omkd": {"reason": "nobody answered within 0.05s"}},
    }
    assert end.ended_by is None
    assert end.is_usable


async def test_the_note_of_a_refusal_reaches_the_agent_as_a_further_prompt(bench: Bench) -> None:
    bench.desk.answers = [Denied(by="me", note="use the other file")]
    end = await bench.run(bench.scripted({"ask": TOUCH}, SAID, echoes=True))
    assert f"- {TOUCH}: use the other file" in end.evidence.said
    assert whys(end) == ["by me: use the other file"]


async def test_always_takes_the_agents_lasting_yes_only_if_a_person_says_so(bench: Bench) -> None:
    bench.desk.answers = [Approved(by="me", always=True), Approved(by="me"), Approved(by="me", option_id="yes-always")]
    await bench.run(bench.scripted({"ask": "true"}, {"ask": "true"}, {"ask": "true"}))
    chosen = [line["msg"]["result"]["outcome"]["optionId"] for line in bench.transcript() if is_answer(line)]
    assert chosen == ["yes-always", "yes", "yes-always"]


async def test_two_plain_yeses_are_a_persons_to_choose_from_even_with_yolo(bench: Bench) -> None:
    options = [{"optionId": name, "name": name, "kind": "allow_once"} for name in ("yes-a", "yes-b")]
    bench.desk.answers = [Approved(by="me", option_id="yes-b"), ME]
    asks = {"ask": TOUCH, "options": options}
    end = await bench.run(bench.scripted(asks, asks), policy=Yolo())
    assert [question.why for question in bench.desk.questions] == [
        "the agent offers no option that plainly allows this one call"
    ] * 2
    assert [ruling for ruling, _ in rulings(end)] == ["allowed", "denied"]


async def test_without_an_option_that_says_no_the_answer_is_cancelled(bench: Bench) -> None:
    options = [{"optionId": "never", "name": "Never", "kind": "reject_always"}]
    bench.desk.answers = [Denied(by="me")]
    await bench.run(bench.scripted({"ask": TOUCH, "options": options}))
    (answer,) = [line["msg"]["result"]["outcome"] for line in bench.transcript() if is_answer(line)]
    assert answer == {"outcome": "cancelled"}


async def test_a_question_that_the_agent_withdraws_waits_no_longer(bench: Bench) -> None:
    end = await bench.run(bench.scripted({"withdraw": TOUCH}, SAID))
    assert rulings(end) == [("cancelled", TOUCH)]
    assert bench.desk.endings == [(TOUCH, Closing.WITHDRAWN)]


def is_answer(line: dict[str, dict[str, object]]) -> bool:
    return line["dir"] == "out" and "result" in line["msg"]


# --- policies ----------------------------------------------------------------------------------------------------


async def test_yolo_asks_nobody_and_logs_each(bench: Bench) -> None:
    result = await bench.result({"ask": TOUCH}, policy=Yolo())
    assert bench.desk.questions == []
    assert bench.desk.unasked == [(TOUCH, "the policy is yolo")]
    assert result.status is ResultStatus.SUCCESS


async def test_safe_allows_what_only_reads_and_asks_the_rest(bench: Bench) -> None:
    bench.desk.answers = [Denied(by="me")]
    reads = {"ask": "true", "kind": "read", "paths": ["a.txt"]}
    end = await bench.run(bench.scripted(reads, {"ask": TOUCH}), policy=Safe())
    assert [ruling for ruling, _ in rulings(end)] == ["allowed", "denied"]


async def test_pattern_allows_what_matches_and_asks_the_rest(bench: Bench) -> None:
    bench.desk.answers = [Denied(by="me")]
    end = await bench.run(bench.scripted({"ask": "true"}, {"ask": "true; false"}), policy=Pattern(patterns=["^true"]))
    assert rulings(end) == [("allowed", "true"), ("denied", "true; false")]


async def test_a_command_that_a_pattern_would_take_for_ever_to_match_is_asked(bench: Bench) -> None:
    """It lost the whole host: the match ran in its loop, and neither budget nor cancel ended it."""
    bench.desk.answers = [Denied(by="me")]
    command = "a" * 62 + "!"
    end = await bench.run(bench.scripted({"ask": command}), policy=Pattern(patterns=["^(a|aa)+$"]))
    assert rulings(end) == [("denied", command)]


# --- the mode that asks ------------------------------------------------------------------------------------------

ASK = AcpSettings(asks_in="ask")


@pytest.mark.parametrize("how", ["option", "set_mode"])
async def test_the_mode_that_asks_is_set_and_read_back(bench: Bench, how: str) -> None:
    end = await bench.run(bench.scripted(SAID, modes=["free", "ask"], mode_by=how), settings=ASK)
    assert end.evidence.fault is None
    assert end.evidence.stop_reason == "end_turn"


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ({"modes": ["free", "ask"], "mode_by": "refused"}, "the agent refused it: not today (error -32602)"),
        ({"modes": ["free", "plan"]}, "it has no such mode (it has: free, plan)"),
        ({}, "it has no such mode (it has: none)"),
    ],
)
async def test_a_policy_that_asks_is_refused_without_the_mode(
    bench: Bench, script: dict[str, object], why: str
) -> None:
    end = await bench.run(bench.scripted({"run": TOUCH}, **script), settings=ASK)
    assert end.evidence.fault == (
        f"scripted 1.0 does not take the mode 'ask', in which it asks: {why}. The policy cannot hold"
    )
    assert not (bench.project / "hi.txt").exists()


async def test_yolo_goes_on_without_the_mode(bench: Bench) -> None:
    end = await bench.run(bench.scripted(SAID, modes=["free"]), settings=ASK, policy=Yolo())
    assert end.evidence.stop_reason == "end_turn"


async def test_an_agent_that_leaves_the_mode_is_stopped(bench: Bench) -> None:
    script = bench.scripted({"mode": "free"}, {"hang": True}, modes=["free", "ask"])
    end = await bench.run(script, settings=ASK)
    assert end.evidence.fault == "the agent left its mode 'ask', in which it asks, for 'free'"
    assert result_of(end.evidence).status is ResultStatus.FAILED
    assert bench.alive() == []


@pytest.mark.parametrize("policy", [Never(), Safe(), Pattern(patterns=["^ls$"])])
async def test_an_unknown_agent_is_refused_where_it_must_ask(bench: Bench, policy: Never | Safe | Pattern) -> None:
    end = await bench.run(bench.scripted({"run": TOUCH}), settings=AcpSettings(), policy=policy)
    assert end.evidence.fault is not None
    assert end.evidence.fault.startswith("scripted 1.0 cannot be made to ask, so the policy cannot hold")
    assert not (bench.project / "hi.txt").exists()


# --- agents that cannot be talked to -----------------------------------------------------------------------------


async def test_a_program_that_prints_a_notice_and_exits_is_named_as_such(bench: Bench) -> None:
    end = await bench.run(bench.scripted(start="stub"))
    fault = end.evidence.fault or ""
    assert fault.startswith("the agent ended before it answered initialize (the line is not JSON: ")
    assert "kimi-cli is now Kimi Code." in fault
    assert "use `kimi acp`" in fault
    assert not end.is_usable


async def test_lines_that_are_no_message_are_ignored_and_recorded(bench: Bench) -> None:
    end = await bench.run(bench.scripted({"raw": "noise"}, {"raw": '{"half'}, SAID, start="junk"))
    assert end.evidence.stop_reason == "end_turn"
    texts = [line["text"] for line in bench.transcript() if "text" in line]
    assert texts == ["warning: this is not JSON", "[1, 2", "noise", '{"half']


async def test_another_version_of_the_protocol_is_refused(bench: Bench) -> None:
    end = await bench.run(bench.scripted(version=2))
    assert end.evidence.fault == "the agent speaks version 2 of the protocol, omkd speaks 1 only"


async def test_an_agent_without_a_login_says_so(bench: Bench) -> None:
    end = await bench.run(bench.scripted(start="auth"))
    assert end.evidence.fault == (
        "scripted 1.0 opened no session, Authentication required (error -32000): log in to it in a terminal first"
    )


async def test_an_error_for_an_answer_is_a_failure_with_its_words(bench: Bench) -> None:
    result = await bench.result({"error": [-32603, "401 invalid api key"]})
    assert result.status is ResultStatus.FAILED
    assert result.summary == "the agent reports: 401 invalid api key (error -32603)"


async def test_an_agent_that_dies_at_work_is_a_failure(bench: Bench) -> None:
    end = await bench.run(bench.scripted(SAID, {"die": 3}))
    assert end.evidence.fault == "the agent ended while we waited for the end of its turn"
    assert not end.is_usable


async def test_an_agent_killed_at_the_question_withdraws_it(bench: Bench) -> None:
    async def kill() -> None:
        await bench.desk.asked.wait()
        for process in RunProcesses(marks=bench.marks).alive():
            send_signal(process, signal.SIGKILL)

    end = await bench.run(bench.scripted({"ask": TOUCH}), during=kill)
    assert bench.desk.endings == [(TOUCH, Closing.WITHDRAWN)]
    assert rulings(end) == [("cancelled", TOUCH)]
    assert end.evidence.fault == "the agent ended while we waited for the end of its turn"


# --- stopping ----------------------------------------------------------------------------------------------------


async def test_a_cancel_withdraws_the_question_and_the_agent_ends_its_turn(bench: Bench) -> None:
    async def cancel() -> None:
        await bench.desk.asked.wait()
        bench.orders.end_with(Cancelled(reason="not needed"))

    end = await bench.run(bench.scripted({"ask": TOUCH}), during=cancel)
    assert end.ended_by == Cancelled(reason="not needed")
    assert end.evidence.stop_reason == "cancelled"
    assert not end.is_usable
    assert bench.desk.endings == [(TOUCH, Closing.WITHDRAWN)]
    assert sent_methods(bench)[-1] == "session/cancel"


async def test_a_spent_budget_ends_the_turn(bench: Bench) -> None:
    end = await bench.run(bench.scripted({"hang": True}), budget_s=0.3)
    assert end.ended_by == OutOfBudget(budget_secs=0)
    assert end.evidence.stop_reason == "cancelled"
    assert bench.alive() == []


async def test_a_tool_in_a_session_of_its_own_whose_parent_is_gone_is_ended_too(bench: Bench) -> None:
    mark = bench.project / "pid"
    end = await bench.run(bench.scripted({"orphan": str(mark)}, {"ask": TOUCH}), during=cancel_when_asked(bench))
    assert mark.exists()
    assert end.ended_by is not None
    assert bench.alive() == []


async def test_an_agent_that_hears_nothing_is_killed_with_all_it_started(bench: Bench) -> None:
    """Neither session/cancel nor EOF nor SIGTERM ends it."""

    async def hurry() -> None:
        await bench.desk.heard.wait()
        bench.orders.end_at_once(Interrupted(why="hurry"))

    steps = [{"orphan": str(bench.project / "pid")}, {"plan": [0, 1]}, {"hang": "deaf"}]
    end = await bench.run(bench.scripted(*steps), during=hurry, grace_s=DEADLINE_S)
    assert end.ended_by == Interrupted(why="hurry")
    assert not end.is_usable
    assert bench.alive() == []


async def test_the_ladder_goes_on_to_sigkill(bench: Bench) -> None:
    waits = Waits(cancel_s=0.05)
    end = await bench.run(bench.scripted({"hang": "deaf"}), budget_s=0.3, grace_s=0.05, waits=waits)
    assert end.ended_by == OutOfBudget(budget_secs=0)
    assert end.evidence.stop_reason is None
    assert bench.alive() == []


async def test_what_is_asked_of_the_run_before_it_begins_is_heard(bench: Bench) -> None:
    bench.orders.end_with(Cancelled(reason="early"))
    end = await bench.run(bench.scripted({"run": TOUCH}))
    assert end.ended_by == Cancelled(reason="early")
    assert not (bench.project / "hi.txt").exists()
    assert bench.alive() == []


async def test_a_silent_agent_is_given_up(bench: Bench) -> None:
    end = await bench.run(bench.scripted(start="silent"), waits=Waits(start_s=0.2))
    assert end.evidence.fault == "the agent was given 0.2s for its answer to initialize"
    assert bench.alive() == []


async def test_a_mode_that_is_agreed_to_but_never_confirmed_is_not_believed(bench: Bench) -> None:
    """As Gemini does it."""
    script = bench.scripted({"run": TOUCH}, modes=["free", "ask"], mode_by="mute")
    end = await bench.run(script, settings=ASK, waits=Waits(confirm_s=0.1))
    assert "it agreed, but does not say that it is in it now. The policy cannot hold" in (end.evidence.fault or "")
    assert not (bench.project / "hi.txt").exists()


def cancel_when_asked(bench: Bench) -> Callable[[], Awaitable[None]]:
    async def cancel() -> None:
        await bench.desk.asked.wait()
        bench.orders.end_with(Cancelled(reason=""))

    return cancel


def sent_methods(bench: Bench) -> list[str]:
    return [line["msg"]["method"] for line in bench.transcript() if line["dir"] == "out" and "method" in line["msg"]]


# --- files, usage, progress --------------------------------------------------------------------------------------


async def test_a_write_through_the_client_is_done_where_the_path_was_allowed(bench: Bench) -> None:
    """As opencode does it, though nothing was offered."""
    file = bench.project / "notes.md"
    path = str(file)
    bench.desk.answers = [ME]
    steps = [{"ask": "true", "kind": "edit", "paths": [path]}, {"write": path, "content": "one\n"}, {"read": path}]
    end = await bench.run(bench.scripted(*steps))
    assert file.read_text() == "one\n"
    assert '{"content": "one\\n"}' in end.evidence.said


async def test_a_write_through_the_client_that_nobody_allowed_is_refused(bench: Bench) -> None:
    end = await bench.run(bench.scripted({"write": str(bench.project / "notes.md")}, SAID))
    assert not (bench.project / "notes.md").exists()
    (answer,) = [line["msg"] for line in bench.transcript() if line["dir"] == "out" and "error" in line["msg"]]
    assert answer["error"]["code"] == -32601
    assert end.evidence.stop_reason == "end_turn"


async def test_files_outside_the_project_are_not_there(bench: Bench) -> None:
    steps = [{"write": str(bench.files.path / "x")}, {"read": "/etc/passwd"}]
    end = await bench.run(bench.scripted(*steps), policy=Yolo())
    assert '"code": -32002' in end.evidence.said
    assert not (bench.files.path / "x").exists()


async def test_what_is_not_offered_is_refused_as_unknown(bench: Bench) -> None:
    end = await bench.run(bench.scripted({"call": "terminal/create"}))
    assert '"code": -32601, "message": "terminal/create is not offered"' in end.evidence.said


async def test_usage_and_progress_are_told(bench: Bench) -> None:
    await bench.run(bench.scripted({"plan": [1, 4]}, {"run": "true"}, {"usage": [30, 15, 0.5]}))
    assert bench.desk.usages == [Usage(tokens_in=30, tokens_out=15, usd=0.5)]
    assert bench.desk.told == [("step 2", 25.0), ("true", None)]


async def test_stderr_goes_to_its_file(bench: Bench) -> None:
    await bench.run(bench.scripted({"run": "echo from the tool"}))
    assert bench.files.stderr.read_text() == "from the tool\n"


async def test_a_failure_that_was_overcome_is_a_success_that_names_it(bench: Bench) -> None:
    result = await bench.result({"fail": "make test"}, {"run": "true"}, SAID)
    assert result.status is ResultStatus.SUCCESS
    assert result.summary == "failed: make test\nDone."


# --- before it is started ----------------------------------------------------------------------------------------


def fake_opencode(bench: Bench, config: str) -> Path:
    """As opencode: `debug config` prints what its configuration comes to."""
    script = json.dumps({"name": "OpenCode", "steps": [SAID]})
    program = bench.project / "opencode"
    program.write_text(
        f"""#!/bin/sh
test "$1" = debug && {{ echo '{config}'; exit; }}
test -n "$OPENCODE_PERMISSION" && exec {sys.executable} {AGENT} '{script}'
"""
    )
    program.chmod(0o755)
    return program


async def test_what_makes_an_agent_ask_is_read_back_before_it_is_started(bench: Bench) -> None:
    program = fake_opencode(bench, '{"permission": {"*": "ask"}}')
    end = await bench.run(bench.command(str(program), "acp"), settings=AcpSettings())
    assert end.evidence.said == "Done."


@pytest.mark.parametrize("config", ['{"permission": {"bash": "allow"}}', "{}", "no JSON"])
async def test_an_agent_that_would_not_ask_is_not_started_but_with_yolo(bench: Bench, config: str) -> None:
    program = fake_opencode(bench, config)
    end = await bench.run(bench.command(str(program), "acp"), settings=AcpSettings())
    assert (end.evidence.fault or "").startswith("opencode would not ask: ")
    assert sent_nothing(bench)


async def test_yolo_needs_nothing_read_back(bench: Bench) -> None:
    program = fake_opencode(bench, "{}")
    end = await bench.run(bench.command(str(program), "acp"), settings=AcpSettings(), policy=Yolo())
    assert end.evidence.said == "Done."


async def test_a_command_that_does_not_speak_acp_is_not_run(bench: Bench) -> None:
    end = await bench.run(bench.command("kimi"))
    assert "the ACP agent is `kimi acp`" in (end.evidence.fault or "")


async def test_without_its_log_a_turn_does_not_begin(bench: Bench) -> None:
    (bench.files.path / "acp.jsonl").symlink_to(bench.project / "elsewhere")
    end = await bench.run(bench.scripted({"run": TOUCH}))
    assert (end.evidence.fault or "").startswith("acp.jsonl cannot be made: ")
    assert not (bench.project / "hi.txt").exists()
    assert bench.alive() == []


async def test_a_command_that_is_not_there_is_an_os_error(bench: Bench) -> None:
    with pytest.RaisesGroup(FileNotFoundError, flatten_subgroups=True):
        await bench.run(bench.command("/nowhere/agent"))


def sent_nothing(bench: Bench) -> bool:
    return not (bench.files.path / "acp.jsonl").exists()
