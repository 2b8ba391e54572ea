"""omkd.toml: what is taken, what is refused and where; reload; what SIGHUP means."""

import json
import os
import pty
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omkd.core.state import State
from omkd.daemon import limit_log
from omkd.protocol.address import config_path
from omkd.protocol.escalation import EscalationKind
from omkd.services.escalation_writer import EscalationWriter
from omkd.services.hub import Hub
from omkd.services.notice_rules import NoticeRule, PostTo, RunCommand, ShowOnDesktop
from omkd.services.retention import Retention
from omkd.services.snapshots import Snapshots
from omkd.settings.errors import ConfigError
from omkd.settings.loading import ConfigFile, Loaded, Override
from omkd.settings.table import OPTIONS, Settings
from omkd.settings.toml_lines import key_lines
from omkd.store.event_log import open_event_log
from omkd.store.session import SessionDir
from tests.kit import Client, Place, running_daemon, serves, wait_until

DEADLINE_S = 20.0


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "omkd.toml"


def load(path: Path, text: str, session: str = "default", **overrides: Override) -> Loaded:
    path.write_text(text)
    return ConfigFile(path=path, required=True, session=session, overrides=overrides).load()


def refusal(path: Path, text: str | bytes) -> str:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ConfigError) as caught:
        ConfigFile(path=path, required=True, session="default").load()
    return str(caught.value).removeprefix(str(path))


# --- what is taken


def test_without_a_file_the_defaults_are_in_force(path: Path):
    loaded = ConfigFile(path=path, required=False, session="default").load()
    assert loaded.settings == Settings()
    assert not loaded.exists
    assert set(loaded.sources.values()) == {"default"}


def test_values_come_from_the_file_and_say_from_which_line(path: Path):
    loaded = load(path, '# mine\nlog_level = "debug"\n\nmax_restarts = 0\n')
    assert (loaded.settings.log_level, loaded.settings.max_restarts) == ("debug", 0)
    assert loaded.sources["max_restarts"] == f"{path}:4"
    assert loaded.sources["look_secs"] == "default"


def test_a_session_overrides_what_holds_for_all(path: Path):
    text = 'max_restarts = 1\nlook_secs = 2\n[session.a]\nmax_restarts = 3\n[session."b.c"]\nmax_restarts = 4\n'
    assert [load(path, text, name).settings.max_restarts for name in ("default", "a", "b.c")] == [1, 3, 4]
    loaded = load(path, text, "a")
    assert (loaded.settings.look_secs, loaded.sources["max_restarts"]) == (2, f"{path}:4")


def test_the_command_line_wins_over_the_file(path: Path):
    loaded = load(path, 'log_level = "debug"\n', log_level=Override(value="error", source="--log-level"))
    assert (loaded.settings.log_level, loaded.sources["log_level"]) == ("error", "--log-level")


def test_notices_are_read_with_their_defaults(path: Path):
    text = """
    [[notify]]
    preset = "desktop"
    [[notify]]
    preset = "webhook"
    url = "https://example.org/x"
    kinds = ["failed", "refused"]
    [[notify]]
    name = "mine"
    command = ["/usr/bin/tell", "me"]
    workers = ["coder"]
    timeout_secs = 1
    attempts = 2
    repeat_after_secs = 0
    """
    desktop, webhook, mine = load(path, text).settings.notify
    assert desktop == NoticeRule(name="desktop", means=ShowOnDesktop())
    assert webhook.means == PostTo(url="https://example.org/x")
    assert webhook.kinds == {EscalationKind.FAILED, EscalationKind.REFUSED}
    assert mine == NoticeRule(
        name="mine",
        means=RunCommand(argv=("/usr/bin/tell", "me")),
        workers=("coder",),
        timeout_secs=1,
        attempts=2,
        repeat_after_secs=0,
    )


def test_a_sessions_notices_take_the_place_of_all(path: Path):
    text = '[[notify]]\npreset = "desktop"\n[[session.a.notify]]\ncommand = ["x"]\n'
    assert [rule.name for rule in load(path, text, "a").settings.notify] == ["x"]
    assert [rule.name for rule in load(path, text, "b").settings.notify] == ["desktop"]


