"""The fixed header: what kind of packet comes, and how long it is, before any of it arrived.

Knows packet types, their flag bits and the remaining length (MQTT 5.0, 2.1); does not know bodies.
"""

from enum import IntEnum
from typing import Final, NamedTuple

from mqtt_broker.wire.errors import Violation
from mqtt_broker.wire.packets import ProtocolVersion
from mqtt_broker.wire.primitives import malformed, protocol_error, scan_variable_byte_integer


class PacketType(IntEnum):
    """The upper four bits of the first byte (MQTT 5.0, table 2-1). Type 0 is forbidden."""

    CONNECT = 1
    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    PUBREC = 5
    PUBREL = 6
    PUBCOMP = 7
    SUBSCRIBE = 8
    SUBACK = 9
    UNSUBSCRIBE = 10
    UNSUBACK = 11
    PINGREQ = 12
    PINGRESP = 13
    DISCONNECT = 14
    AUTH = 15


class Header(NamedTuple):
    """`packet_type` and `flags` are four bits each and not yet judged. The packet's size is the sum of both lengths."""

    packet_type: int
    flags: int
    remaining_length: int
    header_length: int


# [MQTT-3.6.1-1], [MQTT-3.8.1-1], [MQTT-3.10.1-1]: 0010. Every other packet but PUBLISH: 0000.
RESERVED_FLAGS: Final = {PacketType.PUBREL: 0b0010, PacketType.SUBSCRIBE: 0b0010, PacketType.UNSUBSCRIBE: 0b0010}
_DUP: Final = 0b1000
_QOS_3: Final = 0b0110


def read_header(data: bytes | bytearray | memoryview, start: int) -> Header | None:
    """The fixed header at `start`, or None while it is incomplete.

    The caller can refuse by type and size before the body arrives. Raises Violation (0x81) for a remaining length of
    five bytes or in an overlong form.
    """
    scanned = scan_variable_byte_integer(data, start + 1, len(data))
    if scanned is None:
        return None
    remaining_length, body = scanned
    first = data[start]
    return Header(first >> 4, first & 0x0F, remaining_length, body - start)


def _lawful_flags(packet_type: PacketType, version: ProtocolVersion | None) -> frozenset[int]:
    if packet_type is PacketType.PUBLISH:
        # DUP belongs to QoS 1 and 2 [MQTT-3.3.1-2], and there is no QoS 3 [MQTT-3.3.1-4].
        return frozenset(
            flags for flags in range(16) if flags & _QOS_3 != _QOS_3 and (flags & _QOS_3 or not flags & _DUP)
        )
    reserved = RESERVED_FLAGS.get(packet_type, 0)  # [MQTT-2.1.3-1] [MQTT-3.14.1-1] [MQTT-3.15.1-1]
    if reserved and version is ProtocolVersion.V3_1:
        # MQTT 3.1 repeats these packets, and marks the repetition (MQTT 3.1, 2.1).
        return frozenset((reserved, reserved | _DUP))
    return frozenset((reserved,))


def _lawful_first_bytes(version: ProtocolVersion | None) -> frozenset[int]:
    if version is None:
        types = [PacketType.CONNECT]  # [MQTT-3.1.0-1]
    else:
        types = [kind for kind in PacketType if kind is not PacketType.AUTH or version is ProtocolVersion.V5]
    return frozenset(kind << 4 | flags for kind in types for flags in _lawful_flags(kind, version))


LAWFUL_FIRST_BYTES: Final[dict[ProtocolVersion | None, frozenset[int]]] = {
    version: _lawful_first_bytes(version) for version in (None, *ProtocolVersion)
}


def refused_first_byte(first: int, version: ProtocolVersion | None) -> Violation:
    """Why `first` is not among the lawful first bytes of `version`."""
    packet_type, flags = first >> 4, first & 0x0F
    if packet_type == 0:
        return malformed("packet type 0 is forbidden")
    name = PacketType(packet_type).name
    if version is None and packet_type != PacketType.CONNECT:
        return protocol_error(f"{name} before CONNECT")  # [MQTT-3.1.0-1]
    if packet_type == PacketType.AUTH and version is not ProtocolVersion.V5:
        return malformed("MQTT 3 has no AUTH")
    return malformed(f"{name} with flags {flags:04b}")
