"""What stands in the units that are written, and what a second install has to do."""

import subprocess
from pathlib import Path

import pytest

from omkctl import service_units
from omkctl.failures import Failure
from omkctl.service_units import SERVICE, SOCKET, environment_in, interpreter_in, is_ours, units_for

UNITS = Path(__file__).parent.parent.parent / "systemd"
PYTHON = "/home/a b/100% done/bin/python"
ENV = {"PATH": '/usr/bin:/opt/"x" \\y/%h:/bin', "XDG_STATE_HOME": "/state", "HOME": "/home/a b"}


def test_interpreter_and_path_are_baked_in_and_read_back() -> None:
    text = units_for(PYTHON, ENV)[SERVICE]
    assert 'ExecStart="/home/a b/100%% done/bin/python" -P -m omkd --session %i\n' in text
    assert 'Environment="PATH=/usr/bin:/opt/\\"x\\" \\\\y/%%h:/bin"\n' in text
    assert interpreter_in(text) == PYTHON
    assert environment_in(text) == {"PATH": ENV["PATH"], "XDG_STATE_HOME": "/state"}


def test_all_else_is_as_in_the_packaged_units() -> None:
    written = units_for("/usr/bin/python3", {"PATH": "/bin"})
    for name, text in written.items():
        packaged = [
            line for line in (UNITS / name).read_text().splitlines() if not line.startswith(("#", "ExecStart="))
        ]
        ours = [line for line in text.splitlines() if not line.startswith(("#", "ExecStart=", "Environment="))]
        assert ours == packaged
    assert set(written) == {path.name for path in UNITS.iterdir()} == {SERVICE, SOCKET}


def test_a_path_keeps_no_directory_that_depends_on_where_one_is() -> None:
    text = units_for("/usr/bin/python3", {"PATH": "/bin::./node_modules/.bin:/usr/bin:/bin"})[SERVICE]
    assert environment_in(text) == {"PATH": "/bin:/usr/bin"}


@pytest.mark.parametrize(
    ("python", "path", "says"),
    [
        ("/usr/bin/python3", "", "PATH is empty here"),
        ("/usr/bin/python3", ".:bin", "PATH is empty here"),
        ("/usr/bin/python3", "/bin\nExecStart=/bin/evil", r"PATH holds '\n'"),
        ("/usr/bin/python3", "/b\udcffn", r"PATH holds '\udcff'"),
        ("/opt/a\nb/python3", "/bin", r"the interpreter's path holds '\n'"),
        ("/opt/$x/python3", "/bin", "a service cannot start what has a $ in its path"),
        ("/opt/it's/python3", "/bin", "a service cannot start what has a ' in its path"),
    ],
)
def test_what_a_unit_cannot_hold_is_refused(python: str, path: str, says: str) -> None:
    with pytest.raises(Failure) as failure:
        units_for(python, {"PATH": path})
    assert says in failure.value.message
    assert failure.value.status == 2


def test_our_own_units_are_known_again_and_nobody_elses() -> None:
    assert all(is_ours(text) for text in units_for("/usr/bin/python3", {"PATH": "/bin"}).values())
    assert all(is_ours(text) for text in service_units.templates().values())
    assert not is_ours("[Service]\nExecStart=/usr/bin/omkd\n")
    assert not is_ours(service_units.templates()[SERVICE] + "MemoryMax=1G\n")


def test_a_unit_that_somebody_else_wrote_may_be_read_too() -> None:
    assert interpreter_in("[Service]\nExecStart=%h/.local/bin/omkd --session %i\n") == "%h/.local/bin/omkd"
    assert interpreter_in("[Service]\n") is None


def test_systemd_reads_the_quoting_as_it_is_meant(tmp_path: Path) -> None:
    """Names with all that is special in a unit: systemd finds the program, which it would complain about otherwise."""
    program = tmp_path / "a b%h;c" / "python"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    (tmp_path / "run").mkdir(mode=0o700)
    for name, text in units_for(str(program), {"PATH": '/x "y"\\z %h:/bin'}).items():
        (tmp_path / name.replace("@.", "@s.")).write_text(text)
    try:
        done = subprocess.run(
            ["systemd-analyze", "--user", "--man=no", "verify", *sorted(map(str, tmp_path.glob("omkd@s.*")))],
            env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path / "run")},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    except FileNotFoundError:
        pytest.skip("systemd-analyze is not installed")
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
