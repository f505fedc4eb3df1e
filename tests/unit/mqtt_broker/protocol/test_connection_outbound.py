"""What goes out: sizes, aliases, reason strings and the end of a connection from our side."""

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from mqtt_api.node_settings import MQTTSettings
from mqtt_broker.protocol.connection import Connection
from mqtt_broker.protocol.states import State
from mqtt_broker.wire.codec import encode
from mqtt_broker.wire.packets import (
    NO_PROPERTIES,
    Disconnect,
    Packet,
    Properties,
    ProtocolVersion,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    SubAck,
    UnsubAck,
)
from mqtt_broker.wire.reasons import ReasonCode
from unit.mqtt_broker.protocol.machines import V3_1, V3_1_1, V5, connected, connecting, sent

VERSIONS = (V3_1, V3_1_1, V5)
NOT_FOUND = ReasonCode.PACKET_IDENTIFIER_NOT_FOUND
DENIED = ReasonCode.NOT_AUTHORIZED
WHY = "no rule matches"
EXPLAINED = Properties(reason_string=WHY)

ANSWERS: list[tuple[Callable[[Connection], bool], Packet]] = [
    (lambda connection: connection.puback(7, DENIED, WHY), PubAck(7, DENIED, EXPLAINED)),
    (lambda connection: connection.pubrec(7, DENIED, WHY), PubRec(7, DENIED, EXPLAINED)),
    (lambda connection: connection.pubrec(7, reason_string=WHY), PubRec(7, properties=EXPLAINED)),
    (lambda connection: connection.pubrel(7, NOT_FOUND, WHY), PubRel(7, NOT_FOUND, EXPLAINED)),
    (lambda connection: connection.pubcomp(7, NOT_FOUND, WHY), PubComp(7, NOT_FOUND, EXPLAINED)),
    (lambda connection: connection.suback(7, (DENIED,), WHY), SubAck(7, (DENIED,), EXPLAINED)),
    (lambda connection: connection.unsuback(7, (DENIED,), WHY), UnsubAck(7, (DENIED,), EXPLAINED)),
]


def bare(packet: Packet) -> Packet:
    return replace(packet, properties=NO_PROPERTIES)


# Order and taking


def test_everything_is_sent_once_and_in_order() -> None:
    connection = connected()
    connection.puback(1)
    assert connection.publish(Publish("a", b"x"))
    assert connection.has_data_to_send
    assert sent(connection) == [PubAck(1), Publish("a", b"x")]
    assert connection.data_to_send() == b""


@pytest.mark.parametrize("version", VERSIONS)
def test_acknowledgements_of_success_are_four_bytes(version: ProtocolVersion) -> None:
    connection = connected(version)
    assert connection.puback(1)
    assert connection.pubrec(2)
    assert connection.pubrel(3)
    assert connection.pubcomp(4)
    assert connection.data_to_send() == b"\x40\x02\x00\x01\x50\x02\x00\x02\x62\x02\x00\x03\x70\x02\x00\x04"


# Reason strings


@pytest.mark.parametrize(("answer", "packet"), ANSWERS)
def test_a_reason_string_goes_to_a_client_of_5(answer: Callable[[Connection], bool], packet: Packet) -> None:
    connection = connected(V5)
    assert answer(connection)
    assert sent(connection) == [packet]


@pytest.mark.parametrize(("answer", "packet"), ANSWERS)
def test_no_reason_string_goes_to_who_asked_for_no_problem_information(
    answer: Callable[[Connection], bool], packet: Packet
) -> None:
    """[MQTT-3.1.2-29]"""
    connection = connected(V5, Properties(request_problem_information=0))
    assert answer(connection)
    assert sent(connection) == [bare(packet)]


@pytest.mark.parametrize(("answer", "packet"), ANSWERS)
def test_a_reason_string_that_does_not_fit_is_left_out(answer: Callable[[Connection], bool], packet: Packet) -> None:
    """[MQTT-3.4.2-2] [MQTT-3.5.2-2] [MQTT-3.6.2-2] [MQTT-3.7.2-2] [MQTT-3.9.2-1] [MQTT-3.11.2-1]"""
    whole_bytes = len(encode(packet, V5))
    for packet_bytes_max, expected in ((whole_bytes, packet), (whole_bytes - 1, bare(packet))):
        connection = connected(V5)
        connection._outbox._packet_bytes_max = packet_bytes_max
        assert answer(connection)
        assert sent(connection) == [expected]


