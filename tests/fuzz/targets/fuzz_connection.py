"""Any bytes, cut anywhere, into the connection machine, while the hub answers at random.

The first bytes of the input are choices: how it is cut, what the hub does, which limits hold. The rest is what the peer
sends. The machine never raises, what it sends can be read by a client that takes it, and a second machine that gets the
same bytes in one piece comes to the same events.
"""

from collections.abc import Iterator

from mqtt_api.node_settings import MQTTSettings
from mqtt_broker.protocol.connection import HELD_BYTES_MAX, Connection
from mqtt_broker.protocol.events import (
    AuthReceived,
    ConnectReceived,
    DisconnectReceived,
    Event,
    PublishReceived,
    PubRecReceived,
    PubRelReceived,
    SubscribeReceived,
    UnsubscribeReceived,
    Violated,
)
from mqtt_broker.protocol.states import State
from mqtt_broker.wire.codec import decode
from mqtt_broker.wire.packets import ProtocolVersion, Publish
from mqtt_broker.wire.reasons import ReasonCode

CHOICES_BYTES = 8
LIMITS = (
    MQTTSettings(),
    MQTTSettings(packet_bytes_max=64, receive_maximum=2, topic_alias_maximum=1),
    MQTTSettings(maximum_qos=1, retain_available=False, topic_alias_maximum=0, keep_alive_s_max=10),
)
PACKET_BYTES_MAX = 2**28


def run(data: bytes) -> None:
    choices, stream = data[:CHOICES_BYTES].ljust(CHOICES_BYTES, b"\0"), data[CHOICES_BYTES:]
    limits, refuses = LIMITS[choices[0] % len(LIMITS)], choices[1] % 8 == 1
    in_pieces = _Hub(limits, choices, refuses=refuses)
    for piece in _cut(stream, choices):
        in_pieces.receive(piece)
    at_once = _Hub(limits, choices, refuses=refuses)
    at_once.receive(stream)
    if not (_depends_on_answers(at_once.events) or _depends_on_answers(in_pieces.events)):
        assert in_pieces.events == at_once.events, (in_pieces.events, at_once.events)
        assert in_pieces.connection.state == at_once.connection.state
    in_pieces.grow_old()
    at_once.grow_old()


def _depends_on_answers(events: list[Event]) -> bool:
    """The peer went on without waiting for our answer, in a place where that is not its right."""
    return any(
        isinstance(event, AuthReceived)
        or (isinstance(event, Violated) and event.reason is ReasonCode.RECEIVE_MAXIMUM_EXCEEDED)
        for event in events
    )


def _cut(stream: bytes, choices: bytes) -> Iterator[bytes]:
    """Pieces of the lengths that the choices name, over and over."""
    position, turn = 0, 0
    while position < len(stream):
        length = 1 + choices[2 + turn % (CHOICES_BYTES - 2)] % 32
        yield stream[position : position + length]
        position += length
        turn += 1


class _Hub:
    """Answers every event, well or badly, but always in the same way for the same event."""

    def __init__(self, limits: MQTTSettings, choices: bytes, *, refuses: bool) -> None:
        self.connection = Connection(limits, 0.0)
        self.events: list[Event] = []
        self._choices = choices
        self._refuses = refuses
        self._handled = 0

    def receive(self, data: bytes) -> None:
        self._take(self.connection.receive_data(data, 1.0) if data else [])

    def grow_old(self) -> None:
        """At its deadline a connection ends, and stays so."""
        connection = self.connection
        deadline = connection.deadline()
        if deadline is not None:
            assert connection.tick(deadline - 0.001) is None
            assert isinstance(connection.tick(deadline), Violated)
            assert connection.state is State.CLOSED
        if connection.state is State.CLOSED:
            assert connection.receive_data(b"\xc0\x00", 2.0) == []
            assert connection.deadline() is None
            self._read_what_is_sent()
            assert not connection.publish(Publish("t", b""))
            assert connection.data_to_send() == b""

    def _take(self, events: list[Event]) -> None:
        while True:
            assert self.connection.held_bytes <= HELD_BYTES_MAX
            must_go_on = False
            for number, event in enumerate(events):
                self.events.append(event)
                assert not isinstance(event, Violated | DisconnectReceived) or number == len(events) - 1, events
                must_go_on |= self._answer(event)
            self._read_what_is_sent()
            if not must_go_on:
                return
            events = self.connection.receive_data(b"", 1.0)

    def _answer(self, event: Event) -> bool:
        """True if the machine may hold bytes that can be read now."""
        self._handled += 1
        choice = self._choices[self._handled % CHOICES_BYTES]
        connection = self.connection
        match event:
            case ConnectReceived() | AuthReceived() if connection.state is State.CONNECTING:
                return self._answer_connect(choice)
            case AuthReceived() if connection.state is State.CONNECTED:
                self._answer_reauthentication(choice)
            case PublishReceived(packet=packet):
                assert packet.topic, packet
                self._answer_publish(packet, choice)
            case PubRecReceived(packet_id=packet_id):
                connection.pubrel(packet_id)
            case PubRelReceived(packet_id=packet_id):
                connection.pubcomp(packet_id, ReasonCode.PACKET_IDENTIFIER_NOT_FOUND)
            case SubscribeReceived(packet=packet):
                connection.suback(packet.packet_id, (ReasonCode.NOT_AUTHORIZED,) * len(packet.subscriptions), "no")
            case UnsubscribeReceived(packet=packet):
                connection.unsuback(packet.packet_id, (ReasonCode.SUCCESS,) * len(packet.filters))
            case Violated() | DisconnectReceived():
                assert connection.state is State.CLOSED
        return False

    def _answer_connect(self, choice: int) -> bool:
        connection = self.connection
        assert connection.connect is not None
        method = connection.connect.properties.authentication_method
        if self._refuses:
            connection.refuse(ReasonCode.NOT_AUTHORIZED, "because")
            return False
        if method is not None and choice % 2:
            connection.challenge(method, b"?")
            return True
        assigned = None if connection.connect.client_id else "assigned"
        connection.accept(bool(choice % 3), assigned_client_id=assigned, session_expiry_s=choice)
        return True

    def _answer_reauthentication(self, choice: int) -> None:
        assert self.connection.connect is not None
        method = self.connection.connect.properties.authentication_method
        assert method is not None
        if choice % 2:
            self.connection.challenge(method, b"?")
        else:
            self.connection.reauthenticate_success(method)

    def _answer_publish(self, packet: Publish, choice: int) -> None:
        connection = self.connection
        reason = ReasonCode.QUOTA_EXCEEDED if choice % 5 == 4 else ReasonCode.SUCCESS
        if packet.qos == 1 and choice % 7:
            connection.puback(packet.packet_id, reason, "why")
        elif packet.qos == 2 and choice % 7:
            connection.pubrec(packet.packet_id, reason)
        connection.publish(Publish(packet.topic, packet.payload[:9], packet.qos, packet_id=packet.packet_id))

    def _read_what_is_sent(self) -> None:
        """Every answer is whole packets that a client of this version can read, none larger than it takes."""
        data, position = self.connection.data_to_send(), 0
        version = self.connection.version
        while position < len(data):
            if version is None:  # a refusal of something that was not understood
                assert data[position] >> 4 == 2, data.hex()
                return
            decoded = decode(data, position, version, PACKET_BYTES_MAX)
            assert decoded is not None, f"half a packet was sent: {data.hex()}"
            if version is ProtocolVersion.V5:
                assert decoded[1] - position <= self.connection.client_packet_bytes_max, "[MQTT-3.1.2-24]"
            position = decoded[1]
