"""PUBLISH at every quality of service, in both directions."""

import pytest

from mqtt_api.node_settings import MQTTSettings
from mqtt_broker.wire.packets import (
    NO_PROPERTIES,
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
)
from mqtt_broker.wire.reasons import ReasonCode
from support.broker import Broker, StartBroker

V3_1_1, V5 = ProtocolVersion.V3_1_1, ProtocolVersion.V5


@pytest.mark.parametrize("sent", [0, 1, 2])
@pytest.mark.parametrize("granted", [0, 1, 2])
async def test_a_message_arrives_at_the_lower_of_both_qualities(
    broker: Broker, version: ProtocolVersion, unique: str, sent: int, granted: int
) -> None:
    """[MQTT-3.8.4-8] [MQTT-3.3.4-1] [MQTT-4.3.1-1] [MQTT-4.3.2-2] [MQTT-4.3.3-2] [3.1.1 MQTT-3.8.4-6]
    [3.1.1 MQTT-3.3.4-1] [3.1.1 MQTT-4.3.1-1] [3.1.1 MQTT-3.3.1-2]
    """
    async with await broker.dial(version) as subscriber, await broker.dial(version) as publisher:
        await subscriber.connect(f"{unique}-s")
        await publisher.connect(f"{unique}-p")
        assert await subscriber.subscribe(unique, qos=granted) == (ReasonCode(granted),)
        assert await publisher.publish(unique, b"payload", qos=sent) in (None, ReasonCode.SUCCESS)
        message = await subscriber.receive_message()
        assert (message.topic, message.payload, message.qos) == (unique, b"payload", min(sent, granted))
        assert not message.retain  # [MQTT-3.3.1-12]
        assert not message.dup  # [MQTT-3.3.1-3]
        await subscriber.expect_silence()


async def test_versions_meet(broker: Broker, unique: str) -> None:
    """A message of a 3.1.1 client reaches one of MQTT 5, and the reverse, without properties it cannot know."""
    async with await broker.dial(V3_1_1) as old, await broker.dial(V5) as new:
        await old.connect(f"{unique}-old")
        await new.connect(f"{unique}-new")
        await old.subscribe(f"{unique}/to-old", qos=1)
        await new.subscribe(f"{unique}/to-new", qos=1)
        await old.publish(f"{unique}/to-new", b"a", qos=1)
        await new.publish(f"{unique}/to-old", b"b", qos=1, properties=Properties(content_type="text/plain"))
        assert (await new.receive_message()).payload == b"a"
        received = await old.receive_message()
        assert received.payload == b"b"
        assert received.properties == NO_PROPERTIES


async def test_a_publish_nobody_subscribed_to_is_acknowledged_as_such(broker: Broker, unique: str) -> None:
    """MQTT 5.0, 3.4.2.1: 0x10."""
    async with await broker.dial() as client:
        await client.connect(unique)
        assert await client.publish(unique, b"x", qos=1) is ReasonCode.NO_MATCHING_SUBSCRIBERS
        assert await client.publish(unique, b"x", qos=2) is ReasonCode.NO_MATCHING_SUBSCRIBERS


async def test_properties_are_forwarded_unaltered_and_in_order(broker: Broker, unique: str) -> None:
    """[MQTT-3.3.2-4] [MQTT-3.3.2-15] [MQTT-3.3.2-16] [MQTT-3.3.2-17] [MQTT-3.3.2-18] [MQTT-3.3.2-20]"""
    sent = Properties(
        payload_format_indicator=1,
        content_type="text/plain",
        response_topic="answers/here",
        correlation_data=b"\x00\x01",
        user_properties=(("b", "2"), ("a", "1"), ("b", "2")),
    )
    async with await broker.dial() as client:
        await client.connect(unique)
        await client.subscribe(unique)
        await client.publish(unique, b"x", properties=sent)
        assert (await client.receive_message()).properties == sent


async def test_messages_of_one_publisher_arrive_in_order(broker: Broker, version: ProtocolVersion, unique: str) -> None:
    """[MQTT-4.6.0-5] [MQTT-4.6.0-6] [3.1.1 MQTT-4.6.0-5] [3.1.1 MQTT-4.6.0-6]"""
    async with await broker.dial(version) as subscriber, await broker.dial(version) as publisher:
        await subscriber.connect(f"{unique}-s")
        await publisher.connect(f"{unique}-p")
        for qos in (0, 1, 2):
            await subscriber.subscribe(f"{unique}/{qos}", qos=qos)
            sent = [b"%d" % number for number in range(50)]
            for payload in sent:
                await publisher.publish(f"{unique}/{qos}", payload, qos=qos)
            assert await subscriber.receive_payloads(50) == sent


