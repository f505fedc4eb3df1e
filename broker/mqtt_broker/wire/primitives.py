"""The data types of MQTT: integers, strings and binary data, each with its bound.

Knows how a value lies in bytes and which values cannot lie there at all; does not know packets or properties.
Reading fails with a Violation, for the bytes are the peer's. Writing fails with ValueError, for the value is ours.
"""

import re
import sys
from array import array
from typing import Final

from mqtt_broker.wire.errors import Violation
from mqtt_broker.wire.reasons import ReasonCode

TWO_BYTE_INTEGER_MAX: Final = 0xFFFF
FOUR_BYTE_INTEGER_MAX: Final = 0xFFFF_FFFF
VARIABLE_BYTE_INTEGER_MAX: Final = 268_435_455  # four groups of seven bits (MQTT 5.0, 1.5.5)
VARIABLE_BYTE_INTEGER_BYTES_MAX: Final = 4
STRING_BYTES_MAX: Final = 0xFFFF  # the length prefix has two bytes (MQTT 5.0, 1.5.4)

# U+0000 is forbidden [MQTT-1.5.4-2], [3.1.1 MQTT-1.5.3-2]. The other control characters and the non-characters
# are discouraged, and a receiver may treat them as malformed; we do, because client ids and topics end up in logs and
# on terminals. U+FEFF is an ordinary character [MQTT-1.5.4-3].
_FORBIDDEN_CHARACTERS: Final = re.compile(
    "[\x00-\x1f\x7f-\x9f\ufdd0-\ufdef"
    + "".join(chr(plane << 16 | 0xFFFE) + chr(plane << 16 | 0xFFFF) for plane in range(17))
    + "]"
)


def malformed(detail: str) -> Violation:
    """A Violation with 0x81: the bytes cannot be read as what they claim to be."""
    return Violation(ReasonCode.MALFORMED_PACKET, detail)


def protocol_error(detail: str) -> Violation:
    """A Violation with 0x82: the bytes can be read, and say what may not be said."""
    return Violation(ReasonCode.PROTOCOL_ERROR, detail)


def two_byte_integers(data: bytes) -> "array[int]":
    """Integers of two bytes that stand one behind the other in all of `data`, an even number of bytes."""
    numbers = array("H", data)
    if sys.byteorder == "little":
        numbers.byteswap()
    return numbers


def scan_variable_byte_integer(data: bytes | bytearray | memoryview, index: int, end: int) -> tuple[int, int] | None:
    """The value at `index` and the index after it; None if the bytes up to `end` are the start of one.

    Raises Violation (0x81) for a fifth byte and for an encoding that is longer than the value needs.
    """
    value = 0
    for group in range(VARIABLE_BYTE_INTEGER_BYTES_MAX):
        if index >= end:
            return None
        byte = data[index]
        index += 1
        value |= (byte & 0x7F) << 7 * group
        if byte < 0x80:
            if byte == 0 and group > 0:
                raise malformed("variable byte integer is longer than it needs to be")  # [MQTT-1.5.5-1]
            return value, index
    raise malformed("variable byte integer has more than four bytes")


def decode_string(encoded: bytes, what: str) -> str:
    """The text of a UTF-8 encoded string, unchanged: nothing is stripped or normalised [MQTT-1.5.4-3].

    Raises Violation (0x81); `what` names the field in its detail.
    """
    try:
        text = encoded.decode()
    except UnicodeDecodeError:
        # Surrogates and overlong forms are among the errors [MQTT-1.5.4-1], [3.1.1 MQTT-1.5.3-1].
        raise malformed(f"{what} is not well-formed UTF-8") from None
    # What can be printed holds no forbidden character: that spares nearly every string the search.
    if not text.isprintable() and _FORBIDDEN_CHARACTERS.search(text):
        raise malformed(f"{what} holds a control character or a non-character")  # [MQTT-1.5.4-2]
    return text


