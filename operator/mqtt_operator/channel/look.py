"""One look at the store that nodes share: whose it is, who is there, and whether it promises what it should.

Reads, and changes nothing: others who write are not disturbed. Knows where identity and leases stand; does not know
what follows from what is seen.
"""

from collections.abc import Mapping
from typing import Any

import redis
from msgspec import Struct

from mqtt_api.node_settings import RedisSettings
from mqtt_api.store_keys import StoreKeys
from mqtt_operator.channel.connection import connect, explained
from mqtt_operator.channel.members import decode_members
from mqtt_operator.channel.terms import Members

CONFIG = ("maxmemory-policy", "appendonly", "appendfsync")


class Look(Struct, frozen=True, kw_only=True):
    """`world` is the identity, "" = none. `is_rolled_back`: nodes found the store older than what they knew, and wait.

    `run`: another one after each restart of the server. `config` None: it may not be read. `replicas` that are
    connected now.
    """

    world: str
    is_rolled_back: bool
    members: Members
    run: str = ""
    replicas: int = 0
    config: Mapping[str, str] | None = None


def look(settings: RedisSettings) -> Look:
    """At one moment, but for the server's own settings. Raises SharedStoreError."""
    keys = StoreKeys(settings.key_prefix)
    with explained(settings), connect(settings) as client:
        with client.pipeline(transaction=True) as together:
            together.hmget(keys.world, "id", "generation")
            together.get(f"{keys.data}generation")
            together.hgetall(keys.leases)
            together.get(f"{keys.feed}_end")
            together.hget(keys.policy, "revision")
            (world, generation), seen_generation, leases, feed_end, revision = together.execute()
        config = _config(client)
        server: Mapping[str, Any] = client.info("server")
        replication: Mapping[str, Any] = client.info("replication")
    return Look(
        world="" if world is None else world.decode(),
        is_rolled_back=int(seen_generation or 0) > int(generation or 0),
        members=decode_members(leases, feed_end, revision, settings),
        run=str(server.get("run_id", "")),
        replicas=int(replication.get("connected_slaves", 0)),
        config=config,
    )


def _config(client: redis.Redis) -> dict[str, str] | None:
    found: dict[str, str] = {}
    try:
        for name in CONFIG:
            found |= {str(word): str(value) for word, value in client.config_get(name).items()}
    except redis.ResponseError:  # forbidden, or renamed by whoever runs it
        return None
    return found


def durability_lacks(settings: RedisSettings, seen: Look) -> list[str]:
    """What of the declared durability the server does not show, a sentence each."""
    if seen.config is None:
        return ["Its settings cannot be read: allow CONFIG GET, or set durability.verification to Declared."]
    lacks = []
    if seen.config.get("maxmemory-policy") != "noeviction":
        policy = seen.config.get("maxmemory-policy")
        lacks.append(f"maxmemory-policy {policy} deletes what was acknowledged when memory is short: set noeviction.")
    if settings.durability == "Disk" and seen.config.get("appendonly") != "yes":
        lacks.append("Disk needs appendonly yes, or declare Memory.")
    elif settings.durability == "Disk" and seen.config.get("appendfsync") != "always":
        lacks.append(f"Disk needs appendfsync always, not {seen.config.get('appendfsync')}; or declare Memory.")
    if settings.durability == "Replicated" and seen.replicas < settings.replicas:
        lacks.append(f"Replicated needs {settings.replicas} replicas, {seen.replicas} are connected.")
    return lacks
