"""Messages from one node to receivers on others: every QoS, every kind of session, in the order of the publisher."""

import asyncio
from contextlib import AsyncExitStack
from itertools import pairwise

import pytest

from cluster.nodes.scene import Scene
from cluster.nodes.streams import everything, send_all
from mqtt_broker.wire.packets import Properties, ProtocolVersion, Publish, SubscriptionRequest

KEPT = Properties(session_expiry_interval=300)
V5 = ProtocolVersion.V5


@pytest.mark.parametrize("persistent", [False, True], ids=["transient", "persistent"])
@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_messages_reach_a_session_on_another_node_in_the_order_of_their_publisher(
    trio: Scene, version: ProtocolVersion, unique: str, qos: int, persistent: bool
) -> None:
    """[MQTT-4.6.0-5]"""
    properties = KEPT if persistent and version is V5 else Properties()
    async with await trio.dial(0, version) as receiver, await trio.dial(1, version) as publisher:
        await receiver.connect(f"{unique}-r", clean_start=version is V5 or not persistent, properties=properties)
        await receiver.subscribe(f"{unique}/#", qos=2)
        await publisher.connect(f"{unique}-p")
        sent = [b"%d" % number for number in range(150)]
        sending = asyncio.create_task(send_all(publisher, f"{unique}/a", sent, qos))
        assert await everything(receiver, len(sent)) == sent
        await sending
        await receiver.expect_silence()


@pytest.mark.parametrize("persistent", [False, True], ids=["transient", "persistent"])
@pytest.mark.parametrize("qos", [1, 2])
async def test_publishers_here_and_elsewhere_interleave_and_each_keeps_its_order(
    trio: Scene, unique: str, qos: int, persistent: bool
) -> None:
    """[MQTT-4.6.0-5] What other nodes append is told later than what this one did, and nothing is skipped."""
    async with (
        await trio.dial(0) as receiver,
        await trio.dial(0) as near,
        await trio.dial(1) as far,
        await trio.dial(2) as farther,
    ):
        await receiver.connect(f"{unique}-r", properties=KEPT if persistent else Properties())
        await receiver.subscribe(f"{unique}/#", qos=2)
        publishers = {b"a": near, b"b": far, b"c": farther}
        count = 100
        sending = []
        for name, publisher in publishers.items():
            await publisher.connect(f"{unique}-{name.decode()}")
            payloads = [name + b"%d" % number for number in range(count)]
            sending.append(asyncio.create_task(send_all(publisher, f"{unique}/{name.decode()}", payloads, qos)))
        received = await everything(receiver, 3 * count, 40.0)
        await asyncio.gather(*sending)
        for name in publishers:
            own = [int(payload[1:]) for payload in received if payload[:1] == name]
            assert own == list(range(count))
        await receiver.expect_silence()


@pytest.mark.parametrize("qos", [1, 2])
@pytest.mark.parametrize("persistent", [False, True], ids=["transient", "persistent"])
async def test_a_publisher_that_moves_between_nodes_keeps_its_order(
    trio: Scene, unique: str, qos: int, persistent: bool
) -> None:
    """What it published before is there before what it publishes next, though another node takes it."""
    async with await trio.dial(2) as receiver:
        await receiver.connect(f"{unique}-r", properties=KEPT if persistent else Properties())
        await receiver.subscribe(unique, qos=2)
        count, per_node = 0, 7
        for turn in range(15):
            async with await trio.dial(turn % 3) as publisher:
                await publisher.connect(f"{unique}-p", properties=KEPT)
                for _ in range(per_node):
                    await publisher.publish(unique, b"%d" % count, qos=qos)
                    count += 1
        received = [int(payload) for payload in await everything(receiver, count)]
        assert received == list(range(count))
        await receiver.expect_silence()


async def test_what_a_publisher_did_not_wait_for_is_not_written_behind_what_it_says_elsewhere(
    trio: Scene, unique: str
) -> None:
    """It moves without a word while its messages are on their way into the store: those that arrive are in order."""
    async with await trio.dial(2) as receiver:
        await receiver.connect(f"{unique}-r")
        await receiver.subscribe(unique, qos=1)
        count = 0
        async with AsyncExitStack() as connections:
            for turn in range(12):
                publisher = await connections.enter_async_context(await trio.dial(turn % 3))
                await publisher.connect(f"{unique}-p", clean_start=False, properties=KEPT)
                for _ in range(40):
                    await publisher.send(Publish(unique, b"%d" % count, 1, packet_id=publisher.packet_id()))
                    count += 1
            await publisher.send(Publish(unique, b"%d" % count, 1, packet_id=publisher.packet_id()))
            await publisher.ping()
        received: list[int] = []
        while not received or received[-1] != count:
            received.append(int((await receiver.receive_message()).payload))
        assert all(one < other for one, other in pairwise(received))


