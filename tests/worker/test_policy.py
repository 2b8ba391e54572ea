"""Approval policies on the facts of a tool call. What is unknown is asked, never allowed."""

import itertools
import logging
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omkd.protocol.records import ApprovalPolicy, Never, Pattern, Safe, Yolo
from omkd.worker.acp_facts import Option, Reading, ToolFacts, facts_with
from omkd.worker.policy import (
    KINDS,
    MATCHED_CHARS,
    READ_ONLY,
    Allow,
    AllowLogged,
    Ask,
    PolicyError,
    Verdict,
    check_policy,
    judge_for,
    option_to_allow,
    option_to_reject,
)

CWD = "/home/me/project"


def call(
    *kinds: str, command: str | None = None, paths: tuple[str, ...] = (), title: str = "", changes: bool = False
) -> ToolFacts:
    return ToolFacts(tool_call_id="c1", kinds=kinds, command=command, paths=paths, title=title, changes_files=changes)


def verdict(policy: ApprovalPolicy, facts: ToolFacts) -> Verdict:
    return judge_for(policy, cwd=CWD).verdict(facts)


def is_allowed(patterns: list[str], facts: ToolFacts) -> bool:
    return isinstance(verdict(Pattern(patterns=patterns), facts), Allow)


facts_of_any_call = st.builds(
    ToolFacts,
    tool_call_id=st.just("c1"),
    kinds=st.lists(st.sampled_from([*KINDS, "odd"]), max_size=3, unique=True).map(tuple),
    title=st.text(max_size=20),
    command=st.none() | st.text(min_size=1, max_size=30),
    paths=st.lists(st.text(min_size=1, max_size=20).map(lambda text: "/" + text), max_size=3).map(tuple),
    changes_files=st.booleans(),
    text=st.text(max_size=10),
)


# --- never, safe, yolo -------------------------------------------------------------------------------------------


@given(facts_of_any_call)
def test_never_asks_each_time(facts: ToolFacts) -> None:
    assert isinstance(verdict(Never(), facts), Ask)


@given(facts_of_any_call)
def test_yolo_allows_everything_and_says_that_it_is_to_be_logged(facts: ToolFacts) -> None:
    assert isinstance(verdict(Yolo(), facts), AllowLogged)


@given(facts_of_any_call)
def test_safe_allows_only_what_is_read_only_in_all_that_was_said(facts: ToolFacts) -> None:
    is_read_only = bool(facts.kinds) and all(kind in READ_ONLY for kind in facts.kinds)
    expected = is_read_only and facts.command is None and not facts.changes_files
    assert isinstance(verdict(Safe(), facts), Allow) == expected


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_safe_for_each_kind(kind: str) -> None:
    assert isinstance(verdict(Safe(), call(kind)), Allow) == (kind in {"read", "search", "think"})


@pytest.mark.parametrize(
    "facts",
    [
        call(),
        call("read", "execute"),
        call("read", command="cat x; rm x"),
        call("read", changes=True),
        call("READ"),
        call("fetch"),
    ],
)
def test_safe_asks_where_the_facts_are_unknown_or_contradict(facts: ToolFacts) -> None:
    assert isinstance(verdict(Safe(), facts), Ask)


# --- pattern -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("patterns", "command", "allowed"),
    [
        (["^ls"], "ls -l", True),
        (["^ls"], "rm x", False),
        (["^rm", "^ls"], "ls", True),
        (["ls"], "tools", True),
        (["^ls"], "ls; rm -rf .", False),
        (["^ls"], "ls && rm x", False),
        (["^ls"], "ls | sh", False),
        (["^ls"], "ls > /etc/passwd", False),
        (["^ls"], "ls $(rm x)", False),
        (["^ls"], "ls `rm x`", False),
        (["^ls"], "ls\nrm x", False),
        (["^ls"], "ls ${IFS}x", False),
        (["^ls"], "ls $HOME", True),
        (["^ls; pwd$"], "ls; pwd", True),
        (["^ls( \\| wc)?$"], "ls | wc", True),
        (["execute:^ls"], "ls", True),
        (["edit:^ls"], "ls", False),
        (["^x{8200}"], "x" * (MATCHED_CHARS + 1), False),
    ],
)
def test_a_command_is_matched_and_a_composed_one_as_a_whole(patterns: list[str], command: str, allowed: bool) -> None:
    assert is_allowed(patterns, call("execute", command=command)) is allowed


