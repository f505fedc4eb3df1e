"""What `encode` leaves out because a version has no word for it, and what it will not write at all."""

import pytest

from mqtt_broker.wire.codec import decode, encode
from mqtt_broker.wire.packets import (
    Auth,
    ConnAck,
    Connect,
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
    Subscribe,
    SubscriptionRequest,
    UnsubAck,
    Unsubscribe,
    Will,
)
from mqtt_broker.wire.reasons import ReasonCode

V3_1 = ProtocolVersion.V3_1
V3_1_1 = ProtocolVersion.V3_1_1
V5 = ProtocolVersion.V5
NOTE = Properties(user_properties=(("k", "v"),))


@pytest.mark.parametrize("version", [V3_1, V3_1_1])
@pytest.mark.parametrize(
    ("packet", "expected"),
    [
        pytest.param(PubAck(1, ReasonCode.NOT_AUTHORIZED, NOTE), "40 02 0001", id="PUBACK"),
        pytest.param(PubRec(1, ReasonCode.QUOTA_EXCEEDED, NOTE), "50 02 0001", id="PUBREC"),
        pytest.param(PubRel(1, ReasonCode.PACKET_IDENTIFIER_NOT_FOUND, NOTE), "62 02 0001", id="PUBREL"),
        pytest.param(PubComp(1, ReasonCode.PACKET_IDENTIFIER_NOT_FOUND, NOTE), "70 02 0001", id="PUBCOMP"),
        pytest.param(UnsubAck(1, (ReasonCode.NO_SUBSCRIPTION_EXISTED,), NOTE), "b0 02 0001", id="UNSUBACK"),
        pytest.param(Disconnect(ReasonCode.SERVER_SHUTTING_DOWN, NOTE), "e0 00", id="DISCONNECT"),
        pytest.param(Publish("t", b"p", properties=NOTE), "30 04 0001 74 70", id="PUBLISH"),
        pytest.param(Unsubscribe(1, ("t",), NOTE), "a2 05 0001 0001 74", id="UNSUBSCRIBE"),
        pytest.param(
            Subscribe(1, (SubscriptionRequest("t", 1, no_local=True, retain_handling=2),), NOTE),
            "82 06 0001 0001 74 01",
            id="SUBSCRIBE",
        ),
        pytest.param(
            ConnAck(session_present=False, reason=ReasonCode.BANNED, properties=NOTE), "20 02 00 05", id="CONNACK"
        ),
    ],
)
def test_mqtt_3_gets_what_it_has_words_for(packet: Packet, expected: str, version: ProtocolVersion) -> None:
    """MQTT 3.1.1 knows neither properties nor the reasons of acknowledgements."""
    assert encode(packet, version) == bytes.fromhex(expected)


@pytest.mark.parametrize("version", [V3_1, V3_1_1])
@pytest.mark.parametrize("reason", [ReasonCode.NOT_AUTHORIZED, ReasonCode.QUOTA_EXCEEDED, ReasonCode.UNSPECIFIED_ERROR])
def test_every_failure_of_a_subscription_is_0x80_in_mqtt_3(reason: ReasonCode, version: ProtocolVersion) -> None:
    """[3.1.1 MQTT-3.9.3-2]"""
    assert encode(SubAck(1, (reason, ReasonCode.GRANTED_QOS_2)), version) == bytes.fromhex("90 04 0001 80 02")


def test_session_present_is_not_told_to_mqtt_3_1() -> None:
    """MQTT 3.1, 3.2: the first byte is reserved."""
    assert encode(ConnAck(session_present=True, reason=ReasonCode.SUCCESS), V3_1) == bytes.fromhex("20 02 00 00")


@pytest.mark.parametrize("version", [V3_1, V3_1_1])
def test_auth_cannot_be_said_in_mqtt_3(version: ProtocolVersion) -> None:
    with pytest.raises(ValueError, match="AUTH"):
        encode(Auth(ReasonCode.SUCCESS), version)


@pytest.mark.parametrize("version", [V3_1, V3_1_1])
def test_refusal_without_a_return_code_cannot_be_said_in_mqtt_3(version: ProtocolVersion) -> None:
    """[3.1.1 MQTT-3.2.2-6]"""
    with pytest.raises(ValueError, match="PROTOCOL_ERROR"):
        encode(ConnAck(session_present=False, reason=ReasonCode.PROTOCOL_ERROR), version)


A_REQUEST = SubscriptionRequest("t")
A_WILL = Will("t", b"", qos=3, retain=False)