async def test_a_repeated_qos_2_publish_is_delivered_once(
    broker: Broker, version: ProtocolVersion, unique: str
) -> None:
    """[MQTT-4.3.3-10] [3.1.1 MQTT-4.3.3-2]

    Until PUBREL the packet id stands for one message, however often it comes.
    """
    async with await broker.dial(version) as subscriber, await broker.dial(version) as publisher:
        await subscriber.connect(f"{unique}-s")
        await publisher.connect(f"{unique}-p")
        await subscriber.subscribe(unique, qos=2)
        for dup in (False, True, True):
            await publisher.send(Publish(unique, b"once", 2, dup=dup, packet_id=9))
            assert (await publisher.expect(PubRec)).packet_id == 9
        await publisher.send(PubRel(9))
        await publisher.expect(PubComp)
        assert (await subscriber.receive_message()).payload == b"once"
        await subscriber.expect_silence()


async def test_a_repeated_pubrel_is_answered_again(broker: Broker, version: ProtocolVersion, unique: str) -> None:
    """[MQTT-4.3.3-11] [3.1.1 MQTT-4.3.3-2] MQTT 5 says that the id is not known any more."""
    async with await broker.dial(version) as client:
        await client.connect(unique)
        await client.publish(unique, b"x", qos=2)
        await client.send(PubRel(1))
        answer = await client.expect(PubComp)
        assert answer.packet_id == 1
        if version is V5:
            assert answer.reason is ReasonCode.PACKET_IDENTIFIER_NOT_FOUND


async def test_an_acknowledgement_of_nothing_touches_no_other_message(broker: Broker, unique: str) -> None:
    """PUBREC for an id that is not in flight: PUBREL 0x92."""
    async with await broker.dial() as client:
        await client.connect(unique)
        await client.send(PubRec(4711))
        answer = await client.expect(PubRel)
        assert (answer.packet_id, answer.reason) == (4711, ReasonCode.PACKET_IDENTIFIER_NOT_FOUND)
        await client.ping()


async def test_a_receiver_that_refuses_a_qos_2_message_ends_it(broker: Broker, unique: str) -> None:
    """[MQTT-4.4.0-2] PUBREC with an error: no PUBREL follows, and the packet id is free."""
    async with await broker.dial() as client:
        await client.connect(unique)
        await client.subscribe(unique, qos=2)
        await client.publish(unique, b"first", qos=2)
        message = await client.expect(Publish)
        await client.send(PubRec(message.packet_id, ReasonCode.QUOTA_EXCEEDED))
        await client.ping()
        await client.expect_silence()


async def test_overlapping_subscriptions_give_one_copy_at_the_highest_quality(
    broker: Broker, version: ProtocolVersion, unique: str
) -> None:
    """[MQTT-3.3.4-2] [3.1.1 MQTT-3.3.5-1]"""
    async with await broker.dial(version) as client:
        await client.connect(unique)
        await client.subscribe(SubscriptionRequest(f"{unique}/#", 0), SubscriptionRequest(f"{unique}/+", 2))
        await client.publish(f"{unique}/a", b"x", qos=2)
        assert (await client.receive_message()).qos == 2
        await client.expect_silence()


async def test_one_copy_carries_every_subscription_identifier(broker: Broker, unique: str) -> None:
    """[MQTT-3.3.4-3] [MQTT-3.3.4-4]"""
    async with await broker.dial() as client:
        await client.connect(unique)
        await client.subscribe(f"{unique}/#", properties=Properties(subscription_identifiers=(7,)))
        await client.subscribe(f"{unique}/+", properties=Properties(subscription_identifiers=(268_435_455,)))
        await client.publish(f"{unique}/a", b"x")
        assert set((await client.receive_message()).properties.subscription_identifiers) == {7, 268_435_455}


async def test_no_local_keeps_a_message_from_its_own_publisher(broker: Broker, unique: str) -> None:
    """[MQTT-3.8.3-3]"""
    async with await broker.dial() as own, await broker.dial() as other:
        await own.connect(f"{unique}-own")
        await other.connect(f"{unique}-other")
        await own.subscribe(SubscriptionRequest(unique, no_local=True))
        await own.publish(unique, b"mine")
        await own.expect_silence()
        await other.publish(unique, b"theirs")
        assert (await own.receive_message()).payload == b"theirs"


@pytest.mark.parametrize(
    "payload", [b"", b"\x00", bytes(range(256)), b"x" * 300_000], ids=["empty", "zero", "all", "big"]
)
async def test_payloads_are_bytes_and_arrive_as_they_are(broker: Broker, unique: str, payload: bytes) -> None:
    """[MQTT-4.2.0-1] [3.1.1 MQTT-7.1.1-1]"""
    async with await broker.dial() as client:
        await client.connect(unique)
        await client.subscribe(unique, qos=1)
        await client.publish(unique, payload, qos=1)
        assert (await client.receive_message()).payload == payload


@pytest.mark.parametrize("topic", ["/", "//", "a//b", "ä/温度/🌡", "with space", "a" * 1_000])
async def test_topics_of_every_shape_match_themselves(broker: Broker, unique: str, topic: str) -> None:
    """[MQTT-4.7.3-1] Levels may be empty; nothing is normalised."""
    async with await broker.dial() as client:
        await client.connect(unique)
        await client.subscribe(f"{unique}/{topic}")
        await client.publish(f"{unique}/{topic}", b"x")
        assert (await client.receive_message()).topic == f"{unique}/{topic}"


