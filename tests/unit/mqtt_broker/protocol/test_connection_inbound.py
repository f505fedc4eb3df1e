"""What a connected client may say, what each packet means, and how each offence ends."""

import pytest

from mqtt_api.node_settings import MQTTSettings
from mqtt_broker.protocol.connection import Connection
from mqtt_broker.protocol.events import (
    DisconnectReceived,
    Event,
    PubAckReceived,
    PubCompReceived,
    PublishReceived,
    PubRecReceived,
    PubRelReceived,
    SubscribeReceived,
    UnsubscribeReceived,
)
from mqtt_broker.protocol.states import State
from mqtt_broker.wire.codec import encode
from mqtt_broker.wire.packets import (
    NO_PROPERTIES,
    ConnAck,
    Disconnect,
    Packet,
    PingReq,
    PingResp,
    Properties,
    ProtocolVersion,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    SubAck,
    Subscribe,
    SubscriptionRequest,
    UnsubAck,
    Unsubscribe,
)
from mqtt_broker.wire.reasons import ReasonCode
from unit.mqtt_broker.protocol.machines import V3_1, V3_1_1, V5, connected, receive, sent, violation

VERSIONS = (V3_1, V3_1_1, V5)
SUBSCRIBE = Subscribe(8, (SubscriptionRequest("a/#", qos=1),))
UNSUBSCRIBE = Unsubscribe(9, ("a/#",))


def assert_ended(connection: Connection, events: list[Event], reason: ReasonCode) -> None:
    """The client broke a rule: 5.0 is told by DISCONNECT, 3.x has no word for it, and the connection ends.

    [MQTT-4.13.1-1] [MQTT-4.13.2-1] [3.1.1 MQTT-4.8.0-1]
    """
    assert violation(events) is reason
    assert connection.state is State.CLOSED
    assert sent(connection) == ([Disconnect(reason)] if connection.version is V5 else [])


def assert_refused(packet: Packet, reason: ReasonCode, limits: MQTTSettings | None = None) -> None:
    for version in VERSIONS:
        connection = connected(version, limits=limits or MQTTSettings())
        assert_ended(connection, receive(connection, packet), reason)


# What packets mean


@pytest.mark.parametrize("version", VERSIONS)
def test_every_packet_of_a_client_becomes_its_event(version: ProtocolVersion) -> None:
    connection = connected(version)
    publish = Publish("a/b", b"x", qos=1, packet_id=5)
    disconnect = Disconnect()
    events = receive(
        connection, publish, PubAck(1), PubRec(2), PubRel(3), PubComp(4), SUBSCRIBE, UNSUBSCRIBE, disconnect
    )
    assert events == [
        PublishReceived(publish),
        PubAckReceived(1, ReasonCode.SUCCESS),
        PubRecReceived(2, ReasonCode.SUCCESS),
        PubRelReceived(3, ReasonCode.SUCCESS),
        PubCompReceived(4, ReasonCode.SUCCESS),
        SubscribeReceived(SUBSCRIBE),
        UnsubscribeReceived(UNSUBSCRIBE),
        DisconnectReceived(disconnect),
    ]
    assert not connection.has_data_to_send


def test_the_reasons_of_acknowledgements_are_handed_on() -> None:
    unknown = ReasonCode.PACKET_IDENTIFIER_NOT_FOUND
    refusal = ReasonCode.NOT_AUTHORIZED
    events = receive(connected(), PubAck(1, refusal), PubRec(2, refusal), PubRel(3, unknown), PubComp(4, unknown))
    assert events == [
        PubAckReceived(1, refusal),
        PubRecReceived(2, refusal),
        PubRelReceived(3, unknown),
        PubCompReceived(4, unknown),
    ]


@pytest.mark.parametrize("version", VERSIONS)
def test_pingreq_is_answered_by_the_machine(version: ProtocolVersion) -> None:
    """[MQTT-3.12.4-1] [3.1.1 MQTT-3.12.4-1]"""
    connection = connected(version)
    assert receive(connection, PingReq(), PingReq()) == []
    assert sent(connection) == [PingResp(), PingResp()]


@pytest.mark.parametrize("version", VERSIONS)
def test_after_disconnect_all_bytes_are_discarded(version: ProtocolVersion) -> None:
    """[MQTT-3.14.4-1] [MQTT-3.14.4-2] [3.1.1 MQTT-3.14.4-2]"""
    connection = connected(version)
    events = receive(connection, Disconnect(), Publish("a", b""), PingReq())
    assert events == [DisconnectReceived(Disconnect())]
    assert connection.state is State.CLOSED
    assert receive(connection, Publish("a", b"")) == []
    assert connection.receive_data(b"\xff" * 100, 0.0) == []
    assert not connection.has_data_to_send


def test_what_came_before_an_offence_still_counts() -> None:
    connection = connected()
    publish = Publish("a", b"x")
    events = receive(connection, publish, PingResp(), publish)
    assert events[0] == PublishReceived(publish)
    assert len(events) == 2
    assert_ended(connection, events, ReasonCode.PROTOCOL_ERROR)


