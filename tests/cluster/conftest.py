"""Clusters for tests: real nodes on a real store, and actors whose every packet is recorded and judged."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from cluster.chaos.checker import judge
from cluster.chaos.device import Device, Scene, Spec
from cluster.chaos.population import chaos_policy
from cluster.chaos.record import Recorder
from cluster.chaos.stores import OneRedis
from cluster.chaos.terms import Terms
from cluster.chaos.world import World
from support.redis_server import redis_binary
from support.waiting import eventually

NODES = ("node-0", "node-1", "node-2")
ENTRY_S_MAX = 20.0
StartCluster = Callable[..., World]


@pytest.fixture
def start_cluster(tmp_path: Path) -> Iterator[StartCluster]:
    """Start a cluster that ends with the test. No place given: three nodes on one Redis, durability Disk."""
    with ExitStack() as ends:

        def start(place: OneRedis | None = None, names: tuple[str, ...] = NODES) -> World:
            if redis_binary() is None:
                pytest.skip("redis-server is not installed")
            world = World(tmp_path, place or OneRedis(tmp_path / "store", "Disk", names), names)
            ends.callback(world.stop)
            world.start(chaos_policy())
            return world

        yield start


class Stage:
    """Actors on a cluster. They connect to the node they are sent to, and afterwards to any."""

    def __init__(self, world: World, seed: str) -> None:
        self.world = world
        self.recorder = Recorder()
        self.scene = Scene(world.doors, self.recorder, random.Random(seed))
        self.devices: list[Device] = []
        self._stays: list[asyncio.Task[None]] = []

    async def enter(self, spec: Spec, node: str) -> Device:
        """Connect and subscribe at this node, which may be too busy at first, and stay from then on."""
        device = Device(spec, self.scene)
        self.devices.append(device)
        await eventually(lambda: device.connect(node), ENTRY_S_MAX, f"{spec.client} gets into {node}")
        await device.until(lambda: device.is_ready)
        self.keep(device)
        return device

    def keep(self, device: Device) -> None:
        """Let it come back whenever it loses its connection."""
        self._stays.append(asyncio.create_task(device.stay()))

    def violations(self) -> list[str]:
        """What the judges say of all that was recorded."""
        findings = judge(self.recorder.events, Terms())
        return [str(violation) for finding in findings for violation in finding.violations]

    async def close(self) -> None:
        for task in self._stays:
            task.cancel()
        await asyncio.gather(*self._stays, return_exceptions=True)
        for device in self.devices:
            device.close()


@pytest.fixture
async def set_stage(request: pytest.FixtureRequest) -> AsyncIterator[Callable[[World], Stage]]:
    """A stage on a running cluster; the test's name is the seed."""
    stages: list[Stage] = []

    def make(world: World) -> Stage:
        stages.append(Stage(world, request.node.name))
        return stages[-1]

    yield make
    for stage in stages:
        await stage.close()