async def test_composed_and_decomposed_letters_are_two_topics(broker: Broker, unique: str) -> None:
    """[MQTT-4.7.3-4]"""
    async with await broker.dial() as client:
        await client.connect(unique)
        await client.subscribe(f"{unique}/\u00e9")
        await client.publish(f"{unique}/e\u0301", b"other")
        await client.expect_silence()


@pytest.mark.parametrize(
    ("topic_filter", "matching", "others"),
    [
        ("+", ["a"], ["a/b", "/a"]),
        ("a/+/c", ["a/b/c", "a//c"], ["a/c", "a/b/c/d"]),
        ("a/#", ["a", "a/", "a/b/c"], ["b", "ab"]),
        ("/+", ["/a"], ["a"]),
        ("+/+", ["/a", "a/b"], ["a"]),
    ],
)
async def test_wildcards_match_as_the_standard_says(
    broker: Broker, unique: str, topic_filter: str, matching: list[str], others: list[str]
) -> None:
    """[MQTT-3.3.2-3]"""
    async with await broker.dial() as client:
        await client.connect(unique)
        await client.subscribe(f"{unique}/{topic_filter}")
        for topic in [*others, *matching]:
            await client.publish(f"{unique}/{topic}", topic.encode())
        assert await client.receive_payloads(len(matching)) == [topic.encode() for topic in matching]
        await client.expect_silence()


async def test_a_root_wildcard_does_not_match_dollar_topics(broker: Broker, unique: str) -> None:
    """[MQTT-4.7.2-1]"""
    async with await broker.dial() as client:
        await client.connect(unique)
        await client.subscribe("#", "+/x")
        reason = await client.publish("$private/x", b"x", qos=1)
        assert reason in (ReasonCode.NO_MATCHING_SUBSCRIBERS, ReasonCode.NOT_AUTHORIZED, ReasonCode.TOPIC_NAME_INVALID)
        await client.expect_silence()
        await client.unsubscribe("#", "+/x")


async def test_unsubscribe_ends_delivery_and_says_what_was_there(broker: Broker, unique: str) -> None:
    """[MQTT-3.10.4-1..2] [MQTT-3.10.4-4..6] [MQTT-3.11.3-1..2]"""
    async with await broker.dial() as client:
        await client.connect(unique)
        await client.subscribe(unique)
        reasons = await client.unsubscribe(unique, f"{unique}/never")
        assert reasons == (ReasonCode.SUCCESS, ReasonCode.NO_SUBSCRIPTION_EXISTED)
        await client.publish(unique, b"x")
        await client.expect_silence()


async def test_many_filters_in_one_subscribe_get_one_reason_each(broker: Broker, unique: str) -> None:
    """[MQTT-3.8.4-6] [MQTT-3.8.4-1] [MQTT-3.8.4-2] [MQTT-3.8.4-5] [MQTT-3.8.4-7] [MQTT-3.9.3-1]"""
    async with await broker.dial() as client:
        await client.connect(unique)
        requests = [SubscriptionRequest(f"{unique}/{n}", n % 3) for n in range(30)]
        assert await client.subscribe(*requests) == tuple(ReasonCode(n % 3) for n in range(30))


async def test_a_wrong_acknowledgement_is_a_protocol_error(broker: Broker, unique: str) -> None:
    """PUBACK where PUBREC is due: MQTT 5.0, 4.13."""
    async with await broker.dial() as client:
        await client.connect(unique)
        await client.subscribe(unique, qos=2)
        await client.publish(unique, b"x", qos=2)
        message = await client.expect(Publish)
        await client.send(PubAck(message.packet_id))
        goodbye = await client.expect_closed()
        assert goodbye is not None
        assert goodbye.reason is ReasonCode.PROTOCOL_ERROR


async def test_a_client_hears_what_it_publishes_right_behind_its_subscribe(broker: Broker, unique: str) -> None:
    """Without waiting for SUBACK: packets are handled in the order in which they came."""
    async with await broker.dial() as client:
        await client.connect(unique)
        await client.send(
            Subscribe(1, (SubscriptionRequest(unique, 1),)),
            Publish(unique, b"0"),
            Publish(unique, b"1", qos=1, packet_id=2),
        )
        await client.expect(SubAck)
        assert {(await client.receive_message()).payload for _ in range(2)} == {b"0", b"1"}


async def test_a_message_larger_than_the_write_buffer_reaches_a_client_that_reads(
    start_broker: StartBroker, unique: str
) -> None:
    broker = start_broker(mqtt=MQTTSettings(packet_bytes_max=32 * 1024 * 1024))
    payload = b"x" * (24 * 1024 * 1024)
    async with await broker.dial() as client:
        await client.connect(unique)
        await client.subscribe(unique, qos=1)
        await client.publish(unique, payload, qos=1)
        assert (await client.receive_message(deadline_s=20)).payload == payload
