"""Doctor's checks of the service: the units, and whether it outlives a logout. None need be installed."""

import os
import sys
from collections.abc import Iterator

from .doctor_facts import Facts, Finding
from .failures import Failure
from .service_manager import is_lingering, own_name
from .service_plan import ENABLED, Installed
from .service_units import SERVICE, environment_in, interpreter_in, is_ours, units_for, without_path


def check_units(facts: Facts) -> Iterator[Finding]:
    """What they start is there, and they are as install would write them, but for PATH."""
    installed = facts.installed
    if installed is None or not installed.texts:
        return
    again = facts.omkctl("service install --now")
    if installed.service["NeedDaemonReload"] == "yes":
        what = f"{installed.service_unit} was changed, and systemd has not read it"
        yield Finding(what=what, mend="systemctl --user daemon-reload")
    text = installed.texts.get(SERVICE, "")
    interpreter = interpreter_in(text)
    path = installed.directory / SERVICE
    home = str(facts.around.env.get("HOME", ""))
    program = interpreter.replace("%h", home) if interpreter is not None else None
    if program is None or not os.access(program, os.X_OK):
        yield Finding(what=f"{path} starts {program}, which is not there: omkd was moved or removed", mend=again)
    elif not is_ours(text):
        return
    elif not (directories := environment_in(text).get("PATH")):
        what = f"{path} sets no PATH: agents are looked up on the user manager's, which is shorter than a shell's"
        yield Finding(what=what, mend=again)
    elif not any(os.path.isdir(each) for each in directories.split(":")):
        yield Finding(what=f"{path}: no directory of its PATH is there: {directories}", mend=again)
    elif differs(facts, installed):
        yield Finding(what=f"{path} is not as this omkctl would write it", mend=again)


def differs(facts: Facts, installed: Installed) -> bool:
    try:
        texts = units_for(sys.executable, facts.around.env)
    except Failure:
        return False
    return any(without_path(text) != without_path(installed.texts.get(name, "")) for name, text in texts.items())


def check_linger(facts: Facts) -> Iterator[Finding]:
    """Of a service that is enabled: it is to be there without a login, too."""
    installed = facts.installed
    if installed is None or not {installed.service["UnitFileState"], installed.socket["UnitFileState"]} & {*ENABLED}:
        return
    if not is_lingering(facts.around.linger_dir):
        what = f"lingering is off for {own_name()}: the service ends at logout, and does not start at boot"
        yield Finding(what=what, mend="loginctl enable-linger")
