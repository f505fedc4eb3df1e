"""Each limit of the settings, changed, and seen to hold."""

import asyncio

import pytest

from mqtt_api.node_settings import MQTTSettings, QueueSettings
from mqtt_broker.wire.packets import NO_PROPERTIES, Disconnect, Properties, ProtocolVersion, Publish, Will
from mqtt_broker.wire.reasons import ReasonCode
from support.broker import Broker, StartBroker
from support.client import Client

V3_1_1 = ProtocolVersion.V3_1_1
KEPT = Properties(session_expiry_interval=60)


async def connected(broker: Broker, client_id: str = "c", properties: Properties = NO_PROPERTIES) -> Client:
    client = await broker.dial()
    assert (await client.connect(client_id, properties=properties)).reason is ReasonCode.SUCCESS
    return client


async def goodbye(client: Client) -> ReasonCode | None:
    said: Disconnect | None = await client.expect_closed()
    return None if said is None else said.reason


async def test_a_quality_above_the_maximum_is_refused_and_granted_lower(start_broker: StartBroker) -> None:
    """[MQTT-3.2.2-9] [MQTT-3.2.2-10] [MQTT-3.2.2-11]"""
    broker = start_broker(mqtt=MQTTSettings(maximum_qos=1))
    async with await connected(broker) as client:
        assert await client.subscribe("t", qos=2) == (ReasonCode.GRANTED_QOS_1,)
        await client.send(Publish("t", b"x", 2, packet_id=1))
        assert await goodbye(client) is ReasonCode.QOS_NOT_SUPPORTED


async def test_a_will_above_the_maximum_quality_is_refused(start_broker: StartBroker) -> None:
    """[MQTT-3.2.2-12]"""
    broker = start_broker(mqtt=MQTTSettings(maximum_qos=0))
    async with await broker.dial() as client:
        answer = await client.connect("c", will=Will("t", b"x", 1, retain=False))
        assert answer.reason is ReasonCode.QOS_NOT_SUPPORTED


async def test_a_retained_will_is_refused_where_nothing_is_retained(start_broker: StartBroker) -> None:
    """[MQTT-3.2.2-13]"""
    broker = start_broker(mqtt=MQTTSettings(retain_available=False))
    async with await broker.dial() as client:
        answer = await client.connect("c", will=Will("t", b"x", 0, retain=True))
        assert answer.reason is ReasonCode.RETAIN_NOT_SUPPORTED


@pytest.mark.parametrize(
    ("settings", "topic_filter", "reason"),
    [
        (
            MQTTSettings(wildcard_subscription_available=False),
            "a/#",
            ReasonCode.WILDCARD_SUBSCRIPTIONS_NOT_SUPPORTED,
        ),
        (
            MQTTSettings(shared_subscription_available=False),
            "$share/g/a",
            ReasonCode.SHARED_SUBSCRIPTIONS_NOT_SUPPORTED,
        ),
        (MQTTSettings(topic_levels_max=2), "a/b/c", ReasonCode.TOPIC_FILTER_INVALID),
        (MQTTSettings(subscriptions_per_client_max=1), "second", ReasonCode.QUOTA_EXCEEDED),
    ],
    ids=["wildcards", "shared", "levels", "subscriptions"],
)
async def test_a_filter_beyond_a_limit_is_refused(
    start_broker: StartBroker, settings: MQTTSettings, topic_filter: str, reason: ReasonCode
) -> None:
    broker = start_broker(mqtt=settings)
    async with await connected(broker) as client:
        assert await client.subscribe("plain") == (ReasonCode.SUCCESS,)
        try:
            assert await client.subscribe(topic_filter) == (reason,)
        except AssertionError as error:
            assert getattr(getattr(error, "last", None), "reason", None) is reason, error  # noqa: PT017 - or DISCONNECT


async def test_a_packet_above_the_maximum_is_refused(start_broker: StartBroker) -> None:
    """[MQTT-3.2.2-15]"""
    broker = start_broker(mqtt=MQTTSettings(packet_bytes_max=5_000))
    async with await connected(broker) as client:
        assert await client.publish("t", b"x" * 4_000, qos=1) is ReasonCode.NO_MATCHING_SUBSCRIBERS
        await client.send(Publish("t", b"x" * 6_000, 1, packet_id=9))
        assert await goodbye(client) is ReasonCode.PACKET_TOO_LARGE


async def test_the_receive_maximum_is_the_one_that_holds(start_broker: StartBroker) -> None:
    broker = start_broker(mqtt=MQTTSettings(receive_maximum=2))
    async with await connected(broker) as client:
        for packet_id in (1, 2, 3):
            await client.send(Publish("t", b"x", 2, packet_id=packet_id))
        assert await goodbye(client) is ReasonCode.RECEIVE_MAXIMUM_EXCEEDED


async def test_the_alias_maximum_is_the_one_that_holds(start_broker: StartBroker) -> None:
    broker = start_broker(mqtt=MQTTSettings(topic_alias_maximum=0))
    async with await connected(broker) as client:
        await client.publish("t", b"x", properties=Properties(topic_alias=1))
        assert await goodbye(client) is ReasonCode.TOPIC_ALIAS_INVALID


async def test_a_session_ends_at_the_maximum_expiry(start_broker: StartBroker) -> None:
    broker = start_broker(mqtt=MQTTSettings(session_expiry_s_max=1))
    async with await connected(broker, properties=Properties(session_expiry_interval=1_000)) as client:
        await client.disconnect()
    await asyncio.sleep(1.6)
    async with await broker.dial() as client:
        assert not (await client.connect("c", clean_start=False)).session_present


async def test_a_message_ends_at_the_maximum_expiry(start_broker: StartBroker) -> None:
    broker = start_broker(mqtt=MQTTSettings(message_expiry_s_max=1))
    async with await connected(broker) as client:
        await client.publish("t", b"x", qos=1, retain=True, properties=Properties(message_expiry_interval=1_000))
        await asyncio.sleep(1.6)
        await client.subscribe("t")
        await client.expect_silence()


async def test_a_3_1_1_client_that_is_silent_is_held_to_the_keep_alive_cap(start_broker: StartBroker) -> None:
    """It cannot be told, but it must not hold a place for ever."""
    broker = start_broker(mqtt=MQTTSettings(keep_alive_s_max=1))
    async with await broker.dial(V3_1_1) as client:
        await client.connect("c", keep_alive=0)
        await client.expect_closed()


async def test_a_queue_is_bounded_in_bytes_too(start_broker: StartBroker) -> None:
    broker = start_broker(mqtt=MQTTSettings(queue=QueueSettings(bytes_max=10_000)))
    async with await connected(broker, "keeper", KEPT) as keeper:
        await keeper.subscribe("t", qos=1)
        await keeper.disconnect()
    async with await connected(broker, "publisher") as publisher:
        for number in range(5):
            await publisher.publish("t", b"%d" % number * 4_000, qos=1)
    async with await broker.dial() as keeper:
        await keeper.connect("keeper", clean_start=False, properties=KEPT)
        received = await keeper.receive_payloads(2)
        assert [payload[:1] for payload in received] == [b"3", b"4"]
        await keeper.expect_silence()
