"""Shared subscriptions: each message to one member, and none lost with a member."""

import asyncio

import pytest

from mqtt_broker.wire.packets import Properties, Publish, SubscriptionRequest
from mqtt_broker.wire.reasons import ReasonCode
from support.broker import Broker
from support.client import Client, ConnectionClosedError


async def drain(client: Client, seconds: float = 0.4) -> list[bytes]:
    """Every message that comes until it is silent for so long, acknowledged."""
    payloads = []
    while True:
        try:
            payloads.append((await client.receive_message(seconds)).payload)
        except TimeoutError:
            return payloads


@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_each_message_goes_to_one_member(broker: Broker, unique: str, qos: int) -> None:
    """MQTT 5.0, 4.8.2"""
    async with await broker.dial() as one, await broker.dial() as two, await broker.dial() as publisher:
        for number, member in enumerate((one, two)):
            await member.connect(f"{unique}-{number}")
            assert (await member.subscribe(f"$share/g/{unique}/+", qos=qos)) == (ReasonCode(qos),)
        await publisher.connect(f"{unique}-p")
        sent = [b"%d" % number for number in range(40)]
        for payload in sent:
            await publisher.publish(f"{unique}/x", payload, qos=qos)
        first, second = await asyncio.gather(drain(one), drain(two))
        assert sorted(first + second) == sorted(sent)
        assert first
        assert second


async def test_groups_and_plain_subscriptions_get_a_copy_each(broker: Broker, unique: str) -> None:
    async with await broker.dial() as client:
        await client.connect(unique)
        await client.subscribe(f"$share/g1/{unique}", f"$share/g2/{unique}", unique, qos=1)
        await client.publish(unique, b"x", qos=1)
        assert await drain(client) == [b"x"] * 3


async def test_leaving_the_group_keeps_the_plain_subscription(broker: Broker, unique: str) -> None:
    async with await broker.dial() as client:
        await client.connect(unique)
        await client.subscribe(f"$share/g/{unique}", unique)
        assert await client.unsubscribe(f"$share/g/{unique}") == (ReasonCode.SUCCESS,)
        await client.publish(unique, b"x")
        assert await drain(client) == [b"x"]


async def test_what_a_lost_member_did_not_acknowledge_goes_to_another(broker: Broker, unique: str) -> None:
    """MQTT 5.0, 4.8.2: QoS 1 may go to another member; DUP is not set for the new one."""
    async with await broker.dial() as one, await broker.dial() as two, await broker.dial() as publisher:
        await one.connect(f"{unique}-1")
        await one.subscribe(f"$share/g/{unique}", qos=1)
        await publisher.connect(f"{unique}-p")
        for number in range(5):
            await publisher.publish(unique, b"%d" % number, qos=1)
        assert (await one.expect(Publish)).payload == b"0"
        await two.connect(f"{unique}-2")
        await two.subscribe(f"$share/g/{unique}", qos=1)
        await one.abort()
        received = [await two.receive_message() for _ in range(5)]
        assert [message.payload for message in received] == [b"%d" % number for number in range(5)]
        assert not any(message.dup for message in received)


async def test_a_group_of_persistent_members_keeps_messages_while_nobody_is_there(broker: Broker, unique: str) -> None:
    kept = Properties(session_expiry_interval=60)
    async with await broker.dial() as publisher:
        await publisher.connect(f"{unique}-p")
        async with await broker.dial() as member:
            await member.connect(f"{unique}-m", properties=kept)
            await member.subscribe(f"$share/g/{unique}", qos=1)
            await member.disconnect(properties=kept)
        for number in range(5):
            await publisher.publish(unique, b"%d" % number, qos=1)
        async with await broker.dial() as member:
            await member.connect(f"{unique}-m", clean_start=False, properties=kept)
            assert await drain(member) == [b"%d" % number for number in range(5)]


@pytest.mark.parametrize(
    "topic_filter", ["$share/g", "$share//t", "$share/g+/t", "$share/#/t", "$share/+/t", "$share/g/", "$share/"]
)
async def test_a_malformed_shared_filter_is_refused(broker: Broker, unique: str, topic_filter: str) -> None:
    """[MQTT-4.8.2-1] [MQTT-4.8.2-2]"""
    async with await broker.dial() as client:
        await client.connect(unique)
        try:
            (reason,) = await client.subscribe(topic_filter)
        except ConnectionClosedError:
            return
        assert reason is ReasonCode.TOPIC_FILTER_INVALID


async def test_no_local_on_a_shared_subscription_is_a_protocol_error(broker: Broker, unique: str) -> None:
    """[MQTT-3.8.3-4]"""
    async with await broker.dial() as client:
        await client.connect(unique)
        with pytest.raises(ConnectionClosedError):
            await client.subscribe(SubscriptionRequest(f"$share/g/{unique}", no_local=True))


async def test_a_message_too_big_for_one_member_goes_to_another(broker: Broker, unique: str) -> None:
    """[MQTT-3.1.2-25]"""
    async with await broker.dial() as small, await broker.dial() as big, await broker.dial() as publisher:
        await small.connect(f"{unique}-small", properties=Properties(maximum_packet_size=100))
        await big.connect(f"{unique}-big")
        await publisher.connect(f"{unique}-p")
        for member in (small, big):
            await member.subscribe(f"$share/g/{unique}", qos=1)
        for _ in range(4):
            await publisher.publish(unique, b"x" * 500, qos=1)
        assert len(await drain(big)) == 4
        await small.ping()
