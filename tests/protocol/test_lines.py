import pytest
from hypothesis import given
from hypothesis import strategies as st

from omkd.protocol.lines import Line, LineSplitter, LongLine

LIMIT = 8


def test_a_line_is_there_once_its_newline_is():
    splitter = LineSplitter(LIMIT)
    assert splitter.receive_data(b"one") == []
    assert splitter.receive_data(b"\ntw") == [Line(b"one", 0, 4)]
    assert splitter.receive_data(b"o\n") == [Line(b"two", 4, 8)]


def test_offsets_go_on_from_where_reading_began():
    splitter = LineSplitter(LIMIT, offset=100)
    assert splitter.offset == 100
    assert splitter.receive_data(b"\nab\nrest") == [Line(b"", 100, 101), Line(b"ab", 101, 104)]
    assert splitter.offset == 104


def test_a_line_of_the_limit_passes_one_byte_more_does_not():
    assert LineSplitter(LIMIT).receive_data(b"x" * LIMIT + b"\n") == [Line(b"x" * LIMIT, 0, LIMIT + 1)]
    assert LineSplitter(LIMIT).receive_data(b"x" * (LIMIT + 1) + b"\n") == [LongLine(0, LIMIT + 2)]


def test_a_long_line_is_known_before_its_end_and_only_it_is_lost():
    splitter = LineSplitter(LIMIT)
    assert splitter.receive_data(b"a\n" + b"x" * LIMIT) == [Line(b"a", 0, 2)]
    assert not splitter.overlong
    assert splitter.receive_data(b"x") == []
    assert splitter.overlong
    assert splitter.receive_data(b"xx\nb\n") == [LongLine(2, LIMIT + 6), Line(b"b", LIMIT + 6, LIMIT + 8)]
    assert not splitter.overlong


@pytest.mark.parametrize("chunk_bytes", [1, 3, 1000])
@given(data=st.lists(st.sampled_from([b"\n", b"a", b"\r", b"\xff", b"123456789", b"{}\n"])).map(b"".join))
def test_chunks_make_no_difference(chunk_bytes: int, data: bytes):
    splitter = LineSplitter(LIMIT)
    lines = [
        line for at in range(0, len(data), chunk_bytes) for line in splitter.receive_data(data[at : at + chunk_bytes])
    ]
    assert lines == LineSplitter(LIMIT).receive_data(data)
    assert [line.end for line in lines] == [at + 1 for at, byte in enumerate(data) if byte == 0x0A]
    assert all(data[line.offset : line.end] == line.text + b"\n" for line in lines if isinstance(line, Line))
    assert all(line.end - line.offset - 1 > LIMIT for line in lines if isinstance(line, LongLine))
