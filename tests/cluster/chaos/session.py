"""What a client must remember between two connections: its half of the session (MQTT 5.0, 4.1).

Pure. Knows packet identifiers and handshakes; does not know connections, and records nothing.
"""

from msgspec import Struct, field
from msgspec.structs import replace

from mqtt_broker.wire.packets import Packet, Publish, PubRel

PACKET_ID_MAX = 65_535


class Outgoing(Struct):
    """A PUBLISH whose handshake is not over. `is_received`: PUBREC came, so PUBREL is what is repeated."""

    message: str
    publish: Publish
    is_received: bool = False


class ClientSession(Struct):
    """`inbound` are packet ids of QoS 2 messages that were handed over and not yet released by the server."""

    outgoing: dict[int, Outgoing] = field(default_factory=dict)
    inbound: set[int] = field(default_factory=set)
    is_subscribed: bool = False
    last_id: int = 0

    def take_id(self) -> int:
        """A packet id that is not in use."""
        while True:
            self.last_id = self.last_id % PACKET_ID_MAX + 1
            if self.last_id not in self.outgoing:
                return self.last_id

    def begin(self, message: str, publish: Publish) -> None:
        """Remember a PUBLISH at QoS 1 or 2 that is about to be sent."""
        self.outgoing[publish.packet_id] = Outgoing(message, publish)

    def repetitions(self) -> list[tuple[str, Packet]]:
        """What to send again on a connection that resumes the session, in the original order, by message.

        [MQTT-4.4.0-1] [MQTT-4.6.0-1] [MQTT-3.3.1-1]
        """
        found: list[tuple[str, Packet]] = []
        for packet_id, one in self.outgoing.items():
            again = PubRel(packet_id) if one.is_received else replace(one.publish, dup=True)
            found.append((one.message, again))
        return found

    def forget(self) -> None:
        """The server has no such session, so neither has the client [MQTT-3.2.2-5]."""
        self.outgoing.clear()
        self.inbound.clear()
        self.is_subscribed = False
