"""The feed is bounded in bytes: whoever may subscribe decides how long its filters are."""

import pytest

from cluster.store.cluster import Cluster, Peer
from cluster.store.servers import RedisWorld
from mqtt_api.node_facts import NodeFacts
from mqtt_broker.session.session import Subscription
from mqtt_broker.store.cluster import FeedLost, Positions
from mqtt_broker.store.redis import membership
from unit.mqtt_broker.store.harness import subscribe

LONG = "a" * 10_000
KEPT_BYTES = 100_000
MOST_BYTES = 400_000


@pytest.fixture(autouse=True)
def _bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(membership, "FEED_BYTES_KEPT", KEPT_BYTES, raising=False)
    monkeypatch.setattr(membership, "FEED_BYTES_MAX", MOST_BYTES, raising=False)


async def tell(node: Peer, count: int) -> None:
    record = await node.claim("talker")
    for number in range(count):
        await node.do(subscribe(record, Subscription(filter=f"{LONG}{number % 2}")))


async def renew(node: Peer, applied: int) -> None:
    await node.store.renew(node.membership, NodeFacts(applied=applied))


def held_bytes(world: RedisWorld) -> int:
    entries = world.server.execute("XRANGE", world.keys.feed, "-", "+")
    return sum(len(value) for _, fields in entries for value in fields.values())


def end(world: RedisWorld) -> int:
    return int(world.server.execute("GET", f"{world.keys.feed}_end"))


class TestFeedBytes(Cluster):
    async def test_what_everybody_has_applied_goes_when_it_is_much(self, near: Peer, world: RedisWorld) -> None:
        await near.store.enter(near.membership, NodeFacts())
        await tell(near, 60)
        await renew(near, end(world))
        assert KEPT_BYTES // 2 < held_bytes(world) <= KEPT_BYTES + 2_000

    async def test_what_somebody_has_not_applied_stays_until_it_is_too_much(
        self, near: Peer, far: Peer, world: RedisWorld
    ) -> None:
        for node in (near, far):
            await node.store.enter(node.membership, NodeFacts(applied=0))
        await far.entries()
        await tell(near, 25)
        await renew(near, end(world))
        assert held_bytes(world) > 2 * KEPT_BYTES
        assert await far.entries()
        behind = far.feed
        await tell(near, 80)
        await renew(near, end(world))
        assert held_bytes(world) <= MOST_BYTES + 2_000
        with pytest.raises(FeedLost):
            await far.store.follow(far.membership, Positions(feed=behind), 0)

    async def test_entries_of_an_operator_are_passed_over(self, near: Peer, world: RedisWorld) -> None:
        await near.store.enter(near.membership, NodeFacts())
        await tell(near, 30)
        for _ in range(6):
            position = world.server.execute("INCR", f"{world.keys.feed}_end")
            world.server.execute("XADD", world.keys.feed, f"{position}-0", "o", "", "c", b"P\0\0\0\x011")
        await renew(near, end(world))
        assert held_bytes(world) <= KEPT_BYTES + 2_000
        await tell(near, 3)
        await renew(near, end(world))
        assert KEPT_BYTES // 2 < held_bytes(world) <= KEPT_BYTES + 2_000
