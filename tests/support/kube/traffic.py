"""Clients with traffic on a broker in a cluster, around what a test does to it: nothing of theirs may be lost.

Knows plants and fleets; does not know what is done.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from cluster.chaos.link import Door
from support.fleet import Fleet
from support.kube.plant import PLAIN, Plant
from support.kube.problems import ClusterError

SESSIONS = 500
MESSAGES_PER_S = 60.0
BEFORE, AFTER = 100, 100  # messages that are acknowledged around what is done
LOOK_INTERVAL_S = 0.5


@contextlib.asynccontextmanager
async def traffic(
    plant: Plant,
    prefix: str,
    door: Door | None = None,
    *,
    sessions: int = SESSIONS,
    will_delay_s: int = 0,
    log_in: tuple[str, bytes] | None = None,
) -> AsyncIterator[Fleet]:
    """Around what is done: traffic flows before and after it, and nothing of it was lost."""
    doors = {"service": door or Door(PLAIN, plant.address())}
    fleet = Fleet(doors, prefix, sessions=sessions, per_s=MESSAGES_PER_S, will_delay_s=will_delay_s, log_in=log_in)
    async with fleet:
        await fleet.acknowledged(BEFORE)
        started = time.monotonic()
        yield fleet
        took_s = time.monotonic() - started
        await fleet.acknowledged(AFTER)
        report = await fleet.rest()
        print(f"{prefix}: {took_s:.1f} s; {report}")
        report.assert_nothing_lost()


async def do(act: Callable[..., object], *arguments: object) -> None:
    """Something that blocks, while clients go on."""
    await asyncio.to_thread(act, *arguments)


class Looking:
    """Calls `look` again and again while something goes on. Use as `with`."""

    def __init__(self, look: Callable[[], object]) -> None:
        self._look_once = look

    def __enter__(self) -> None:
        self._task = asyncio.create_task(self._look())

    def __exit__(self, *error: object) -> None:
        self._task.cancel()

    async def _look(self) -> None:
        while True:
            with contextlib.suppress(ClusterError):
                await asyncio.to_thread(self._look_once)
            await asyncio.sleep(LOOK_INTERVAL_S)


class FewestReady(Looking):
    """How many nodes are ready while something goes on. `ready`: the fewest that were."""

    def __init__(self, plant: Plant) -> None:
        super().__init__(self._count)
        self._plant = plant
        self.ready = len(plant.pods())

    def _count(self) -> None:
        self.ready = min(self.ready, sum(map(is_ready, self._plant.pods().values())))


def is_ready(pod: Mapping[str, Any]) -> bool:
    """It takes clients, and is not about to go."""
    conditions = pod["status"].get("conditions", [])
    is_leaving = "deletionTimestamp" in pod["metadata"]
    return not is_leaving and any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def images(plant: Plant) -> list[str]:
    """Of the containers that run and are ready."""
    return [pod["spec"]["containers"][0]["image"] for pod in plant.pods().values() if is_ready(pod)]
