"""TailReader: each complete line of a growing, cut or replaced file once, none lost."""

import base64
import contextlib
import hashlib
import itertools
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from attrs import Factory, define
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from omkd.protocol import codec
from omkd.protocol.lines import Line, LongLine
from omkd.protocol.records import OutboxLine
from omkd.store.tail import BLOCK_BYTES, CHUNK_BYTES, MARK_BYTES, Position, TailReader, mark

LIMIT_BYTES = 1000
ROWS = [
    json.loads(text)
    for text in (Path(__file__).parent.parent / "conformance" / "files.jsonl").read_text("ascii").splitlines()
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "outbox.jsonl"


Open = Callable[..., TailReader]


@pytest.fixture
def open_reader(path: Path) -> Iterator[Open]:
    readers: list[TailReader] = []

    def open_one(start: Position | None = None, *, limit_bytes: int = LIMIT_BYTES) -> TailReader:
        readers.append(TailReader(path, start=start, first_gen=1, limit_bytes=limit_bytes))
        return readers[-1]

    yield open_one
    for reader in readers:
        reader.close()


def append(path: Path, content: bytes) -> None:
    with path.open("ab") as file:
        file.write(content)


def replace(path: Path, content: bytes) -> None:
    """A new file in the place of the old one."""
    new = path.with_name("new")
    new.write_bytes(content)
    new.rename(path)


def rewrite(path: Path, content: bytes) -> None:
    """The same file with other content."""
    with path.open("wb") as file:
        file.write(content)


def texts(reader: TailReader, up_to: int | None = None) -> list[bytes]:
    """All lines there are to read now."""
    found = []
    for _ in range(10_000):
        piece = reader.read(up_to)
        found += [line.text if isinstance(line, Line) else b"LONG" for line in piece.lines]
        if not piece.more:
            return found
    raise AssertionError("the reader always says that there is more")


def read_all(reader: TailReader) -> tuple[list[bytes], Position | None]:
    """All lines there are to read now, and the position behind the last of them."""
    found: list[bytes] = []
    position = None
    for _ in range(10_000):
        piece = reader.read()
        for line in piece.lines:
            assert isinstance(line, Line)
            found.append(line.text)
            position = reader.position_at(line.end)
        if not piece.more:
            return found, position
    raise AssertionError("the reader always says that there is more")


# --- lines


def test_a_missing_file_has_no_lines_until_it_is_there(path: Path, open_reader: Open):
    reader = open_reader()
    assert (texts(reader), reader.size()) == ([], None)
    append(path, b"a\n")
    assert (texts(reader), reader.size()) == ([b"a"], 2)


def test_a_line_is_there_once_its_newline_is(path: Path, open_reader: Open):
    reader = open_reader()
    append(path, b"a\nb")
    assert texts(reader) == [b"a"]
    append(path, b"b\nc")
    assert texts(reader) == [b"bb"]
    append(path, b"\n")
    assert texts(reader) == [b"c"]


def test_lines_say_where_they_stand(path: Path, open_reader: Open):
    append(path, b"a\n\nbcd\n")
    assert open_reader().read().lines == [Line(b"a", 0, 2), Line(b"", 2, 3), Line(b"bcd", 3, 7)]


def test_a_line_over_the_limit_is_passed_over_alone(path: Path, open_reader: Open):
    reader = open_reader()
    append(path, b"a\n" + b"x" * (CHUNK_BYTES + LIMIT_BYTES))
    assert reader.read().lines == [Line(b"a", 0, 2)]
    append(path, b"x\nb\n")
    end = CHUNK_BYTES + LIMIT_BYTES + 4
    [long, b] = [line for _ in range(2) for line in reader.read().lines]
    assert (long, b) == (LongLine(2, end), Line(b"b", end, end + 2))


def test_a_large_file_comes_in_pieces(path: Path, open_reader: Open):
    lines = [b"%06d" % number + b"x" * 90 for number in range(3 * CHUNK_BYTES // 97)]
    append(path, b"\n".join(lines) + b"\n")
    reader = open_reader()
    assert reader.read().more
    assert len(reader.read().lines) < CHUNK_BYTES // 90
    reader.close()
    assert texts(open_reader()) == lines


def test_reading_stops_where_it_is_told_to(path: Path, open_reader: Open):
    append(path, b"a\nb\nc\n")
    reader = open_reader()
    assert texts(reader, 4) == [b"a", b"b"]
    assert texts(reader, 4) == []
    assert texts(reader, 2) == []
    assert texts(reader, 5) == []
    assert texts(reader) == [b"c"]


def test_a_line_of_which_the_limit_shows_the_beginning_comes_whole(path: Path, open_reader: Open):
    append(path, b"abc\n")
    reader = open_reader()
    assert texts(reader, 2) == []
    assert texts(reader) == [b"abc"]


# --- a file that was replaced, removed, cut, written anew


def test_a_replaced_file_is_read_to_its_end_before_the_new_one(path: Path, open_reader: Open):
    reader = open_reader()
    append(path, b"a\n")
    texts(reader)
    append(path, b"b\ntorn")
    replace(path, b"c\nd\n")
    first = reader.read(2)
    assert ([line.text for line in first.lines if isinstance(line, Line)], first.more) == ([b"b"], True)
    assert texts(reader, 2) == [b"c"]
    assert texts(reader) == [b"d"]


def test_a_file_replaced_by_one_of_the_same_size_is_noticed(path: Path, open_reader: Open):
    for change in (replace, rewrite):
        path.unlink(missing_ok=True)
        reader = open_reader()
        append(path, b"a\n")
        assert texts(reader) == [b"a"]
        change(path, b"b\n")
        assert texts(reader) == [b"b"]


def test_a_removed_file_is_read_on_until_there_is_a_new_one(path: Path, open_reader: Open):
    reader = open_reader()
    append(path, b"a\n")
    assert texts(reader) == [b"a"]
    with path.open("ab") as old:
        path.unlink()
        old.write(b"b\n")
    assert texts(reader) == [b"b"]
    append(path, b"c\n")
    assert texts(reader) == [b"c"]


def test_a_file_that_goes_away_while_it_is_taken_up_is_waited_for(path: Path, open_reader: Open):
    reader = open_reader()
    append(path, b"a\n")
    texts(reader)
    replace(path, b"b\n")
    path.unlink()
    assert texts(reader) == []
    append(path, b"c\n")
    assert texts(reader) == [b"c"]


def test_each_new_file_is_a_generation(path: Path, open_reader: Open):
    reader = open_reader()
    gens = []
    for number, change in enumerate((append, replace, rewrite, append)):
        change(path, b"line %d\n" % number)
        _, position = read_all(reader)
        assert position is not None
        gens.append(position.gen)
    assert gens == [1, 2, 3, 3]


@pytest.mark.parametrize("is_restarted", [False, True])
@pytest.mark.parametrize("rest", [13, 15])
def test_behind_a_lost_end_reading_goes_on_behind_the_last_line_that_stands(path: Path, is_restarted: bool, rest: int):
    """Also where something is written before anybody looks: as long as what was lost, shorter or longer."""
    for written in (b"fourth\n", b"a\n", b"third\n", b"something longer\nand more\n"):
        path.unlink(missing_ok=True)
        with contextlib.closing(Subject(path)) as subject:
            append(path, b"first\nsecond\nthird\n")
            assert len(subject.read(None)) == 3
            if is_restarted:
                subject.close()
            os.truncate(path, rest)
            append(path, written)
            lost_and_written = path.read_bytes()[13:]
            is_the_same = lost_and_written == b"third\n"
            assert subject.read(None) == ([] if is_the_same else lost_and_written.splitlines())
            append(path, b"last\n")
            assert subject.read(None) == [b"last"]


def test_a_file_that_is_written_anew_each_time_loses_no_line(path: Path):
    """As by a worker that opens its outbox to write instead of to append."""
    with contextlib.closing(Subject(path)) as subject:
        for line in (b"a", b"b", b"a", b"c", b"b", b"a"):
            rewrite(path, line + b"\n")
            assert subject.read(None) == [line]


def test_a_lost_end_is_found_again_at_each_start(path: Path):
    """Lost once: a result that was written where the first start had gone on was passed over by the second."""
    with contextlib.closing(Subject(path)) as subject:
        append(path, b"first\nsecond, a long one\n")
        assert len(subject.read(None)) == 2
        os.truncate(path, 6)
        subject.close()
        assert subject.read(None) == []
        subject.close()
        append(path, b"third\n")
        assert subject.read(None) == [b"third"]


def test_a_torn_line_that_was_cut_back_is_read_once_it_is_written_again(path: Path, open_reader: Open):
    """Lost once: reading went on at the cut, inside the line."""
    reader = open_reader()
    append(path, b"first\nsec")
    assert texts(reader) == [b"first"]
    os.truncate(path, 7)
    assert texts(reader) == []
    append(path, b"ond\n")
    assert texts(reader) == [b"sond"]


def test_a_torn_line_that_was_written_over_does_not_bring_the_others_again(path: Path, open_reader: Open):
    """Read twice once: other bytes at the old end made it a new file, whose lines all came again."""
    reader = open_reader()
    append(path, b"first\nsec")
    assert texts(reader) == [b"first"]
    os.truncate(path, 6)
    append(path, b"another\n")
    assert texts(reader) == [b"another"]


def test_a_file_written_anew_with_a_longer_text_is_read_from_its_beginning(path: Path, open_reader: Open):
    reader = open_reader()
    append(path, b"a\n")
    texts(reader)
    rewrite(path, b"longer\nb\n")
    assert texts(reader) == [b"longer", b"b"]


def test_a_file_written_anew_is_noticed_though_its_last_line_is_the_same(path: Path, open_reader: Open):
    reader = open_reader()
    for line in (b"first\n", b"last\n"):
        append(path, line)
        texts(reader)
    rewrite(path, b"other\nlast\n")
    assert texts(reader) == [b"other", b"last"]


def test_a_file_that_was_emptied_is_a_new_one(path: Path, open_reader: Open):
    reader = open_reader()
    append(path, b"a\nb\n")
    texts(reader)
    os.truncate(path, 0)
    assert texts(reader) == []
    append(path, b"c\n")
    _, position = read_all(reader)
    assert position is not None
    assert (position.gen, position.end) == (2, 2)


def test_a_file_that_was_written_anew_and_then_replaced_is_read_to_its_end_first(path: Path, open_reader: Open):
    reader = open_reader()
    append(path, b"a\nb\nc\n")
    texts(reader)
    rewrite(path, b"d\n")
    replace(path, b"e\n")
    assert texts(reader) == [b"d", b"e"]


# --- positions


def test_a_position_says_what_stood_before_it(path: Path, open_reader: Open):
    append(path, b"a\n" + b"b" * 100 + b"\n")
    _, position = read_all(open_reader())
    assert position == Position(
        gen=1, end=103, tail=mark(b"b" * 100 + b"\n"), inode=path.stat().st_ino, head=mark(b"a")
    )


def test_reading_goes_on_at_a_position(path: Path, open_reader: Open):
    append(path, b"a\nb\nc\n")
    reader = open_reader()
    [a, b, _] = reader.read().lines
    positions = [None, reader.position_at(a.end), reader.position_at(b.end)]
    assert [texts(open_reader(position)) for position in positions] == [[b"a", b"b", b"c"], [b"b", b"c"], [b"c"]]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"first\nsecond\n", []),
        (b"first\nsecond\nthird\n", [b"third"]),
        (b"first\nsec", []),
        (b"first\n", []),
        (b"fir", []),
        (b"", []),
        (b"other\n", [b"other"]),
        (b"other\nand more lines\n", [b"other", b"and more lines"]),
        (b"first\nchanged\n", [b"changed"]),
    ],
    ids=repr,
)
def test_a_start_finds_the_same_file_with_other_content(path: Path, content: bytes, expected: list[bytes]):
    with contextlib.closing(Subject(path)) as subject:
        append(path, b"first\nsecond\n")
        assert len(subject.read(None)) == 2
        subject.close()
        rewrite(path, content)
        assert subject.read(None) == expected