@pytest.mark.parametrize(
    ("patterns", "paths", "allowed"),
    [
        (["^docs/"], (f"{CWD}/docs/a.md",), True),
        ([f"^{CWD}/docs/"], (f"{CWD}/docs/a.md",), True),
        (["^docs/"], (f"{CWD}/src/a.py",), False),
        (["^docs/"], ("/etc/docs/a.md",), False),
        (["^docs/"], (f"{CWD}/docs/a.md", f"{CWD}/src/a.py"), False),
        (["^docs/", "^src/"], (f"{CWD}/docs/a.md", f"{CWD}/src/a.py"), True),
        (["edit:\\.md$"], (f"{CWD}/a.md",), True),
        (["read:\\.md$"], (f"{CWD}/a.md",), False),
        (["\\.md$"], (), False),
    ],
)
def test_every_path_of_an_edit_is_matched(patterns: list[str], paths: tuple[str, ...], allowed: bool) -> None:
    assert is_allowed(patterns, call("edit", paths=paths)) is allowed


@pytest.mark.parametrize(
    "facts",
    [
        call("execute", title="ls"),
        call("execute", paths=("/ls",), title="ls"),
        call(command="ls"),
        call("other", command="ls", title="ls"),
        call("fetch", title="ls"),
        call("edit", "execute", command="ls"),
        call("edit", title="ls"),
        call("edit", command="ls", paths=("/ls",)),
        call("move", paths=("/ls",)),
        call("think", title="ls"),
    ],
)
def test_what_is_not_known_is_asked_whatever_the_title_says(facts: ToolFacts) -> None:
    assert not is_allowed(["ls"], facts)


@given(facts_of_any_call, st.lists(st.sampled_from(["a", "^/", "edit:b", "execute:.", "[0-9]", "ls$"]), min_size=1))
def test_a_pattern_allows_nothing_without_a_matching_command_or_path(facts: ToolFacts, patterns: list[str]) -> None:
    found = verdict(Pattern(patterns=patterns), facts)
    if isinstance(found, Allow):
        assert len(facts.kinds) == 1
        assert facts.command is not None if facts.kind == "execute" else facts.paths
    else:
        assert isinstance(found, Ask)


@pytest.mark.parametrize(
    ("patterns", "path", "reason"),
    [
        ([], "approval_policy.pattern.patterns", "there is no pattern"),
        (["^ls", ""], "approval_policy.pattern.patterns[1]", "is empty, it would allow everything"),
        (["  "], "approval_policy.pattern.patterns[0]", "is empty"),
        (["edit:"], "approval_policy.pattern.patterns[0]", "is empty"),
        (["(ls"], "approval_policy.pattern.patterns[0]", "no regular expression"),
        (["a{99999999999}"], "approval_policy.pattern.patterns[0]", "its repeats come to"),
        (["a{9,3}"], "approval_policy.pattern.patterns[0]", "no regular expression"),
        ([".*"], "approval_policy.pattern.patterns[0]", "matches everything"),
        (["^"], "approval_policy.pattern.patterns[0]", "matches everything"),
        (["x?"], "approval_policy.pattern.patterns[0]", "matches everything"),
        (["exec:^ls"], "approval_policy.pattern.patterns[0]", r"'exec' is no kind of call \(did you mean 'execute'\?"),
        (["x" * 1001], "approval_policy.pattern.patterns[0]", "has 1001 characters"),
        (["((a{1000}){1000}){1000}"], "approval_policy.pattern.patterns[0]", "its repeats come to 1003003001 items"),
        (["(" * 30 + "a" + "+)" * 30], "approval_policy.pattern.patterns[0]", "its repeats come to"),
        (["(?x) ( [a(] { 200 } ) {200}"], "approval_policy.pattern.patterns[0]", "its repeats come to"),
        (["(?:(?R))"], "approval_policy.pattern.patterns[0]", "takes over 0.2 s on an empty text"),
    ],
)
def test_a_pattern_that_is_invalid_or_allows_everything_is_refused_with_its_path(
    patterns: list[str], path: str, reason: str
) -> None:
    with pytest.raises(PolicyError, match=reason) as refused:
        check_policy(Pattern(patterns=patterns))
    assert refused.value.path == path
    assert str(refused.value).startswith(f"{path}: ")
    with pytest.raises(PolicyError):
        judge_for(Pattern(patterns=patterns), cwd=CWD)