@pytest.mark.parametrize(
    ("packet", "version"),
    [
        pytest.param(Publish("t", b"", 3, packet_id=1), V5, id="MQTT-3.3.1-4 [3.1.1 MQTT-3.3.1-4] QoS 3"),
        pytest.param(Publish("t", b"", 0, dup=True), V5, id="MQTT-3.3.1-2 DUP at QoS 0"),
        pytest.param(Publish("t", b"", 0, packet_id=1), V5, id="MQTT-2.2.1-2 packet identifier at QoS 0"),
        pytest.param(Publish("t", b"", 0, dup=True), V3_1_1, id="3.1.1 MQTT-3.3.1-2 DUP at QoS 0"),
        pytest.param(Publish("t", b"", 0, packet_id=1), V3_1_1, id="3.1.1 MQTT-2.3.1-5 packet identifier at QoS 0"),
        pytest.param(Publish("t", b"", 1), V5, id="MQTT-2.2.1-4 no packet identifier at QoS 1"),
        pytest.param(Publish("t", b"", 1, packet_id=65_536), V5, id="packet identifier of three bytes"),
        pytest.param(Publish("", b"", properties=NOTE), V5, id="MQTT-4.7.3-1 neither topic nor alias"),
        pytest.param(Publish("", b"", properties=Properties(topic_alias=1)), V3_1_1, id="alias alone in MQTT 3"),
        pytest.param(Publish("t" * 65_536, b""), V3_1_1, id="MQTT-4.7.3-3 topic too long"),
        pytest.param(Publish("t", b"", properties=Properties(receive_maximum=1)), V5, id="foreign property"),
        pytest.param(PubAck(0), V5, id="MQTT-2.2.1-5 PUBACK of 0"),
        pytest.param(PubAck(1, ReasonCode.SERVER_BUSY), V5, id="MQTT-3.4.2-1"),
        pytest.param(PubRec(1, ReasonCode.SERVER_BUSY), V5, id="MQTT-3.5.2-1"),
        pytest.param(PubRel(1, ReasonCode.NOT_AUTHORIZED), V5, id="MQTT-3.6.2-1"),
        pytest.param(PubComp(1, ReasonCode.NOT_AUTHORIZED), V3_1_1, id="MQTT-3.7.2-1"),
        pytest.param(Subscribe(1, ()), V5, id="MQTT-3.8.3-2"),
        pytest.param(Subscribe(1, (SubscriptionRequest(""),)), V5, id="MQTT-4.7.3-1 empty filter"),
        pytest.param(Subscribe(1, (SubscriptionRequest("t", 3),)), V5, id="requested QoS 3"),
        pytest.param(Subscribe(1, (SubscriptionRequest("t", retain_handling=3),)), V5, id="retain handling 3"),
        pytest.param(Subscribe(0, (A_REQUEST,)), V5, id="MQTT-2.2.1-3 SUBSCRIBE of 0"),
        pytest.param(SubAck(1, ()), V5, id="MQTT-3.8.4-6"),
        pytest.param(SubAck(1, ()), V3_1_1, id="3.1.1 MQTT-3.8.4-5"),
        pytest.param(SubAck(1, (ReasonCode.NO_SUBSCRIPTION_EXISTED,)), V3_1_1, id="MQTT-3.9.3-2"),
        pytest.param(Unsubscribe(1, ()), V5, id="MQTT-3.10.3-2"),
        pytest.param(Unsubscribe(1, ("a", "")), V5, id="MQTT-4.7.3-1 empty filter to leave"),
        pytest.param(UnsubAck(1, ()), V5, id="UNSUBACK of nothing"),
        pytest.param(UnsubAck(1, (ReasonCode.QUOTA_EXCEEDED,)), V5, id="MQTT-3.11.3-2"),
        pytest.param(ConnAck(session_present=True, reason=ReasonCode.BANNED), V5, id="MQTT-3.2.2-6"),
        pytest.param(ConnAck(session_present=True, reason=ReasonCode.NOT_AUTHORIZED), V3_1_1, id="3.1.1 MQTT-3.2.2-4"),
        pytest.param(ConnAck(session_present=False, reason=ReasonCode.SESSION_TAKEN_OVER), V5, id="MQTT-3.2.2-8"),
        pytest.param(Disconnect(ReasonCode.BANNED), V5, id="MQTT-3.14.2-1"),
        pytest.param(Auth(ReasonCode.NOT_AUTHORIZED), V5, id="MQTT-3.15.2-1"),
        pytest.param(Auth(ReasonCode.CONTINUE_AUTHENTICATION), V5, id="AUTH without a method"),
        pytest.param(Connect(V5, "a", clean_start=True, keep_alive=0), V3_1_1, id="CONNECT of another version"),
        pytest.param(Connect(V5, "a", clean_start=True, keep_alive=65_536), V5, id="keep alive too long"),
        pytest.param(Connect(V5, "a", clean_start=True, keep_alive=0, will=A_WILL), V5, id="MQTT-3.1.2-12"),
        pytest.param(
            Connect(V3_1_1, "a", clean_start=True, keep_alive=0, password=b"p"),
            V3_1_1,
            id="3.1.1 MQTT-3.1.2-22",
        ),
    ],
)
def test_packet_against_the_law_is_our_bug(packet: Packet, version: ProtocolVersion) -> None:
    with pytest.raises(ValueError, match=r".+"):
        encode(packet, version)


def test_packets_one_behind_the_other_are_read_one_by_one() -> None:
    """A stream has no gaps: the index after one packet is where the next begins."""
    sent: list[Packet] = [Publish("a", b"1"), PubAck(7), Publish("b", b"2", 1, packet_id=9), Disconnect()]
    stream = b"".join(encode(packet, V5) for packet in sent)
    received: list[Packet] = []
    index = 0
    while index < len(stream):
        decoded = decode(stream, index, V5, 100)
        assert decoded is not None
        packet, index = decoded
        received.append(packet)

    assert received == sent
    assert decode(stream, index, V5, 100) is None