def test_a_start_finds_another_file_with_the_same_content(path: Path, open_reader: Open):
    append(path, b"first\nsecond\n")
    _, position = read_all(open_reader())
    replace(path, b"first\nsecond\n")
    lines, after = read_all(open_reader(position))
    assert lines == [b"first", b"second"]
    assert position is not None
    assert after is not None
    assert (position.gen, after.gen) == (1, 2)


@pytest.mark.parametrize("before", [b"", b"x" * 2 * MARK_BYTES + b"\n"], ids=["the first line", "a later line"])
@pytest.mark.parametrize("size", [MARK_BYTES, BLOCK_BYTES, 2 * BLOCK_BYTES - 2])
def test_a_lost_line_is_told_from_one_as_long_that_ends_the_same(
    path: Path, open_reader: Open, before: bytes, size: int
):
    """Passed over once: in an outbox that had lost its end the next result came to stand where the lost one was."""
    same = b"x" * size + b"\n"
    append(path, before + b"t1" + same)
    _, position = read_all(open_reader(limit_bytes=2 * BLOCK_BYTES))
    rewrite(path, before + b"t2" + same)
    assert texts(open_reader(position, limit_bytes=2 * BLOCK_BYTES))[-1] == b"t2" + same.rstrip()


def test_a_start_waits_for_its_file(path: Path, open_reader: Open):
    append(path, b"first\n")
    _, position = read_all(open_reader())
    away = path.with_name("away")
    path.rename(away)
    reader = open_reader(position)
    assert texts(reader) == []
    away.rename(path)
    append(path, b"second\n")
    assert texts(reader) == [b"second"]


