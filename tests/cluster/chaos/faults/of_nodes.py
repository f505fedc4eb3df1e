"""Faults of node processes: killed, stopped for a while, asked to leave, all of them in turn."""

import asyncio

from cluster.chaos.faults.kind import NODES, ONE_NODE, Kind, Stage, in_thread


async def _kill(stage: Stage) -> None:
    node = stage.world.nodes[stage.target]
    stage.begin()
    await in_thread(node.kill)
    await asyncio.sleep(stage.seconds)
    await in_thread(node.start)


async def _pause(stage: Stage) -> None:
    node = stage.world.nodes[stage.target]
    stage.begin()
    node.pause()
    await asyncio.sleep(stage.seconds)
    node.resume()


async def _drain(stage: Stage) -> None:
    stage.begin()
    await _restart(stage, stage.target)


async def _rolling(stage: Stage) -> None:
    stage.begin()
    for name in stage.world.names:
        await _restart(stage, name)


async def _restart(stage: Stage, name: str) -> None:
    node = stage.world.nodes[name]
    statuses: list[int] = []
    await in_thread(lambda: statuses.append(node.drain()))
    assert statuses == [0], f"{name} ended with status {statuses} when it was asked to leave"
    await asyncio.sleep(stage.seconds)
    await in_thread(node.start)


KINDS = (
    Kind(name="kill", strikes=ONE_NODE, seconds=(0.0, 2.0), strike=_kill),
    Kind(name="pause", strikes=ONE_NODE, seconds=(0.5, 4.0), strike=_pause),
    # Past the lease of 6 s: others take over while it sleeps, and it wakes up believing that nothing happened.
    Kind(name="pause-long", strikes=ONE_NODE, seconds=(8.0, 11.0), strike=_pause),
    Kind(name="drain", strikes=ONE_NODE, seconds=(0.0, 1.0), strike=_drain),
    Kind(name="rolling", strikes=NODES, seconds=(0.0, 0.5), strike=_rolling),
)