# --- what is refused


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = \n", ":1: this is no TOML: Invalid value (at line 1, column 5)"),
        ("a = 1\nb = [1,\n", ":3: this is no TOML: Invalid value (at end of document)"),
        (b'\nlog_level = "\xff"\n', ":2: not UTF-8 at byte 14"),
        ("max_restart = 3\n", ":1: max_restart: there is no such option (did you mean 'max_restarts'? known: "),
        ("look_secs = 10.5\n", ":1: look_secs: it must be a whole number, it is the number 10.5"),
        ("look_secs = true\n", ":1: look_secs: it must be a whole number, it is true"),
        ("\nlook_secs = 0\n", ":2: look_secs: it is 0, and can be 1 to 315360000 s"),
        ("max_restarts = -1\n", ":1: max_restarts: it is -1, and can be 0 to "),
        ("log_level = 3\n", ":1: log_level: it must be a text, it is the number 3"),
        ('log_level = "warn"\n', ":1: log_level: 'warn' is none of its values (did you mean 'warning'? known: "),
        ("session = 3\n", ":1: session: write [session.NAME]"),
        ('\n[session."../x"]\nlook_secs = 3\n', ":2: session.../x: bad session name '../x': 1 to 64 of"),
        ("[session]\na = 3\n", ":2: session.a: write [session.a]"),
        ("[session.x]\nlok_secs = 3\n", ":2: session.x.lok_secs: there is no such option (did you mean 'look_secs'?"),
        ("[session.x.session]\n", ":1: session.x.session: there is no such option"),
        ("notify = 3\n", ":1: notify: write [[notify]], once for each"),
        ("[notify]\n", ":1: notify: write [[notify]], once for each"),
        ("[[notify]]\n", ":1: notify[0]: it needs either `preset` or `command`, one of them"),
        ('[[notify]]\npreset = "desktop"\ncommand = ["x"]\n', ":1: notify[0]: it needs either"),
        ('[[notify]]\npreset = "mail"\n', ":2: notify[0].preset: 'mail' is none of its values"),
        ('[[notify]]\npreset = "webhook"\n', ":1: notify[0]: a webhook needs url = "),
        ('[[notify]]\npreset = "webhook"\nurl = "ftp://x"\n', ":3: notify[0].url: a webhook needs url = "),
        ('[[notify]]\npreset = "webhook"\nurl = "https://x\\ny"\n', ":3: notify[0].url: it holds a space or a control"),
        ('[[notify]]\npreset = "desktop"\nurl = "https://x"\n', ':3: notify[0].url: it is for preset = "webhook" only'),
        ('[[notify]]\ncommand = [""]\n', ":2: notify[0].command: its first part is empty"),
        ('[[notify]]\ncommand = "x"\n', ":2: notify[0].command: it must be a list of texts, it is the text 'x'"),
        ('[[notify]]\ncommand = ["a\\u0000"]\n', ":2: notify[0].command[0]: it holds a NUL character"),
        ('[[notify]]\ncommand = ["x"]\nname = ""\n', ":3: notify[0].name: it is empty: leave it away"),
        ('[[notify]]\ncommand = ["x"]\nkinds = []\n', ":3: notify[0].kinds: it is empty: leave it away for whatever"),
        ('[[notify]]\ncommand = ["x"]\n\nworkers = []\n', ":4: notify[0].workers: it is empty: leave it away for all"),
        ('[[notify]]\nworkers = ["a", "b c"]\n', ":2: notify[0].workers[1]: bad worker name 'b c': 1 to"),
        ('[[notify]]\nworkers = ["any"]\n', ":2: notify[0].workers[0]: bad worker name 'any'"),
        (
            '[[notify]]\ncommand = ["x"]\nkind = []\n',
            ":3: notify[0].kind: there is no such option (did you mean",
        ),
        ('[[notify]]\ncommand = ["x"]\nkinds = [\n "failed", "lost"]', ":3: notify[0].kinds[1]: 'lost' is none of its"),
        (
            '[[notify]]\ncommand = ["x"]\n[[notify]]\ncommand = ["x"]\n',
            ":3: notify[1].name: 'x' is the name of",
        ),
        (
            "[[session.a.notify]]\n\ntimeout_secs = 0\n",
            ":3: session.a.notify[0].timeout_secs: it is 0, and can",
        ),
    ],
)
def test_a_fault_names_line_and_field(path: Path, text: str | bytes, said: str):
    assert refusal(path, text).startswith(said)


def test_a_file_that_was_named_must_be_there(path: Path):
    with pytest.raises(ConfigError, match="there is no such file: make it, or leave --config and OMKD_CONFIG away"):
        ConfigFile(path=path, required=True, session="default").load()


def test_a_directory_in_its_place_is_a_fault(tmp_path: Path):
    with pytest.raises(ConfigError, match="is no regular file"):
        ConfigFile(path=tmp_path, required=False, session="default").load()


def test_a_huge_file_is_a_fault(path: Path):
    assert refusal(path, "#" * (1024 * 1024 + 1)) == f": cannot be read: {path} has more than 1048576 bytes"