def test_what_was_queued_before_an_offence_is_still_sent() -> None:
    connection = connected()
    receive(connection, PingReq(), PingResp())
    assert sent(connection) == [PingResp(), Disconnect(ReasonCode.PROTOCOL_ERROR)]


# Offences


@pytest.mark.parametrize(
    "packet",
    [
        ConnAck(session_present=False, reason=ReasonCode.SUCCESS),
        SubAck(1, (ReasonCode.GRANTED_QOS_0,)),
        UnsubAck(1, (ReasonCode.SUCCESS,)),
        PingResp(),
    ],
)
def test_a_packet_that_only_a_server_sends_ends_the_connection(packet: Packet) -> None:
    assert_refused(packet, ReasonCode.PROTOCOL_ERROR)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_malformed_packet_ends_the_connection(version: ProtocolVersion) -> None:
    connection = connected(version)
    assert_ended(connection, connection.receive_data(b"\x36\x00", 0.0), ReasonCode.MALFORMED_PACKET)


@pytest.mark.parametrize("version", VERSIONS)
def test_packet_type_0_ends_the_connection(version: ProtocolVersion) -> None:
    connection = connected(version)
    assert_ended(connection, connection.receive_data(b"\x00\x00", 0.0), ReasonCode.MALFORMED_PACKET)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_packet_above_our_maximum_is_refused_at_its_header(version: ProtocolVersion) -> None:
    """[MQTT-3.2.2-15]"""
    limits = MQTTSettings(packet_bytes_max=1_000)
    connection = connected(version, limits=limits)
    overhead = len(encode(Publish("a", bytes(900)), version)) - 900
    publish = Publish("a", bytes(1_000 - overhead))
    assert receive(connection, publish) == [PublishReceived(publish)]
    head = encode(Publish("a", bytes(1_001 - overhead)), version)[:3]
    assert_ended(connection, connection.receive_data(head, 0.0), ReasonCode.PACKET_TOO_LARGE)


def test_a_qos_above_our_maximum_is_refused() -> None:
    """[MQTT-3.2.2-11]"""
    limits = MQTTSettings(maximum_qos=1)
    assert receive(connected(limits=limits), Publish("a", b"", qos=1, packet_id=1))
    assert_refused(Publish("a", b"", qos=2, packet_id=1), ReasonCode.QOS_NOT_SUPPORTED, limits)


def test_retain_is_refused_where_it_is_not_available() -> None:
    """[MQTT-3.2.2-14]"""
    publish = Publish("a", b"", retain=True)
    assert receive(connected(), publish) == [PublishReceived(publish)]
    assert_refused(publish, ReasonCode.RETAIN_NOT_SUPPORTED, MQTTSettings(retain_available=False))


def test_a_publish_of_a_client_has_no_subscription_identifier() -> None:
    """[MQTT-3.3.4-6]"""
    connection = connected()
    events = receive(connection, Publish("a", b"", properties=Properties(subscription_identifiers=(1,))))
    assert_ended(connection, events, ReasonCode.PROTOCOL_ERROR)


def test_no_local_on_a_shared_subscription_is_refused() -> None:
    """[MQTT-3.8.3-4]"""
    connection = connected()
    events = receive(connection, Subscribe(1, (SubscriptionRequest("$share/g/a", no_local=True),)))
    assert_ended(connection, events, ReasonCode.PROTOCOL_ERROR)


# DISCONNECT of the client


@pytest.mark.parametrize(
    ("at_connect", "at_disconnect", "allowed"),
    [(None, None, True), (None, 0, True), (0, 0, True), (9, 0, True), (9, 99, True), (None, 1, False), (0, 1, False)],
)
def test_disconnect_cannot_give_a_session_that_was_to_end_a_longer_life(
    at_connect: int | None, at_disconnect: int | None, allowed: bool
) -> None:
    """MQTT 5.0, 3.14.2.2.2"""
    connection = connected(V5, Properties(session_expiry_interval=at_connect))
    packet = Disconnect(properties=Properties(session_expiry_interval=at_disconnect))
    events = receive(connection, packet)
    if allowed:
        assert events == [DisconnectReceived(packet)]
        assert not connection.has_data_to_send
    else:
        assert_ended(connection, events, ReasonCode.PROTOCOL_ERROR)


def test_disconnect_with_will_message_is_handed_on() -> None:
    """MQTT 5.0, 3.14.2.1"""
    packet = Disconnect(ReasonCode.DISCONNECT_WITH_WILL_MESSAGE)
    assert receive(connected(), packet) == [DisconnectReceived(packet)]


def test_a_client_cannot_disconnect_with_a_reason_of_servers() -> None:
    """[MQTT-3.14.2-1]"""
    connection = connected()
    events = receive(connection, Disconnect(ReasonCode.SERVER_SHUTTING_DOWN))
    assert_ended(connection, events, ReasonCode.PROTOCOL_ERROR)


