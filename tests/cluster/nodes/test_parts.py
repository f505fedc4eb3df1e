"""One message for more receivers than one call of the store may carry: written in parts, exactly once for each."""

import asyncio
import time
from collections import Counter

import msgspec
import pytest

from cluster.nodes.scene import KEYS, PASSWORD, Scene, StartTrio
from cluster.nodes.streams import drain
from mqtt_api.policy import Facts
from mqtt_broker.session.session import QueueBounds, Subscription
from mqtt_broker.store.ports import Claim, Claimed, Detach, Subscribe
from mqtt_broker.store.redis.store import RedisStore
from mqtt_broker.wire.packets import Properties, PubAck, PubComp, Publish, PubRec, PubRel, Will
from support.client import Client
from support.waiting import eventually, wait_until

KEPT = Properties(session_expiry_interval=300)
SLEEPERS = 4_000  # four times what a node plans in one go: eight parts
BOUNDS = QueueBounds(messages_max=1_000, bytes_max=1_000_000, overflow="DropOldest")


async def put_to_sleep(trio: Scene, count: int, topic_filter: str) -> None:
    """So many sessions with a subscription and without a connection, as if each had been here and gone."""
    store = await RedisStore.open(trio.nodes[0].settings.store)  # type: ignore[arg-type]
    membership = await store.join("loader", trio.nodes[0].settings.world)
    facts = [Facts(client_id=f"sleeper-{n}", username="", source="anyone", anonymous=True) for n in range(count)]
    claims = [
        Claim(
            client_id=each.client_id,
            facts=each,
            protocol_version=5,
            clean_start=True,
            expiry_interval_s=300,
            will=None,
            bounds=BOUNDS,
        )
        for each in facts
    ]
    number = 0
    for start in range(0, count, 500):
        number += 1
        claimed = await store.commit(membership, number, claims[start : start + 500])
        records = [result.record for result in claimed if isinstance(result, Claimed)]
        subscription = (Subscription(filter=topic_filter, qos=2, requested_qos=2),)
        operations = [
            operation
            for record in records
            for operation in (
                Subscribe(
                    client_id=record.client_id,
                    incarnation=record.incarnation,
                    epoch=record.epoch,
                    subscriptions=subscription,
                ),
                Detach(client_id=record.client_id, epoch=record.epoch, expiry_interval_s=300, will_due_at=None),
            )
        ]
        number += 1
        await store.commit(membership, number, operations)
    await store.leave(membership)
    await store.close()
    await asyncio.to_thread(wait_until, lambda: all_know(trio), 20.0, "every node to know them")


def all_know(trio: Scene) -> bool:
    """True if every node has applied the feed to its end."""
    with trio.server.client(password=PASSWORD) as client:
        end = int(client.get(f"{KEYS.data}feed_end"))
    return all(trio.status(number)["cluster"]["position"] >= end for number in range(len(trio.nodes)))


def queued(trio: Scene) -> Counter[int]:
    """How many queues hold how many messages."""
    with trio.server.client(password=PASSWORD) as client:
        keys = list(client.scan_iter(f"{KEYS.data}q:*", count=5_000))
        with client.pipeline(transaction=False) as lengths:
            for key in keys:
                lengths.hlen(key)
            return Counter(lengths.execute())


async def listeners(trio: Scene, nodes: tuple[int, ...], count: int) -> list[Client]:
    """Connected subscribers that are not kept, on these nodes in turn."""
    found = []
    for number in range(count):
        client = await trio.dial(nodes[number % len(nodes)])
        await client.connect(f"listener-{number}")
        await client.subscribe("many", qos=2)
        found.append(client)
    return found


async def test_a_message_for_thousands_reaches_each_of_them_once(start_trio: StartTrio) -> None:
    """Sessions that are away, and those connected to every node; the next message comes behind it for everybody."""
    trio = start_trio()
    connected = await listeners(trio, (0, 1, 2), 12)
    await put_to_sleep(trio, SLEEPERS, "many")
    publisher = await trio.dial(0)
    await publisher.connect("publisher", properties=KEPT)
    for qos in (1, 2):
        await publisher.send(Publish("many", b"%d" % qos, qos, packet_id=qos), Publish("many", b"next", 0))
        if qos == 1:
            await publisher.expect(PubAck, 20.0)
        else:
            await publisher.expect(PubRec, 20.0)
            await publisher.send(PubRel(qos))
            await publisher.expect(PubComp)
        assert queued(trio) == {qos: SLEEPERS}
        for client in connected:
            assert await client.receive_payloads(2) == [b"%d" % qos, b"next"]
    for client in connected:
        await client.expect_silence(0.05)


async def test_a_will_for_thousands_reaches_each_of_them_once(start_trio: StartTrio) -> None:
    trio = start_trio()
    connected = await listeners(trio, (0, 1, 2), 6)
    await put_to_sleep(trio, SLEEPERS, "many")
    lost = await trio.dial(1)
    await lost.connect("lost", will=Will("many", b"gone", 2, retain=False), properties=KEPT)
    await lost.abort()
    await eventually(lambda: queued(trio) == {1: SLEEPERS}, 20.0)
    for client in connected:
        assert await drain(client, 1.0) == [b"gone"]
    assert queued(trio) == {1: SLEEPERS}


@pytest.mark.parametrize("again_on", [1, 2])
async def test_a_publisher_whose_node_is_killed_between_two_parts_sends_again_and_nobody_gets_two(
    start_trio: StartTrio, again_on: int
) -> None:
    """[MQTT-4.3.3-10] [D5a] QoS 2; receivers away, and connected to the nodes that live, kept or not."""
    trio = start_trio(lease_s=3.0)
    connected = await listeners(trio, (1, 2), 20)
    kept = await trio.dial(1)
    await kept.connect("kept", properties=KEPT)
    await kept.subscribe("many", qos=2)
    await put_to_sleep(trio, SLEEPERS, "many")
    publisher = await trio.dial(0)
    await publisher.connect("publisher", properties=KEPT)
    message = Publish("many", b"once", 2, packet_id=9)
    await publisher.send(message)
    await asyncio.to_thread(kill_within_parts, trio)
    reached = queued(trio)
    assert 0 < reached[1] < SLEEPERS, "the node was not killed between two parts"
    async with await trio.dial(again_on) as publisher:
        answer = await publisher.connect("publisher", clean_start=False, properties=KEPT)
        assert answer.session_present
        await publisher.send(message)
        await publisher.expect(PubRec, 20.0)
        await publisher.send(PubRel(9))
        await publisher.expect(PubComp)
    sleeping = queued(trio)
    assert set(sleeping) == {1}
    assert sleeping[1] in (SLEEPERS, SLEEPERS + 1)  # `kept` may not have acknowledged yet
    assert await drain(kept) == [b"once"]
    assert [await drain(client, 0.3) for client in connected] == [[b"once"]] * len(connected)


def kill_within_parts(trio: Scene) -> None:
    """SIGKILL node 0 as soon as a part is written, and not the last one."""
    with trio.server.client(password=PASSWORD) as client:
        incarnation = msgspec.msgpack.decode(client.hget(f"{KEYS.data}s:publisher", "h"))[0]
        ends_at = time.monotonic() + 20
        while not client.exists(f"{KEYS.data}spread:publisher:{incarnation}:9"):
            assert time.monotonic() < ends_at, "no part was written"
    trio.nodes[0].kill()
