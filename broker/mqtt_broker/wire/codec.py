"""Bytes to packets and back, for MQTT 3.1, 3.1.1 and 5.0, in both directions.

Knows how a packet lies in a stream of bytes; does not know sessions, sockets or time, nor which side it serves: what
only one side may say (reasons.py has those tables) and when a packet is expected is the connection's business.
Clauses named without a version, here and in the modules below, are those of MQTT 5.0.
"""

from mqtt_broker.wire.decoders import DECODERS, decode_publish
from mqtt_broker.wire.encoders import ENCODERS
from mqtt_broker.wire.errors import Violation
from mqtt_broker.wire.header import LAWFUL_FIRST_BYTES, Header, PacketType, read_header, refused_first_byte
from mqtt_broker.wire.packets import Packet, ProtocolVersion
from mqtt_broker.wire.primitives import Reader, malformed, scan_variable_byte_integer
from mqtt_broker.wire.reasons import ReasonCode

__all__ = ["Header", "PacketType", "decode", "encode", "read_header"]


def decode(
    data: bytes, start: int, version: ProtocolVersion | None, packet_bytes_max: int
) -> tuple[Packet, int] | None:
    """The packet at `start` and the index after it, or None while it is incomplete.

    `version` is the connection's; None before CONNECT, and then nothing but CONNECT is read [MQTT-3.1.0-1].
    `packet_bytes_max` counts the whole packet, header included. Type, flags and size are judged as soon as the header
    is there, so that nobody waits for a body that will be refused.

    Raises Violation, and nothing else, whatever the bytes are. The stream has no next packet after that: the caller
    must close the connection.
    """
    available = len(data)
    if available - start < 2:
        return None
    first = data[start]
    length = data[start + 1]
    index = start + 2
    if length > 0x7F:
        scanned = scan_variable_byte_integer(data, start + 1, available)
        if scanned is None:
            return None
        length, index = scanned
    if first not in LAWFUL_FIRST_BYTES[version]:
        raise refused_first_byte(first, version)
    end = index + length
    if end - start > packet_bytes_max:
        # [MQTT-3.2.2-15]
        raise Violation(ReasonCode.PACKET_TOO_LARGE, f"{end - start} bytes, and {packet_bytes_max} are allowed")
    if end > available:
        return None
    packet_type = first >> 4
    # Before CONNECT the version is in the packet; the decoder of CONNECT looks at no other.
    version = version or ProtocolVersion.V5
    if packet_type == 3:  # PUBLISH, and a look-up of its name would be felt
        return decode_publish(data, first & 0x0F, index, end, version), end
    reader = Reader(data, index, end)
    packet = DECODERS[packet_type](reader, version)
    if reader.remaining_bytes:
        raise malformed(f"{PacketType(packet_type).name} has {reader.remaining_bytes} bytes too many")
    return packet, end


def encode(packet: Packet, version: ProtocolVersion) -> bytes:
    """The shortest bytes that say `packet` in `version`.

    What the version has no word for is left out: in MQTT 3 properties, reasons of acknowledgements, and which failure a
    SUBACK means. Raises ValueError for what may not be sent at all: AUTH in MQTT 3, a CONNACK reason without a return
    code in MQTT 3 (see `reasons.return_code_of`), a reason or property that the packet may not carry, a value out of
    bounds. That is a bug of the caller.
    """
    return ENCODERS[type(packet)](packet, version)
