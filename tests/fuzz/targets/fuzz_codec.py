"""Any bytes, read as a packet of any version: a packet, "need more" or a Violation; and what was read can be written.

The first byte chooses the version, the rest is the packet.
"""

from mqtt_broker.wire.codec import decode, encode
from mqtt_broker.wire.errors import Violation
from mqtt_broker.wire.packets import Connect, Packet, ProtocolVersion

VERSIONS = (None, ProtocolVersion.V3_1, ProtocolVersion.V3_1_1, ProtocolVersion.V5)
PACKET_BYTES_MAX = 4096


def run(data: bytes) -> None:
    if not data:
        return
    version = VERSIONS[data[0] % len(VERSIONS)]
    packet = _decoded(data, 1, version)
    if packet is None:
        return
    if isinstance(packet, Connect):
        version = packet.version
    assert version is not None, f"{packet} was read before CONNECT"
    written = encode(packet, version)
    again = _decoded(written, 0, version)
    assert again == packet, f"{packet} was written as {written.hex()} and read as {again}"
    assert encode(again, version) == written
    for end in range(len(written)):
        assert decode(written[:end], 0, version, PACKET_BYTES_MAX) is None, f"{end} bytes of {written.hex()} are whole"


def _decoded(data: bytes, start: int, version: ProtocolVersion | None) -> Packet | None:
    try:
        decoded = decode(data, start, version, PACKET_BYTES_MAX)
    except Violation:
        return None
    if decoded is None:
        return None
    packet, end = decoded
    assert start < end <= len(data)
    return packet
