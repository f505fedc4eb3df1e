"""Who is there: the leases that nodes keep in the store, and the one order that an operator gives them.

Knows how a lease and an order are laid out; does not know when a lease is over.
"""

from collections.abc import Mapping

import msgspec

from mqtt_api.node_facts import NodeFacts
from mqtt_api.node_settings import RedisSettings
from mqtt_api.store_keys import StoreKeys
from mqtt_operator.channel.connection import connect, explained
from mqtt_operator.channel.terms import Member, Members, SharedStoreError

DRAIN_KIND = "drain"


def read_members(settings: RedisSettings) -> Members:
    """All leases at one moment. Raises SharedStoreError."""
    keys = StoreKeys(settings.key_prefix)
    with explained(settings), connect(settings) as client, client.pipeline(transaction=True) as together:
        together.hgetall(keys.leases)
        together.get(f"{keys.feed}_end")
        together.hget(keys.policy, "revision")
        leases, feed_end, revision = together.execute()
    return decode_members(leases, feed_end, revision, settings)


def decode_members(
    leases: Mapping[bytes, bytes], feed_end: bytes | None, revision: bytes | None, settings: RedisSettings
) -> Members:
    """What the store answered, as values. `settings` name the store in errors. Raises SharedStoreError."""
    nodes = {name.decode(): _member(name.decode(), value, settings) for name, value in leases.items()}
    return Members(nodes=nodes, feed_end=int(feed_end or 0), policy_revision=int(revision or -1))


def order_to_drain(settings: RedisSettings, node: str, token: int) -> None:
    """Tell (node, token) to leave, as on SIGTERM. It is told once, and read at once. Raises SharedStoreError."""
    keys = StoreKeys(settings.key_prefix)
    with explained(settings), connect(settings) as client:
        client.xadd(keys.control(node, token), {DRAIN_KIND: b""})


def _member(node: str, value: bytes, settings: RedisSettings) -> Member:
    try:
        token, renewals, _, facts = value.split(b" ", 3)
        told = msgspec.json.decode(facts, type=NodeFacts)
        return Member(node=node, token=int(token), renewals=int(renewals), facts=told)
    except (ValueError, msgspec.DecodeError) as error:
        raise SharedStoreError(
            f"The lease of {node} cannot be read.",
            where=f"store: {', '.join(settings.addresses)} ({error})",
            to_do="Its node may be of another version than this command: use the newer one.",
        ) from error
