"""The end of a broker's keys in a store that outlives it.

Knows that all of them start with one prefix, and in which order they go; does not know what they hold.
"""

import time

import redis
from msgspec import Struct

from mqtt_api.node_settings import RedisSettings
from mqtt_api.store_keys import StoreKeys
from mqtt_operator.channel.connection import connect, explained
from mqtt_operator.channel.terms import Identity

BATCH_KEYS = 1_000  # looked at in one call: about a millisecond of the server


class Removed(Struct, frozen=True, kw_only=True):
    """`identity`: EMPTY and OTHER: nothing was ours to remove. `is_all`: nothing of ours is left."""

    identity: Identity
    keys: int = 0
    is_all: bool = True


def remove_keys(settings: RedisSettings, world: str, within_s: float) -> Removed:
    """Remove everything under the prefix, if the store is this world; begun again where time ran out. Idempotent.

    The identity goes last, so that a removal that was cut short is known to be one. Nodes that still run are fenced by
    it: what their token was checked against is gone. Other brokers' keys are not touched, only counted past. The user
    must be allowed SCAN, and UNLINK under the prefix. Raises SharedStoreError.
    """
    keys = StoreKeys(settings.key_prefix)
    ends_at = time.monotonic() + within_s
    with explained(settings), connect(settings) as client:
        found = client.hget(keys.world, "id")
        if found is None or found.decode() != world:
            return Removed(identity=Identity.EMPTY if found is None else Identity.OTHER)
        removed, is_all = _remove_data(client, keys, ends_at)
        if is_all:
            removed += client.unlink(keys.world)
    return Removed(identity=Identity.OURS, keys=removed, is_all=is_all)


def _remove_data(client: redis.Redis, keys: StoreKeys, ends_at: float) -> tuple[int, bool]:
    """Until a whole pass over the server has found nothing more."""
    removed = 0
    while True:
        in_this_pass, cursor = 0, 0
        while True:
            cursor, names = client.scan(cursor, match=f"{keys.tag}*", count=BATCH_KEYS)
            ours = [name for name in names if name != keys.world.encode()]
            in_this_pass += client.unlink(*ours) if ours else 0
            if cursor == 0:
                break
            if time.monotonic() > ends_at:
                return removed + in_this_pass, False
        removed += in_this_pass
        if not in_this_pass:
            return removed, True