@pytest.mark.parametrize(("answer", "packet"), ANSWERS)
def test_an_answer_above_the_maximum_of_the_client_is_not_sent(
    answer: Callable[[Connection], bool], packet: Packet
) -> None:
    """[MQTT-3.1.2-24] [MQTT-3.1.2-25]"""
    connection = connected(V5)
    connection._outbox._packet_bytes_max = len(encode(bare(packet), V5)) - 1
    assert not answer(connection)
    assert not connection.has_data_to_send


@pytest.mark.parametrize("version", [V3_1, V3_1_1])
def test_a_client_of_3_gets_no_reasons(version: ProtocolVersion) -> None:
    connection = connected(version)
    connection.puback(7, DENIED, WHY)
    connection.suback(8, (ReasonCode.GRANTED_QOS_1, DENIED), WHY)  # [3.1.1 MQTT-3.9.3-2]
    connection.unsuback(9, (DENIED,), WHY)
    assert connection.data_to_send() == b"\x40\x02\x00\x07\x90\x04\x00\x08\x01\x80\xb0\x02\x00\x09"


# PUBLISH and the client's maximum packet size


def test_a_publish_above_the_maximum_of_the_client_is_not_sent() -> None:
    """[MQTT-3.1.2-24] [MQTT-3.1.2-25]"""
    fits = Publish("a", bytes(93))
    assert len(encode(fits, V5)) == 99
    connection = connected(V5, Properties(maximum_packet_size=99))
    assert connection.publish(fits)
    assert not connection.publish(Publish("a", bytes(94)))
    assert sent(connection) == [fits]
    assert connection.state is State.CONNECTED


def test_a_client_of_3_has_no_maximum() -> None:
    connection = connected(V3_1_1)
    assert connection.publish(Publish("a", bytes(2_000_000)))


def test_properties_are_left_out_for_a_client_of_3() -> None:
    connection = connected(V3_1_1)
    connection.publish(Publish("a", b"x", properties=Properties(content_type="text/plain")))
    assert connection.data_to_send() == b"\x30\x04\x00\x01ax"


# Aliases towards the client

TOPIC = "plant/7/pump/1/pressure"


def topics_and_aliases(connection: Connection) -> list[tuple[str, int | None]]:
    return [(p.topic, p.properties.topic_alias) for p in sent(connection) if isinstance(p, Publish)]


def publish_all(connection: Connection, *topics: str) -> list[tuple[str, int | None]]:
    for topic in topics:
        assert connection.publish(Publish(topic, b"x"))
    return topics_and_aliases(connection)


def test_a_topic_gets_an_alias_once_and_goes_by_it_from_then_on() -> None:
    """MQTT 5.0, 3.3.2.3.4"""
    connection = connected(V5, Properties(topic_alias_maximum=5))
    other = TOPIC + "/2"
    assert publish_all(connection, TOPIC, TOPIC, other, other, TOPIC) == [
        (TOPIC, 1),
        ("", 1),
        (other, 2),
        ("", 2),
        ("", 1),
    ]


def test_an_alias_takes_nothing_from_the_packet() -> None:
    connection = connected(V5, Properties(topic_alias_maximum=5))
    properties = Properties(content_type="text/plain", subscription_identifiers=(4,))
    for dup in (False, True):
        connection.publish(Publish(TOPIC, b"x", qos=1, retain=True, dup=dup, packet_id=9, properties=properties))
    first, second = sent(connection)
    with_alias = Properties(content_type="text/plain", subscription_identifiers=(4,), topic_alias=1)
    assert first == Publish(TOPIC, b"x", qos=1, retain=True, packet_id=9, properties=with_alias)
    assert second == Publish("", b"x", qos=1, retain=True, dup=True, packet_id=9, properties=with_alias)


@pytest.mark.parametrize("maximum", [None, 0])
def test_a_client_that_takes_no_aliases_gets_none(maximum: int | None) -> None:
    """[MQTT-3.1.2-27]"""
    connection = connected(V5, Properties(topic_alias_maximum=maximum))
    assert publish_all(connection, TOPIC, TOPIC) == [(TOPIC, None)] * 2


