"""What goes out to one client: encoded in its version, within its maximum packet size, with the aliases it takes.

Knows what the client announced; does not know states, what may be sent when, or how bytes travel.
"""

from typing import cast

from msgspec.structs import replace

from mqtt_broker.protocol.aliases import OutboundAliases
from mqtt_broker.wire.codec import encode
from mqtt_broker.wire.packets import ConnAck, Disconnect, Packet, ProtocolVersion, Publish

PACKET_BYTES_LIMIT = 268_435_460  # the largest packet there can be: no maximum announced (MQTT 5.0, 3.1.2.11.4)

# [MQTT-3.1.2-29] These may carry a reason string even to a client that asked for no problem information.
_ALWAYS_EXPLAINED = frozenset({ConnAck, Disconnect})


class Outbox:
    """Encoded packets in the order in which they were queued.

    `packet_bytes_max`, `wants_reason_strings`: what the client announced in CONNECT. `alias_maximum`: how many topic
    aliases we use, 0 = none; never more than the client takes [MQTT-3.1.2-26] [MQTT-3.1.2-27].
    """

    __slots__ = ("_aliases", "_explains", "_frames", "_packet_bytes_max", "_version", "other_packets")

    def __init__(
        self,
        version: ProtocolVersion,
        *,
        packet_bytes_max: int = PACKET_BYTES_LIMIT,
        wants_reason_strings: bool = True,
        alias_maximum: int = 0,
    ) -> None:
        self._version = version
        self._packet_bytes_max = packet_bytes_max
        self._explains = wants_reason_strings
        self._aliases = OutboundAliases(alias_maximum) if alias_maximum else None
        self._frames: list[bytes] = []
        self.other_packets = 0  # queued so far, other than PUBLISH and what was forwarded

    def __bool__(self) -> bool:
        return bool(self._frames)

    def take(self) -> bytes:
        """Everything queued since the last call; the caller's from now on."""
        data = b"".join(self._frames)
        self._frames.clear()
        return data

    def send(self, packet: Packet, reason_string: str | None = None) -> bool:
        """Queue a packet. False: it is larger than the client takes, and nothing was queued [MQTT-3.1.2-24].

        A reason string goes with it only if the client wants one, and has room for it. Raises ValueError for what
        `encode` cannot say.
        """
        if reason_string and self._may_explain(packet):
            explained = encode(_explained(packet, reason_string), self._version)
            # Too large, it goes without its reason: [MQTT-3.2.2-19] [MQTT-3.4.2-2] [MQTT-3.5.2-2] [MQTT-3.6.2-2]
            # [MQTT-3.7.2-2] [MQTT-3.9.2-1] [MQTT-3.11.2-1] [MQTT-3.14.2-3]
            if self._queue(explained):
                self.other_packets += 1
                return True
        if not self._queue(encode(packet, self._version)):
            return False
        self.other_packets += 1
        return True

    def publish(self, packet: Publish) -> bool:
        """Queue a PUBLISH, with an alias for its topic where there is one. False as for `send`."""
        aliases = self._aliases
        if aliases is None:
            return self._queue(encode(packet, self._version))
        alias = aliases.known(packet.topic)
        if alias is not None:
            return self._queue(encode(_aliased(packet, "", alias), self._version))
        alias = aliases.candidate(packet.topic)
        if alias is not None and self._queue(encode(_aliased(packet, packet.topic, alias), self._version)):
            aliases.commit(packet.topic, alias)
            return True
        return self._queue(encode(packet, self._version))

    def fits(self, packet: Packet) -> bool:
        """True if the packet is not larger than the client takes."""
        return len(encode(packet, self._version)) <= self._packet_bytes_max

    def forward(self, frames: bytes, largest_bytes: int) -> bool:
        """Queue PUBLISH packets that are encoded in this client's version already, with full topic names.

        `largest_bytes` is the size of the largest of them. False as for `send`: none of them was queued then.
        """
        if largest_bytes > self._packet_bytes_max:
            return False
        self._frames.append(frames)
        return True

    def _may_explain(self, packet: Packet) -> bool:
        return self._version is ProtocolVersion.V5 and (self._explains or type(packet) in _ALWAYS_EXPLAINED)

    def _queue(self, frame: bytes) -> bool:
        if len(frame) > self._packet_bytes_max:  # [MQTT-3.1.2-24]
            return False
        self._frames.append(frame)
        return True


def _aliased(packet: Publish, topic: str, alias: int) -> Publish:
    return replace(packet, topic=topic, properties=replace(packet.properties, topic_alias=alias))


def _explained(packet: Packet, reason_string: str) -> Packet:
    properties = cast("ConnAck", packet).properties  # every packet that gives a reason has properties
    return replace(packet, properties=replace(properties, reason_string=reason_string))
