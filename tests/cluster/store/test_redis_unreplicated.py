"""What one server has alone may be lost with it: nobody is told of it before the replicas that count have it."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from cluster.store.servers import redis_server
from mqtt_api.node_facts import NodeFacts
from mqtt_broker.store.cluster import Applied, Change, Positions, SessionSubscribed
from mqtt_broker.store.ports import Fenced, StoreUnavailable, Subscribe
from mqtt_broker.store.redis import connection as connections
from mqtt_broker.store.redis.store import RedisStore
from support.redis_rig import make_world, settings_for
from support.redis_server import RedisServer, ServerOptions
from support.waiting import eventually
from unit.mqtt_broker.store.harness import SHARED, Node, join, subscribe

BOTH_S_MAX = 20.0


class Pair:
    """A primary with its replica, and two nodes that count a write once both have it."""

    def __init__(self, primary: RedisServer, replica: RedisServer, near: Node, far: Node) -> None:
        self.primary, self.replica, self.near, self.far = primary, replica, near, far

    async def follow(self, node: Node, feed: int) -> tuple[Change, ...]:
        assert isinstance(node.store, RedisStore)
        news = await node.store.follow(node.membership, Positions(feed=feed), 0.2)
        return tuple(change for entry in news.feed for change in entry.changes)


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[tuple[RedisServer, RedisServer]]:
    primary = redis_server(tmp_path / "primary")
    replica = redis_server(tmp_path / "replica", ServerOptions(replica_of=primary))
    with primary, replica:
        primary.wait_for_replicas(1)
        yield primary, replica


@pytest.fixture
async def pair(servers: tuple[RedisServer, RedisServer], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Pair]:
    monkeypatch.setattr(connections, "WAIT_S_MAX", 0.3)
    monkeypatch.setattr(connections, "BACK_OFF_S_FIRST", 0.0)
    settings = replace(settings_for(*servers), durability="Replicated", replicas=1)
    make_world(servers[0], settings)
    stores = [await RedisStore.open(settings) for _ in range(2)]
    near, far = [await join(store, name) for store, name in zip(stores, ("near", "far"), strict=True)]
    yield Pair(*servers, near, far)
    for store in stores:
        await store.close()


async def test_the_feed_is_not_told_before_it_is_safe(pair: Pair) -> None:
    """Or another entry could take the place of one that was lost, and whoever had read that would never see it."""
    record = await pair.near.claim("c")
    position = (await pair.far.store.load()).position
    pair.replica.pause()
    write = Subscribe(client_id="c", incarnation=record.incarnation, epoch=record.epoch, subscriptions=(SHARED,))
    with pytest.raises(StoreUnavailable):
        await pair.near.do(write)
    with pytest.raises(StoreUnavailable, match="replicas had the write"):
        await pair.follow(pair.far, position)
    pair.replica.resume()
    assert await eventually(lambda: told(pair, position, SessionSubscribed), BOTH_S_MAX)


async def told(pair: Pair, position: int, kind: type) -> bool:
    try:
        return any(isinstance(one, kind) for one in await pair.follow(pair.far, position))
    except StoreUnavailable:
        return False


async def test_a_queue_is_not_read_before_it_is_safe(pair: Pair) -> None:
    """Or a client could acknowledge what was lost, and so remove what took its place."""
    record = await pair.near.claim("c")
    pair.replica.pause()
    with pytest.raises(StoreUnavailable):
        await pair.near.publish(record, b"not replicated")
    with pytest.raises(StoreUnavailable, match="replicas had the write"):
        await pair.far.queue(record)


async def test_an_answer_to_another_node_counts_once_it_is_safe(pair: Pair) -> None:
    """Or it could be lost, while whoever waits for it waits for ever."""
    assert isinstance(pair.near.store, RedisStore)
    pair.replica.pause()
    near, far = pair.near.membership, pair.far.membership
    with pytest.raises(StoreUnavailable, match="replicas had the write"):
        await pair.near.store.command(near, far.node, far.token, Applied(near.node, near.token, 1))
    with pytest.raises(StoreUnavailable, match="replicas had the write"):
        await pair.near.store.report(near, 1, (far.node,))


async def test_a_new_primary_that_lacks_what_the_feed_told_is_a_store_that_went_back(
    servers: tuple[RedisServer, RedisServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without durability Replicated; and whoever wrote it died with the server. Its place in the feed is another's."""
    monkeypatch.setattr(connections, "BACK_OFF_S_FIRST", 0.0)
    primary, replica = servers
    settings = settings_for(*servers)
    make_world(primary, settings)
    near, far = [await join(await RedisStore.open(settings), name) for name in ("near", "far")]
    assert isinstance(near.store, RedisStore)
    assert isinstance(far.store, RedisStore)
    record = await near.claim("c")
    await far.store.enter(far.membership, NodeFacts())
    primary.wait_for_replicas(1)
    primary.execute("CONFIG", "SET", "repl-backlog-size", "16384")
    replica.pause()
    primary.execute("CLIENT", "KILL", "TYPE", "replica")
    await near.do(subscribe(record, SHARED, epoch=record.epoch))
    assert (await far.store.follow(far.membership, Positions(feed=1), 0)).feed
    await near.store.close()
    primary.kill()
    replica.resume()
    replica.execute("REPLICAOF", "NO", "ONE")

    store = far.store

    async def is_fenced() -> bool:
        try:
            await store.renew(far.membership, NodeFacts())
        except StoreUnavailable:
            return False
        except Fenced as fenced:
            return "rolled back" in str(fenced)
        raise AssertionError("it goes on")

    assert await eventually(is_fenced, BOTH_S_MAX)
    await far.store.close()
