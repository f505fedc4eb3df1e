"""What clients do to a cluster: all of them come back at once, or one id connects again and again."""

import asyncio

from cluster.chaos.faults.kind import CLIENTS, Kind, Stage


async def _reconnect(stage: Stage) -> None:
    stage.begin()
    stage.population.cut_all()
    await asyncio.sleep(stage.seconds)


async def _take_over(stage: Stage) -> None:
    stage.begin()
    await stage.population.take_over(stage.seconds)


KINDS = (
    Kind(name="reconnect", strikes=CLIENTS, seconds=(0.5, 1.0), strike=_reconnect),
    Kind(name="takeover", strikes=CLIENTS, seconds=(2.0, 4.0), strike=_take_over),
)
