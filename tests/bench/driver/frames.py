"""MQTT frames as bytes, built ahead of time: what load clients send.

Knows the wire format of 3.1.1 and 5.0 as far as a client sends it, and the payload that carries a stream number, a
sequence number and a time stamp; does not know sockets, clocks or brokers. Written apart from the broker's own codec,
so that one cannot hide the other's mistake.
"""

import struct
from collections.abc import Sequence

PAYLOAD_BYTES = 64
MARKS = struct.Struct(">IIQ")  # stream, sequence, sent at (nanoseconds of the driver's clock; 0 = not stamped)
FILLER = bytes(range(0x80, 0x80 + PAYLOAD_BYTES - MARKS.size))
BLOCK_FRAMES = 256  # so many messages are laid out at once; a block is patched, not built again

RECEIVE_MAXIMUM_DEFAULT = 65_535
_RECEIVE_MAXIMUM = 0x21
_CONNACK_NUMBERS = {0x11: 4, 0x21: 2, 0x24: 1, 0x25: 1, 0x27: 4, 0x22: 2, 0x28: 1, 0x29: 1, 0x2A: 1, 0x13: 2}
_CONNACK_STRINGS = {0x12: 1, 0x1F: 1, 0x26: 2, 0x1A: 1, 0x1C: 1, 0x15: 1, 0x16: 1}

V311 = 4
V5 = 5


def varint(number: int) -> bytes:
    """A Variable Byte Integer; `number` is below 268,435,456."""
    encoded = bytearray()
    while True:
        number, digit = divmod(number, 128)
        encoded.append(digit | (0x80 if number else 0))
        if not number:
            return bytes(encoded)


def text(value: str) -> bytes:
    data = value.encode()
    return struct.pack(">H", len(data)) + data


def frame(first: int, body: bytes) -> bytes:
    return bytes([first]) + varint(len(body)) + body


def connect(
    client_id: str, username: str, password: str, version: int, *, clean: bool = True, keep_alive_s: int = 300
) -> bytes:
    """CONNECT with user name and password. Not `clean`: a session that outlives the connection by an hour."""
    flags = 0xC2 if clean else 0xC0
    properties = b""
    if version == V5:
        expiry = b"" if clean else b"\x11" + struct.pack(">I", 3_600)
        properties = varint(len(expiry)) + expiry
    body = text("MQTT") + bytes([version, flags]) + struct.pack(">H", keep_alive_s) + properties
    return frame(0x10, body + text(client_id) + text(username) + text(password))


def subscribe(packet_id: int, topic_filter: str, qos: int, version: int) -> bytes:
    properties = b"\x00" if version == V5 else b""
    return frame(0x82, struct.pack(">H", packet_id) + properties + text(topic_filter) + bytes([qos]))


def subscribe_all(packet_id: int, filters: Sequence[str], version: int) -> bytes:
    """One SUBSCRIBE for many filters, QoS 0."""
    properties = b"\x00" if version == V5 else b""
    asked = b"".join(text(one) + b"\x00" for one in filters)
    return frame(0x82, struct.pack(">H", packet_id) + properties + asked)


def unsubscribe(packet_id: int, topic_filter: str, version: int) -> bytes:
    properties = b"\x00" if version == V5 else b""
    return frame(0xA2, struct.pack(">H", packet_id) + properties + text(topic_filter))


def disconnect() -> bytes:
    return b"\xe0\x00"


def topic_alias(alias: int) -> bytes:
    return b"\x23" + struct.pack(">H", alias)


def user_property(name: str, value: str) -> bytes:
    return b"\x26" + text(name) + text(value)


def receive_maximum(connack: bytes) -> int:
    """How many QoS 1 and 2 messages the broker takes unacknowledged; 3.1.1 brokers do not say."""
    at = 5  # fixed header, flags, reason, and the properties' length in one byte
    while at < len(connack):
        kind = connack[at]
        at += 1
        if kind == _RECEIVE_MAXIMUM:
            return int.from_bytes(connack[at : at + 2])
        at += _CONNACK_NUMBERS.get(kind, 0)
        for _ in range(_CONNACK_STRINGS.get(kind, 0)):
            at += 2 + int.from_bytes(connack[at : at + 2])
    return RECEIVE_MAXIMUM_DEFAULT


def payload(stream: int, sequence: int, sent_ns: int = 0) -> bytes:
    return MARKS.pack(stream, sequence, sent_ns) + FILLER


def publish(topic: str, qos: int, version: int, data: bytes, packet_id: int = 0, properties: bytes = b"") -> bytes:
    """PUBLISH without RETAIN and DUP. `properties` counts in MQTT 5 only."""
    body = text(topic) + (struct.pack(">H", packet_id) if qos else b"")
    if version == V5:
        body += varint(len(properties)) + properties
    return frame(0x30 | qos << 1, body + data)


def packet_id_of(sequence: int) -> int:
    """1 to 65,535, over and over: far more than any window."""
    return sequence % 65_535 + 1


class Block:
    """Consecutive PUBLISH frames of one publisher, laid out side by side; only the numbers in them change.

    All topics must be equally long, as every frame has the same length. Message n goes to `topics[n % len(topics)]`.
    """

    def __init__(
        self,
        stream: int,
        topics: Sequence[str],
        qos: int,
        version: int,
        properties: bytes = b"",
        *,
        aliased: bool = False,
    ) -> None:
        """`aliased`: the properties hold a topic alias that is known already, so the frames carry no topic."""
        count = len(topics) * max(1, BLOCK_FRAMES // len(topics))
        names = [""] if aliased else topics
        data = payload(stream, 0)
        made = [publish(names[i % len(names)], qos, version, data, 1, properties) for i in range(count)]
        self.frame_bytes = len(made[0])
        assert all(len(one) == self.frame_bytes for one in made), "topics of one publisher are equally long"
        self.count = count
        self._data = bytearray().join(made)
        self._view = memoryview(self._data)
        self._sequence_at = self.frame_bytes - PAYLOAD_BYTES + 4
        self._packet_id_at = self.frame_bytes - PAYLOAD_BYTES - 2 if qos else None
        if qos and version == V5:
            self._packet_id_at = self.frame_bytes - PAYLOAD_BYTES - len(properties) - len(varint(len(properties))) - 2
        self._number = -1

    def frames(self, first: int, count: int) -> memoryview:
        """At most `count` frames from message `first` on, up to the end of its block. Valid until the next call."""
        number, start = divmod(first, self.count)
        if number != self._number:
            self._lay_out(number)
        end = min(self.count, start + count)
        return self._view[start * self.frame_bytes : end * self.frame_bytes]

    def _lay_out(self, number: int) -> None:
        self._number = number
        first = number * self.count
        self._write_columns(struct.pack(f">{self.count}I", *range(first, first + self.count)), 4, self._sequence_at)
        if self._packet_id_at is not None:
            ids = [packet_id_of(sequence) for sequence in range(first, first + self.count)]
            self._write_columns(struct.pack(f">{self.count}H", *ids), 2, self._packet_id_at)

    def _write_columns(self, numbers: bytes, width: int, at: int) -> None:
        """Write the k-th number into the k-th frame, one column of bytes at a time."""
        for column in range(width):
            self._data[at + column :: self.frame_bytes] = numbers[column::width]