# Topic aliases


def aliased(topic: str, alias: int) -> Publish:
    return Publish(topic, b"x", properties=Properties(topic_alias=alias, content_type="text/plain"))


def test_an_alias_is_resolved_and_stays_inside() -> None:
    """MQTT 5.0, 3.3.2.3.4"""
    resolved = PublishReceived(Publish("a/b", b"x", properties=Properties(content_type="text/plain")))
    assert receive(connected(), aliased("a/b", 3), aliased("", 3)) == [resolved, resolved]


def test_an_alias_that_was_all_properties_leaves_none() -> None:
    (event,) = receive(connected(), Publish("a/b", b"x", properties=Properties(topic_alias=1)))
    assert isinstance(event, PublishReceived)
    assert event.packet.properties is NO_PROPERTIES


def test_a_new_name_replaces_what_an_alias_stood_for() -> None:
    events = receive(connected(), aliased("a", 1), aliased("b", 1), aliased("", 1))
    assert [event.packet.topic for event in events if isinstance(event, PublishReceived)] == ["a", "b", "b"]


def test_aliases_of_one_connection_mean_nothing_on_another() -> None:
    """[MQTT-3.3.2-7]"""
    receive(connected(), aliased("a", 1))
    other = connected()
    assert_ended(other, receive(other, aliased("", 1)), ReasonCode.TOPIC_ALIAS_INVALID)


@pytest.mark.parametrize("packet", [aliased("a", 4), aliased("", 4), aliased("", 1), aliased("a", 65_535)])
def test_an_alias_above_the_maximum_or_unknown_ends_the_connection(packet: Publish) -> None:
    """[MQTT-3.3.2-9]"""
    connection = connected(limits=MQTTSettings(topic_alias_maximum=3))
    assert_ended(connection, receive(connection, packet), ReasonCode.TOPIC_ALIAS_INVALID)


def test_alias_0_ends_the_connection() -> None:
    """[MQTT-3.3.2-8]"""
    connection = connected()
    events = connection.receive_data(b"\x30\x07\x00\x01a\x03\x23\x00\x00", 0.0)
    assert_ended(connection, events, ReasonCode.TOPIC_ALIAS_INVALID)


def test_no_name_and_no_alias_ends_the_connection() -> None:
    """MQTT 5.0, 3.3.2.1"""
    connection = connected()
    assert_ended(connection, connection.receive_data(b"\x30\x03\x00\x00\x00", 0.0), ReasonCode.PROTOCOL_ERROR)


# Receive Maximum


def qos(level: int, packet_id: int) -> Publish:
    return Publish("a", b"", qos=level, packet_id=packet_id)


def test_more_open_publishes_than_our_receive_maximum_end_the_connection() -> None:
    """[MQTT-3.3.4-7]"""
    connection = connected(limits=MQTTSettings(receive_maximum=2))
    assert len(receive(connection, qos(1, 1), qos(2, 2))) == 2
    assert_ended(connection, receive(connection, qos(1, 3)), ReasonCode.RECEIVE_MAXIMUM_EXCEEDED)


def test_qos_0_and_a_repeated_id_do_not_count() -> None:
    connection = connected(limits=MQTTSettings(receive_maximum=1))
    again = Publish("a", b"", qos=2, packet_id=1, dup=True)
    assert len(receive(connection, qos(2, 1), again, again, Publish("a", b""), Publish("a", b""))) == 5


def test_each_way_of_completing_a_publish_makes_room() -> None:
    """MQTT 5.0, 4.9: PUBACK, PUBCOMP, and PUBREC with an error"""
    connection = connected(limits=MQTTSettings(receive_maximum=1))
    assert receive(connection, qos(1, 1))
    connection.puback(1)
    assert receive(connection, qos(2, 2))
    connection.pubrec(2, ReasonCode.NOT_AUTHORIZED)
    assert receive(connection, qos(2, 3))
    connection.pubrec(3)
    connection.pubcomp(3)
    assert receive(connection, qos(1, 4)) == [PublishReceived(qos(1, 4))]


def test_pubrec_with_success_makes_no_room_yet() -> None:
    connection = connected(limits=MQTTSettings(receive_maximum=1))
    receive(connection, qos(2, 1))
    connection.pubrec(1)
    connection.data_to_send()
    assert_ended(connection, receive(connection, qos(2, 2)), ReasonCode.RECEIVE_MAXIMUM_EXCEEDED)


@pytest.mark.parametrize("version", [V3_1, V3_1_1])
def test_a_client_of_3_cannot_know_of_a_receive_maximum(version: ProtocolVersion) -> None:
    connection = connected(version, limits=MQTTSettings(receive_maximum=1))
    assert len(receive(connection, *(qos(1, packet_id) for packet_id in range(1, 200)))) == 199
