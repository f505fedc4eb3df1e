"""Connections in a wanted state, and what they said: shared by the tests of the connection machine."""

from mqtt_api.node_settings import MQTTSettings
from mqtt_broker.protocol.connection import Connection
from mqtt_broker.protocol.events import ConnectReceived, Event, Violated
from mqtt_broker.protocol.states import State
from mqtt_broker.wire.codec import decode, encode
from mqtt_broker.wire.packets import NO_PROPERTIES, Connect, Packet, Properties, ProtocolVersion
from mqtt_broker.wire.reasons import ReasonCode

V3_1, V3_1_1, V5 = ProtocolVersion.V3_1, ProtocolVersion.V3_1_1, ProtocolVersion.V5
LIMITS = MQTTSettings()
METHOD = "SCRAM-SHA-256"
WITH_METHOD = Properties(authentication_method=METHOD)


def connect_packet(
    version: ProtocolVersion = V5, properties: Properties = NO_PROPERTIES, *, keep_alive: int = 60
) -> Connect:
    return Connect(version, "pump-1", clean_start=True, keep_alive=keep_alive, properties=properties)


def connecting(
    version: ProtocolVersion = V5,
    properties: Properties = NO_PROPERTIES,
    *,
    limits: MQTTSettings = LIMITS,
    keep_alive: int = 60,
    now: float = 0.0,
) -> Connection:
    """A connection whose CONNECT was handed to the hub."""
    connection = Connection(limits, now)
    packet = connect_packet(version, properties, keep_alive=keep_alive)
    assert connection.receive_data(encode(packet, version), now) == [ConnectReceived(packet)]
    return connection


def connected(
    version: ProtocolVersion = V5,
    properties: Properties = NO_PROPERTIES,
    *,
    limits: MQTTSettings = LIMITS,
    keep_alive: int = 60,
    now: float = 0.0,
) -> Connection:
    """A connection after CONNACK, which was sent already."""
    connection = connecting(version, properties, limits=limits, keep_alive=keep_alive, now=now)
    assert connection.accept(session_present=False)
    assert connection.receive_data(b"", now) == []
    connection.data_to_send()
    return connection


def authenticating() -> Connection:
    """A connection whose client has our first challenge."""
    connection = connecting(V5, WITH_METHOD)
    connection.challenge(METHOD, b"challenge")
    connection.data_to_send()
    return connection


def closed() -> Connection:
    connection = connected()
    connection.disconnect(ReasonCode.SERVER_SHUTTING_DOWN)
    connection.data_to_send()
    return connection


MACHINES = {
    State.AWAITING_CONNECT: lambda: Connection(LIMITS, 0.0),
    State.CONNECTING: lambda: connecting(V5, WITH_METHOD),
    State.AUTHENTICATING: authenticating,
    State.CONNECTED: lambda: connected(V5, WITH_METHOD),
    State.CLOSED: closed,
}


def receive(connection: Connection, *packets: Packet, now: float = 0.0) -> list[Event]:
    """Feed packets as the client of this connection sends them."""
    version = connection.version or V5
    return connection.receive_data(b"".join(encode(packet, version) for packet in packets), now)


def sent(connection: Connection, version: ProtocolVersion | None = None) -> list[Packet]:
    """The packets in everything that is to be sent. `version` where the connection never learned one."""
    data = connection.data_to_send()
    packets: list[Packet] = []
    position = 0
    while position < len(data):
        decoded = decode(data, position, version or connection.version or V5, len(data))
        assert decoded is not None, "half a packet is to be sent"
        packet, position = decoded
        packets.append(packet)
    return packets


def violation(events: list[Event]) -> ReasonCode:
    """The reason of the Violated that ends the events."""
    last = events[-1]
    assert isinstance(last, Violated), events
    return last.reason
