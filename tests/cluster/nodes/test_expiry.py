"""What ends by itself: sessions and messages, counted in the store's time whichever node they were last on."""

import asyncio

import pytest

from cluster.nodes.scene import Scene
from mqtt_broker.wire.packets import Properties, ProtocolVersion
from mqtt_broker.wire.reasons import ReasonCode
from support.waiting import eventually

V5 = ProtocolVersion.V5


def kept(seconds: int = 300) -> Properties:
    return Properties(session_expiry_interval=seconds)


@pytest.mark.parametrize("on", [0, 1, 2])
async def test_a_session_ends_on_every_node_when_its_interval_has_passed(trio: Scene, unique: str, on: int) -> None:
    """[MQTT-3.1.2-23] Its subscription leads nowhere after that, and it is not resumed."""
    async with await trio.dial((on + 1) % 3) as publisher:
        await publisher.connect(f"{unique}-p")
        async with await trio.dial(on) as client:
            await client.connect(unique, properties=kept(1))
            await client.subscribe(unique, qos=1)
        assert await publisher.publish(unique, b"x", qos=1) is ReasonCode.SUCCESS

        async def is_over() -> bool:
            return await publisher.publish(unique, b"x", qos=1) is ReasonCode.NO_MATCHING_SUBSCRIBERS

        await eventually(is_over, 6.0)
        async with await trio.dial((on + 2) % 3) as client:
            assert not (await client.connect(unique, clean_start=False, properties=kept())).session_present


async def test_a_client_that_is_back_in_time_on_another_node_keeps_its_session(trio: Scene, unique: str) -> None:
    """The interval begins anew with each end of a connection; a connected session does not expire."""
    for turn in range(4):
        async with await trio.dial(turn % 3) as client:
            answer = await client.connect(unique, clean_start=False, properties=kept(2))
            assert answer.session_present is (turn > 0)
            if turn == 2:
                await client.expect_silence(3.0)
        await asyncio.sleep(0.8)


async def test_the_interval_of_the_goodbye_counts(trio: Scene, unique: str) -> None:
    """MQTT 5.0, 3.14.2.2.2: DISCONNECT may shorten it, to nothing."""
    async with await trio.dial(0) as client, await trio.dial(1) as publisher:
        await client.connect(unique, properties=kept())
        await client.subscribe(unique, qos=1)
        await client.disconnect(properties=kept(0))
        await publisher.connect(f"{unique}-p")

        async def is_over() -> bool:
            return await publisher.publish(unique, b"x", qos=1) is ReasonCode.NO_MATCHING_SUBSCRIBERS

        await eventually(is_over, 2.0)


async def test_the_time_a_message_waits_in_a_queue_is_taken_from_its_lifetime(trio: Scene, unique: str) -> None:
    """[MQTT-3.3.2-5] [MQTT-3.3.2-6] Published on one node, received on another."""
    async with await trio.dial(1) as publisher:
        await publisher.connect(f"{unique}-p")
        async with await trio.dial(0) as client:
            await client.connect(unique, properties=kept())
            await client.subscribe(unique, qos=1)
        for payload, lifetime_s in ((b"short", 1), (b"long", 60), (b"endless", None)):
            lifetime = Properties(message_expiry_interval=lifetime_s)
            await publisher.publish(unique, payload, qos=1, properties=lifetime)
        await asyncio.sleep(2.1)
        async with await trio.dial(2) as client:
            await client.connect(unique, clean_start=False, properties=kept())
            first, second = await client.receive_message(), await client.receive_message()
            assert (first.payload, second.payload) == (b"long", b"endless")
            assert first.properties.message_expiry_interval in (57, 58)
            assert second.properties.message_expiry_interval is None
            await client.expect_silence()


async def test_a_retained_message_ends_on_every_node(trio: Scene, unique: str) -> None:
    """MQTT 5.0, 3.3.2.3.3"""
    async with await trio.dial(0) as publisher:
        await publisher.connect(f"{unique}-p")
        lifetime = Properties(message_expiry_interval=1)
        await publisher.publish(unique, b"x", qos=1, retain=True, properties=lifetime)
        await asyncio.sleep(1.2)
        for number in range(3):
            async with await trio.dial(number) as client:
                await client.connect(f"{unique}-{number}")
                await client.subscribe(unique, qos=1)
                await client.expect_silence(0.1)


async def test_a_session_whose_interval_becomes_0_keeps_its_order(trio: Scene, unique: str) -> None:
    """What waits in its queue comes before what is published to it while it is connected for the last time."""
    narrow = Properties(session_expiry_interval=0, receive_maximum=2)
    async with await trio.dial(1) as publisher, await trio.dial(2) as other:
        await publisher.connect(f"{unique}-p")
        await other.connect(f"{unique}-o")
        async with await trio.dial(0) as client:
            await client.connect(unique, properties=kept())
            await client.subscribe(unique, qos=1)
        count = 700
        for number in range(count - 100):
            await publisher.publish(unique, b"%d" % number, qos=1)
        async with await trio.dial(2) as client:
            assert (await client.connect(unique, clean_start=False, properties=narrow)).session_present
            for number in range(count - 100, count):
                await publisher.publish(unique, b"%d" % number, qos=1)
            received = [int(payload) for payload in await client.receive_payloads(count)]
            assert received == list(range(count))
            await client.expect_silence()
