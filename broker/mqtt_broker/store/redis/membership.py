"""Tokens and leases: how a node comes, is seen to live, and goes.

Knows the scripts that fence, and how a lease is written; does not know when a lease has stood still for too long.
"""

import msgspec
from msgspec import Struct

from mqtt_api.node_facts import NodeFacts
from mqtt_api.store_keys import StoreKeys
from mqtt_broker.store.cluster import InboxLevel, Lease
from mqtt_broker.store.ports import Membership, StoreUnavailable
from mqtt_broker.store.redis.clock import Reading, StoreClock
from mqtt_broker.store.redis.connection import Connection
from mqtt_broker.store.redis.script import script
from mqtt_broker.store.redis.wire import Reply

FEED_KEPT = 10_000  # entries that stay although everybody has applied them: a node that starts reads its snapshot first
FEED_MAX = 200_000  # entries at most, some 100 MB: a node that is further behind joins anew

FEED_BYTES_KEPT = 64 * 1024 * 1024  # instead, where these are fewer: topic filters may be long
FEED_BYTES_MAX = 512 * 1024 * 1024

_ALWAYS = "allow-oom"  # a store without room must not cost a node its lease
_LIBRARY = ("names", "streams", "nodes")
_JOIN = script("join", *_LIBRARY, "join", flags=_ALWAYS)
_ENTER = script("enter", *_LIBRARY, "enter", flags=_ALWAYS)
_LEAVE = script("leave", *_LIBRARY, "leave", flags=_ALWAYS)
_RENEW = script("renew", *_LIBRARY, "renew", flags=_ALWAYS)
_FENCE = script("fence", *_LIBRARY, "fence", flags=_ALWAYS)
_CLOCK = script("clock", "names", "clock", flags="no-writes")
_SET_CLOCK = script("set_clock", "names", "set_clock", flags=_ALWAYS)

_encode_facts = msgspec.json.Encoder().encode
_decode_facts = msgspec.json.Decoder(NodeFacts).decode


class Joined(Struct, frozen=True):
    """`generation` of the world, which is 0 until it is rolled back."""

    membership: Membership
    generation: int


class Renewed(Struct, frozen=True):
    """`clock_offset` as it is stored, in seconds, decimal."""

    store_time: float
    clock_offset: str
    leases: tuple[Lease, ...]


async def read_clock(connection: Connection, clock: StoreClock) -> Reading:
    """The server's time, and whether that can be right."""
    reply = await connection.call(_CLOCK, (clock.given,), writes=False)
    try:
        time, seen = reply
        return Reading(float(time), None if seen is None else float(seen))
    except (TypeError, ValueError) as problem:
        raise _not_understood("what time it is", reply) from problem


async def join(connection: Connection, keys: StoreKeys, node: str, world: str) -> Joined:
    """A new token for this name. Raises StoreMismatch for another world, or one whose rollback is not accepted yet."""
    reply = await connection.call(_JOIN, (node, keys.world, world), writes=True)
    try:
        token, generation = reply
        return Joined(Membership(node=node, token=int(token)), int(generation))
    except (TypeError, ValueError) as problem:
        raise _not_understood("join", reply) from problem


async def enter(connection: Connection, clock: StoreClock, membership: Membership, facts: NodeFacts) -> int:
    args = (clock.given, membership.node, membership.token, facts.applied, _encode_facts(facts))
    reply = await connection.call(_ENTER, args, writes=True)
    if not isinstance(reply, bytes) or not reply.isdigit():
        raise _not_understood("enter", reply)
    return int(reply)


async def leave(connection: Connection, membership: Membership) -> None:
    await connection.call(_LEAVE, (membership.node, membership.token), writes=True)


async def renew(connection: Connection, clock: StoreClock, membership: Membership, facts: NodeFacts) -> Renewed:
    """One more renewal. The feed is trimmed on the way, below what every lease holder has applied."""
    own = (membership.node, membership.token)
    bounds = (FEED_KEPT, FEED_MAX, FEED_BYTES_KEPT, FEED_BYTES_MAX)
    estimate = "" if clock.estimate is None else repr(clock.estimate)
    args = (clock.given, *own, facts.applied, _encode_facts(facts), *bounds, estimate)
    reply = await connection.call(_RENEW, args, writes=True)
    try:
        time, offset, leases = reply
        names = zip(leases[::2], leases[1::2], strict=True)
        return Renewed(float(time), offset.decode(), tuple(_lease(name, value) for name, value in names))
    except (TypeError, ValueError, AttributeError) as problem:
        raise _not_understood("renew", reply) from problem


async def fence(connection: Connection, membership: Membership, lease: Lease) -> bool:
    args = (membership.node, membership.token, lease.node, lease.token, lease.renewals)
    return bool(await connection.call(_FENCE, args, writes=True) == 1)


async def standing(connection: Connection, keys: StoreKeys, node: str) -> Lease | None:
    """The lease under a name. A check, no claim: it may be another one when the answer is here."""
    value = await connection.command("HGET", keys.leases, node)
    return None if value is None else _lease(node.encode(), value)


async def inbox_dropped(connection: Connection, keys: StoreKeys, membership: Membership) -> int:
    """What scripts/streams.lua counts for the holder of a name; `join` begins anew."""
    key = f"{keys.data}node:{membership.node}"
    reply = await connection.command("HMGET", key, "dropped_qos0", "dropped_transient")
    try:
        return sum(int(count or 0) for count in reply)
    except (TypeError, ValueError) as problem:
        raise _not_understood("what an inbox dropped", reply) from problem


async def inbox_level(connection: Connection, keys: StoreKeys, node: str) -> InboxLevel:
    """Of the holder of a name; that of nobody is empty."""
    reply = await connection.command("HMGET", f"{keys.data}node:{node}", "inbox_bytes", "inbox_done")
    try:
        written, done = [int(count or 0) for count in reply]
        return InboxLevel(written - done, done)
    except (TypeError, ValueError) as problem:
        raise _not_understood("how full an inbox is", reply) from problem


async def set_clock(connection: Connection, seen: str, jump_s: float) -> bool:
    """Take a jump out of the stored offset, unless somebody else did. True if it was us."""
    return bool(await connection.call(_SET_CLOCK, (seen, repr(float(seen) - jump_s)), writes=True) == 1)


def _lease(name: Reply, value: Reply) -> Lease:
    """`facts` of another version may hold fields that this one does not know: they are skipped."""
    try:
        token, renewals, _, facts = value.split(b" ", 3)
        return Lease(node=name.decode(), token=int(token), renewals=int(renewals), facts=_decode_facts(facts))
    except (ValueError, AttributeError, msgspec.MsgspecError) as problem:
        raise _not_understood("a lease", value) from problem


def _not_understood(what: str, reply: Reply) -> StoreUnavailable:
    return StoreUnavailable(f"the store's answer to {what} is not understood: {str(reply)[:100]}")