# --- what is no file to read


def test_a_symlink_is_refused(path: Path, open_reader: Open):
    path.symlink_to(path.with_name("elsewhere"))
    with pytest.raises(OSError, match="symbolic"):
        open_reader().read()


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_cannot_be_read_is_tried_again(path: Path, open_reader: Open, make: Callable[[Path], None]):
    append(path, b"a\n")
    _, position = read_all(open_reader())
    kept = path.with_name("kept")
    path.rename(kept)
    make(path)
    reader = open_reader(position)
    for _ in range(2):
        with pytest.raises(OSError, match=r"Is a directory|Illegal seek"):
            reader.read()
    path.rmdir() if path.is_dir() else path.unlink()
    kept.rename(path)
    append(path, b"b\n")
    assert texts(reader) == [b"b"]


# --- upstream's behaviour, recorded


def results_in(lines: list[bytes]) -> list[str]:
    return [result.task_id for result in map(result_in, lines) if result is not None]


def result_in(line: bytes) -> OutboxLine | None:
    try:
        return codec.loads(line, OutboxLine)
    except codec.CodecError:
        return None


EXPECTED_OTHERWISE = {
    "no newline at the end": [],  # a complete line only (design, §3.2): it may still grow
    "one invalid UTF-8 byte anywhere fails the whole call": ["a", "b"],  # bytes: a bad line is bad alone
    "multi-byte char torn at EOF fails the whole call": ["a"],
    "array-form line": [],  # an oddity of serde that is refused
}


