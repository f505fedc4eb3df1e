"""Clauses of SUBSCRIBE and UNSUBSCRIBE that no other test is about, in both versions."""

import asyncio

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
    UnsubAck,
    Unsubscribe,
)
from mqtt_broker.wire.reasons import ReasonCode
from support.broker import Broker, StartBroker
from support.client import Client

V3_1_1, V5 = ProtocolVersion.V3_1_1, ProtocolVersion.V5
PACKET_IDS = [1, 258, 65_535]


@pytest.mark.parametrize("packet_id", PACKET_IDS)
async def test_suback_answers_each_filter_in_order(
    broker: Broker, version: ProtocolVersion, unique: str, packet_id: int
) -> None:
    """[MQTT-2.2.1-6] [MQTT-3.8.4-1..2] [MQTT-3.8.4-5..7] [MQTT-3.9.3-1]
    [3.1.1 MQTT-2.3.1-7] [3.1.1 MQTT-3.8.4-1..2] [3.1.1 MQTT-3.8.4-4..5] [3.1.1 MQTT-3.9.3-1]

    One packet, one answer: a filter that cannot be granted stands between two that are.
    """
    requests = (
        SubscriptionRequest(f"{unique}/2", 2),
        SubscriptionRequest(f"{unique}/#/wrong", 1),
        SubscriptionRequest(f"{unique}/0", 0),
        SubscriptionRequest(f"{unique}/1", 1),
    )
    refused = ReasonCode.TOPIC_FILTER_INVALID if version is V5 else ReasonCode.UNSPECIFIED_ERROR
    async with await broker.dial(version) as client:
        await client.connect(unique)
        await client.send(Subscribe(packet_id, requests))
        answer = await client.receive()
        assert isinstance(answer, SubAck)
        assert answer.packet_id == packet_id
        granted = (ReasonCode.GRANTED_QOS_2, refused, ReasonCode.SUCCESS, ReasonCode.GRANTED_QOS_1)
        assert answer.reasons == granted
        await client.expect_silence()
        for qos in range(3):
            await client.publish(f"{unique}/{qos}", b"x", qos=2)
            assert (await client.receive_message()).qos == qos


async def test_the_same_filter_replaces_its_subscription(broker: Broker, version: ProtocolVersion, unique: str) -> None:
    """[MQTT-3.8.4-3..4] [3.1.1 MQTT-3.8.4-3] One copy, at the new quality; what is retained comes again."""
    async with await broker.dial(version) as client:
        await client.connect(unique)
        await client.publish(unique, b"kept", qos=2, retain=True)
        for qos in (2, 0, 1):
            assert await client.subscribe(unique, qos=qos) == (ReasonCode(qos),)
            again = await client.receive_message()
            assert (again.payload, again.qos, again.retain) == (b"kept", qos, True)
            await client.publish(unique, b"live", qos=2)
            live = await client.receive_message()
            assert (live.payload, live.qos) == (b"live", qos)
            await client.expect_silence(0.1)


async def test_no_message_is_lost_while_a_subscription_is_replaced(
    broker: Broker, version: ProtocolVersion, unique: str
) -> None:
    """[MQTT-3.8.4-4] [3.1.1 MQTT-3.8.4-3]"""
    sent = [b"%d" % number for number in range(200)]
    async with await broker.dial(version) as client, await broker.dial(version) as publisher:
        await client.connect(f"{unique}-s")
        await client.subscribe(unique, qos=1)
        await publisher.connect(f"{unique}-p")

        async def publish() -> None:
            for payload in sent:
                await publisher.publish(unique, payload, qos=1)

        async with asyncio.TaskGroup() as group:
            group.create_task(publish())
            for number in range(20):
                await client.subscribe(unique, qos=1 + number % 2)
        assert await client.receive_payloads(len(sent)) == sent
        await client.expect_silence(0.1)


@pytest.mark.parametrize("packet_id", PACKET_IDS)
async def test_unsuback_comes_whether_something_was_removed_or_not(
    broker: Broker, version: ProtocolVersion, unique: str, packet_id: int
) -> None:
    """[MQTT-3.10.4-4..6] [MQTT-3.11.3-1..2] [MQTT-2.2.1-6]
    [3.1.1 MQTT-3.10.4-4..6] [3.1.1 MQTT-2.3.1-7]"""
    async with await broker.dial(version) as client:
        await client.connect(unique)
        await client.subscribe(f"{unique}/a", f"{unique}/b")
        gone, never = ReasonCode.SUCCESS, ReasonCode.NO_SUBSCRIPTION_EXISTED
        filters = (f"{unique}/never", f"{unique}/b", f"{unique}/a")
        for reasons in ((never, gone, gone), (never, never, never)):
            await client.send(Unsubscribe(packet_id, filters))
            answer = await client.receive()
            assert isinstance(answer, UnsubAck)
            assert answer.packet_id == packet_id
            assert answer.reasons == (reasons if version is V5 else ())
            await client.expect_silence(0.1)


