"""Retained messages: kept, replaced, deleted, expired, and shown to new subscribers."""

import asyncio

import pytest

from mqtt_api.node_settings import MQTTSettings
from mqtt_broker.wire.packets import Properties, ProtocolVersion, Publish, SubscriptionRequest
from mqtt_broker.wire.reasons import ReasonCode
from support.broker import Broker, StartBroker


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_a_new_subscriber_gets_the_last_retained_message(
    broker: Broker, version: ProtocolVersion, unique: str, qos: int
) -> None:
    """[MQTT-3.3.1-5] [MQTT-3.3.1-9] [3.1.1 MQTT-3.3.1-5] [3.1.1 MQTT-3.3.1-6] [3.1.1 MQTT-3.3.1-7]
    [3.1.1 MQTT-3.3.1-8]
    """
    async with await broker.dial(version) as publisher, await broker.dial(version) as subscriber:
        await publisher.connect(f"{unique}-p")
        await publisher.publish(unique, b"old", qos=qos, retain=True)
        await publisher.publish(unique, b"new", qos=qos, retain=True)
        await publisher.ping()
        await subscriber.connect(f"{unique}-s")
        await subscriber.subscribe(unique, qos=2)
        message = await subscriber.receive_message()
        assert (message.payload, message.qos, message.retain) == (b"new", qos, True)
        await subscriber.expect_silence()


async def test_a_live_copy_does_not_say_retained(broker: Broker, version: ProtocolVersion, unique: str) -> None:
    """[MQTT-3.3.1-12] [3.1.1 MQTT-3.3.1-9]"""
    async with await broker.dial(version) as client:
        await client.connect(unique)
        await client.subscribe(unique)
        await client.publish(unique, b"x", retain=True)
        assert not (await client.receive_message()).retain


async def test_retain_as_published_keeps_the_flag(broker: Broker, unique: str) -> None:
    """[MQTT-3.3.1-13]"""
    async with await broker.dial() as client:
        await client.connect(unique)
        await client.subscribe(SubscriptionRequest(unique, retain_as_published=True))
        await client.publish(unique, b"x", retain=True)
        assert (await client.receive_message()).retain


async def test_an_empty_payload_deletes(broker: Broker, version: ProtocolVersion, unique: str) -> None:
    """[MQTT-3.3.1-6] [MQTT-3.3.1-7] [3.1.1 MQTT-3.3.1-10] [3.1.1 MQTT-3.3.1-11]"""
    async with await broker.dial(version) as client:
        await client.connect(unique)
        await client.publish(unique, b"x", qos=1, retain=True)
        await client.publish(unique, b"", qos=1, retain=True)
        await client.subscribe(unique)
        await client.expect_silence()


async def test_a_message_without_the_flag_replaces_nothing(broker: Broker, unique: str) -> None:
    """[MQTT-3.3.1-8]"""
    async with await broker.dial() as client:
        await client.connect(unique)
        await client.publish(unique, b"kept", qos=1, retain=True)
        await client.publish(unique, b"live", qos=1)
        await client.subscribe(unique)
        assert (await client.receive_message()).payload == b"kept"


@pytest.mark.parametrize(("handling", "first", "again"), [(0, True, True), (1, True, False), (2, False, False)])
async def test_retain_handling(broker: Broker, unique: str, handling: int, first: bool, again: bool) -> None:
    """[MQTT-3.3.1-9] [MQTT-3.3.1-10] [MQTT-3.3.1-11] [MQTT-3.8.4-4]"""
    async with await broker.dial() as client:
        await client.connect(unique)
        await client.publish(unique, b"kept", qos=1, retain=True)
        for expected in (first, again):
            await client.subscribe(SubscriptionRequest(unique, retain_handling=handling))
            if expected:
                assert (await client.receive_message()).payload == b"kept"
            else:
                await client.expect_silence()


async def test_a_wildcard_brings_every_retained_message_once(broker: Broker, unique: str) -> None:
    async with await broker.dial() as client:
        await client.connect(unique)
        topics = [f"{unique}/{n}/x" for n in range(200)]
        for topic in topics:
            await client.publish(topic, topic.encode(), qos=1, retain=True)
        await client.subscribe(f"{unique}/+/x", qos=1)
        assert sorted(await client.receive_payloads(200)) == sorted(topic.encode() for topic in topics)
        await client.expect_silence()


async def test_a_retained_message_ends_with_its_lifetime(broker: Broker, unique: str) -> None:
    """[MQTT-3.3.2-5] and the interval sent on is what is left of it [MQTT-3.3.2-6]."""
    async with await broker.dial() as client:
        await client.connect(unique)
        for topic, lifetime in (("short", 1), ("long", 100)):
            await client.publish(
                f"{unique}/{topic}", b"x", qos=1, retain=True, properties=Properties(message_expiry_interval=lifetime)
            )
        await asyncio.sleep(1.5)
        await client.subscribe(f"{unique}/+")
        message = await client.receive_message()
        assert message.topic == f"{unique}/long"
        assert message.properties.message_expiry_interval in (98, 99)
        await client.expect_silence()


async def test_properties_of_a_retained_message_are_kept(broker: Broker, unique: str) -> None:
    properties = Properties(content_type="a/b", user_properties=(("k", "v"), ("k", "w")), correlation_data=b"\x00")
    async with await broker.dial() as client:
        await client.connect(unique)
        await client.publish(unique, b"x", qos=1, retain=True, properties=properties)
        await client.subscribe(unique)
        assert (await client.receive_message()).properties == properties


async def test_a_shared_subscription_gets_no_retained_messages(broker: Broker, unique: str) -> None:
    """MQTT 5.0, 4.8.2."""
    async with await broker.dial() as client:
        await client.connect(unique)
        await client.publish(unique, b"kept", qos=1, retain=True)
        await client.subscribe(f"$share/group/{unique}")
        await client.expect_silence()


async def test_retained_messages_survive_a_restart_and_deleted_ones_do_not(
    start_broker: StartBroker, unique: str
) -> None:
    """[MQTT-3.3.1-7]"""
    broker = start_broker()
    async with await broker.dial() as client:
        await client.connect(unique)
        await client.publish("kept", b"kept", qos=1, retain=True)
        await client.publish("deleted", b"x", qos=1, retain=True)
        await client.publish("deleted", b"", qos=1, retain=True)
        await client.publish("expired", b"x", qos=1, retain=True, properties=Properties(message_expiry_interval=1))
    broker.kill()
    await asyncio.sleep(1)
    broker.start()
    async with await broker.dial() as client:
        await client.connect(unique)
        await client.subscribe("#")
        assert (await client.receive_message()).payload == b"kept"
        await client.expect_silence()


async def test_a_broker_told_not_to_retain_refuses(start_broker: StartBroker, unique: str) -> None:
    """[MQTT-3.2.2-14]"""
    broker = start_broker(mqtt=MQTTSettings(retain_available=False))
    async with await broker.dial() as client:
        await client.connect(unique)
        await client.send(Publish(unique, b"x", retain=True))
        goodbye = await client.expect_closed()
        assert goodbye is not None
        assert goodbye.reason is ReasonCode.RETAIN_NOT_SUPPORTED
