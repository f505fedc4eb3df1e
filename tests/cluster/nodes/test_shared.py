"""Shared subscriptions with members on several nodes: each message to one of them, and none lost with a member."""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack

import pytest

from cluster.nodes.scene import Scene, StartTrio
from cluster.nodes.streams import drain, send_all
from mqtt_broker.wire.packets import Properties, ProtocolVersion, PubComp, Publish, PubRec, PubRel
from mqtt_broker.wire.reasons import ReasonCode
from support.client import Client

KEPT = Properties(session_expiry_interval=300)
NOT_KEPT = Properties()
V5 = ProtocolVersion.V5


async def members(
    ends: AsyncExitStack, trio: Scene, unique: str, places: Sequence[tuple[int, Properties]], qos: int
) -> list[Client]:
    """A member of $share/g/<unique>/# for each (node, properties)."""
    found = []
    for number, (node, properties) in enumerate(places):
        client = await ends.enter_async_context(await trio.dial(node))
        await client.connect(f"{unique}-{number}", properties=properties)
        await client.subscribe(f"$share/g/{unique}/#", qos=qos)
        found.append(client)
    return found


@pytest.mark.parametrize("kinds", ["transient", "persistent", "mixed"])
@pytest.mark.parametrize("qos", [0, 1, 2])
async def test_each_message_goes_to_one_member_wherever_it_is(trio: Scene, unique: str, qos: int, kinds: str) -> None:
    """MQTT 5.0, 4.8.2. Two members on one node, one on each of the others; publishers on all."""
    chosen = {"transient": [NOT_KEPT] * 4, "persistent": [KEPT] * 4, "mixed": [NOT_KEPT, KEPT, NOT_KEPT, KEPT]}[kinds]
    async with AsyncExitStack() as ends:
        group = await members(ends, trio, unique, list(zip((0, 0, 1, 2), chosen, strict=True)), qos)
        receiving = [asyncio.create_task(drain(client, 1.0)) for client in group]
        sent = []
        for node in range(3):
            publisher = await ends.enter_async_context(await trio.dial(node))
            await publisher.connect(f"{unique}-p{node}")
            for number in range(60):
                sent.append(b"%d-%d" % (node, number))
                await publisher.publish(f"{unique}/x", sent[-1], qos=qos)
        received = await asyncio.gather(*receiving)
        assert sorted(payload for each in received for payload in each) == sorted(sent)
        assert all(received), [len(each) for each in received]


@pytest.mark.parametrize("publisher_on", [0, 1, 2])
@pytest.mark.parametrize("paced", [True, False], ids=["one-by-one", "burst"])
async def test_members_on_all_nodes_get_about_as_much(trio: Scene, unique: str, publisher_on: int, paced: bool) -> None:
    """Three members on three nodes: none gets less than half of its share, wherever the publisher is."""
    async with AsyncExitStack() as ends:
        group = await members(ends, trio, unique, [(0, KEPT), (1, KEPT), (2, NOT_KEPT)], 1)
        receiving = [asyncio.create_task(drain(client, 1.0)) for client in group]
        publisher = await ends.enter_async_context(await trio.dial(publisher_on))
        await publisher.connect(f"{unique}-p")
        count = 240
        if paced:
            for number in range(count):
                await publisher.publish(f"{unique}/x", b"%d" % number, qos=1)
        else:
            await send_all(publisher, f"{unique}/x", (b"%d" % number for number in range(count)), 1)
        shares = [len(each) for each in await asyncio.gather(*receiving)]
        assert sum(shares) == count
        assert min(shares) >= count / 6, shares


async def test_a_member_that_cannot_take_more_holds_nothing_back_from_the_others(trio: Scene, unique: str) -> None:
    """Its window is full and stays so: whatever it has not taken is served by another node, in time."""
    narrow = Properties(session_expiry_interval=300, receive_maximum=1)
    async with AsyncExitStack() as ends:
        stuck, willing = await members(ends, trio, unique, [(0, narrow), (1, KEPT)], 1)
        publisher = await ends.enter_async_context(await trio.dial(2))
        await publisher.connect(f"{unique}-p")
        for number in range(30):
            await publisher.publish(f"{unique}/x", b"%d" % number, qos=1)
        taken = [(await stuck.expect(Publish)).payload]
        assert sorted(taken + await drain(willing, 2.0), key=int) == [b"%d" % number for number in range(30)]


@pytest.mark.parametrize("back_on", [0, 1, 2])
@pytest.mark.parametrize("qos", [1, 2])
async def test_a_backlog_is_kept_while_all_are_away(trio: Scene, unique: str, qos: int, back_on: int) -> None:
    """Persistent members only: their group keeps what comes, and gives it to whoever is back, on any node."""
    async with AsyncExitStack() as ends:
        for client in await members(ends, trio, unique, [(0, KEPT), (1, KEPT)], qos):
            await client.disconnect()
        publisher = await ends.enter_async_context(await trio.dial(2))
        await publisher.connect(f"{unique}-p")
        sent = [b"%d" % number for number in range(50)]
        for payload in sent:
            await publisher.publish(f"{unique}/x", payload, qos=qos)
        back = await ends.enter_async_context(await trio.dial(back_on))
        assert (await back.connect(f"{unique}-0", clean_start=False, properties=KEPT)).session_present
        assert await back.receive_payloads(50) == sent
        await back.expect_silence()


