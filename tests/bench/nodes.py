"""Several nodes of this broker on one Redis: started, measured apart, and given policies as an operator does.

Knows processes, settings and the policy's way into the store; does not know workloads.
"""

import os
import signal
import sys
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import msgspec

from bench.peers.base import Running, ports, spawn
from bench.peers.stoa import policy, settings
from bench.world import World
from mqtt_api.node_settings import RebalanceSettings, RedisSettings
from mqtt_api.policy import encode_policy
from mqtt_api.store_keys import StoreKeys
from mqtt_operator.channel.shared_store import SharedStore
from mqtt_operator.channel.terms import Writer
from support.redis_server import RedisServer, ServerOptions

KEYS = StoreKeys("mqtt.bench")
PASSWORD = "bench-store"
NODE_USER = "node"
WORLD_ID = "bench"


class Place:
    """One Redis and the operator's pen. Use as `with`. `durability`: Memory (nothing on disk) or Disk."""

    def __init__(self, folder: Path, durability: str) -> None:
        self.folder = folder
        self.durability = durability
        node = f"{NODE_USER} on >{PASSWORD} {' '.join(KEYS.broker_rules)}"
        appendfsync = "always" if durability == "Disk" else None
        self.server = RedisServer(
            folder / "redis", ServerOptions(password=PASSWORD, users=(node,), appendfsync=appendfsync)
        )
        self._operator = SharedStore(self.settings())
        self._fence = 0

    def __enter__(self) -> Self:
        self.server.start()
        self._fence = self._operator.found(WORLD_ID, may_be_new=True).fence
        return self

    def __exit__(self, *_: object) -> None:
        self.server.stop()

    @property
    def pid(self) -> int:
        return self.server.program.pid

    def settings(self, username: str | None = None) -> RedisSettings:
        """`username` None: the operator's view, by the user who may do everything."""
        password_file = self.folder / "store-password"
        password_file.write_text(PASSWORD)
        return RedisSettings(
            addresses=(self.server.address,),
            key_prefix=KEYS.prefix,
            username=username,
            password_file=str(password_file),
            durability=self.durability,
        )

    @property
    def writer(self) -> Writer:
        """As whom the operator writes."""
        return Writer(world=WORLD_ID, fence=self._fence)

    def write_policy(self, revision: int, document: bytes) -> None:
        self._operator.write_policy(self.writer, revision, document)


@dataclass
class ClusterNode(Running):
    """One running node of several. The first of them knows `others`, `store_pid` and `place`, and `owns` the rest."""

    admin_socket: str = ""
    place: Place | None = None
    revision: int = 1
    owns: ExitStack = field(default_factory=ExitStack)

    def rewrite_policy(self) -> bool:
        assert self.place is not None
        self.revision += 1
        self.place.write_policy(self.revision, encode_policy(policy(self.revision)))
        return True

    def kill(self) -> None:
        """A power cut."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        super().stop()
        self.owns.close()


def start_node(number: int, folder: Path, world: World, place: Place, core: int | None = None) -> ClusterNode:
    """Start one and wait until it serves. Raises PeerError."""
    node = launch_node(number, folder, world, place, core)
    node.await_answer()
    return node


def launch_node(number: int, folder: Path, world: World, place: Place, core: int | None = None) -> ClusterNode:
    """Start the process and return at once."""
    name = f"node-{number}"
    own = folder / name
    own.mkdir(parents=True, exist_ok=True)
    port, tls_port = ports()
    made = settings(own, world, port, tls_port, Path())
    made = msgspec.structs.replace(
        made,
        node=name,
        store=place.settings(NODE_USER),
        policy_file="",
        rebalance=RebalanceSettings(connections_per_s=0),  # load clients stay where they are put
    )
    settings_file = own / "settings.json"
    settings_file.write_bytes(msgspec.json.encode(made))
    process, log = spawn([sys.executable, "-m", "mqtt_broker", "--settings", settings_file], own, core)
    return ClusterNode(world, process.pid, port, tls_port, log, process, admin_socket=made.admin_socket)


def start_cluster(folder: Path, world: World, durability: str, nodes: int, core: int | None = None) -> ClusterNode:
    """All nodes and their Redis; the answer is the first node, which stops the others. Raises PeerError."""
    with ExitStack() as ends:
        place = ends.enter_context(Place(folder, durability))
        place.write_policy(1, encode_policy(policy(1)))
        first, *others = [_start(ends, number, folder, world, place, core) for number in range(nodes)]
        first.others, first.store_pid, first.place = others, place.pid, place
        ends.pop_all()
        first.owns.callback(place.server.stop)
        return first


def _start(ends: ExitStack, number: int, folder: Path, world: World, place: Place, core: int | None) -> ClusterNode:
    node = start_node(number, folder, world, place, core)
    ends.callback(node.stop)
    return node


def use_all_cores() -> None:
    """For this thread and what it starts: a cluster has more processes than there are cores to give each its own."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, range(os.cpu_count() or 1))
