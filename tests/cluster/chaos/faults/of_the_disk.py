"""The disk under Redis is full: with `appendfsync always` the server gives up rather than say what is not so."""

import asyncio

from cluster.chaos.faults.kind import STORE, Kind, Stage, in_thread
from cluster.chaos.stores import OneRedis
from support.waiting import eventually

GIVES_UP_S_MAX = 10.0


async def _full(stage: Stage) -> None:
    place = stage.world.place
    assert isinstance(place, OneRedis)
    disk = place.disk
    assert disk is not None
    program = place.server.program
    stage.begin()
    try:
        await in_thread(disk.fill)
        await eventually(lambda: program.returncode() is not None, GIVES_UP_S_MAX, "the server gives up")
        await asyncio.sleep(stage.seconds)
    finally:
        disk.free()
    place.kill()
    await in_thread(place.restart)


KINDS = (Kind(name="store-disk-full", strikes=STORE, seconds=(0.0, 1.0), strike=_full, needs=frozenset({"tmpfs"})),)
