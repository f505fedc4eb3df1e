"""Faults of a replicated store: the primary is killed, or cut off from its replica while nodes still reach it."""

import asyncio

from cluster.chaos.faults.kind import STORE, Kind, Stage, in_thread
from cluster.chaos.stores import WatchedRedis

SENTINEL = frozenset({"sentinel"})


def _watched(stage: Stage) -> WatchedRedis:
    place = stage.world.place
    assert isinstance(place, WatchedRedis)
    return place


async def _kill(stage: Stage) -> None:
    place = _watched(stage)
    old = place.primary
    stage.begin()
    await in_thread(lambda: place.kill(old))
    await in_thread(lambda: place.sentinel.wait_for_failover(old))
    await asyncio.sleep(stage.seconds)
    await in_thread(place.heal)


async def _partition(stage: Stage) -> None:
    place = _watched(stage)
    old = place.primary
    stage.begin()
    await in_thread(lambda: place.lock_out(old))
    await in_thread(lambda: place.sentinel.wait_for_failover(old))
    await asyncio.sleep(stage.seconds)
    await in_thread(place.heal)


async def _pause(stage: Stage) -> None:
    place = _watched(stage)
    old = place.primary
    stage.begin()
    old.pause()
    await in_thread(lambda: place.sentinel.wait_for_failover(old))
    await asyncio.sleep(stage.seconds)
    await in_thread(place.heal)


KINDS = (
    Kind(name="primary-kill", strikes=STORE, seconds=(0.0, 2.0), strike=_kill, needs=SENTINEL),
    Kind(name="primary-partition", strikes=STORE, seconds=(0.0, 2.0), strike=_partition, needs=SENTINEL),
    Kind(name="primary-pause", strikes=STORE, seconds=(0.0, 2.0), strike=_pause, needs=SENTINEL),
)