@pytest.mark.parametrize("row", [row for row in ROWS if row["kind"] == "read_results"], ids=lambda row: row["note"])
def test_results_of_a_whole_file(path: Path, open_reader: Open, row: dict[str, Any]):
    if row["file_b64"] is not None:
        path.write_bytes(base64.b64decode(row["file_b64"]))
    expected = EXPECTED_OTHERWISE.get(row["note"], row["task_ids"])
    assert results_in(texts(open_reader())) == expected


def test_a_last_line_without_newline_is_read_once_it_has_one(path: Path, open_reader: Open):
    [row] = [row for row in ROWS if row["note"] == "no newline at the end"]
    reader = open_reader()
    path.write_bytes(base64.b64decode(row["file_b64"]))
    assert results_in(texts(reader)) == []
    append(path, b"\n")
    assert results_in(texts(reader)) == row["task_ids"]


@define
class Poll:
    """The file as a poll finds it, after these changes."""

    changes: list[tuple[str, bytes]] = Factory(list)


def polls_of(row: dict[str, Any]) -> list[Poll]:
    polls = [Poll()]
    for step in row["steps"]:
        if step["step"] == "poll":
            polls.append(Poll())
        else:
            polls[-1].changes.append((step["step"], base64.b64decode(step["b64"])))
    return polls


def id_in(line: bytes) -> str | None:
    try:
        value = json.loads(line.decode().strip())
    except ValueError:
        return None
    return value.get("id") or value.get("task_id") if isinstance(value, dict) else None


def ids_in(lines: list[bytes]) -> list[str]:
    return [found for found in map(id_in, lines) if found is not None]


