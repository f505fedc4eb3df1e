"""Where this node stands with its store, and whether a server that a connection has just reached is that store.

Knows world, generation, token and batch number; does not know what batches hold. A server that was emptied or replaced,
or that has gone back in time, is found here, before it is told or asked anything else.
"""

import hiredis
from msgspec import Struct

from mqtt_api.node_settings import RedisSettings
from mqtt_api.store_keys import StoreKeys
from mqtt_broker.store.ports import Fenced, Membership, StoreMismatch, StoreUnavailable
from mqtt_broker.store.redis.checks import check_server
from mqtt_broker.store.redis.errors import as_store_error
from mqtt_broker.store.redis.script import script
from mqtt_broker.store.redis.wire import Reply, Wire

CHECK_S_MAX = 1.5

_ROLLED_BACK = script("rolled_back", "names", "streams", "nodes", "rolled_back", flags="allow-oom")


class _Told(Struct, frozen=True):
    """What the server says of world and node; None where it holds nothing."""

    world: str | None
    world_generation: int
    generation: int
    ordinals: int
    feed_end: int
    token: int | None
    number: int


class Standing:
    """What this node was told and knows for certain. `join`, `confirmed` and `read_feed` keep it up to date."""

    def __init__(self, settings: RedisSettings) -> None:
        self._settings = settings
        self._keys = StoreKeys(settings.key_prefix)
        self._world: str | None = None
        self._membership: Membership | None = None
        self._generation = 0
        self._number = 0
        self._feed = 0

    @property
    def node(self) -> str:
        """The name that this node joined with; "" before."""
        return "" if self._membership is None else self._membership.node

    def expect(self, world: str) -> None:
        """From now on only this world will do. What an earlier `join` gave counts no more."""
        self._world, self._membership = world, None

    def joined(self, membership: Membership, generation: int) -> None:
        self._membership, self._generation, self._number, self._feed = membership, generation, 0, 0

    def confirmed(self, number: int) -> None:
        """The store has said that it holds this batch."""
        self._number = number

    def read_feed(self, position: int) -> None:
        """The feed told this node of an entry at this position."""
        self._feed = position

    async def check(self, wire: Wire) -> None:
        """Raises StoreMismatch if the server is not this node's store, or not fit; Fenced if this node is out of it."""
        number, feed = self._number, self._feed  # what comes while the server answers cannot be held against it
        await check_server(wire, self._settings, CHECK_S_MAX)
        if self._world is None:
            return
        told = await self._ask(wire)
        self._check_world(wire, told)
        if self._membership is None:
            return
        if told.generation > self._generation:
            raise Fenced(
                f"the store was rolled back: generation {told.generation} began, this node knew another future"
            )
        if _is_older(told, self._membership.token, number, feed):
            await self._begin_generation(wire, told)
        if told.token != self._membership.token:
            raise Fenced(f"the token {self._membership.token} of node {self._membership.node} is over")

    def _check_world(self, wire: Wire, told: _Told) -> None:
        if told.world is None:
            raise StoreMismatch(f"the store at {wire.address} holds no world, and {self._world} is expected: emptied?")
        if told.world != self._world:
            raise StoreMismatch(f"the store at {wire.address} is world {told.world}, and {self._world} is expected")

    async def _ask(self, wire: Wire) -> _Told:
        data = self._keys.data
        replies = await wire.ask(
            ("HMGET", self._keys.world, "id", "generation"),
            ("MGET", f"{data}generation", f"{data}ordinals", f"{self._keys.feed}_end"),
            ("HMGET", f"{data}node:{self.node}", "token", "number"),
            timeout_s=CHECK_S_MAX,
        )
        for reply in replies:
            if isinstance(reply, hiredis.ReplyError):
                raise as_store_error(str(reply))
        return _told(replies)

    async def _begin_generation(self, wire: Wire, told: _Told) -> None:
        """Raises Fenced: tokens, epochs and positions of the lost future must mean nothing in the new one."""
        args = (str(told.generation), told.world_generation, self._generation)
        _, generation = await wire.ask(
            ("SCRIPT", "LOAD", _ROLLED_BACK.text),
            ("EVALSHA", _ROLLED_BACK.digest, 1, self._keys.data, *args),
            timeout_s=CHECK_S_MAX,
        )
        if not isinstance(generation, bytes):
            raise StoreUnavailable(f"the store was rolled back, and does not begin a new generation: {generation}")
        raise Fenced(
            f"the store was rolled back: batch {self._number} of this node is gone, or entry {self._feed} of the feed;"
            f" generation {generation.decode()} waits for the operator to accept it"
        )


def _told(replies: list[Reply]) -> _Told:
    try:
        (world, world_generation), (generation, ordinals, feed_end), (token, number) = replies
        return _Told(
            world=None if world is None else world.decode(),
            world_generation=int(world_generation or 0),
            generation=int(generation or 0),
            ordinals=int(ordinals or 0),
            feed_end=int(feed_end or 0),
            token=None if token is None else int(token),
            number=int(number or 0),
        )
    except (ValueError, TypeError, AttributeError) as problem:
        raise StoreUnavailable(f"the store's own state is not understood: {problem}") from problem


def _is_older(told: _Told, token: int, number: int, feed: int) -> bool:
    """True if the server does not hold what this node knows it held: numbers only grow, and a node's hash stays."""
    if told.token is None or told.ordinals < token or told.feed_end < feed:
        return True
    return told.token == token and told.number < number
