"""Retained messages with their publisher on one node and subscribers on others."""

import asyncio

import pytest

from cluster.nodes.scene import Scene
from cluster.nodes.streams import drain
from mqtt_broker.wire.packets import (
    Properties,
    ProtocolVersion,
    PubAck,
    Publish,
    SubAck,
    Subscribe,
    SubscriptionRequest,
)

KEPT = Properties(session_expiry_interval=300)
NOT_KEPT = Properties()


async def test_set_replaced_and_cleared_is_seen_by_every_node(
    trio: Scene, version: ProtocolVersion, unique: str
) -> None:
    """[MQTT-3.3.1-5] [MQTT-3.3.1-6] [MQTT-3.3.1-7] After PUBACK, a subscriber on any node gets what is kept now."""
    async with await trio.dial(0, version) as publisher:
        await publisher.connect(f"{unique}-p")
        for payload in (b"first", b"second", b"", b"third"):
            await publisher.publish(f"{unique}/a", payload, qos=1, retain=True)
            for number in range(3):
                async with await trio.dial(number, version) as subscriber:
                    await subscriber.connect(f"{unique}-{number}")
                    await subscriber.subscribe(f"{unique}/+", qos=1)
                    if payload:
                        message = await subscriber.receive_message()
                        assert (message.payload, message.retain) == (payload, True)
                    else:
                        await subscriber.expect_silence(0.2)


async def test_nodes_in_turn_set_and_clear_one_topic(trio: Scene, unique: str) -> None:
    """Whoever comes last counts, on every node, whichever node it came from."""
    publishers = [await trio.dial(number) for number in range(3)]
    for number, publisher in enumerate(publishers):
        await publisher.connect(f"{unique}-p{number}")
    for turn in range(30):
        payload = b"" if turn % 2 else b"%d" % turn
        await publishers[turn % 3].publish(unique, payload, qos=1, retain=True)
        async with await trio.dial((turn + turn // 3) % 3) as subscriber:
            await subscriber.connect(f"{unique}-s")
            await subscriber.subscribe(unique, qos=1)
            if payload:
                assert (await subscriber.receive_message()).payload == payload
            else:
                await subscriber.expect_silence(0.05)
    for publisher in publishers:
        await publisher.close()


@pytest.mark.parametrize(("handling", "first", "again"), [(0, True, True), (1, True, False), (2, False, False)])
async def test_retain_handling_knows_subscriptions_made_on_another_node(
    trio: Scene, unique: str, handling: int, first: bool, again: bool
) -> None:
    """[MQTT-3.3.1-9] [MQTT-3.3.1-10] [MQTT-3.3.1-11] The same session, subscribed on one node and again on another."""
    async with await trio.dial(2) as publisher:
        await publisher.connect(f"{unique}-p")
        await publisher.publish(unique, b"kept", qos=1, retain=True)
    for number, expected in ((0, first), (1, again)):
        async with await trio.dial(number) as subscriber:
            await subscriber.connect(f"{unique}-s", clean_start=False, properties=KEPT)
            await subscriber.subscribe(SubscriptionRequest(unique, 1, retain_handling=handling))
            assert await drain(subscriber, 0.3) == [b"kept"] * expected


@pytest.mark.parametrize("qos", [0, 1])
@pytest.mark.parametrize("properties", [KEPT, NOT_KEPT], ids=["persistent", "transient"])
async def test_a_value_that_changes_during_subscribe_is_neither_missed_nor_followed_by_an_older_one(
    trio: Scene, unique: str, properties: Properties, qos: int
) -> None:
    """Values grow. Whatever a subscriber is told, it never goes back, and ends with the last one."""
    values = [0, 0]
    stop = asyncio.Event()

    async def change(number: int) -> None:
        async with await trio.dial(1 + number) as publisher:
            await publisher.connect(f"{unique}-p{number}")
            while not stop.is_set():
                values[number] += 1
                await publisher.publish(f"{unique}/{number}", b"%d" % values[number], qos=1, retain=True)

    changing = [asyncio.create_task(change(number)) for number in range(2)]
    try:
        for turn in range(60):
            async with await trio.dial(0) as subscriber:
                await subscriber.connect(f"{unique}-s", properties=properties)
                begun = list(values)
                await subscriber.subscribe(f"{unique}/+", qos=qos)
                subscribed = list(values)
                seen: list[list[int]] = [[], []]
                while not all(each and each[-1] > subscribed[number] for number, each in enumerate(seen)):
                    message = await subscriber.receive_message()
                    seen[int(message.topic[-1])].append(int(message.payload))
                for number, each in enumerate(seen):
                    assert each == sorted(set(each)), (turn, number, each)
                    assert each[0] >= begun[number] - 1, (turn, number, each, begun)
                    if qos:  # from the first one on, none is left out
                        assert each == list(range(each[0], each[-1] + 1)), (turn, number, each)
    finally:
        stop.set()
        await asyncio.gather(*changing)


@pytest.mark.parametrize("properties", [KEPT, NOT_KEPT], ids=["persistent", "transient"])
async def test_a_topic_that_appears_during_subscribe_is_told_once(
    trio: Scene, unique: str, properties: Properties
) -> None:
    """The first value of a topic and a SUBSCRIBE elsewhere at one moment: it comes live or as retained, not neither."""
    async with await trio.dial(1) as publisher, await trio.dial(0) as subscriber:
        await publisher.connect(f"{unique}-p")
        await subscriber.connect(f"{unique}-s", properties=properties)
        for turn in range(150):
            topic = f"{unique}/{turn}"
            publish = Publish(topic, b"%d" % turn, 1, retain=True, packet_id=publisher.packet_id())
            subscribe = Subscribe(subscriber.packet_id(), (SubscriptionRequest(topic, 1),))
            if turn % 2:
                await asyncio.gather(publisher.send(publish), subscriber.send(subscribe))
            else:
                await asyncio.gather(subscriber.send(subscribe), publisher.send(publish))
            await publisher.expect(PubAck)
            await subscriber.expect(SubAck)
            assert (await subscriber.receive_message()).payload == b"%d" % turn
        await subscriber.expect_silence()


@pytest.mark.parametrize("properties", [KEPT, NOT_KEPT], ids=["persistent", "transient"])
async def test_a_topic_that_is_cleared_during_subscribe_is_not_heard_of_after_that(
    trio: Scene, unique: str, properties: Properties
) -> None:
    """Either its value and then, live, that it is empty; or nothing of its value at all."""
    async with await trio.dial(1) as publisher, await trio.dial(0) as subscriber:
        await publisher.connect(f"{unique}-p")
        await subscriber.connect(f"{unique}-s", properties=properties)
        for turn in range(80):
            topic = f"{unique}/{turn}"
            await publisher.publish(topic, b"value", qos=1, retain=True)
            clear = Publish(topic, b"", 1, retain=True, packet_id=publisher.packet_id())
            subscribe = Subscribe(subscriber.packet_id(), (SubscriptionRequest(topic, 1),))
            await asyncio.gather(subscriber.send(subscribe), publisher.send(clear))
            await publisher.expect(PubAck)
            await subscriber.expect(SubAck)
            await publisher.publish(topic, b"end", qos=1)
            told: list[bytes] = []
            while not told or told[-1] != b"end":
                told.append((await subscriber.receive_message()).payload)
            assert told in ([b"end"], [b"", b"end"], [b"value", b"", b"end"]), turn
