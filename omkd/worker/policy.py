"""Approval policies: what an agent may do unasked. Facts in, verdict out. What is unknown is asked.

`never` asks a person each time; `safe` allows what only reads; `yolo` allows everything, each one logged; `pattern`
allows what one of its patterns matches. Source: the seeds' ApprovalPolicy.

A pattern is a regular expression, searched for in the command of an `execute` call, or in each path of a `read`,
`edit`, `delete`, `move` or `search` call, absolute and as seen from the project's directory. `edit:^docs/` counts for
calls of that kind only. A title alone allows nothing: the agent chooses its words. Nor does a pattern that takes too
long: the agent chooses the command, too.
"""

import logging
import posixpath
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, TypeAlias, assert_never

from attrs import frozen

from omkd.protocol.nearest import hint
from omkd.protocol.records import ApprovalPolicy, Never, Pattern, Safe, Yolo

from .acp_facts import EXECUTE, Option, ToolFacts
from .patterns import VERDICT_S, Patience, TooSlow, compiled, is_found

if TYPE_CHECKING:
    import regex

log = logging.getLogger(__name__)

READ_ONLY: Final = frozenset({"read", "search", "think"})
WITH_PATHS: Final = frozenset({"read", "edit", "delete", "move", "search"})
KINDS: Final = frozenset({*WITH_PATHS, EXECUTE, "think", "fetch", "switch_mode", "other"})
"""ACP's ToolKind."""

MATCHED_CHARS: Final = 8192
"""A longer command is asked: nobody reads a pattern's verdict on it, and matching it could take long."""

PATTERN_CHARS: Final = 1000

COMPOSED: Final = re.compile(r"[;&|<>()`\n\r]|\$[({]")
"""What makes a shell do more than run one command: `^ls` must not allow `ls; rm -rf .`."""

ALLOW_ONCE_IDS: Final = frozenset({"allow_once", "allow-once", "approve_once", "proceed_once", "once", "approved"})
ALLOW_ALWAYS_IDS: Final = frozenset({"allow_always", "allow-always", "approve_always", "proceed_always", "always"})
"""As recorded agents call the plain option; asked for where an agent offers several of one kind."""


class PolicyError(ValueError):
    """A policy that cannot be used; `path` is the field at fault."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


@frozen(kw_only=True)
class Allow:
    why: str


@frozen(kw_only=True)
class AllowLogged:
    """Allowed without a look at it; the record says each one."""

    why: str


@frozen(kw_only=True)
class Ask:
    """A person decides."""

    why: str


Verdict: TypeAlias = Allow | AllowLogged | Ask


@frozen(kw_only=True)
class Rule:
    """One pattern, `kind` empty if it counts for all."""

    text: str
    kind: str
    expression: "regex.Pattern[str]"


@frozen(kw_only=True)
class Judge:
    """A policy, checked and compiled. `cwd` is the project's directory, absolute."""

    policy: ApprovalPolicy
    rules: tuple[Rule, ...]
    cwd: str

    def verdict(self, facts: ToolFacts) -> Verdict:
        match self.policy:
            case Never():
                return Ask(why="the policy is never")
            case Safe():
                return safe_verdict(facts)
            case Yolo():
                return AllowLogged(why="the policy is yolo")
            case Pattern():
                return pattern_verdict(facts, self.rules, self.cwd)
            case _:
                assert_never(self.policy)


def judge_for(policy: ApprovalPolicy, *, cwd: str) -> Judge:
    """Raises PolicyError."""
    rules = rules_of(policy) if isinstance(policy, Pattern) else ()
    return Judge(policy=policy, rules=rules, cwd=posixpath.normpath(cwd))


def check_policy(policy: ApprovalPolicy) -> None:
    """Before a worker is added or changed. Raises PolicyError for a pattern that cannot be used."""
    if isinstance(policy, Pattern):
        rules_of(policy)


def rules_of(policy: Pattern) -> tuple[Rule, ...]:
    path = "approval_policy.pattern.patterns"
    if not policy.patterns:
        raise PolicyError(path, "there is no pattern: name one, or use `never`")
    return tuple(rule_for(text, f"{path}[{index}]") for index, text in enumerate(policy.patterns))


def rule_for(text: str, path: str) -> Rule:
    kind, colon, rest = text.partition(":")
    if kind not in KINDS and kind.isidentifier() and rest.startswith("^"):  # as a regular expression it matches nothing
        raise PolicyError(path, f"{kind!r} is no kind of call{hint(kind, KINDS, '')}")
    kind, source = (kind, rest) if colon and kind in KINDS else ("", text)
    if not source.strip():
        raise PolicyError(path, "the pattern is empty, it would allow everything: use `yolo` if that is meant")
    if len(source) > PATTERN_CHARS:
        raise PolicyError(path, f"the pattern has {len(source)} characters, at most {PATTERN_CHARS} are allowed")
    try:
        expression = compiled(source)
    except ValueError as error:
        raise PolicyError(path, str(error)) from error
    try:
        matches_nothing = is_found(expression, "", Patience())
    except TooSlow as error:
        raise PolicyError(path, f"{source!r} takes over {VERDICT_S:g} s on an empty text already") from error
    if matches_nothing:
        raise PolicyError(path, f"{source!r} matches everything, even nothing: use `yolo` if that is meant")
    return Rule(text=text, kind=kind, expression=expression)


