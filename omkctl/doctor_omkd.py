"""Doctor's checks that only omkd can make: the log's integrity, and the configuration."""

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Final

from .client import Client
from .configured import check_file, fault_text
from .doctor_facts import Facts, Finding
from .failures import Failure
from .shapes import Config, Verified

VERIFY_SECS: Final = 600.0
"""A million units take about a minute."""


def check_log(facts: Facts) -> Iterator[Finding]:
    """The session is consistent, by the daemon, or by omkd itself when none holds it."""
    if not (facts.address.session_dir / "events").is_dir():
        return
    try:
        verified = online(facts) if facts.hello is not None else offline(facts) if not facts.holders else None
    except Failure as failure:
        yield Finding(what=f"the session cannot be verified: {failure.message}", mend=facts.omkctl("verify"))
        return
    for finding in verified["findings"] if verified is not None else []:
        mend = finding["mend"]
        if finding["kind"] == "sequence" and facts.hello is None and "repair" in mend:
            mend = f"{omkd(facts)} repair"
        yield Finding(what=f"{finding['kind']}: {finding['what']}", mend=mend)


def online(facts: Facts) -> Verified:
    client = Client(facts.address, check_version=False, patience_s=0, answer_s=VERIFY_SECS)
    try:
        return client.call("omkd.verify", {}, Verified)
    finally:
        client.close()


def offline(facts: Facts) -> Verified:
    argv = [sys.executable, "-m", "omkd", *place(facts), "verify", "--json"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    try:
        verified: Verified = json.loads(done.stdout)
    except ValueError:
        raise Failure(1, "verify_failed", done.stderr.strip() or f"status {done.returncode}") from None
    return verified


def place(facts: Facts) -> list[str]:
    return ["--session", facts.address.session, "--state-dir", str(facts.address.session_dir.parent)]


def omkd(facts: Facts) -> str:
    session = facts.address.session
    _, given, state_dir = facts.prefix.partition(" --state-dir ")
    return f"omkd --session {session}" + (f" --state-dir {state_dir}" if given else "")


def check_config(facts: Facts) -> Iterator[Finding]:
    """omkd.toml is good: a daemon that runs would not start again with a bad one."""
    path = daemons_file(facts)
    try:
        checked = check_file(facts.address.session, path)
    except Failure as failure:
        yield Finding(what=failure.message, mend=facts.omkctl("config check"))
        return
    if checked.fault is not None:
        then = f"then {facts.omkctl('reload')}" if facts.hello is not None else f"then {facts.omkctl('config check')}"
        yield Finding(what=fault_text(checked.fault), mend=f"correct {checked.fault['path']}, {then}")


def daemons_file(facts: Facts) -> str | None:
    if facts.hello is None:
        return None
    client = Client(facts.address, check_version=False, patience_s=0)
    try:
        config = client.call("omkd.config", {}, Config)
    except Failure:
        return None
    finally:
        client.close()
    return config["path"] if config["exists"] else None