# --- a pattern that takes its time

SLOW = "^(a|aa)+$"


@pytest.mark.parametrize(
    "facts",
    [
        call("execute", command="a" * 62 + "!"),
        call("execute", command="a" * 62 + "; rm x"),
        call("edit", paths=(f"{CWD}/docs/a.md", "a" * 62 + "!")),
    ],
)
@pytest.mark.parametrize("patterns", [[SLOW], ["^docs/", "^x", SLOW, "a"]])
def test_a_pattern_that_takes_too_long_allows_nothing_and_is_named(
    patterns: list[str], facts: ToolFacts, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        found = verdict(Pattern(patterns=patterns), facts)
    if len(facts.paths) == 2 and patterns == [SLOW]:
        assert found == Ask(why=f"no pattern matches {CWD}/docs/a.md")
        return
    assert found == Ask(why=f"pattern {SLOW!r} took too long")
    assert [record.getMessage().partition(" took")[0] for record in caplog.records] == [f"pattern {SLOW!r}"]


def test_what_matches_before_a_slow_pattern_is_allowed() -> None:
    assert is_allowed(["!$", SLOW], call("execute", command="a" * 62 + "!"))


def test_a_path_too_long_to_match_is_asked() -> None:
    assert not is_allowed(["^/x"], call("edit", paths=("/" + "x" * MATCHED_CHARS,)))


def test_without_a_pattern_its_library_is_not_imported() -> None:
    code = "import sys, omkd.worker.cli, omkd.worker.acp_run, omkd.daemon, omkctl.cli; print('regex' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    "pattern",
    [
        "^x{8200}$",
        "https://x",
        "exec: ls",
        "(?m)a:^b",
        r"^[0-9]{4}-[0-9]{2}(-[0-9]{2})+ ([a-z]+ )+\(x\)$",
        r"^(git (log|diff|show)( -[a-z]+)*( [\w./]+)*)+$",
    ],
)
def test_a_pattern_as_people_write_them_is_not_refused(pattern: str) -> None:
    check_policy(Pattern(patterns=[pattern]))


@pytest.mark.parametrize("policy", [Never(), Safe(), Yolo(), Pattern(patterns=["^ls", "edit:^docs/"])])
def test_a_usable_policy_is_not_refused(policy: ApprovalPolicy) -> None:
    check_policy(policy)


# --- options -----------------------------------------------------------------------------------------------------

ONCE = Option(id="approve_once", name="Yes", kind="allow_once")
ONCE_TOO = Option(id="once_and_switch_mode", name="Yes, and auto", kind="allow_once")
ALWAYS = Option(id="approve_always", name="Always", kind="allow_always")
NO = Option(id="reject", name="No", kind="reject_once")
NEVER = Option(id="never", name="Never", kind="reject_always")
ALL = [ONCE, ONCE_TOO, ALWAYS, NO, NEVER]


@pytest.mark.parametrize("options", list(itertools.permutations(ALL)))
def test_the_order_of_options_decides_nothing(options: tuple[Option, ...]) -> None:
    assert option_to_allow(options) == ONCE
    assert option_to_allow(options, always=True) == ALWAYS
    assert option_to_reject(options) == NO


@pytest.mark.parametrize("count", range(len(ALL) + 1))
def test_a_policy_never_takes_a_lasting_answer(count: int) -> None:
    for options in itertools.combinations(ALL, count):
        assert (option_to_allow(options) or ONCE).kind == "allow_once"
        assert (option_to_reject(options) or NO).kind == "reject_once"


def test_of_several_plain_yeses_the_one_with_a_known_id_else_a_person_chooses() -> None:
    other = Option(id="and_something", name="", kind="allow_once")
    assert option_to_allow([ONCE_TOO, ONCE]) == ONCE
    assert option_to_allow([ONCE_TOO, other]) is None
    assert option_to_allow([ONCE, Option(id="once", name="", kind="allow_once")]) is None


