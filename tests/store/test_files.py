import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omkd.store import files


@pytest.fixture(params=[0o000, 0o022, 0o777], ids=oct)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A directory, made before the umask is another."""
    before = os.umask(request.param)
    yield tmp_path
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# --- modes and symlinks ------------------------------------------------------------------------------------------


def test_modes_do_not_depend_on_the_umask(place: Path):
    files.make_dir(place / "a" / "b")
    files.atomic_write(place / "a" / "b" / "spec.json", b"{}")
    files.append_line(place / "a" / "b" / "inbox.jsonl", b"{}")
    assert [mode(place / name) for name in ("a", "a/b")] == [0o700, 0o700]
    assert [mode(place / "a/b" / name) for name in ("spec.json", "inbox.jsonl")] == [0o600, 0o600]


def test_a_directory_that_is_there_stays_as_it_is(tmp_path: Path):
    there = tmp_path / "there"
    there.mkdir()
    there.chmod(0o755)
    files.make_dir(there)
    assert mode(there) == 0o755


def test_a_symlink_in_place_of_a_directory_is_refused(tmp_path: Path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    with pytest.raises(NotADirectoryError, match="link is a symlink"):
        files.make_dir(tmp_path / "link")


def test_a_file_in_place_of_a_directory_is_refused(tmp_path: Path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(NotADirectoryError, match="file is a file"):
        files.make_dir(tmp_path / "file")


def test_a_symlink_in_place_of_a_file_is_not_appended_to_nor_read(tmp_path: Path):
    target = tmp_path / "target"
    target.write_bytes(b"mine\n")
    link = tmp_path / "link.jsonl"
    link.symlink_to(target)
    with pytest.raises(OSError, match="symbolic links"):
        files.append_line(link, b"{}")
    with pytest.raises(OSError, match="symbolic links"):
        files.read_regular(link, 100)
    assert target.read_bytes() == b"mine\n"


def test_atomic_write_replaces_a_symlink_and_not_what_it_leads_to(tmp_path: Path):
    target = tmp_path / "target"
    target.write_bytes(b"mine")
    link = tmp_path / "link.json"
    link.symlink_to(target)
    files.atomic_write(link, b"{}")
    assert not link.is_symlink()
    assert (link.read_bytes(), target.read_bytes()) == (b"{}", b"mine")


# --- atomic_write ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sync", [True, False])
def test_atomic_write_leaves_the_new_content_and_nothing_else(tmp_path: Path, sync: bool):
    path = tmp_path / "heartbeat.json"
    for content in (b"one", b"", b"two"):
        files.atomic_write(path, content, sync=sync)
        assert path.read_bytes() == content
    assert [entry.name for entry in tmp_path.iterdir()] == ["heartbeat.json"]


def test_an_atomic_write_that_fails_leaves_the_old_content_and_no_temporary(tmp_path: Path):
    path = tmp_path / "spec.json"
    files.atomic_write(path, b"old")
    done = limited(f"files.atomic_write(Path({str(path)!r}), b'x' * 10_000)", file_bytes=4096)
    assert "OSError: [Errno 27]" in done.stderr
    assert path.read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["spec.json"]


def test_what_a_killed_atomic_write_leaves_is_removed_and_nothing_else(tmp_path: Path):
    path = tmp_path / "snapshot-7.json"
    files.atomic_write(path, b"old")
    (tmp_path / ".notes.tmp").write_bytes(b"somebody's")
    fatal = "resource.setrlimit(resource.RLIMIT_CORE, (0, 0))\nsignal.signal(signal.SIGXFSZ, signal.SIG_DFL)\n"
    done = limited(fatal + f"files.atomic_write(Path({str(path)!r}), b'x' * 10_000)", file_bytes=4096)
    assert done.returncode == -signal.SIGXFSZ
    [left] = set(tmp_path.iterdir()) - {path, tmp_path / ".notes.tmp"}
    assert files.remove_temporaries(tmp_path) == [left]
    assert sorted(each.name for each in tmp_path.iterdir()) == [".notes.tmp", "snapshot-7.json"]
    assert files.remove_temporaries(tmp_path / "missing") == []


def test_a_reader_sees_the_old_or_the_new_and_no_part(tmp_path: Path):
    path = tmp_path / "heartbeat.json"
    contents = {bytes([letter]) * 5000 for letter in b"ab"}
    files.atomic_write(path, b"a" * 5000)
    write = f"while True:\n for c in (b'a', b'b'): files.atomic_write(Path({str(path)!r}), c * 5000, sync=False)"
    writer = subprocess.Popen([sys.executable, "-c", PRELUDE + write], stdout=subprocess.DEVNULL)
    try:
        seen = {files.read_regular(path, 10_000) for _ in range(2000)}
    finally:
        writer.kill()
        writer.wait()
    assert seen <= contents


# --- append_line -------------------------------------------------------------------------------------------------


def test_lines_are_appended_each_with_its_newline(tmp_path: Path):
    path = tmp_path / "inbox.jsonl"
    files.append_line(path, b"one")
    files.append_line(path, b"two", sync=True)
    assert path.read_bytes() == b"one\ntwo\n"


def test_a_torn_line_that_is_the_beginning_of_the_new_one_is_completed(tmp_path: Path):
    path = tmp_path / "inbox.jsonl"
    path.write_bytes(b'{"id":"t1"}\n{"id":')
    files.append_line(path, b'{"id":"t2"}')
    assert path.read_bytes() == b'{"id":"t1"}\n{"id":"t2"}\n'


def test_a_line_that_only_lacks_its_newline_gets_it(tmp_path: Path):
    path = tmp_path / "inbox.jsonl"
    path.write_bytes(b'{"id":"t2"}')
    files.append_line(path, b'{"id":"t2"}')
    assert path.read_bytes() == b'{"id":"t2"}\n'


def test_any_other_torn_line_is_ended_first(tmp_path: Path):
    path = tmp_path / "inbox.jsonl"
    path.write_bytes(b'{"id":"t1"}\n{"id":"t9')
    files.append_line(path, b'{"id":"t2"}')
    assert path.read_bytes() == b'{"id":"t1"}\n{"id":"t9\n{"id":"t2"}\n'


@pytest.mark.parametrize("size", [1, 4095, 4096, 4097, 10_000])
@pytest.mark.parametrize("before", [b"", b"line\n", b"\n"])
def test_a_torn_tail_is_found_whatever_its_length(tmp_path: Path, before: bytes, size: int):
    path = tmp_path / "inbox.jsonl"
    path.write_bytes(before + b"x" * size)
    descriptor = files.open_append(path)
    try:
        assert files.torn_tail(descriptor) == b"x" * size
        files.append_lines(descriptor, b"y\n")
        assert files.torn_tail(descriptor) == b""
    finally:
        os.close(descriptor)


@given(
    before=st.binary(max_size=30),
    cut=st.integers(0, 40),
    lines=st.lists(st.sampled_from([b"a", b"ab", b"{}"]), min_size=1),
)
def test_after_a_crash_at_any_byte_the_lines_are_there_whole(
    tmp_path_factory: pytest.TempPathFactory, before: bytes, cut: int, lines: list[bytes]
):
    path = tmp_path_factory.mktemp("crash") / "inbox.jsonl"
    block = b"".join(line + b"\n" for line in lines)
    whole = before + b"\n" if before else b""
    path.write_bytes(whole + block[: min(cut, len(block) - 1)])
    descriptor = files.open_append(path)
    try:
        files.append_lines(descriptor, block)
    finally:
        os.close(descriptor)
    assert path.read_bytes().startswith(whole)
    assert path.read_bytes().endswith(block)


def test_a_short_write_is_an_error_and_the_next_append_mends_it(tmp_path: Path):
    path = tmp_path / "outbox.jsonl"
    files.append_line(path, b"one")
    done = limited(f"files.append_line(Path({str(path)!r}), b'x' * 5000)", file_bytes=4096)
    assert "OSError: [Errno 27]" in done.stderr
    assert path.read_bytes() == b"one\n" + b"x" * 4092
    files.append_line(path, b"x" * 5000)
    assert path.read_bytes() == b"one\n" + b"x" * 5000 + b"\n"


def test_writers_of_one_file_do_not_tear_each_others_lines(tmp_path: Path):
    path = tmp_path / "inbox.jsonl"
    write = """descriptor = files.open_append(Path({0!r}))
