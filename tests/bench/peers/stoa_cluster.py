"""This broker as two nodes on one Redis. What crosses from one to the other goes through that."""

from pathlib import Path

from bench.nodes import start_cluster, use_all_cores
from bench.peers.base import Running
from bench.peers.stoa import Stoa
from bench.world import World
from support.redis_server import redis_binary

NODES = 2


class StoaCluster(Stoa):
    def __init__(self, durability: str) -> None:
        self.name = f"stoa-nodes-{durability.lower()}"
        self.title = f"Stoa, {NODES} nodes, {durability}"
        self._durability = durability

    def installed(self) -> bool:
        return redis_binary() is not None

    def conditions(self) -> str:
        disk = "appendfsync always" if self._durability == "Disk" else "nothing on disk"
        return (
            f"{NODES} nodes and one Redis ({disk}), durability {self._durability}; nodes, Redis and driver share all"
            " cores as the system places them"
        )

    def start(self, folder: Path, world: World, core: int | None) -> Running:
        use_all_cores()
        return start_cluster(folder, world, self._durability, NODES)