@pytest.mark.parametrize("other", ["{}/+", "{}/A", "{}/a/", "/{}/a", "{}/#", "{}/a "])
async def test_only_the_very_filter_is_removed(
    broker: Broker, version: ProtocolVersion, unique: str, other: str
) -> None:
    """[MQTT-3.10.4-1] [3.1.1 MQTT-3.10.4-1] Not one that means more, or nearly the same."""
    async with await broker.dial(version) as client:
        await client.connect(unique)
        await client.subscribe(f"{unique}/a")
        await client.unsubscribe(other.format(unique))
        await client.publish(f"{unique}/a", b"still")
        assert (await client.receive_message()).payload == b"still"


async def test_a_removed_subscription_gets_nothing_new(broker: Broker, version: ProtocolVersion, unique: str) -> None:
    """[MQTT-3.10.4-2] [3.1.1 MQTT-3.10.4-2] Whatever the quality, and also for a client that is away."""
    properties = Properties(session_expiry_interval=60) if version is V5 else NO_PROPERTIES
    async with await broker.dial(version) as publisher:
        await publisher.connect(f"{unique}-p")
        async with await broker.dial(version) as client:
            await client.connect(unique, clean_start=False, properties=properties)
            await client.subscribe(unique, qos=2)
            await client.unsubscribe(unique)
            await publisher.publish(unique, b"0", qos=0)
            await publisher.publish(unique, b"1", qos=1)
            await client.expect_silence()
            await client.disconnect()
        await publisher.publish(unique, b"2", qos=2)
        async with await broker.dial(version) as client:
            assert (await client.connect(unique, clean_start=False, properties=properties)).session_present
            await client.expect_silence()


async def finish(client: Client, message: Publish) -> None:
    """The receiver's side of QoS 1 or 2, as far as it is still due."""
    if message.qos == 1:
        await client.send(PubAck(message.packet_id))
    else:
        await client.send(PubRec(message.packet_id))
        assert (await client.expect(PubRel)).packet_id == message.packet_id
        await client.send(PubComp(message.packet_id))
    await client.ping()


@pytest.mark.parametrize("qos", [1, 2])
async def test_what_had_begun_is_finished_after_unsubscribe(
    broker: Broker, version: ProtocolVersion, unique: str, qos: int
) -> None:
    """[MQTT-3.10.4-3] [3.1.1 MQTT-3.10.4-3] Also in the session's next connection."""
    properties = Properties(session_expiry_interval=60) if version is V5 else NO_PROPERTIES
    async with await broker.dial(version) as client:
        await client.connect(unique, clean_start=False, properties=properties)
        await client.subscribe(unique, qos=qos)
        for payload in (b"first", b"second"):
            await client.publish(unique, payload, qos=qos)
        first, second = await client.expect(Publish), await client.expect(Publish)
        await client.unsubscribe(unique)
        await finish(client, first)
        await client.abort()
    async with await broker.dial(version) as client:
        await client.connect(unique, clean_start=False, properties=properties)
        again = await client.expect(Publish)
        assert (again.payload, again.packet_id, again.dup) == (b"second", second.packet_id, True)
        await finish(client, again)
        await client.expect_silence(0.1)


async def test_a_broker_without_wildcards_refuses_them(start_broker: StartBroker, version: ProtocolVersion) -> None:
    """[3.1.1 MQTT-3.8.3-2]"""
    broker = start_broker(mqtt=MQTTSettings(wildcard_subscription_available=False))
    refused = ReasonCode.WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED if version is V5 else ReasonCode.UNSPECIFIED_ERROR
    async with await broker.dial(version) as client:
        await client.connect("c")
        assert await client.subscribe("a/#", "+/a", "a/a") == (refused, refused, ReasonCode.SUCCESS)
        await client.publish("a/a", b"x")
        assert (await client.receive_message()).payload == b"x"
        await client.expect_silence(0.1)


async def test_a_broker_without_qos_2_grants_what_it_has(start_broker: StartBroker) -> None:
    """[MQTT-3.2.2-10] SUBSCRIBE may ask for any quality all the same."""
    broker = start_broker(mqtt=MQTTSettings(maximum_qos=1))
    async with await broker.dial() as client:
        await client.connect("c")
        granted = (ReasonCode.SUCCESS, ReasonCode.GRANTED_QOS_1, ReasonCode.GRANTED_QOS_1)
        assert await client.subscribe(*(SubscriptionRequest(f"{qos}", qos) for qos in range(3))) == granted
