"""JSON text: how strict the reader is, and the forms that are written."""

import math
import struct
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from omkd.protocol import codec
from omkd.protocol.json_text import (
    F32_UNEVEN,
    format_f32,
    format_f64,
    round_to_f32,
    shown,
    write,
    write_pretty,
)


def refusal(data: bytes | str) -> codec.CodecError:
    with pytest.raises(codec.CodecError) as caught:
        codec.parse(data)
    assert caught.value.path == ""
    return caught.value


@pytest.mark.parametrize("data", [b'"\xff"', b'"\xed\xa0\x80"', b"\xc0\xaf", "\ud800"])
def test_bytes_that_are_not_utf8_are_refused(data):
    assert refusal(data).kind == "not_utf8"


@pytest.mark.parametrize(
    "data",
    [
        "",
        "{",
        "[1,]",
        "01",
        "1.",
        "'a'",
        '{"a":1}x',
        "\ufeff1",
        "\xa01",
        '"\n"',
        "NaN",
        "-Infinity",
        "nul",
        "{1:2}",
        "1e999",
    ],
)
def test_text_that_is_not_json_is_refused(data):
    assert refusal(data).kind == "not_json"


def test_an_error_says_where_the_text_stops_being_json():
    # Since Python 3.13 it is the comma itself.
    assert str(refusal('{"a":1,}')).endswith(("(line 1, column 8)", "(line 1, column 7)"))


def test_a_key_twice_is_refused_by_its_name():
    assert str(refusal('[{"a":1,"b":2,"a":3}]')) == 'key "a" twice in an object'


def test_a_key_twice_among_many_is_found_at_once():
    keys = ",".join(f'"k{number}":1' for number in range(100_000))
    assert refusal(f'{{{keys},"k99999":2}}').reason == 'key "k99999" twice in an object'


@pytest.mark.parametrize("text", [r'"\ud800"', r'"\udc00\ud800"', r'{"\udfff":1}', r'["x\uDBFFy"]'])
def test_a_lone_surrogate_is_refused(text):
    assert refusal(text).reason == "a lone surrogate in a string"


def test_a_surrogate_pair_and_its_escaped_backslash_are_read():
    assert codec.parse(r'["\ud83e\udd80","\\ud800"]') == ["\U0001f980", "\\ud800"]


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "[" * 128 + "]" * 128, '{"a":' * 100_000, '{"a":' * 128 + "1" + "}" * 128]
)
def test_nesting_of_128_levels_is_refused(text):
    assert refusal(text).reason == "nested 128 levels or deeper"


def test_nesting_of_127_levels_and_many_small_arrays_are_read():
    codec.parse("[" * 127 + "]" * 127)
    assert codec.parse("[" + "[]," * 500 + "[]]") == [[]] * 501


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        ("18446744073709551615", 2**64 - 1),
        ("-9223372036854775808", -(2**63)),
        ("18446744073709551616", float(2**64)),
        ("-9223372036854775809", -float(2**63)),
        ("1" + "0" * 300, 1e300),
        ("1.0", 1.0),
    ],
)
def test_a_whole_number_is_an_int_as_far_as_64_bits_go(text, value):
    assert (codec.parse(text), type(codec.parse(text))) == (value, type(value))


def test_minus_zero_is_a_float():
    assert math.copysign(1, codec.parse("-0")) == -1.0


def test_ten_thousand_digits_are_out_of_range_like_any_number():
    assert refusal("1" * 10_000).reason.startswith("number out of range: 111")


def test_strings_are_raw_but_for_what_json_forbids():
    text = codec.encode('"\\/\b\t\n\f\r\x00\x1f\x7f\u2028é')
    assert text.decode() == '"\\"\\\\/\\b\\t\\n\\f\\r\\u0000\\u001f\x7f\u2028é"'


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0.0, "0.0"),
        (-0.0, "-0.0"),
        (1e15, "1000000000000000.0"),
        (1e16, "1e+16"),
        (1.25e-7, "1.25e-7"),
        (1e-5, "0.00001"),
        (-1.5e-5, "-0.000015"),
        (1e-6, "1e-6"),
        (5e-324, "5e-324"),
        (math.inf, "null"),
        (math.nan, "null"),
    ],
)
def test_an_f64_is_written_in_ryus_notation(number, text):
    assert format_f64(number) == text
    assert codec.encode([number]) == b"[%s]" % text.encode()


def test_encode_keeps_a_text_that_looks_like_a_float():
    assert codec.encode({"1e-05": [None, True, False, 7, "1e-05"]}) == b'{"1e-05":[null,true,false,7,"1e-05"]}'


def test_encode_refuses_what_has_no_json_form():
    deep = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(codec.CodecError, match="nested 128 levels"):
        codec.encode(deep)
    with pytest.raises(codec.CodecError, match="lone surrogate"):
        codec.encode("\ud800")


def test_the_exact_writer_stops_at_128_levels():
    value = [1e-5]
    for _ in range(126):
        value = [value]
    assert write(value).count("[") == 127
    with pytest.raises(codec.CodecError, match="nested 128 levels"):
        write([value])


def test_pretty_is_two_spaces_and_empty_stays_on_the_line():
    pretty = write_pretty({"a": [1, {"b": 1e-5}], "c": [], "d": {}})
    assert pretty == '{\n  "a": [\n    1,\n    {\n      "b": 0.00001\n    }\n  ],\n  "c": [],\n  "d": {}\n}'


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (False, "false"),
        (1.5, "1.5"),
        ([1], "an array"),
        ({}, "an object"),
        ("a\n", '"a\\n"'),
    ],
)
def test_a_value_in_an_error_is_short(value, text):
    assert shown(value) == text


def test_a_long_text_in_an_error_is_cut():
    assert shown("x" * 1000) == '"' + "x" * 60 + '…"'


# --- binary32 ----------------------------------------------------------------------------------------------------


def shortest_decimal(number: float) -> str:
    """By trying: the fewest digits that read back the same, of those the nearest; as digits and exponent."""
    for digits in range(9):
        middle = Decimal(f"{number:.{digits}e}")
        step = Decimal(1).scaleb(middle.adjusted() - digits)
        good = [text for text in (middle - step, middle, middle + step) if round_to_f32(float(text)) == number]
        if good:
            return f"{min(good, key=lambda text: abs(text - Decimal(number))).normalize():e}"
    raise AssertionError(number)


@pytest.mark.parametrize("exponent", range(-149, 128))
def test_a_power_of_two_is_written_with_the_fewest_digits(exponent):
    assert f"{Decimal(format_f32(2.0**exponent)).normalize():e}" == shortest_decimal(2.0**exponent)


@settings(max_examples=500, deadline=None, derandomize=True)
@given(number=st.floats(width=32, allow_nan=False, allow_infinity=False).filter(bool))
def test_an_f32_is_written_with_the_fewest_digits(number):
    assert round_to_f32(float(format_f32(number))) == number
    assert f"{Decimal(format_f32(number)).normalize():e}" == shortest_decimal(number)


@pytest.mark.parametrize(("number", "text"), F32_UNEVEN.items())
def test_an_uneven_f32_has_its_sign(number, text):
    assert (format_f32(number), format_f32(-number)) == (text, f"-{text}")


def test_an_f32_beyond_its_range_is_infinite():
    largest = struct.unpack(">f", b"\x7f\x7f\xff\xff")[0]
    assert round_to_f32(largest) == largest
    assert round_to_f32(-1e39) == -math.inf
    assert format_f32(1e39) == "null"