def test_a_client_of_3_gets_no_aliases() -> None:
    assert publish_all(connected(V3_1_1), TOPIC, TOPIC) == [(TOPIC, None)] * 2


@pytest.mark.parametrize(("of_client", "of_ours"), [(2, 32), (65_535, 2)])
def test_no_more_aliases_are_used_than_both_sides_have_room_for(of_client: int, of_ours: int) -> None:
    """[MQTT-3.1.2-26] [MQTT-3.3.2-11]"""
    limits = MQTTSettings(topic_alias_maximum=of_ours)
    connection = connected(V5, Properties(topic_alias_maximum=of_client), limits=limits)
    topics = [f"{TOPIC}/{number}" for number in range(3)]
    assert publish_all(connection, *topics, *topics) == [
        (topics[0], 1),
        (topics[1], 2),
        (topics[2], None),
        ("", 1),
        ("", 2),
        (topics[2], None),
    ]


def test_an_alias_that_makes_its_packet_too_large_is_not_used() -> None:
    """[MQTT-3.1.2-24]: the alias costs three bytes the first time"""
    publish = Publish(TOPIC, bytes(60))
    connection = connected(V5, Properties(topic_alias_maximum=5, maximum_packet_size=len(encode(publish, V5))))
    assert connection.publish(publish)
    assert connection.publish(Publish(TOPIC, b"x"))
    assert topics_and_aliases(connection) == [(TOPIC, None), (TOPIC, 1)]


def test_a_packet_that_is_not_sent_sets_no_alias() -> None:
    connection = connected(V5, Properties(topic_alias_maximum=5, maximum_packet_size=60))
    assert not connection.publish(Publish(TOPIC, bytes(60)))
    assert publish_all(connection, TOPIC) == [(TOPIC, 1)]


def test_an_alias_can_make_a_packet_fit() -> None:
    connection = connected(V5, Properties(topic_alias_maximum=5, maximum_packet_size=60))
    large = Publish(TOPIC, bytes(48))
    assert not connection.publish(large)
    assert connection.publish(Publish(TOPIC, b"x"))
    assert connection.publish(large)


# DISCONNECT of the server


def test_disconnect_tells_a_client_of_5_why() -> None:
    """[MQTT-3.14.4-1]"""
    connection = connected(V5)
    connection.puback(1)
    connection.disconnect(ReasonCode.USE_ANOTHER_SERVER, WHY, server_reference="other:8883")
    assert connection.state is State.CLOSED
    assert not connection.publish(Publish("a", b""))
    assert sent(connection) == [
        PubAck(1),
        Disconnect(ReasonCode.USE_ANOTHER_SERVER, Properties(reason_string=WHY, server_reference="other:8883")),
    ]


def test_disconnect_explains_itself_also_to_who_asked_for_no_problem_information() -> None:
    """[MQTT-3.1.2-29]"""
    connection = connected(V5, Properties(request_problem_information=0))
    connection.disconnect(ReasonCode.SESSION_TAKEN_OVER, WHY)
    assert sent(connection) == [Disconnect(ReasonCode.SESSION_TAKEN_OVER, EXPLAINED)]


def test_a_reason_string_of_disconnect_that_does_not_fit_is_left_out() -> None:
    """[MQTT-3.14.2-3]"""
    connection = connected(V5, Properties(maximum_packet_size=20))
    connection.disconnect(ReasonCode.SESSION_TAKEN_OVER, WHY * 2)
    assert sent(connection) == [Disconnect(ReasonCode.SESSION_TAKEN_OVER)]


@pytest.mark.parametrize("version", [V3_1, V3_1_1])
def test_a_client_of_3_is_closed_without_a_packet(version: ProtocolVersion) -> None:
    connection = connected(version)
    connection.disconnect(ReasonCode.SESSION_TAKEN_OVER, WHY)
    assert connection.state is State.CLOSED
    assert not connection.has_data_to_send


def test_no_disconnect_is_sent_before_connack() -> None:
    """[MQTT-3.14.0-1]"""
    for connection in (connecting(V5), Connection(MQTTSettings(), 0.0)):
        connection.disconnect(ReasonCode.SERVER_SHUTTING_DOWN)
        assert connection.state is State.CLOSED
        assert not connection.has_data_to_send
