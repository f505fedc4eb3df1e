"""This broker on a store that nodes could share: one node and one Redis that syncs every write to disk."""

from pathlib import Path

from bench.nodes import start_cluster
from bench.peers.base import Running
from bench.peers.stoa import Stoa
from bench.world import World
from support.redis_server import redis_binary


class StoaOnRedis(Stoa):
    name = "stoa-redis"
    title = "Stoa on Redis"

    def installed(self) -> bool:
        return redis_binary() is not None

    def conditions(self) -> str:
        return "one node, Redis with appendfsync always, durability Disk"

    def start(self, folder: Path, world: World, core: int | None) -> Running:
        return start_cluster(folder, world, "Disk", 1, core)