async def test_overlapping_subscriptions_get_one_copy_with_all_identifiers_and_the_highest_qos(
    trio: Scene, unique: str
) -> None:
    """[MQTT-3.3.4-2] [MQTT-3.3.4-3] [MQTT-3.3.4-4]"""
    for properties in (Properties(), KEPT):
        async with await trio.dial(0) as receiver, await trio.dial(1) as publisher:
            await receiver.connect(f"{unique}-r", properties=properties)
            await receiver.subscribe(f"{unique}/#", qos=0, properties=Properties(subscription_identifiers=(7,)))
            await receiver.subscribe(f"{unique}/+", qos=2, properties=Properties(subscription_identifiers=(9,)))
            await publisher.connect(f"{unique}-p")
            for qos in (0, 1, 2):
                await publisher.publish(f"{unique}/a", b"%d" % qos, qos=qos)
            for _ in range(3):
                message = await receiver.receive_message()
                assert message.qos == int(message.payload)
                assert sorted(message.properties.subscription_identifiers) == [7, 9]
            await receiver.expect_silence()


@pytest.mark.parametrize("qos", [0, 1])
async def test_no_local_and_retain_as_published_hold_across_nodes(trio: Scene, unique: str, qos: int) -> None:
    """[MQTT-3.8.3-3] [MQTT-3.3.1-12] [MQTT-3.3.1-13] No local follows the client id, wherever it publishes."""
    for properties in (Properties(), KEPT):
        async with await trio.dial(0) as receiver, await trio.dial(1) as publisher:
            await receiver.connect(f"{unique}-r", properties=properties)
            await receiver.subscribe(
                SubscriptionRequest(f"{unique}/kept", 1, retain_as_published=True, retain_handling=2),
                SubscriptionRequest(f"{unique}/plain", 1, retain_handling=2),
                SubscriptionRequest(f"{unique}/own", 1, no_local=True),
            )
            await publisher.connect(f"{unique}-p")
            await receiver.publish(f"{unique}/own", b"mine", qos=qos)
            await publisher.publish(f"{unique}/own", b"not mine", qos=qos)
            assert (await receiver.receive_message()).payload == b"not mine"
            for name in ("kept", "plain"):
                await publisher.publish(f"{unique}/{name}", b"x", qos=qos, retain=True)
                assert (await receiver.receive_message()).retain is (name == "kept")
            await receiver.expect_silence()


async def test_what_no_node_has_a_receiver_for_is_said_so(trio: Scene, unique: str) -> None:
    """MQTT 5.0, 3.4.2.1: no matching subscribers, here and elsewhere."""
    async with await trio.dial(0) as receiver, await trio.dial(1) as publisher:
        await publisher.connect(f"{unique}-p")
        assert (await publisher.publish(unique, b"x", qos=1)) == 0x10
        await receiver.connect(f"{unique}-r")
        await receiver.subscribe(unique, qos=1)
        assert (await publisher.publish(unique, b"x", qos=1)) == 0
        await receiver.unsubscribe(unique)
        assert (await publisher.publish(unique, b"x", qos=1)) == 0x10


async def test_a_stream_goes_on_while_receivers_on_other_nodes_come_and_go(trio: Scene, unique: str) -> None:
    """What the publisher's node remembers of a flow is never older than an acknowledged SUBSCRIBE."""
    async with await trio.dial(0) as publisher, await trio.dial(0) as witness:
        await publisher.connect(f"{unique}-p")
        await witness.connect(f"{unique}-w")
        await witness.subscribe(unique, qos=1)
        for turn in range(12):
            async with await trio.dial(1 + turn % 2) as receiver:
                await receiver.connect(f"{unique}-r", properties=KEPT if turn % 3 else Properties())
                await receiver.subscribe(unique, qos=1)
                for number in range(5):
                    await publisher.publish(unique, b"%d" % number, qos=turn % 2)
                assert await everything(receiver, 5) == [b"%d" % number for number in range(5)]
                await receiver.disconnect(properties=Properties(session_expiry_interval=0))
            assert await everything(witness, 5) == [b"%d" % number for number in range(5)]