def safe_verdict(facts: ToolFacts) -> Verdict:
    if not facts.kinds:
        return Ask(why="the kind of tool is unknown")
    if not READ_ONLY.issuperset(facts.kinds):
        return Ask(why=f"{' and '.join(facts.kinds)} is not read-only")
    if facts.command is not None or facts.changes_files:
        return Ask(why=f"it says {facts.kind}, but brings a command or a change")
    return Allow(why=f"{facts.kind} is read-only")


def pattern_verdict(facts: ToolFacts, rules: Iterable[Rule], cwd: str) -> Verdict:
    if len(facts.kinds) != 1:
        return Ask(why="the kind of tool is unknown" if not facts.kinds else "the agent says more than one kind")
    own = [rule for rule in rules if rule.kind in ("", facts.kind)]
    if facts.kind == EXECUTE:
        return command_verdict(facts.command, own)
    if facts.kind == "move" and len(facts.paths) < 2:
        return Ask(why="where it moves to is unknown")
    if facts.kind in WITH_PATHS and facts.command is None:
        return paths_verdict(facts.paths, own, cwd)
    return Ask(why=f"no pattern can match a call of kind {facts.kind}")


def command_verdict(command: str | None, rules: list[Rule]) -> Verdict:
    if command is None:
        return Ask(why="the command is unknown")
    if len(command) > MATCHED_CHARS:
        return Ask(why=f"the command has more than {MATCHED_CHARS} characters")
    is_composed, patience = COMPOSED.search(command) is not None, Patience()
    for rule in rules:
        try:
            if is_found(rule.expression, command, patience, whole=is_composed):
                return Allow(why=f"pattern {rule.text!r}")
        except TooSlow:
            return too_slow(rule)
    return Ask(why="no pattern matches the whole command" if is_composed else "no pattern matches the command")


def paths_verdict(paths: tuple[str, ...], rules: list[Rule], cwd: str) -> Verdict:
    """Every path must be allowed: the second file of a move is one too."""
    if not paths:
        return Ask(why="the path is unknown")
    used: list[str] = []
    patience = Patience()
    for path in paths:
        found = path_verdict(path, rules, cwd, patience)
        if isinstance(found, Ask):
            return found
        used.append(found.text)
    return Allow(why="pattern " + ", ".join(repr(text) for text in dict.fromkeys(used)))


def path_verdict(path: str, rules: list[Rule], cwd: str, patience: Patience) -> Rule | Ask:
    """The first rule that allows it."""
    if len(path) <= MATCHED_CHARS:
        for rule in rules:
            try:
                if any(is_found(rule.expression, form, patience) for form in forms(path, cwd)):
                    return rule
            except TooSlow:
                return too_slow(rule)
    return Ask(why=f"no pattern matches {path}")


def too_slow(rule: Rule) -> Ask:
    log.warning("pattern %r took over %g s for one verdict: a person is asked; make it simpler", rule.text, VERDICT_S)
    return Ask(why=f"pattern {rule.text!r} took too long")


def forms(path: str, cwd: str) -> list[str]:
    """A path as it is, and as seen from the project's directory if it is in it."""
    inside = path.startswith(cwd.rstrip("/") + "/")
    return [path, posixpath.relpath(path, cwd)] if inside else [path]


# --- the options of a request ------------------------------------------------------------------------------------


def option_to_allow(options: Iterable[Option], *, always: bool = False) -> Option | None:
    """What says yes to this one call. None if that is not clear: then a person chooses, or it is refused.

    `always` only if a person said so; without such an option it is a yes to this one call.
    """
    known = list(options)
    lasting = only([option for option in known if option.kind == "allow_always"], ALLOW_ALWAYS_IDS) if always else None
    return lasting or only([option for option in known if option.kind == "allow_once"], ALLOW_ONCE_IDS)


def option_to_reject(options: Iterable[Option]) -> Option | None:
    """The first that says no to this one call. None: the answer is `cancelled`, never a lasting no."""
    return next((option for option in options if option.kind == "reject_once"), None)


def only(options: list[Option], exact_ids: frozenset[str]) -> Option | None:
    """The single one; of several, the single one with a known id."""
    if len(options) == 1:
        return options[0]
    exact = [option for option in options if option.id in exact_ids]
    return exact[0] if len(exact) == 1 else None
