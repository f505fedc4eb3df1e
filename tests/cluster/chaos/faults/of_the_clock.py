"""The wall clock of the Redis server jumps: an hour ahead, an hour back. Monotonic time goes on as it was."""

import asyncio
import random

from cluster.chaos.faults.kind import STORE, Kind, Stage
from cluster.chaos.stores import OneRedis

JUMPS_S = (3_600, -3_600, 60, -60)


async def _jump(stage: Stage) -> None:
    """The drawn length decides where to, so that the schedule's seed decides all."""
    place = stage.world.place
    assert isinstance(place, OneRedis)
    assert place.clock is not None
    stage.begin()
    place.clock.set(random.Random(stage.seconds).choice(JUMPS_S))
    await asyncio.sleep(stage.seconds)
    place.clock.set(0)


KINDS = (Kind(name="clock-jump", strikes=STORE, seconds=(1.0, 3.0), strike=_jump, needs=frozenset({"clock"})),)