@pytest.mark.parametrize("change", [replace, rewrite])
@pytest.mark.parametrize(
    "row", [row for row in ROWS if row["kind"] in ("inbox_polls", "outbox_polls")], ids=lambda row: row["note"]
)
def test_polls_of_a_growing_file(
    path: Path, open_reader: Open, row: dict[str, Any], change: Callable[[Path, bytes], None]
):
    """Rows with an upstream bug say what must not be copied: there, too, each complete line comes, and comes once.

    A line without newline, which upstream takes at once, comes with the poll after its newline (design, §3.2).
    """
    reader = open_reader()
    read: list[str] = []
    written = b""
    for poll in polls_of(row):
        for step, content in poll.changes:
            if step == "append":
                append(path, content)
            else:
                change(path, content)
            written += content
        read += ids_in(texts(reader))
    assert read == ids_in(written.split(b"\n"))
    if not row["upstream_bug"]:
        assert read == [task_id for step in row["steps"] if step["step"] == "poll" for task_id in step["task_ids"]]


# --- any interleaving


PIECES = st.lists(st.sampled_from([b"a", b"bc", b"\n", b"de\n", b"LONG"]), min_size=1, max_size=4).map(b"".join)
"""LONG stands for text of its own each time: the marks tell 64 bytes apart, not repetitions of a longer text."""

READ = st.tuples(st.just("read"), st.none() | st.integers(0, 200))
RESTART = st.tuples(st.just("restart"), st.none())
REMOVE = st.tuples(st.just("remove"), st.none())
CHANGES = st.one_of(
    st.tuples(st.just("append"), PIECES),
    st.tuples(st.just("replace"), PIECES),
    st.tuples(st.just("rewrite"), PIECES),
    st.tuples(st.just("cut"), st.integers(1, 5) | st.integers(0, 100)),
    READ,
    RESTART,
    REMOVE,
)
FRAGMENTS = st.tuples(st.just("append"), st.lists(st.booleans(), min_size=1, max_size=4))
"""What a sole writer appends: fragments of lines, each followed by a newline or not."""


@define(eq=False)
class ModelFile:
    content: bytes = b""


@define
class Model:
    """What a reader of rule 3.4 delivers, from whole contents in place of marks.

    `end` is behind the last line that was delivered of `reading`, `known` what stood before it, `kept` what
    a crash leaves: that for each line.
    """

    named: ModelFile | None = None
    reading: ModelFile | None = None
    end: int = 0
    known: bytes = b""
    held: bool = False
    kept: list[tuple[ModelFile | None, int, bytes]] = Factory(lambda: [(None, 0, b"")])

    def append(self, content: bytes) -> None:
        self.named = self.named or ModelFile()
        self.named.content += content

    def restart(self) -> None:
        """Nobody holds the file that was being read; what is known is what was kept with the last line."""
        self.held = False
        self.reading, self.end, self.known = self.kept[-1]

    def read(self, up_to: int | None) -> list[bytes]:
        lines: list[bytes] = []
        if self.reading is not None and self.held:
            self._place()
            replaced = self.named is not None and self.named is not self.reading
            lines += self._take(None if replaced else up_to)
            if not replaced:
                return lines
        if self.named is None:
            return lines
        if self.reading is not self.named:
            self.reading, self.end, self.known = self.named, 0, b""
        else:
            self._place()
        self.held = True
        return lines + self._take(up_to)

    def _place(self) -> None:
        assert self.reading is not None
        content = self.reading.content
        known_to = [(self.end, self.known)]
        if first_line(content) == first_line(self.known):
            known_to += [(end, known) for _, end, known in itertools.takewhile(self._is_of_it, reversed(self.kept))]
        known_to.append((0, b""))
        self.end = next(end for end, known in known_to if end_of(content[:end]) == end_of(known))
        self.known = content[: self.end]

    def _is_of_it(self, kept: tuple[ModelFile | None, int, bytes]) -> bool:
        return kept[0] is self.reading and first_line(kept[2]) == first_line(self.known)

    def _take(self, up_to: int | None) -> list[bytes]:
        assert self.reading is not None
        content = self.reading.content if up_to is None else self.reading.content[:up_to]
        *lines, _ = content[self.end :].split(b"\n")
        for line in lines:
            self.end += len(line) + 1
            self.known = content[: self.end]
            self.kept.append((self.reading, self.end, self.known))
        return lines


def end_of(content: bytes) -> bytes:
    """The last line, and at least 64 bytes."""
    line = content.removesuffix(b"\n").rpartition(b"\n")[2]
    return content[-max(len(line) + 1, MARK_BYTES) :]


def first_line(content: bytes) -> bytes | None:
    first, newline, _ = content[:MARK_BYTES].partition(b"\n")
    return first if newline or len(first) == MARK_BYTES else None


