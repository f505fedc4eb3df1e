"""What tests of the Redis store need around a server: settings, a world, connections without a whole store."""

import itertools
from pathlib import Path

from msgspec.structs import replace

from mqtt_api.node_settings import RedisSettings
from mqtt_api.store_keys import StoreKeys
from mqtt_broker.store.redis.clock import StoreClock
from mqtt_broker.store.redis.connection import Connection
from mqtt_broker.store.redis.primary import Primary
from mqtt_broker.store.redis.standing import Standing
from support.redis_server import RedisServer

WORLD = "world-1"

_numbers = itertools.count(1)


def settings_for(*servers: RedisServer, **changes: object) -> RedisSettings:
    """Settings for these servers with a key prefix of their own. Nothing is checked but the version."""
    settings = RedisSettings(
        addresses=tuple(server.address for server in servers),
        key_prefix=f"mqtt.t{next(_numbers)}",
        durability="Memory",
        verification="Declared",
    )
    return replace(settings, **changes)


def make_world(server: RedisServer, settings: RedisSettings, world: str = WORLD) -> StoreKeys:
    """What the operator does first."""
    keys = StoreKeys(settings.key_prefix)
    server.execute("HSET", keys.world, "id", world, "generation", "0")
    return keys


def password_file(folder: Path, password: str, name: str = "password") -> str:
    file = folder / name
    file.write_text(f"{password}\n")
    return str(file)


class Rig:
    """One connection as a node has it, with what it stands on."""

    def __init__(self, settings: RedisSettings, *, world: str | None = None) -> None:
        self.keys = StoreKeys(settings.key_prefix)
        self.clock = StoreClock()
        self.standing = Standing(settings)
        if world is not None:
            self.standing.expect(world)
        replicas = settings.replicas if settings.durability == "Replicated" else 0
        self.connection = Connection(Primary(settings), self.keys.data, self.standing.check, replicas)
