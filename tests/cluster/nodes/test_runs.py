"""Streams from one node to receivers at others, as runs where both ends read them, and one by one where they do not."""

import asyncio
from pathlib import Path
from unittest import mock

import pytest

from cluster.nodes.inside import Inside, InsideNode
from cluster.nodes.scene import Scene
from cluster.nodes.streams import WINDOW, everything
from mqtt_broker.node.peers.runs import ReceivedRuns
from mqtt_broker.store.cluster import ForwardedRun
from mqtt_broker.wire.codec import encode
from mqtt_broker.wire.packets import (
    Properties,
    ProtocolVersion,
    PubAck,
    Publish,
    SubAck,
    Subscribe,
    SubscriptionRequest,
)
from support.client import Client
from support.inprocess import InProcessClient
from support.waiting import eventually

KEPT = Properties(session_expiry_interval=300)
V5 = ProtocolVersion.V5
FORMAT = "mqtt_broker.node.peers.cluster.FORMAT"  # what a node tells of itself


async def stream(client: Client, topic: str, count: int, qos: int) -> list[bytes]:
    """Publish in large writes, with a window; the payloads, once all of QoS 1 are acknowledged."""
    payloads = [b"%06d" % number for number in range(count)]
    for start in range(0, count, WINDOW):
        block = payloads[start : start + WINDOW]
        packets = [Publish(topic, each, qos, packet_id=client.packet_id() if qos else 0) for each in block]
        await client.send(*packets)
        for _ in packets if qos else ():
            await client.expect(PubAck)
        if not qos:
            await client.ping()
    return payloads


@pytest.mark.parametrize("qos", [0, 1])
async def test_a_stream_reaches_receivers_on_every_node_whole_and_in_order(
    trio: Scene, version: ProtocolVersion, unique: str, qos: int
) -> None:
    """[MQTT-4.6.0-5] Sessions that end with their connection, and one that does not, at each node."""
    async with await trio.dial(0, version) as publisher:
        await publisher.connect(f"{unique}-p")
        receivers = []
        for number in range(3):
            for kind in ("transient", "persistent"):
                receiver = await trio.dial(number, V5)
                await receiver.connect(f"{unique}-{kind}{number}", properties=KEPT if kind[0] == "p" else Properties())
                await receiver.subscribe(f"{unique}/#", qos=1)
                receivers.append(receiver)
        receiving = [asyncio.create_task(everything(each, 1_200, 60.0)) for each in receivers]
        sent = await stream(publisher, f"{unique}/a", 1_200, qos)
        for each in await asyncio.gather(*receiving):
            assert each == sent


async def test_two_streams_to_one_receiver_each_keep_their_order(trio: Scene, unique: str) -> None:
    """[MQTT-4.6.0-6] One publisher beside the receiver, one at another node, one topic."""
    async with await trio.dial(0) as receiver, await trio.dial(0) as near, await trio.dial(1) as far:
        await receiver.connect(f"{unique}-r")
        await receiver.subscribe(f"{unique}/+", qos=1)
        await near.connect(f"{unique}-n")
        await far.connect(f"{unique}-f")
        receiving = asyncio.create_task(_by_topic(receiver, 1_200))
        sent = await asyncio.gather(stream(near, f"{unique}/n", 600, 1), stream(far, f"{unique}/f", 600, 1))
        received = await receiving
        assert received == {f"{unique}/n": sent[0], f"{unique}/f": sent[1]}


async def _by_topic(client: Client, count: int) -> dict[str, list[bytes]]:
    found: dict[str, list[bytes]] = {}
    for _ in range(count):
        message = await client.receive_message(30.0)
        found.setdefault(message.topic, []).append(message.payload)
    return found


# Versions meet -------------------------------------------------------------------------------------------------------


class Watched:
    """How the messages for a node's client came."""

    def __init__(self, node: InsideNode) -> None:
        self.runs = 0
        self._deliver = node.cluster._received_runs.deliver

    def __call__(self, run: ForwardedRun) -> int:
        self.runs += 1
        return self._deliver(run)


async def listening(node: InsideNode) -> InProcessClient:
    client = node.come("device", lasts_s=0)
    await eventually(lambda: "device" in node.hub.connections, what="a connection")
    node.say(client, Subscribe(1, (SubscriptionRequest("t", 1),)))
    await node.told(client, SubAck)
    return client


async def talk(node: InsideNode, client: InProcessClient, receiver: InProcessClient, first: int) -> list[bytes]:
    """Forty messages, in reads of ten; what the receiver got."""
    received: list[bytes] = []
    for start in range(first, first + 40, 10):
        ids = range(start + 1, start + 11)
        packets = [Publish("t", b"%d" % packet_id, 1, packet_id=packet_id) for packet_id in ids]
        client.transport.deliver(b"".join(encode(packet, V5) for packet in packets))
        count = len(received) + 10

        def look(count: int = count) -> bool:
            received.extend(packet.payload for packet in receiver.take() if isinstance(packet, Publish))
            return len(received) >= count

        await eventually(look, what="ten messages")
    return received


async def test_a_node_that_tells_of_an_older_form_gets_messages_one_by_one_until_it_tells_of_a_newer(
    tmp_path: Path,
) -> None:
    async with Inside(tmp_path) as world:
        with mock.patch(FORMAT, 1):
            near, far = await world.node("near"), await world.node("far")
            watched = Watched(far)
            with mock.patch.object(ReceivedRuns, "deliver", lambda _, run: watched(run)):
                receiver = await listening(far)
                client = near.come("publisher", lasts_s=0)
                await eventually(lambda: "publisher" in near.hub.connections, what="a connection")
                assert await talk(near, client, receiver, 0) == [b"%d" % number for number in range(1, 41)]
                assert watched.runs == 0
                with mock.patch(FORMAT, 2):
                    await far.cluster.announce()
                    await near.cluster.announce()
                received = await talk(near, client, receiver, 40)
        assert received == [b"%d" % number for number in range(41, 81)]
        assert watched.runs > 0


async def test_what_a_flow_knew_of_a_node_is_asked_again_when_another_process_has_its_name(tmp_path: Path) -> None:
    """A token that is over gets nothing: a stream that went on writing to it would lose every message."""
    async with Inside(tmp_path) as world:
        near = await world.node("near")
        await world.node("far")
        before = near.cluster.changes
        again = await world.node("far")
        await eventually(lambda: near.cluster.changes > before, what="news of the node")
        receiver = await listening(again)
        client = near.come("publisher", lasts_s=0)
        await eventually(lambda: "publisher" in near.hub.connections, what="a connection")
        assert await talk(near, client, receiver, 0) == [b"%d" % number for number in range(1, 41)]