class Reader:
    """A cursor over `data[index:end]`. Whatever reaches past `end` is a Violation (0x81) that names the field `what`.

    After a Violation the position is undefined: drop the reader.
    """

    __slots__ = ("_data", "_end", "_index")

    def __init__(self, data: bytes, index: int, end: int) -> None:
        self._data = data
        self._index = index
        self._end = end

    @property
    def remaining_bytes(self) -> int:
        return self._end - self._index

    def _advance(self, length: int, what: str) -> int:
        """Step over `length` bytes; the index where they begin."""
        index = self._index
        if self._end - index < length:
            raise malformed(f"{what} reaches beyond its packet")
        self._index = index + length
        return index

    def byte(self, what: str) -> int:
        return self._data[self._advance(1, what)]

    def two_byte_integer(self, what: str) -> int:
        index = self._advance(2, what)
        return self._data[index] << 8 | self._data[index + 1]

    def four_byte_integer(self, what: str) -> int:
        index = self._advance(4, what)
        return int.from_bytes(self._data[index : index + 4])

    def variable_byte_integer(self, what: str) -> int:
        index = self._index
        if index < self._end and self._data[index] < 0x80:  # one byte: property identifiers, most lengths
            self._index = index + 1
            return self._data[index]
        scanned = scan_variable_byte_integer(self._data, self._index, self._end)
        if scanned is None:
            raise malformed(f"{what} reaches beyond its packet")
        value, self._index = scanned
        return value

    def binary(self, what: str) -> bytes:
        data = self._data
        start = self._index + 2
        if start > self._end:
            raise malformed(f"{what} reaches beyond its packet")
        end = start + (data[start - 2] << 8 | data[start - 1])
        if end > self._end:
            raise malformed(f"{what} reaches beyond its packet")
        self._index = end
        return data[start:end]

    def string(self, what: str) -> str:
        return decode_string(self.binary(what), what)

    def string_pair(self, what: str) -> tuple[str, str]:
        return self.string(what), self.string(what)  # [MQTT-1.5.7-1]

    def packet_id(self) -> int:
        packet_id = self.two_byte_integer("packet identifier")
        if packet_id == 0:
            raise protocol_error("packet identifier is zero")  # [MQTT-2.2.1-3], [3.1.1 MQTT-2.3.1-1]
        return packet_id

    def part(self, length: int, what: str) -> "Reader":
        """A reader over the next `length` bytes, which this reader steps over."""
        index = self._advance(length, what)
        return Reader(self._data, index, index + length)

    def rest(self) -> bytes:
        index, self._index = self._index, self._end
        return self._data[index : self._end]


def encode_byte(value: int) -> bytes:
    """Raises ValueError outside of 0..255."""
    return bytes((value,))


def encode_two_byte_integer(value: int) -> bytes:
    """Raises ValueError if two bytes cannot hold the value."""
    if not 0 <= value <= TWO_BYTE_INTEGER_MAX:
        raise ValueError(f"{value} is no two byte integer")
    return value.to_bytes(2)


def encode_four_byte_integer(value: int) -> bytes:
    """Raises ValueError if four bytes cannot hold the value."""
    if not 0 <= value <= FOUR_BYTE_INTEGER_MAX:
        raise ValueError(f"{value} is no four byte integer")
    return value.to_bytes(4)


def encode_variable_byte_integer(value: int) -> bytes:
    """The shortest form [MQTT-1.5.5-1]. Raises ValueError if four bytes cannot hold the value."""
    if 0 <= value < 0x80:
        return bytes((value,))
    if not 0 <= value <= VARIABLE_BYTE_INTEGER_MAX:
        raise ValueError(f"{value} is no variable byte integer")
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def encode_binary(value: bytes) -> bytes:
    """Raises ValueError if the length prefix cannot hold the length."""
    if len(value) > STRING_BYTES_MAX:
        raise ValueError(f"{len(value)} bytes are too many for a two byte length")
    return len(value).to_bytes(2) + value


def encode_string(value: str) -> bytes:
    """Raises ValueError if the text is too long, or has no UTF-8 form."""
    return encode_binary(value.encode())


def encode_string_pair(value: tuple[str, str]) -> bytes:
    """Raises ValueError as encode_string does."""
    name, text = value
    return encode_string(name) + encode_string(text)
