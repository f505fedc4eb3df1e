"""Integers, strings and binary data: exact bytes, exact bounds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mqtt_broker.wire.errors import Violation
from mqtt_broker.wire.primitives import (
    Reader,
    encode_binary,
    encode_byte,
    encode_four_byte_integer,
    encode_string,
    encode_two_byte_integer,
    encode_variable_byte_integer,
    scan_variable_byte_integer,
)
from mqtt_broker.wire.reasons import ReasonCode

VARIABLE_BYTE_INTEGERS = [
    (0, "00"),
    (127, "7f"),
    (128, "8001"),
    (16_383, "ff7f"),
    (16_384, "808001"),
    (2_097_151, "ffff7f"),
    (2_097_152, "80808001"),
    (268_435_455, "ffffff7f"),
]


def reader(data: bytes) -> Reader:
    return Reader(b"\xee" + data + b"\xee", 1, 1 + len(data))


def string_field(encoded: bytes) -> bytes:
    return len(encoded).to_bytes(2) + encoded


def assert_malformed(caught: pytest.ExceptionInfo[Violation]) -> None:
    assert caught.value.reason is ReasonCode.MALFORMED_PACKET


@pytest.mark.parametrize(("value", "encoded"), VARIABLE_BYTE_INTEGERS)
def test_variable_byte_integer_at_each_bound(value: int, encoded: str) -> None:
    """MQTT 5.0, table 1-1."""
    data = bytes.fromhex(encoded)

    assert encode_variable_byte_integer(value) == data
    assert scan_variable_byte_integer(data, 0, len(data)) == (value, len(data))
    assert reader(data).variable_byte_integer("length") == value
    for shorter in range(len(data)):
        assert scan_variable_byte_integer(data, 0, shorter) is None


@given(st.integers(0, 268_435_455))
def test_variable_byte_integer_comes_back_as_it_went(value: int) -> None:
    encoded = encode_variable_byte_integer(value)

    assert scan_variable_byte_integer(encoded, 0, len(encoded)) == (value, len(encoded))


@pytest.mark.parametrize("overlong", ["8000", "ff00", "808000", "80808000"])
def test_variable_byte_integer_longer_than_need_be_is_malformed(overlong: str) -> None:
    """[MQTT-1.5.5-1]"""
    with pytest.raises(Violation) as caught:
        reader(bytes.fromhex(overlong)).variable_byte_integer("length")
    assert_malformed(caught)


@pytest.mark.parametrize("too_long", ["8080808001", "ffffffff7f", "80808080"])
def test_variable_byte_integer_of_five_bytes_is_malformed(too_long: str) -> None:
    """MQTT 5.0, 1.5.5: the fourth byte must be the last, so a fifth need not even arrive."""
    with pytest.raises(Violation) as caught:
        scan_variable_byte_integer(bytes.fromhex(too_long), 0, len(bytes.fromhex(too_long)))
    assert_malformed(caught)


def test_integers_are_read_most_significant_byte_first() -> None:
    """MQTT 5.0, 1.5.2 and 1.5.3."""
    integers = reader(bytes.fromhex("07 0102 01020304"))

    assert integers.byte("a") == 7
    assert integers.two_byte_integer("b") == 258
    assert integers.four_byte_integer("c") == 16_909_060
    assert integers.remaining_bytes == 0


@pytest.mark.parametrize(
    ("method", "data"),
    [
        ("byte", ""),
        ("two_byte_integer", "01"),
        ("four_byte_integer", "010203"),
        ("variable_byte_integer", ""),
        ("variable_byte_integer", "80"),
        ("binary", "00"),
        ("binary", "0002 61"),
        ("string", "0002 61"),
        ("string_pair", "0001 61"),
        ("string_pair", "0001 61 0002 62"),
    ],
)
def test_value_that_reaches_beyond_its_packet_is_malformed(method: str, data: str) -> None:
    """The byte behind the bound is there, and must not be read."""
    with pytest.raises(Violation, match="the field reaches beyond its packet") as caught:
        getattr(reader(bytes.fromhex(data)), method)("the field")
    assert_malformed(caught)


def test_part_that_reaches_beyond_its_packet_is_malformed() -> None:
    with pytest.raises(Violation) as caught:
        reader(b"abc").part(4, "block")
    assert_malformed(caught)


def test_part_ends_where_it_was_told_and_the_reader_goes_on_behind_it() -> None:
    whole = reader(b"\x01\x02\x03")
    part = whole.part(2, "block")

    assert part.rest() == b"\x01\x02"
    assert part.remaining_bytes == 0
    assert whole.rest() == b"\x03"


def test_packet_identifier_zero_is_a_protocol_error() -> None:
    """[MQTT-2.2.1-3], [3.1.1 MQTT-2.3.1-1]"""
    with pytest.raises(Violation) as caught:
        reader(b"\x00\x00").packet_id()
    assert caught.value.reason is ReasonCode.PROTOCOL_ERROR


@pytest.mark.parametrize(
    "encoded",
    [
        b"\xff",
        b"\x80",
        b"\xc3",
        b"\xe2\x82",
        pytest.param(b"\xc0\xaf", id="overlong slash"),
        pytest.param(b"\xe0\x80\xaf", id="overlong slash of three bytes"),
        pytest.param(b"\xc0\x80", id="overlong U+0000"),
        pytest.param(b"\xed\xa0\x80", id="U+D800"),
        pytest.param(b"\xed\xbf\xbf", id="U+DFFF"),
        pytest.param(b"\xed\xa0\xbd\xed\xb8\x80", id="surrogate pair"),
        pytest.param(b"\xf4\x90\x80\x80", id="beyond U+10FFFF"),
        pytest.param(b"\xf8\x88\x80\x80\x80", id="five bytes"),
    ],
)
def test_string_that_is_not_well_formed_is_malformed(encoded: bytes) -> None:
    """[MQTT-1.5.4-1], [3.1.1 MQTT-1.5.3-1]"""
    with pytest.raises(Violation) as caught:
        reader(string_field(b"a" + encoded + b"b")).string("name")
    assert_malformed(caught)


@pytest.mark.parametrize(
    "code_point",
    [
        0x00,
        0x01,
        0x0A,
        0x1B,
        0x1F,
        0x7F,
        0x80,
        0x9F,
        0xFDD0,
        0xFDEF,
        0xFFFE,
        0xFFFF,
        0x1FFFE,
        0x1FFFF,
        0x10FFFE,
        0x10FFFF,
    ],
    ids=lambda code_point: f"U+{code_point:04X}",
)
def test_string_with_a_forbidden_character_is_malformed(code_point: int) -> None:
    """[MQTT-1.5.4-2], [3.1.1 MQTT-1.5.3-2], and what MQTT 5.0, 1.5.4 lets a receiver refuse."""
    with pytest.raises(Violation) as caught:
        reader(string_field(f"a{chr(code_point)}".encode())).string("name")
    assert_malformed(caught)


@pytest.mark.parametrize(
    "text",
    ["", " ", "~", "\u00a0", "\u00ad", "\u200d", "\ue000", "\ufdcf", "\ufdf0", "\ufffd", "\U0001f600", "\U000e0001"],
)
def test_string_with_a_lawful_character_is_kept(text: str) -> None:
    assert reader(string_field(text.encode())).string("name") == text


def test_byte_order_mark_is_kept_as_a_character() -> None:
    """[MQTT-1.5.4-3], [3.1.1 MQTT-1.5.3-3]"""
    assert reader(string_field(b"\xef\xbb\xbfa\xef\xbb\xbf")).string("name") == "\ufeffa\ufeff"


def test_strings_that_look_alike_stay_different() -> None:
    """[MQTT-4.7.3-4] [3.1.1 MQTT-4.7.3-4]: nothing is normalised."""
    composed, decomposed = "\u00e9", "e\u0301"

    assert reader(encode_string(composed)).string("name") == composed
    assert reader(encode_string(decomposed)).string("name") == decomposed


@given(st.text())
def test_every_string_comes_back_as_it_went_or_is_malformed(text: str) -> None:
    try:
        assert reader(encode_string(text)).string("name") == text
    except Violation:
        assert not text.isprintable()


def test_binary_of_the_greatest_length_comes_back() -> None:
    longest = b"x" * 65_535

    assert reader(encode_binary(longest)).binary("payload") == longest


def test_our_own_value_out_of_bounds_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="range"):
        encode_byte(256)
    for value in (-1, 65_536):
        with pytest.raises(ValueError, match="two byte integer"):
            encode_two_byte_integer(value)
    for value in (-1, 1 << 32):
        with pytest.raises(ValueError, match="four byte integer"):
            encode_four_byte_integer(value)
    for value in (-1, 268_435_456):
        with pytest.raises(ValueError, match="variable byte integer"):
            encode_variable_byte_integer(value)
    with pytest.raises(ValueError, match="too many"):
        encode_binary(b"x" * 65_536)
    with pytest.raises(ValueError, match="too many"):
        encode_string("é" * 32_768)
    with pytest.raises(ValueError, match="surrogates"):
        encode_string("\ud800")