for _ in range(200): files.write_all(descriptor, {1!r} * 3000 + b"\\n")"""
    writers = [
        subprocess.Popen([sys.executable, "-c", PRELUDE + write.format(str(path), letter)]) for letter in (b"a", b"b")
    ]
    assert [writer.wait(timeout=60) for writer in writers] == [0, 0]
    lines = path.read_bytes().splitlines()
    assert sorted(lines) == [b"a" * 3000] * 200 + [b"b" * 3000] * 200


# --- read_regular ------------------------------------------------------------------------------------------------


def test_a_file_of_the_limit_is_read_one_over_it_is_not(tmp_path: Path):
    path = tmp_path / "spec.json"
    path.write_bytes(b"x" * 10)
    assert files.read_regular(path, 10) == b"x" * 10
    with pytest.raises(ValueError, match="more than 9 bytes"):
        files.read_regular(path, 9)


def test_a_missing_file_is_said(tmp_path: Path):
    with pytest.raises(FileNotFoundError):
        files.read_regular(tmp_path / "none", 10)


def test_a_pipe_in_place_of_a_file_holds_nobody_up(tmp_path: Path):
    path = tmp_path / "heartbeat.json"
    os.mkfifo(path)
    with pytest.raises(ValueError, match="no regular file"):
        files.read_regular(path, 10)


# --- processes with a limit --------------------------------------------------------------------------------------

PRELUDE = "import resource, signal\nfrom pathlib import Path\nfrom omkd.store import files\n"


def limited(code: str, *, file_bytes: int) -> subprocess.CompletedProcess[str]:
    """Runs `code` in a process whose files may not grow beyond `file_bytes`; the write that reaches it is short."""
    limits = (
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({file_bytes}, {file_bytes}))\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    )
    return subprocess.run(
        [sys.executable, "-B", "-c", PRELUDE + limits + code], capture_output=True, text=True, timeout=60, check=False
    )