def test_a_fifo_in_its_place_is_a_fault_and_not_waited_for(path: Path):
    os.mkfifo(path)
    with pytest.raises(ConfigError, match=r"cannot be read: .*/omkd\.toml is no regular file"):
        ConfigFile(path=path, required=False, session="default").load()


def test_a_symlink_is_as_good_as_the_file(path: Path, tmp_path: Path):
    dotfiles = tmp_path / "dotfiles"
    dotfiles.mkdir()
    (dotfiles / "omkd.toml").write_text("look_secs = 20\n")
    path.symlink_to("dotfiles/omkd.toml")
    loaded = ConfigFile(path=path, required=True, session="default").load()
    assert (loaded.settings.look_secs, loaded.sources["look_secs"]) == (20, f"{path}:1")


@pytest.mark.parametrize(
    ("target", "said"), [("gone.toml", "a symlink, and there is no .*/gone.toml"), ("omkd.toml", "cannot be read: ")]
)
def test_a_symlink_that_leads_nowhere_is_a_fault(path: Path, target: str, said: str):
    path.symlink_to(target)
    with pytest.raises(ConfigError, match=said):
        ConfigFile(path=path, required=False, session="default").load()


# --- where a key stands


def test_keys_are_found_whatever_stands_around_them():
    text = '''# a = 1
a = """
b = 2
[c]
""" # "
b."c d" = [ # e = 3
  "]", { f = 1 },
]
[x.'y.z'] # k = 1
k = 'a#b'
[[n]]
[[n]]
p = 1
[n.q]
r = {s = 1, t = 2}
[[n.m]]
u = \'\'\'
v = 1\'\'\'
'''
    document = tomllib.loads(text)
    lines = key_lines(text)
    assert lines == {
        ("a",): 2,
        ("b",): 6,
        ("b", "c d"): 6,
        ("x",): 9,
        ("x", "y.z"): 9,
        ("x", "y.z", "k"): 10,
        ("n",): 11,
        ("n", 0): 11,
        ("n", 1): 12,
        ("n", 1, "p"): 13,
        ("n", 1, "q"): 14,
        ("n", 1, "q", "r"): 15,
        ("n", 1, "m"): 16,
        ("n", 1, "m", 0): 16,
        ("n", 1, "m", 0, "u"): 17,
    }
    assert document["n"][1]["m"][0]["u"] == "v = 1"


VALUES = st.sampled_from(
    ["1", '"a = 1 # x"', "'''\nb = [\n'''", "[\n 1, # ]\n 2]", "{ k = 3 }", '"\\""', '"""\n"a""""']
)


@given(st.lists(st.tuples(VALUES, st.booleans()), max_size=8))
def test_the_line_of_each_key_is_where_it_was_written(entries: list[tuple[str, bool]]):
    written: dict[str, int] = {}
    text = ""
    for number, (value, spaced) in enumerate(entries):
        text += "\n# comment = [\n" if spaced else ""
        written[f"k{number}"] = text.count("\n") + 1
        text += f"k{number} = {value}\n"
    tomllib.loads(text)
    assert {str(key[0]): line for key, line in key_lines(text).items()} == written


# --- where the file is


def test_the_file_is_found_by_the_environment():
    assert config_path({"OMKD_CONFIG": "/a/b.toml", "XDG_CONFIG_HOME": "/c"}) == Path("/a/b.toml")
    assert config_path({"XDG_CONFIG_HOME": "/c", "HOME": "/h"}) == Path("/c/omk/omkd.toml")
    assert config_path({"XDG_CONFIG_HOME": "relative", "HOME": "/h"}) == Path("/h/.config/omk/omkd.toml")


def check(place: Place, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "omkd", *options, "--check-config"],
        env=place.environment,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )


@pytest.fixture
def config(place: Place) -> Path:
    """Where the daemon of `place` looks."""
    path = place.root / ".config" / "omk" / "omkd.toml"
    path.parent.mkdir(parents=True)
    return path


def test_check_config_says_what_is_set_and_from_where(place: Place, config: Path):
    config.write_text("look_secs = 20\n")
    place.environment["OMKD_LOG_LEVEL"] = "error"
    done = check(place, "--log-format", "json")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[:4] == [
        f"{config}: good",
        'log_level = "error"  (OMKD_LOG_LEVEL)',
        'log_format = "json"  (--log-format)',
        f"look_secs = 20 s  ({config}:1)",
    ]
    assert not place.session.path.exists()