def test_always_is_a_plain_yes_where_the_agent_has_no_lasting_one() -> None:
    assert option_to_allow([ONCE, NO], always=True) == ONCE
    assert option_to_allow([NO], always=True) is None


# --- merged facts ------------------------------------------------------------------------------------------------


def merged(*messages: dict[str, object], **reading: bool) -> ToolFacts:
    facts: ToolFacts | None = None
    for message in messages:
        facts = facts_with(facts, {"toolCallId": "c1", **message}, Reading(cwd=CWD, **reading))
    assert facts is not None
    return facts


def text(words: str) -> list[dict[str, object]]:
    return [{"type": "content", "content": {"type": "text", "text": words}}]


def test_facts_of_a_call_come_from_all_its_messages() -> None:
    """Vibe's request has nothing but the id; opencode's update brings the command."""
    facts = merged(
        {"kind": "execute", "title": "bash", "rawInput": {}, "status": "pending"},
        {"rawInput": {"command": "make"}, "title": "make", "status": "in_progress"},
        {},
    )
    assert (facts.kind, facts.command, facts.title) == ("execute", "make", "make")


def test_the_arguments_in_a_calls_text_count_only_before_it_runs_and_only_where_known() -> None:
    """A tool's output could look the same."""
    arguments = {"content": text('{"command": "make"}'), "kind": "execute"}
    assert merged(arguments, arguments_in_text=True).command == "make"
    assert merged(arguments).command is None
    assert merged({**arguments, "status": "in_progress"}, arguments_in_text=True).command is None
    prose = merged(arguments, {"content": text("Requesting approval")}, arguments_in_text=True)
    assert (prose.command, prose.text) == ("make", "Requesting approval")


def test_a_title_is_the_command_only_where_that_is_known() -> None:
    said = {"kind": "execute", "title": "make"}
    assert merged(said, title_is_command=True).command == "make"
    assert merged(said).command is None
    assert merged({"kind": "edit", "title": "make"}, title_is_command=True).command is None


@pytest.mark.parametrize(
    ("value", "command"),
    [
        (["git", "commit", "-m", "a b"], "git commit -m 'a b'"),
        (["/bin/bash", "-lc", "a | b"], "a | b"),
        ("", None),
        ([], None),
        ([1], None),
        (5, None),
        ({"x": 1}, None),
    ],
)
def test_a_command_is_text_or_a_list_of_words(value: object, command: str | None) -> None:
    assert merged({"kind": "execute", "rawInput": {"command": value}}).command == command


def test_paths_are_absolute_and_normal_and_all_of_them_count() -> None:
    facts = merged(
        {"kind": "edit", "locations": [{"path": "docs/../src/a.py", "line": 3}, {"path": 5}, "odd"]},
        {"rawInput": {"file_path": "/etc/passwd", "paths": ["b", 7]}},
        {"content": [{"type": "diff", "path": f"{CWD}/c", "newText": ""}]},
    )
    assert facts.paths == (f"{CWD}/src/a.py", f"{CWD}/b", "/etc/passwd", f"{CWD}/c")
    assert facts.changes_files


def test_what_a_tool_may_take_for_another_place_is_not_put_below_the_project() -> None:
    facts = merged({"kind": "edit", "locations": [{"path": "~/.ssh/config"}, {"path": "file:///etc/passwd"}]})
    assert facts.paths == ("~/.ssh/config", "file:///etc/passwd")
    assert not is_allowed(["^\\.ssh", "^etc"], facts)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
FIELDS = ["toolCallId", "kind", "title", "status", "content", "locations", "rawInput"]


@given(st.lists(st.dictionaries(st.sampled_from(FIELDS), json_values), max_size=3), st.booleans())
def test_no_message_of_an_agent_is_too_odd(messages: list[dict[str, object]], in_text: bool) -> None:
    facts: ToolFacts | None = None
    for message in messages:
        facts = facts_with(facts, message, Reading(cwd=CWD, arguments_in_text=in_text, title_is_command=in_text))
        if facts is not None:
            assert facts.in_words()
            assert isinstance(verdict(Pattern(patterns=["edit:x"]), facts), Allow | Ask)
