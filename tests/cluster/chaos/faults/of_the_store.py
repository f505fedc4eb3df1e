"""Faults of a single Redis server and of the way to it: gone, slow, cut off, full, or answering errors."""

import asyncio

from cluster.chaos.faults.kind import ONE_NODE, STORE, Kind, Stage, in_thread
from cluster.chaos.stores import OneRedis
from support.proxy import Proxy, Way

REDIS = frozenset({"redis"})
PROXY = frozenset({"proxy"})
SLOW_S = 0.05
LOST_SHARE = 0.02
NOWHERE = ("127.0.0.1", "1")
REPLICAS_NOBODY_HAS = 9


def _redis(stage: Stage) -> OneRedis:
    place = stage.world.place
    assert isinstance(place, OneRedis)
    return place


def _proxy(stage: Stage) -> Proxy:
    return _redis(stage).proxies[stage.target]


async def _order(stage: Stage, *command: str | int) -> None:
    server = _redis(stage).server
    await in_thread(lambda: server.execute(*command))


async def _kill(stage: Stage) -> None:
    stage.begin()
    await in_thread(_redis(stage).kill)
    await asyncio.sleep(stage.seconds)
    await in_thread(_redis(stage).restart)


async def _pause(stage: Stage) -> None:
    stage.begin()
    _redis(stage).server.pause()
    await asyncio.sleep(stage.seconds)
    _redis(stage).server.resume()


async def _slow(stage: Stage) -> None:
    stage.begin()
    for proxy in _redis(stage).proxies.values():
        proxy.delay(SLOW_S)
    await asyncio.sleep(stage.seconds)
    for proxy in _redis(stage).proxies.values():
        proxy.delay(0.0)


async def _partition(stage: Stage) -> None:
    await _stall(stage, Way.BOTH)


async def _one_way(stage: Stage) -> None:
    """Orders arrive, answers do not: everything that is asked happens, and nobody learns of it."""
    await _stall(stage, Way.DOWN)


async def _stall(stage: Stage, way: Way) -> None:
    stage.begin()
    _proxy(stage).stall(way)
    await asyncio.sleep(stage.seconds)
    _proxy(stage).flow(way)


async def _cut(stage: Stage) -> None:
    stage.begin()
    _proxy(stage).cut()
    await asyncio.sleep(stage.seconds)


async def _lossy(stage: Stage) -> None:
    stage.begin()
    _proxy(stage).lose(LOST_SHARE)
    await asyncio.sleep(stage.seconds)
    _proxy(stage).lose(0.0)


async def _oom(stage: Stage) -> None:
    """One byte is allowed: everything that grows is refused until it is over."""
    stage.begin()
    await _order(stage, "CONFIG", "SET", "maxmemory", 1)
    await asyncio.sleep(stage.seconds)
    await _order(stage, "CONFIG", "SET", "maxmemory", 0)


async def _errors(stage: Stage) -> None:
    """Every write is answered with NOREPLICAS."""
    stage.begin()
    await _order(stage, "CONFIG", "SET", "min-replicas-to-write", REPLICAS_NOBODY_HAS)
    await asyncio.sleep(stage.seconds)
    await _order(stage, "CONFIG", "SET", "min-replicas-to-write", 0)


async def _readonly(stage: Stage) -> None:
    """It believes to be the replica of somebody who is not there: every write is answered with READONLY."""
    stage.begin()
    await _order(stage, "REPLICAOF", *NOWHERE)
    await asyncio.sleep(stage.seconds)
    await _order(stage, "REPLICAOF", "NO", "ONE")


async def _hang(stage: Stage) -> None:
    """It accepts commands and answers none of them for a while."""
    stage.begin()
    await _order(stage, "CLIENT", "PAUSE", int(stage.seconds * 1_000), "ALL")
    await asyncio.sleep(stage.seconds)


KINDS = (
    Kind(name="store-kill", strikes=STORE, seconds=(0.0, 2.0), strike=_kill, needs=REDIS),
    Kind(name="store-pause", strikes=STORE, seconds=(0.5, 4.0), strike=_pause, needs=REDIS),
    Kind(name="store-pause-long", strikes=STORE, seconds=(7.0, 9.0), strike=_pause, needs=REDIS),
    Kind(name="store-slow", strikes=STORE, seconds=(1.0, 3.0), strike=_slow, needs=PROXY),
    Kind(name="store-partition", strikes=ONE_NODE, seconds=(1.0, 4.0), strike=_partition, needs=PROXY),
    Kind(name="store-partition-long", strikes=ONE_NODE, seconds=(7.0, 10.0), strike=_partition, needs=PROXY),
    Kind(name="store-one-way", strikes=ONE_NODE, seconds=(1.0, 8.0), strike=_one_way, needs=PROXY),
    Kind(name="store-cut", strikes=ONE_NODE, seconds=(0.0, 0.5), strike=_cut, needs=PROXY),
    Kind(name="store-lossy", strikes=ONE_NODE, seconds=(1.0, 3.0), strike=_lossy, needs=PROXY),
    Kind(name="store-oom", strikes=STORE, seconds=(1.0, 3.0), strike=_oom, needs=REDIS),
    Kind(name="store-errors", strikes=STORE, seconds=(0.5, 3.0), strike=_errors, needs=REDIS),
    Kind(name="store-readonly", strikes=STORE, seconds=(0.5, 3.0), strike=_readonly, needs=REDIS),
    Kind(name="store-hang", strikes=STORE, seconds=(0.5, 3.0), strike=_hang, needs=REDIS),
)
