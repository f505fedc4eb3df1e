"""Two nodes in one world, and what each of them is told."""

from collections.abc import AsyncIterator, Iterator

import pytest

from cluster.store.servers import RedisWorld, redis_server, running
from mqtt_broker.session.session import QueueBounds
from mqtt_broker.store.cluster import Change, Command, Delivery, FeedEntry, Positions
from mqtt_broker.store.ports import Forward, Target
from mqtt_broker.store.redis.store import RedisStore
from support.redis_server import RedisServer
from unit.mqtt_broker.store.harness import Node, join


class Peer(Node):
    """A node that remembers how far it has read. `inbox_end` as it was told by what it read."""

    store: RedisStore
    feed = inbox = control = 0

    async def _news(self) -> tuple[tuple[FeedEntry, ...], tuple[Delivery, ...], tuple[Command, ...]]:
        positions = Positions(feed=self.feed, inbox=self.inbox, control=self.control)
        news = await self.store.follow(self.membership, positions, 0)
        self.feed = news.feed[-1].position if news.feed else self.feed
        self.inbox = news.inbox[-1].position if news.inbox else self.inbox
        self.control = news.control[-1].position if news.control else self.control
        deliveries = tuple(delivery for entry in news.inbox for delivery in entry.deliveries)
        return news.feed, deliveries, tuple(entry.command for entry in news.control)

    async def entries(self) -> tuple[FeedEntry, ...]:
        """Entries of the feed since the last time anything was read."""
        return (await self._news())[0]

    async def changes(self) -> tuple[Change, ...]:
        """What the feed told since the last time anything was read."""
        return tuple(change for entry in await self.entries() for change in entry.changes)

    async def deliveries(self) -> tuple[Delivery, ...]:
        """What its inbox brought since the last time anything was read."""
        return (await self._news())[1]

    async def commands(self) -> tuple[Command, ...]:
        """What control said since the last time anything was read."""
        return (await self._news())[2]

    def forward(self, client_id: str = "far") -> Forward:
        """A copy for a transient session that is connected here."""
        targets = (Target(client_id=client_id, incarnation=1, qos=1),)
        return Forward(node=self.membership.node, token=self.membership.token, targets=targets)


async def peer(world: RedisWorld, name: str) -> Peer:
    node = await join(await world.open(), name)
    found = Peer(node.store, node.membership)
    await found.entries()
    return found


class Cluster:
    """A test class with a world and two nodes in it."""

    @pytest.fixture(scope="class")
    @staticmethod
    def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
        yield from running(redis_server(tmp_path_factory.mktemp("redis")))

    @pytest.fixture
    async def world(self, server: RedisServer) -> AsyncIterator[RedisWorld]:
        world = RedisWorld(server, inbox_bytes_max=4_000)
        yield world
        await world.close()

    @pytest.fixture
    async def near(self, world: RedisWorld) -> Peer:
        return await peer(world, "near")

    @pytest.fixture
    async def far(self, world: RedisWorld) -> Peer:
        return await peer(world, "far")


NARROW = QueueBounds(messages_max=2, bytes_max=1_000, overflow="Reject")
