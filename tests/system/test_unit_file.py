"""systemd/omkd@.service: systemd takes every directive, and they are those that the daemon needs."""

import configparser
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from omkd import cli

UNIT = Path(__file__).parent.parent.parent / "systemd" / "omkd@.service"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_has_no_complaint_about_the_unit(tmp_path: Path):
    (tmp_path / ".local" / "bin").mkdir(parents=True)
    (tmp_path / ".local" / "bin" / "omkd").symlink_to(Path(sys.executable).parent / "omkd")
    (tmp_path / "run").mkdir(mode=0o700)
    unit = shutil.copy(UNIT, tmp_path)
    done = subprocess.run(
        ["systemd-analyze", "--user", "--man=no", "verify", unit],
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path / "run")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.fixture
def service() -> configparser.SectionProxy:
    parser = configparser.RawConfigParser(strict=True)
    parser.read(UNIT)
    return parser["Service"]


def test_the_agents_outlive_the_daemon_and_one_that_eats_the_memory_does_not_end_it(
    service: configparser.SectionProxy,
):
    assert (service["KillMode"], service["OOMPolicy"]) == ("process", "continue")


def test_systemd_is_told_when_omkd_serves_and_starts_it_again_after_a_failure(service: configparser.SectionProxy):
    assert (service["Type"], service["Restart"]) == ("notify", "on-failure")


def test_what_a_start_again_would_not_change_is_not_started_again(service: configparser.SectionProxy):
    final = {2, cli.EXIT_HELD, cli.EXIT_TOO_NEW, cli.EXIT_DAMAGE_OR_CONFIG}
    assert {int(status) for status in service["RestartPreventExitStatus"].split()} == final


def test_each_directive_of_the_service_has_its_reason_above_it():
    lines = UNIT.read_text().partition("[Service]\n")[2].partition("\n\n")[0].splitlines()
    directives = [number for number, line in enumerate(lines) if re.match(r"\w+=", line)]
    without = [lines[number] for number in directives if not lines[number - 1].startswith("#")]
    assert without == ["RestartSec=1"]  # with Restart=, above it