async def test_a_group_ends_with_its_last_subscription(trio: Scene, unique: str) -> None:
    """What waited for it goes with it; who subscribes after that starts anew."""
    async with AsyncExitStack() as ends:
        one, two = await members(ends, trio, unique, [(0, KEPT), (1, KEPT)], 1)
        publisher = await ends.enter_async_context(await trio.dial(2))
        await publisher.connect(f"{unique}-p")
        await two.unsubscribe(f"$share/g/{unique}/#")
        await one.disconnect()
        await publisher.publish(f"{unique}/x", b"for nobody", qos=1)
        async with await trio.dial(2) as again:
            await again.connect(f"{unique}-0", clean_start=True)  # ends the last member's session
        assert await publisher.publish(f"{unique}/x", b"x", qos=1) is ReasonCode.NO_MATCHING_SUBSCRIBERS
        await two.subscribe(f"$share/g/{unique}/#", qos=1)
        await two.expect_silence()
        await publisher.publish(f"{unique}/x", b"new", qos=1)
        assert (await two.receive_message()).payload == b"new"


@pytest.mark.parametrize("properties", [KEPT, NOT_KEPT], ids=["persistent", "transient"])
async def test_what_a_member_that_left_did_not_acknowledge_goes_to_another_node(
    trio: Scene, unique: str, properties: Properties
) -> None:
    """[MQTT-4.8.2-5] As new to the other: without DUP."""
    async with AsyncExitStack() as ends:
        (one,) = await members(ends, trio, unique, [(0, properties)], 1)
        publisher = await ends.enter_async_context(await trio.dial(2))
        await publisher.connect(f"{unique}-p")
        for number in range(5):
            await publisher.publish(f"{unique}/x", b"%d" % number, qos=1)
        for _ in range(5):
            await one.expect(Publish)
        two = await ends.enter_async_context(await trio.dial(1))
        await two.connect(f"{unique}-two", properties=properties)
        await two.subscribe(f"$share/g/{unique}/#", qos=1)
        await one.abort()
        received = [await two.receive_message() for _ in range(5)]
        assert [message.payload for message in received] == [b"%d" % number for number in range(5)]
        assert not any(message.dup for message in received)
        await two.expect_silence()


async def test_what_members_of_a_killed_node_did_not_acknowledge_goes_to_other_nodes(start_trio: StartTrio) -> None:
    """[MQTT-4.8.2-4] [MQTT-4.8.2-5] QoS 1, and QoS 2 never sent; QoS 2 that was sent stays with its session."""
    trio = start_trio(lease_s=3.0)
    async with AsyncExitStack() as ends:
        (one,) = await members(ends, trio, "t", [(0, Properties(session_expiry_interval=300, receive_maximum=4))], 2)
        publisher = await ends.enter_async_context(await trio.dial(1))
        await publisher.connect("p")
        for number in range(8):
            await publisher.publish("t/x", b"%d" % number, qos=1 + number % 2)
        sent = {packet.payload: packet for packet in [await one.expect(Publish) for _ in range(4)]}
        assert set(sent) == {b"0", b"1", b"2", b"3"}
        trio.nodes[0].kill()
        two = await ends.enter_async_context(await trio.dial(2))
        await two.connect("two", properties=KEPT)
        await two.subscribe("$share/g/t/#", qos=2)
        received = [await two.receive_message(15) for _ in range(6)]
        assert sorted(message.payload for message in received) == [b"0", b"2", b"4", b"5", b"6", b"7"]
        await two.expect_silence()
        back = await ends.enter_async_context(await trio.dial(1))
        assert (await back.connect("t-0", clean_start=False, properties=KEPT)).session_present
        stayed = [await back.expect(Publish) for _ in range(2)]
        assert [(m.payload, m.packet_id, m.dup) for m in stayed] == [
            (payload, sent[payload].packet_id, True) for payload in (b"1", b"3")
        ]
        for message in stayed:
            await back.send(PubRec(message.packet_id))
            await back.expect(PubRel)
            await back.send(PubComp(message.packet_id))


async def test_what_was_sent_to_the_only_member_of_a_killed_node_comes_again_when_it_is_back(
    start_trio: StartTrio,
) -> None:
    """Nobody else is there: the group keeps it, whoever was connected on the lost node."""
    trio = start_trio(lease_s=3.0)
    async with AsyncExitStack() as ends:
        (one,) = await members(ends, trio, "t", [(0, KEPT)], 1)
        publisher = await ends.enter_async_context(await trio.dial(1))
        await publisher.connect("p")
        for number in range(4):
            await publisher.publish("t/x", b"%d" % number, qos=1)
        for _ in range(4):
            await one.expect(Publish)
        trio.nodes[0].kill()
        back = await ends.enter_async_context(await trio.dial(2))
        answer = await back.connect("t-0", clean_start=False, properties=KEPT)
        assert (answer.reason, answer.session_present) == (ReasonCode.SUCCESS, True)
        assert sorted(await back.receive_payloads(4, 10.0)) == [b"0", b"1", b"2", b"3"]
        await back.expect_silence()