@define
class Subject:
    """The real reader on a real file, its positions kept as the event log does: behind each line delivered."""

    path: Path
    kept: list[Position] = Factory(list)
    reader: TailReader | None = None

    def open(self) -> TailReader:
        if self.reader is None:
            start = self.kept[-1] if self.kept else None
            self.reader = TailReader(
                self.path, start=start, first_gen=1, limit_bytes=LIMIT_BYTES, earlier=lambda: reversed(self.kept)
            )
        return self.reader

    def close(self) -> None:
        """What a crash leaves: the position."""
        if self.reader is not None:
            self.reader.close()
            self.reader = None

    def read(self, up_to: int | None) -> list[bytes]:
        reader, found = self.open(), []
        for _ in range(1000):
            piece = reader.read(up_to)
            for line in piece.lines:
                assert isinstance(line, Line)
                found.append(line.text)
                self.kept.append(reader.position_at(line.end))
            if not piece.more:
                return found
        raise AssertionError("the reader always says that there is more")


@define
class Directory:
    """The file under its name. All there were are kept: the inode of a removed one could be a new one's."""

    path: Path
    kept: list[int] = Factory(list)

    def change(self, kind: str, value: Any) -> None:
        if kind in ("replace", "remove") and self.path.exists():
            self.kept.append(os.open(self.path, os.O_RDONLY))
        match kind:
            case "append":
                append(self.path, value)
            case "replace":
                replace(self.path, value)
            case "remove":
                self.path.unlink(missing_ok=True)
            case "rewrite":
                rewrite(self.path, value)
            case "cut" if self.path.exists():
                os.truncate(self.path, max(0, self.path.stat().st_size - value))
            case _:
                pass

    def close(self) -> None:
        for descriptor in self.kept:
            os.close(descriptor)
        self.path.unlink(missing_ok=True)


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(steps=st.lists(FRAGMENTS | READ | RESTART | REMOVE, max_size=25))
def test_no_line_comes_twice_and_none_of_the_file_is_lost(tmp_path: Path, steps: list[Any]):
    """Whatever is read when, and wherever a start goes on."""
    directory = Directory(tmp_path / "file")
    subject = Subject(directory.path)
    content, got, fragments = b"", list[bytes](), 0
    with contextlib.closing(directory), contextlib.closing(subject):
        for kind, value in steps:
            match kind:
                case "append":
                    for ended in value:
                        fragments += 1
                        content += b"%d,%s" % (fragments, b"\n" if ended else b"")
                    written = directory.path.stat().st_size if directory.path.exists() else 0
                    directory.change("append", content[written:])
                case "remove":
                    directory.change("remove", None)
                    content = b""
                case "read":
                    got += subject.read(value)
                case _:
                    subject.close()
        got += subject.read(None)
    lines = content.split(b"\n")[:-1]
    assert len(set(got)) == len(got)
    assert got[len(got) - len(lines) :] == lines


def long_text(number: int) -> bytes:
    return hashlib.sha512(b"%d" % number).hexdigest()[: MARK_BYTES + 6].encode()


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(changes=st.lists(st.tuples(CHANGES, st.booleans()), max_size=12))
def test_any_interleaving_is_read_as_the_rule_says(tmp_path: Path, changes: list[Any]):
    """After each change it is read, or not."""
    steps = [step for change, is_read in changes for step in (change, *[("read", None)] * is_read)]
    directory = Directory(tmp_path / "file")
    subject, model = Subject(directory.path), Model()
    with contextlib.closing(directory), contextlib.closing(subject):
        for number, (kind, symbol) in enumerate([*steps, ("read", None)]):
            value = symbol.replace(b"LONG", long_text(number)) if isinstance(symbol, bytes) else symbol
            directory.change(kind, value)
            match kind:
                case "append":
                    model.append(value)
                case "replace":
                    model.named = ModelFile(value)
                case "remove":
                    model.named = None
                case "rewrite" if model.named is None:
                    model.named = ModelFile(value)
                case "rewrite":
                    model.named.content = value
                case "cut" if model.named is not None:
                    model.named.content = model.named.content[: max(0, len(model.named.content) - value)]
                case "restart":
                    subject.close()
                    model.restart()
                case "read":
                    assert subject.read(value) == model.read(value)
                case _:
                    pass
