"""The files that an agent asks its client for: within the project's directory, or not there."""

import os
from pathlib import Path

import pytest

from omkd.worker.acp_files import FILE_BYTES, FileRefused, read_text, write_text


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "project" / "docs").mkdir(parents=True)
    (tmp_path / "secret.txt").write_text("secret\n")
    (tmp_path / "project" / "a.txt").write_text("one\ntwo\nthree\n")
    return tmp_path / "project"


@pytest.mark.parametrize(
    ("line", "limit", "text"),
    [(None, None, "one\ntwo\nthree\n"), (2, None, "two\nthree\n"), (2, 1, "two\n"), (None, 1, "one\n"), (9, 9, "")],
)
def test_a_file_is_read_whole_or_from_a_line_on(project: Path, line: int | None, limit: int | None, text: str) -> None:
    assert read_text(project, str(project / "a.txt"), line, limit) == text
    assert read_text(project, "a.txt", line, limit) == text


def test_a_file_is_written_in_place_and_keeps_its_mode(project: Path) -> None:
    (project / "a.txt").chmod(0o755)
    write_text(project, str(project / "a.txt"), "é\n")
    assert (project / "a.txt").read_text() == "é\n"
    assert (project / "a.txt").stat().st_mode & 0o777 == 0o755


def test_missing_directories_are_made(project: Path) -> None:
    write_text(project, "new/deep/b.txt", "b")
    assert (project / "new" / "deep" / "b.txt").read_text() == "b"


def outside(project: Path) -> list[str]:
    (project / "link.txt").symlink_to(project.parent / "secret.txt")
    (project / "out").symlink_to(project.parent)
    (project / "dangling").symlink_to(project.parent / "new.txt")
    return [
        "/etc/passwd",
        str(project.parent / "secret.txt"),
        "../secret.txt",
        "docs/../../secret.txt",
        "link.txt",
        "out/secret.txt",
        "dangling",
        str(project),
        "",
        ".",
        str(project) + "-other/x",
    ]


def test_nothing_outside_the_project_is_read_or_written(project: Path) -> None:
    for path in outside(project):
        with pytest.raises(FileRefused):
            read_text(project, path, None, None)
        with pytest.raises(FileRefused):
            write_text(project, path, "x")
    assert (project.parent / "secret.txt").read_text() == "secret\n"
    assert sorted(path.name for path in project.parent.iterdir()) == ["project", "secret.txt"]


def test_a_symlink_within_the_project_is_followed(project: Path) -> None:
    (project / "docs" / "here.txt").symlink_to(project / "a.txt")
    write_text(project, "docs/here.txt", "x")
    assert (project / "a.txt").read_text() == "x"


def test_what_is_no_regular_text_file_is_refused(project: Path) -> None:
    os.mkfifo(project / "fifo")
    (project / "bytes").write_bytes(b"\xff")
    with (project / "large").open("wb") as large:
        large.truncate(FILE_BYTES + 1)
    for path in ("fifo", "bytes", "large", "docs", "missing", "a.txt/x", "nul\0"):
        with pytest.raises(FileRefused):
            read_text(project, path, None, None)
    for path in ("fifo", "docs", "a.txt/x", "nul\0"):
        with pytest.raises(FileRefused):
            write_text(project, path, "x")