def test_check_config_without_a_file_says_so(place: Place, config: Path):
    done = check(place)
    assert (done.returncode, done.stdout.splitlines()[0]) == (
        0,
        f"{config}: is not there, so the defaults are in force",
    )


def test_check_config_refuses_what_the_daemon_would_refuse(place: Place, config: Path):
    config.write_text("\nlook_secs = 0\n")
    done = check(place, "--json")
    assert (done.returncode, done.stderr.startswith(f"omkd: {config}:2: look_secs: ")) == (78, True)
    fault = json.loads(done.stdout)["fault"]
    assert (fault["path"], fault["line"], fault["field"]) == (str(config), 2, "look_secs")


def test_check_config_as_json_has_every_option(place: Place, config: Path):
    config.write_text('[[notify]]\npreset = "webhook"\nurl = "https://user:pass@example.org/secret"\n')
    answer = json.loads(check(place, "--json").stdout)
    assert [each["name"] for each in answer["config"]["options"]] == [*OPTIONS, "notify"]
    assert answer["config"]["options"][-1]["value"][0]["means"] == "webhook https://example.org"


def test_a_daemon_with_a_broken_configuration_does_not_start(place: Place, config: Path):
    config.write_text("look_secs = 0\n")
    done = subprocess.run(
        [sys.executable, "-m", "omkd"], env=place.environment, capture_output=True, timeout=DEADLINE_S, check=False
    )
    assert (done.returncode, done.stdout) == (78, b"")
    assert done.stderr.startswith(f"omkd: {config}:1: look_secs: ".encode())


