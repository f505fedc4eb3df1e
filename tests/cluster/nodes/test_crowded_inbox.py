"""A node that is slower than one that sends to it: publishers there wait, memory is bounded, and loss is counted."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from cluster.nodes.inside import Inside
from cluster.nodes.scene import LEASE_S, Scene
from cluster.nodes.streams import drain
from mqtt_api.node_settings import MQTTSettings, QueueSettings
from mqtt_broker.wire.packets import ConnAck, PubAck, Publish, SubAck, Subscribe, SubscriptionRequest
from support.client import Client
from support.waiting import eventually

INBOX_BYTES = 2 * 1024 * 1024
PAYLOAD_BYTES = 1_000
WINDOW = 100
LIMITS = MQTTSettings(queue=QueueSettings(messages_max=100_000, bytes_max=256 * 1024 * 1024), receive_maximum=WINDOW)
DROPPED = 'stoa_messages_dropped_total{reason="inbox"}'
WAITS = 'stoa_reading_pauses_total{reason="receivers"}'


@asynccontextmanager
async def pair(scene: Scene, qos: int) -> AsyncIterator[tuple[Client, Client]]:
    """A publisher at the first node; at the second a receiver of what it publishes."""
    async with await scene.dial(0) as publisher, await scene.dial(1) as receiver:
        await receiver.connect("receiver")
        await receiver.subscribe("t", qos=qos)
        await publisher.connect("publisher")
        yield publisher, receiver


@asynccontextmanager
async def slow(scene: Scene, number: int, share: float = 0.1, period_s: float = 0.2) -> AsyncIterator[None]:
    """The node runs only a part of the time."""

    async def hinder() -> None:
        while True:
            scene.nodes[number].pause()
            await asyncio.sleep(period_s * (1 - share))
            scene.nodes[number].resume()
            await asyncio.sleep(period_s * share)

    hindering = asyncio.create_task(hinder())
    try:
        yield
    finally:
        hindering.cancel()
        await asyncio.gather(hindering, return_exceptions=True)
        scene.nodes[number].resume()


def payload(number: int) -> bytes:
    return b"%08d" % number + b"x" * (PAYLOAD_BYTES - 8)


class Flood:
    """QoS 1 with a full window; `acknowledged` messages, and the longest time without any acknowledgement."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self.acknowledged = 0
        self.silence_s = 0.0

    async def run(self, seconds: float) -> None:
        ends_at = time.monotonic() + seconds
        sent = 0
        while time.monotonic() < ends_at:
            packets = [Publish("t", payload(n), 1, packet_id=n % WINDOW + 1) for n in range(sent, sent + WINDOW)]
            await self._client.send(*packets)
            sent += WINDOW
            for _ in packets:
                asked_at = time.monotonic()
                await self._client.expect(PubAck, 10.0)
                self.silence_s = max(self.silence_s, time.monotonic() - asked_at)
                self.acknowledged += 1


def start(folder: Path, **store: Any) -> Scene:
    return Scene(folder, store={"inbox_bytes_max": INBOX_BYTES, **store}, node={"mqtt": LIMITS})


async def test_publishers_of_qos_1_wait_for_a_slower_node_and_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    with start(tmp_path) as scene:
        scene.start()
        async with pair(scene, qos=1) as (publisher, receiver):
            flood = Flood(publisher)
            async with slow(scene, 1):
                await flood.run(6.0)
            received = [await receiver.receive_message(20.0) for _ in range(flood.acknowledged)]
        assert [message.payload for message in received] == [payload(n) for n in range(flood.acknowledged)]
        assert scene.metric(0, WAITS) > 0
        assert scene.metric(1, DROPPED) == 0
        print(f"{flood.acknowledged} messages, longest silence {flood.silence_s:.2f} s")
        assert flood.silence_s < 1.5


async def test_publishers_of_qos_0_wait_for_a_slower_node_and_what_does_not_arrive_is_counted(
    tmp_path: Path,
) -> None:
    with start(tmp_path) as scene:
        scene.start()
        async with pair(scene, qos=0) as (publisher, receiver):
            receiving = asyncio.create_task(drain(receiver, 5.0))
            async with slow(scene, 1, 0.3):
                sent = await pour(publisher, 3.0)
                received = await receiving
        assert received == sorted(set(received))
        await eventually(lambda: len(received) + dropped(scene) == sent, what="a count of what did not arrive")
        assert scene.metric(0, WAITS) > 0


