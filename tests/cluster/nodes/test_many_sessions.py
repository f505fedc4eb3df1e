"""One message for thousands of sleeping sessions: each has it once, and nobody else has to wait for that."""

import asyncio

from cluster.chaos.node import WORLD
from cluster.nodes.scene import Scene, StartTrio
from mqtt_api.node_settings import RedisSettings
from mqtt_api.policy import Facts
from mqtt_broker.store.redis.store import RedisStore
from mqtt_broker.wire.packets import PubAck, Publish
from support import many_sessions
from support.client import Client

SESSIONS = 5_000
FIRST = "many"
PREFIX = "sleeper-"
ACKNOWLEDGED_S_MAX = 60.0
READS_AT_ONCE = 100


async def store_of(trio: Scene) -> RedisStore:
    settings = trio.nodes[0].settings.store
    assert isinstance(settings, RedisSettings)
    return await RedisStore.open(settings)


async def test_a_message_for_thousands_of_offline_sessions_reaches_each_queue_once(start_trio: StartTrio) -> None:
    trio = start_trio(nodes=2)
    identities = [Facts(client_id=f"{PREFIX}{n}", source="anyone", anonymous=True) for n in range(SESSIONS)]
    store = await store_of(trio)
    try:
        await many_sessions.make(store, "maker", WORLD, identities, FIRST)
    finally:
        await store.close()
    await asyncio.to_thread(trio.nodes[1].drain)
    await asyncio.to_thread(trio.start, 1)  # this one loads them, the other was told one by one
    for number in (0, 1):
        await publish_beside_pings(trio, number)
    await assert_each_has(trio, [b"from node 0", b"from node 1"])


async def publish_beside_pings(trio: Scene, number: int) -> None:
    """The message goes out through this node, which answers another client all the while."""
    async with await trio.dial(number) as publisher, await trio.dial(number) as other:
        await publisher.connect(f"publisher-{number}")
        await other.connect(f"other-{number}")
        publishing = asyncio.create_task(publish(publisher, f"from node {number}".encode()))
        pings = 0
        while not publishing.done():
            await other.ping()
            pings += 1
        await publishing
        assert pings > 1


async def publish(publisher: Client, payload: bytes) -> None:
    await publisher.send(Publish(many_sessions.topic(FIRST), payload, 1, packet_id=1))
    assert (await publisher.expect(PubAck, ACKNOWLEDGED_S_MAX)).packet_id == 1


async def assert_each_has(trio: Scene, payloads: list[bytes]) -> None:
    store = await store_of(trio)
    try:
        snapshot = await store.load()
        sleepers = [record for record in snapshot.sessions if record.client_id.startswith(PREFIX)]
        assert len(sleepers) == SESSIONS
        for start in range(0, SESSIONS, READS_AT_ONCE):
            some = sleepers[start : start + READS_AT_ONCE]
            reads = [store.read_queue(record.client_id, record.incarnation, 0, 10, 100_000) for record in some]
            for record, entries in zip(some, await asyncio.gather(*reads), strict=True):
                assert [entry.message.payload for entry in entries] == payloads, record.client_id
    finally:
        await store.close()
