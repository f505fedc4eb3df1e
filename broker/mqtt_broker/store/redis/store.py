"""The store that nodes share: cluster.ClusterStore over Redis or Valkey.

Knows which connection carries what; does not know scripts or layouts, which are the neighbours' affair. There are four,
so that nothing waits behind what may take long: commits (and what else must be kept), reads (and what nobody waits
for), following, and the lease.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Self

from mqtt_api.node_facts import NodeFacts
from mqtt_api.node_settings import RedisSettings
from mqtt_api.store_keys import StoreKeys
from mqtt_broker.store.cluster import TELLS_MORE, Command, InboxLevel, Lease, News, Positions, Post, PostRun
from mqtt_broker.store.ports import (
    Due,
    Kept,
    Membership,
    Operation,
    QueueEntry,
    Result,
    RetainedMessage,
    Snapshot,
)
from mqtt_broker.store.redis import membership as members
from mqtt_broker.store.redis import operations as commits
from mqtt_broker.store.redis import queries, streams
from mqtt_broker.store.redis.clock import StoreClock
from mqtt_broker.store.redis.connection import Connection
from mqtt_broker.store.redis.policy import PolicyReader
from mqtt_broker.store.redis.primary import Primary
from mqtt_broker.store.redis.standing import Standing

log = logging.getLogger("mqtt_broker.store")

DOUBT_STEP_S = 0.25  # a clock that is in doubt is looked at so often
RELEASED_AT_ONCE = 200  # sessions that an earlier self of this node left behind, in one call


class RedisStore:
    """`await RedisStore.open(settings)`, then as cluster.ClusterStore says. For one event loop."""

    def __init__(self, settings: RedisSettings, clock: Callable[[], float] | None) -> None:
        replicas = settings.replicas if settings.durability == "Replicated" else 0
        self._settings = settings
        self._keys = StoreKeys(settings.key_prefix)
        self._clock = StoreClock(clock)
        self._standing = Standing(settings)
        self._policy = PolicyReader(self._keys)
        self._readers: tuple[int, ...] = ()
        self._on_crowded: commits.OnCrowded = lambda _: None
        primary = Primary(settings)

        def connection() -> Connection:
            return Connection(primary, self._keys.data, self._standing.check, replicas)

        self._commits, self._reads, self._follow, self._lease = connection(), connection(), connection(), connection()
        self._follower = streams.Follower(self._follow, self._keys, settings.inbox_bytes_max)

    @classmethod
    async def open(cls, settings: RedisSettings, clock: Callable[[], float] | None = None) -> Self:
        """Find the server and check that it is fit; `join` comes next. `clock` replaces the server's, for tests.

        Raises StoreMismatch with what to change if it is not, StoreUnavailable if it does not answer; nothing is left
        open then.
        """
        store = cls(settings, clock)
        try:
            await store._lease.command("PING")
        except BaseException:
            await store.close()
            raise
        return store

    async def close(self) -> None:
        for connection in (self._commits, self._reads, self._follow, self._lease):
            await connection.close()

    def now(self) -> float:
        return self._clock.now()

    # Membership ------------------------------------------------------------------------------------------------------

    async def join(self, node: str, world: str) -> Membership:
        self._standing.expect(world)
        await self._learn_the_time()
        joined = await members.join(self._lease, self._keys, node, world)
        self._standing.joined(joined.membership, joined.generation)
        while await queries.release(self._commits, self._clock.told, joined.membership, RELEASED_AT_ONCE):
            pass
        return joined.membership

    async def _learn_the_time(self) -> None:
        """Wait until the server's clock is right: a jump is corrected by nodes that live, for which a moment is given.

        If none of them shows up for as long as a lease lasts, none lives, and the server's clock is all there is.
        """
        seen, seen_at = None, self._clock.steady()
        while True:
            asked_at = self._clock.steady()
            reading = await members.read_clock(self._lease, self._clock)
            if reading.seen != seen:
                seen, seen_at = reading.seen, asked_at
            if not reading.is_doubtful or asked_at - seen_at > self._settings.lease_s:
                self._clock.learn(reading.store_time, asked_at)
                return
            await asyncio.sleep(DOUBT_STEP_S)

    @property
    def connected(self) -> int:
        return self._lease.opened

    async def standing(self, node: str) -> Lease | None:
        return await members.standing(self._lease, self._keys, node)

    async def inbox_dropped(self, membership: Membership) -> int:
        return await members.inbox_dropped(self._lease, self._keys, membership)

    async def inbox_level(self, node: str) -> InboxLevel:
        return await members.inbox_level(self._lease, self._keys, node)

    def tell_crowded(self, call: Callable[[Sequence[str]], None]) -> None:
        self._on_crowded = call

    async def enter(self, membership: Membership, facts: NodeFacts) -> int:
        return await members.enter(self._lease, self._clock, membership, facts)

    async def leave(self, membership: Membership) -> None:
        await members.leave(self._lease, membership)

    async def renew(self, membership: Membership, facts: NodeFacts) -> tuple[Lease, ...]:
        asked_at = self._clock.steady()
        renewed = await members.renew(self._lease, self._clock, membership, facts)
        self._readers = tuple([lease.token for lease in renewed.leases if lease.facts.format >= TELLS_MORE])
        is_elder = membership.token == min((lease.token for lease in renewed.leases), default=membership.token)
        jump_s = self._clock.learn(renewed.store_time, asked_at, corrects=is_elder)
        if jump_s and await members.set_clock(self._lease, renewed.clock_offset, jump_s):
            log.error("the clock of the store's server jumped by %+.1f s: corrected, but look after it", jump_s)
        return renewed.leases

    async def fence(self, membership: Membership, lease: Lease) -> bool:
        return await members.fence(self._lease, membership, lease)

    async def reap(self, membership: Membership, sessions_max: int) -> int:
        return await queries.reap(self._commits, self._clock.told, membership, sessions_max)

    # Writing and reading ---------------------------------------------------------------------------------------------

    async def commit(self, membership: Membership, number: int, operations: Sequence[Operation]) -> tuple[Result, ...]:
        results = await commits.commit(
            self._commits,
            self._clock.told,
            membership,
            number,
            operations,
            self._settings.inbox_bytes_max,
            self._readers,
            self._on_crowded,
        )
        self._standing.confirmed(number)
        return results

    async def load(self) -> Snapshot:
        return await queries.load(self._reads, self._clock.told)

    async def read_queue(
        self, client_id: str, incarnation: int, after: int, messages_max: int, bytes_max: int, *, epoch: int = 0
    ) -> tuple[QueueEntry, ...]:
        return await queries.read_queue(self._reads, client_id, incarnation, after, messages_max, bytes_max, epoch)

    async def read_retained(self, topics: Sequence[str]) -> tuple[RetainedMessage, ...]:
        return await queries.read_retained(self._reads, self._clock.told, topics)

    async def kept(self) -> Kept:
        return await queries.kept(self._reads)

    async def due(self) -> Due:
        return await queries.due(self._commits, self._clock.told, self._standing.node)

    async def read_policy(self, known_revision: int) -> tuple[bytes, ...] | None:
        return await self._policy.read(self._reads, known_revision)

    # Among nodes -----------------------------------------------------------------------------------------------------

    async def follow(self, membership: Membership, positions: Positions, wait_s: float) -> News:
        news = await self._follower.follow(membership, positions, wait_s)
        if news.feed:
            self._standing.read_feed(news.feed[-1].position)
        return news

    async def post(self, membership: Membership, posts: Sequence[Post | PostRun]) -> None:
        inbox_bytes_max = self._settings.inbox_bytes_max
        await streams.post(self._reads, self._clock.told, membership, posts, inbox_bytes_max, self._on_crowded)

    async def command(self, membership: Membership, node: str, token: int, command: Command) -> None:
        await streams.command(self._reads, membership, node, token, command)

    async def report(self, membership: Membership, position: int, origins: Sequence[str]) -> None:
        await streams.report(self._reads, membership, position, origins)
