"""How the messages of one flow look to receivers of one kind: all that is the same in each packet, encoded once.

Knows packets in both versions; does not know flows, outlets or who decided what.
"""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from msgspec.structs import replace

from mqtt_broker.node.live import LiveSession
from mqtt_broker.routing.delivery import Receiver
from mqtt_broker.wire.codec import encode, read_header
from mqtt_broker.wire.packets import NO_PROPERTIES, ProtocolVersion, Publish
from mqtt_broker.wire.primitives import encode_variable_byte_integer

if TYPE_CHECKING:
    from mqtt_broker.node.hub import Hub

QOS_0, QOS_1 = 0x30, 0x32  # first bytes: no DUP, no RETAIN [MQTT-3.3.1-2]
_ID_BYTES = tuple([number.to_bytes(2, "big") for number in range(65_536)])


class Form:
    """One way in which a flow's messages go out, and who gets them so. `verbatim`: the bytes as they came."""

    __slots__ = (
        "_head",
        "_payload_bytes",
        "after_id",
        "first_byte",
        "identifiers",
        "qos",
        "sessions",
        "topic",
        "verbatim",
    )

    def __init__(
        self, qos: int, identifiers: tuple[int, ...], topic: bytes, after_id: bytes, *, verbatim: bool
    ) -> None:
        self.qos = qos
        self.identifiers = identifiers
        self.first_byte = QOS_1 if qos else QOS_0
        self.topic = topic
        self.after_id = after_id
        self.verbatim = verbatim
        self.sessions: list[LiveSession] = []
        self._head = b""
        self._payload_bytes = -1  # that `_head` was made for: those of a stream are alike

    def head(self, payload_bytes: int) -> bytes:
        """Everything before the packet id: fixed header and topic name."""
        if payload_bytes != self._payload_bytes:
            rest = len(self.topic) + (2 if self.qos else 0) + len(self.after_id) + payload_bytes
            self._head = bytes((self.first_byte,)) + encode_variable_byte_integer(rest) + self.topic
            self._payload_bytes = payload_bytes
        return self._head

    def frame_bytes(self, head: bytes, payload_bytes: int) -> int:
        """How long a packet with this `head` is."""
        return len(head) + (2 if self.qos else 0) + len(self.after_id) + payload_bytes

    def frames(self, head: bytes, ids: Sequence[int], payloads: list[bytes]) -> bytes:
        """QoS 1 packets of these ids, for as many of `payloads`, all of the length that `head` is for."""
        count, after = len(ids), self.after_id
        if count == 1:
            return head + _ID_BYTES[ids[0]] + after + payloads[0]
        # In a range, as nearly always, they stand side by side; and nothing is put together twice.
        own = _ID_BYTES[ids[0] : ids[-1] + 1] if isinstance(ids, range) else [_ID_BYTES[i] for i in ids]
        width = 4 if after else 3
        parts = [head] * (width * count)
        parts[1::width] = own
        if after:
            parts[2::4] = [after] * count
        parts[width - 1 :: width] = payloads if len(payloads) == count else payloads[:count]
        return b"".join(parts)


def forms_of(hub: "Hub", packet: Publish, frame: bytes, receivers: Iterable[Receiver]) -> list[Form]:
    """Receivers grouped by how their copy looks: QoS, protocol version, identifiers. `frame` is the packet as it came.

    All of them are of sessions that the hub knows.
    """
    forms: dict[tuple[int, bool, tuple[int, ...]], Form] = {}
    for receiver in receivers:
        session = hub.sessions[receiver.client_id]
        is_v5 = session.protocol_version == ProtocolVersion.V5
        key = (receiver.qos, is_v5, receiver.identifiers if is_v5 else ())
        if key not in forms:
            forms[key] = _form(packet, frame, receiver, is_v5=is_v5)
        forms[key].sessions.append(session)
    return list(forms.values())


def _form(packet: Publish, frame: bytes, receiver: Receiver, *, is_v5: bool) -> Form:
    version = ProtocolVersion.V5 if is_v5 else ProtocolVersion.V3_1_1
    forwarded = replace(packet.properties, topic_alias=None, subscription_identifiers=receiver.identifiers)
    out = Publish(topic=packet.topic, payload=b"", properties=forwarded if is_v5 else NO_PROPERTIES)
    encoded = encode(out, version)
    header = read_header(encoded, 0)
    assert header is not None
    topic_end = header.header_length + 2 + len(packet.topic.encode())
    topic, after_id = encoded[header.header_length : topic_end], encoded[topic_end:]
    verbatim = receiver.qos == packet.qos == 0 and frame.endswith(topic + after_id + packet.payload)
    if verbatim:  # nothing else in it, such as the properties of another version
        incoming = read_header(frame, 0)
        verbatim = incoming is not None and incoming.remaining_length == header.remaining_length + len(packet.payload)
    return Form(receiver.qos, receiver.identifiers, topic, after_id, verbatim=verbatim)