async def test_a_node_that_hangs_holds_publishers_up_for_a_moment_and_what_finds_no_room_is_counted(
    tmp_path: Path,
) -> None:
    with start(tmp_path) as scene:
        scene.start()
        async with pair(scene, qos=1) as (publisher, receiver):
            flood = Flood(publisher)
            scene.nodes[1].pause()
            try:
                await flood.run(LEASE_S - 1.5)
            finally:
                scene.nodes[1].resume()
            assert flood.acknowledged * PAYLOAD_BYTES > INBOX_BYTES
            assert flood.silence_s < 1.5
            await eventually(lambda: scene.metric(1, DROPPED) > 0, what="a count")
            lost = int(scene.metric(1, DROPPED))
            received = [await receiver.receive_message(20.0) for _ in range(flood.acknowledged - lost)]
        numbers = [int(message.payload[:8]) for message in received]
        assert numbers == sorted(set(numbers))


@pytest.mark.parametrize(("qos", "lasts_s"), [(0, 0), (1, 0), (1, 300), (2, 0), (2, 300)])
async def test_whatever_goes_to_a_crowded_inbox_makes_its_publisher_wait_and_nothing_else_does(
    tmp_path: Path, qos: int, lasts_s: int
) -> None:
    async with Inside(tmp_path) as world:
        near, far = await world.node("near"), await world.node("far")
        receiver = far.come("receiver", lasts_s=lasts_s)
        await far.told(receiver, ConnAck)
        far.say(receiver, Subscribe(1, (SubscriptionRequest("t", qos),)))
        await far.told(receiver, SubAck)
        client = near.come("publisher", lasts_s=0)
        await near.told(client, ConnAck)
        for packet_id in range(1, 4):  # the first ones take the slow road
            near.cluster._inboxes.note(["far"])
            near.say(client, Publish("elsewhere", b"x", 0))
            assert client.transport.is_reading()
            near.say(client, Publish("t", b"x", qos, packet_id=packet_id if qos else 0))
            await eventually(lambda: not client.transport.is_reading(), 1.0, "the publisher to wait")
            await eventually(client.transport.is_reading, 1.0, "it to go on: there is room")
            await far.told(receiver, Publish)


@pytest.mark.parametrize("qos", [0, 1])
async def test_a_receiver_that_stopped_reading_bounds_the_memory_of_both_nodes_and_of_the_store(
    tmp_path: Path, qos: int
) -> None:
    limits = MQTTSettings(queue=QueueSettings(messages_max=1_000, bytes_max=1024 * 1024), receive_maximum=WINDOW)
    with Scene(tmp_path, store={"inbox_bytes_max": INBOX_BYTES}, node={"mqtt": limits}) as scene:
        scene.start()
        async with pair(scene, qos=qos) as (publisher, receiver):
            receiver.stop_reading()
            before = [memory(scene, number) for number in range(2)]
            most = 0
            flood = asyncio.create_task(Flood(publisher).run(8.0) if qos else pour(publisher, 8.0))
            while not flood.done():
                most = max(most, int(scene.server.execute("MEMORY", "USAGE", inbox(scene, 1), "SAMPLES", "0") or 0))
                await asyncio.sleep(0.05)
            await flood
            after = [memory(scene, number) for number in range(2)]
            grown = [(now - then) // 1024 for now, then in zip(after, before, strict=True)]
            print(f"QoS {qos}: nodes grew by {grown} KiB, the inbox held {most // 1024} KiB at most")
            assert most < 2 * INBOX_BYTES
            assert max(grown) < 64 * 1024  # two lots of what may wait at the publisher's node, and copies of one
            assert scene.metric(1, 'stoa_messages_dropped_total{reason="overflow"}') > 1_000


async def pour(client: Client, seconds: float) -> int:
    """QoS 0 as fast as the connection takes it; how many."""
    ends_at = time.monotonic() + seconds
    number = 0
    while time.monotonic() < ends_at:
        await client.send(*(Publish("t", payload(n)) for n in range(number, number + WINDOW)))
        number += WINDOW
    return number


def dropped(scene: Scene) -> float:
    """Copies that found no room, at both nodes."""
    reasons = ("overflow", "inbox")
    return sum(
        scene.metric(number, f'stoa_messages_dropped_total{{reason="{reason}"}}')
        for number in range(2)
        for reason in reasons
    )


def memory(scene: Scene, number: int) -> int:
    """Resident bytes."""
    sample = scene.nodes[number].sample()
    assert sample is not None
    return sample[0]


def inbox(scene: Scene, number: int) -> str:
    return f"{{mqtt.scene}}:d:inbox:node-{number}:{scene.status(number)['cluster']['token']}"
