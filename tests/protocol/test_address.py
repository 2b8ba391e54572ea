"""Where a session, its socket and the configuration are."""

import os
import pwd
import re
from pathlib import Path

import pytest

from omkctl.failures import Failure
from omkctl.locate import address_for
from omkd.protocol.address import AddressError, checked_socket_path, config_path, state_root
from omkd.protocol.limits import UNIX_PATH_BYTES


def test_a_path_has_so_many_bytes_and_is_text() -> None:
    longest = Path("/" + "x" * (UNIX_PATH_BYTES - 1))
    assert checked_socket_path(longest) == longest
    with pytest.raises(AddressError, match=re.escape(r"the path /\xff is not UTF-8")):
        checked_socket_path(Path(os.fsdecode(b"/\xff")))
    with pytest.raises(AddressError, match=f"has {UNIX_PATH_BYTES + 2} bytes"):
        checked_socket_path(Path("/" + "\u00e9" * (UNIX_PATH_BYTES // 2 + 1)))


def test_where_no_home_is_known_what_to_set_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container, for a user without an entry in passwd(5)."""

    def nobody(_: int) -> None:
        raise KeyError

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)
    said = re.escape("no home directory is known: set HOME, or XDG_STATE_HOME and XDG_CONFIG_HOME")
    for where in (state_root, config_path):
        with pytest.raises(AddressError, match=said):
            where({})
    assert state_root({"XDG_STATE_HOME": "/s"}) == Path("/s/omk/sessions")
    with pytest.raises(Failure, match=said) as failure:
        address_for({}, session="default", socket=None, state_dir=None)
    assert failure.value.status == 2
