"""This broker on a store that nodes could share: one node and one Redis that syncs every write to disk.

The figures are the node's; what Redis spends stands in the log of the run.
"""

import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from bench.peers.base import Running, ports, spawn
from bench.peers.stoa import Stoa, policy, settings
from bench.world import World
from mqtt_api.node_settings import RedisSettings
from mqtt_api.policy import encode_policy
from mqtt_api.store_keys import StoreKeys
from mqtt_operator.channel.terms import Writer
from mqtt_operator.channel.shared_store import SharedStore
from support.redis_server import RedisServer, ServerOptions, redis_binary

KEYS = StoreKeys("mqtt.bench")
PASSWORD = "bench-store"
NODE_USER = "node"
WORLD_ID = "bench"


@dataclass
class Node(Running):
    """A running node, its store, and who writes its policy."""

    ends: ExitStack = field(default_factory=ExitStack)
    store: SharedStore | None = None
    fence: int = 0
    revision: int = 1

    def rewrite_policy(self) -> bool:
        assert self.store is not None
        self.revision += 1
        write_policy(self.store, self.fence, self.revision)
        return True

    def stop(self) -> None:
        super().stop()
        self.ends.close()


class StoaOnRedis(Stoa):
    name = "stoa-redis"
    title = "Stoa on Redis"

    def installed(self) -> bool:
        return redis_binary() is not None

    def conditions(self) -> str:
        return "one node, Redis with appendfsync always, durability Disk"

    def start(self, folder: Path, world: World, core: int | None) -> Running:
        ends = ExitStack()
        server = ends.enter_context(RedisServer(folder / "redis", server_options()))
        store = SharedStore(store_settings(folder, server))
        fence = store.found(WORLD_ID, may_be_new=True).fence
        write_policy(store, fence, 1)
        port, tls_port = ports()
        made = msgspec.structs.replace(
            settings(folder, world, port, tls_port, Path()),
            store=store_settings(folder, server, NODE_USER),
            policy_file="",
        )
        settings_file = folder / "settings.json"
        settings_file.write_bytes(msgspec.json.encode(made))
        process, log = spawn([sys.executable, "-m", "mqtt_broker", "--settings", settings_file], folder, core)
        node = Node(world, process.pid, port, tls_port, log, process, ends, store, fence)
        node.await_answer()
        return node


def server_options() -> ServerOptions:
    node = f"{NODE_USER} on >{PASSWORD} {' '.join(KEYS.broker_rules)}"
    return ServerOptions(password=PASSWORD, users=(node,), appendfsync="always")


def store_settings(folder: Path, server: RedisServer, username: str | None = None) -> RedisSettings:
    """`username` None: the operator's view, by the user who may do everything."""
    password_file = folder / "store-password"
    password_file.write_text(PASSWORD)
    return RedisSettings(
        addresses=(server.address,),
        key_prefix=KEYS.prefix,
        username=username,
        password_file=str(password_file),
        durability="Disk",
    )


def write_policy(store: SharedStore, fence: int, revision: int) -> None:
    store.write_policy(Writer(world=WORLD_ID, fence=fence), revision, encode_policy(policy(revision)))