def test_a_broken_configuration_does_not_keep_omkd_from_verifying(place: Place, config: Path):
    config.write_text("look_secs = 0\n")
    done = subprocess.run(
        [sys.executable, "-m", "omkd", "verify"],
        env=place.environment,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert (done.returncode, "there is no session" in done.stderr) == (3, True)


# --- reload


def option(client: Client, name: str) -> dict[str, Any]:
    options = client.call("omkd.config")["options"]
    assert isinstance(options, list)
    (found,) = [each for each in options if each["name"] == name]
    assert isinstance(found, dict)
    return found


def test_reload_says_what_changed_and_what_needs_a_restart(place: Place, config: Path):
    config.write_text('max_restarts = 1\nlog_format = "text"\n')
    with running_daemon(place) as daemon:
        client = daemon.client()
        config.write_text('max_restarts = 2\nlog_format = "json"\n')
        result = client.call("omkd.reload")
        assert result == {
            "path": str(config),
            "changed": [
                {"name": "log_format", "before": "text", "after": "json", "restart": True},
                {"name": "max_restarts", "before": 1, "after": 2, "restart": False},
            ],
            "needs_restart": ["log_format"],
        }
        assert (option(client, "max_restarts")["value"], option(client, "log_format")["value"]) == (2, "text")
        again = client.call("omkd.reload")
        assert (again["changed"], again["needs_restart"]) == ([], ["log_format"])
        client.close()


def test_a_reload_with_a_fault_in_it_changes_nothing_and_names_the_place(place: Place, config: Path):
    config.write_text("max_restarts = 1\n")
    with running_daemon(place) as daemon:
        client = daemon.client()
        config.write_text("max_restarts = 2\nlook_secs = 0\n")
        error: Any = client.ask("omkd.reload")["error"]
        assert error["data"] == {"name": "refused", "path": str(config), "line": 2, "field": "look_secs"}
        assert error["message"].endswith("; nothing was changed")
        assert (option(client, "max_restarts")["value"], option(client, "max_restarts")["source"]) == (1, f"{config}:1")
        client.close()


def test_a_fifo_in_place_of_the_file_holds_up_neither_a_reload_nor_a_check(place: Place, config: Path):
    with running_daemon(place) as daemon:
        client = daemon.client()
        os.mkfifo(config)
        error: Any = client.ask("omkd.reload")["error"]
        assert error["message"] == f"{config}: cannot be read: {config} is no regular file; nothing was changed"
        client.close()
    assert check(place).returncode == 78


def test_a_file_that_is_gone_means_the_defaults(place: Place, config: Path):
    config.write_text("max_restarts = 1\n")
    with running_daemon(place) as daemon:
        client = daemon.client()
        config.unlink()
        client.call("omkd.reload")
        assert option(client, "max_restarts")["source"] == "default"
        assert client.call("omkd.config")["exists"] is False
        client.close()


def test_the_log_level_follows_the_configuration(place: Place, config: Path):
    with running_daemon(place) as daemon:
        config.write_text('log_level = "debug"\n')
        client = daemon.client()
        client.call("omkd.reload")
        client.call("worker.add", name="w", role="r")
        client.call("task.send", target={"worker": "w"}, task={"task": "x"})
        wait_until(lambda: "DEBUG omkd.services.event_lines: unit 4 by omkd" in daemon.log.read_text(), "no DEBUG line")
        client.close()


def test_the_number_of_restarts_follows_the_configuration(place: Place, config: Path):
    config.write_text("max_restarts = 0\n")
    with running_daemon(place) as daemon:
        client = daemon.client()
        client.call("worker.add", name="w", role="r", runner={"command": ["true"]})

        def worker() -> Any:
            return client.call("worker.get", name="w")

        wait_until(lambda: worker()["pid"] is not None, "no host is started")
        os.kill(worker()["pid"], signal.SIGKILL)
        wait_until(lambda: worker()["state"] == "dead", "it is started again")
        client.close()


def test_how_much_may_wait_follows_the_configuration(place: Place, config: Path):
    config.write_text("max_queued_tasks = 1\n")
    with running_daemon(place) as daemon:
        client = daemon.client()
        client.call("worker.add", name="w", role="r", window=1)
        send: dict[str, Any] = {"target": {"worker": "w"}, "task": {"task": "x"}, "hold": True}
        client.call("task.send", **send)
        refused: Any = client.ask("task.send", **send)["error"]
        assert refused["data"]["name"] == "queue_full"
        config.write_text("max_queued_tasks = 2\n")
        client.call("omkd.reload")
        client.call("task.send", **send)
        client.close()


async def test_zero_keeps_the_whole_log_and_a_number_does_not(tmp_path: Path):
    state = State()
    async with open_event_log(tmp_path / "events", fold=state.fold, clock_ns=lambda: 1) as log:
        hub = Hub(session=SessionDir(tmp_path), log=log, state=state, clock_ns=lambda: 1)
        snapshots = Snapshots(hub=hub, escalation_writer=EscalationWriter(hub))
        limit_log(snapshots, Settings(keep_bytes=10**9))
        assert snapshots.retention == Retention(keep_bytes=10**9, keep_days=None)
        limit_log(snapshots, Settings(keep_days=30))
        assert snapshots.retention == Retention(keep_bytes=None, keep_days=30)


def test_secrets_of_workers_are_not_shown(client: Client, place: Place):
    runner = {"command": ["true"], "env": {"API_TOKEN": "hunter2", "MODE": "fast"}}
    added: Any = client.call("worker.add", name="w", role="r", runner=runner)
    assert added["runner"]["env"] == {"API_TOKEN": "[redacted]", "MODE": "fast"}
    kept = json.loads(place.session.worker("w").runner.read_text())
    assert kept["env"]["API_TOKEN"] == "hunter2"


# --- SIGHUP


def test_without_a_terminal_sighup_reads_the_configuration_again(place: Place, config: Path):
    with running_daemon(place) as daemon:
        client = daemon.client()
        config.write_text("max_restarts = 3\n")
        daemon.process.send_signal(signal.SIGHUP)
        wait_until(lambda: option(client, "max_restarts")["value"] == 3, "nothing is read")
        config.write_text("max_restarts = \n")
        daemon.process.send_signal(signal.SIGHUP)
        wait_until(lambda: f"{config}:1: this is no TOML" in daemon.log.read_text(), "the fault is not said")
        assert option(client, "max_restarts")["value"] == 3
        client.close()


@contextmanager
def daemon_in_terminal(place: Place, *prefix: str) -> Iterator[tuple[int, int]]:
    """(pid, the terminal's other end) of a daemon that leads a session with a terminal of its own."""
    command = [*prefix, sys.executable, "-m", "omkd"]
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(place.root)  # for nohup.out
        os.execvpe(command[0], command, place.environment)
    try:
        wait_until(lambda: serves(place, pid), "omkd does not start")
        yield pid, terminal
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_the_end_of_its_terminal_ends_the_daemon(place: Place):
    with daemon_in_terminal(place) as (pid, terminal):
        os.close(terminal)
        wait_until(lambda: os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None, "it goes on")
        ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        assert ended is not None
        assert (ended.si_code, ended.si_status) == (os.CLD_EXITED, 0)


def test_with_nohup_the_end_of_the_terminal_is_a_reload(place: Place, config: Path):
    with daemon_in_terminal(place, "nohup") as (_, terminal):
        client = Client(place.socket)
        assert option(client, "max_restarts")["value"] == 5
        config.write_text("max_restarts = 4\n")
        os.close(terminal)
        wait_until(lambda: option(client, "max_restarts")["value"] == 4, "SIGHUP reads no configuration")
        client.close()
