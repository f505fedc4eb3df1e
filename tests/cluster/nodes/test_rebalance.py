"""Clients move to a node that came late: paced, by no more than it takes, and not again and again."""

import asyncio
import itertools
import time

from cluster.nodes.scene import Scene, StartScene, connect
from mqtt_api.node_settings import RebalanceSettings
from mqtt_broker.wire.packets import Properties
from mqtt_broker.wire.reasons import ReasonCode
from support.client import Client
from support.waiting import eventually

KEPT = Properties(session_expiry_interval=300)
COUNT = 60
PER_S = 10
RAMP_COUNT = 300
RAMP_STEPS = 20
RAMP_S = 9.0  # the first looks of all nodes fall into it


class Crowd:
    """Clients that connect again when they are sent away: where, `choose` says for each number of times."""

    _numbers = itertools.count()

    def __init__(self, scene: Scene, choose: list[int]) -> None:
        self._scene = scene
        self._choose = choose
        self.sent_away: list[float] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, count: int) -> None:
        connected = [asyncio.Event() for _ in range(count)]
        self._tasks += [asyncio.create_task(self._live(next(self._numbers), event)) for event in connected]
        for event in connected:
            await event.wait()

    async def _live(self, number: int, connected: asyncio.Event) -> None:
        times = 0
        while True:
            client: Client = await self._scene.dial(self._choose[min(times, len(self._choose) - 1)])
            async with client:
                await connect(client, f"device-{number}", 10.0, properties=KEPT)
                connected.set()
                said = await client.expect_closed(300.0)
                assert said is not None
                assert said.reason is ReasonCode.USE_ANOTHER_SERVER
            self.sent_away.append(time.monotonic())
            times += 1

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def connections(scene: Scene, *numbers: int) -> list[int]:
    return [scene.status(number)["connections"] for number in numbers]


async def test_clients_move_to_a_node_that_came_late_once_and_paced(start_scene: StartScene) -> None:
    rebalance = RebalanceSettings(connections_per_s=PER_S, tolerance_percent=20)
    scene = start_scene(node={"rebalance": rebalance}).start(0)
    crowd = Crowd(scene, [0, 1, 0])
    try:
        await crowd.start(COUNT)
        await asyncio.to_thread(scene.start, 1)
        await eventually(lambda: connections(scene, 0, 1) == [COUNT // 2, COUNT // 2], 30.0, "an even share")
        await asyncio.sleep(12.0)  # two looks later
        assert connections(scene, 0, 1) == [COUNT // 2, COUNT // 2]
        assert len(crowd.sent_away) == COUNT // 2
        took_s = crowd.sent_away[-1] - crowd.sent_away[0]
        print(f"{COUNT // 2} clients moved within {took_s:.1f} s")
        assert took_s >= COUNT / 2 / PER_S - 1.5
    finally:
        await crowd.end()


async def test_nobody_is_moved_while_clients_come_to_all_nodes_alike(start_scene: StartScene) -> None:
    """What the others told is older than what a node knows of itself: each would believe that it has too many."""
    rebalance = RebalanceSettings(connections_per_s=50, tolerance_percent=20)
    scene = start_scene(nodes=3, node={"rebalance": rebalance}).start()
    crowds = [Crowd(scene, [number]) for number in range(3)]
    try:
        for _ in range(RAMP_STEPS):
            await asyncio.gather(*(crowd.start(RAMP_COUNT // RAMP_STEPS // 3) for crowd in crowds))
            await asyncio.sleep(RAMP_S / RAMP_STEPS)
        await asyncio.sleep(20.0)  # two looks later, at least
        assert [len(crowd.sent_away) for crowd in crowds] == [0, 0, 0]
        assert connections(scene, 0, 1, 2) == [RAMP_COUNT // 3] * 3
    finally:
        for crowd in crowds:
            await crowd.end()


async def test_clients_that_come_back_to_the_same_node_are_left_alone_more_and_more(start_scene: StartScene) -> None:
    """They know no other address: to send them away again every few seconds would help nobody."""
    rebalance = RebalanceSettings(connections_per_s=1_000, tolerance_percent=20)
    scene = start_scene(node={"rebalance": rebalance}).start()
    crowd = Crowd(scene, [0])
    try:
        await crowd.start(COUNT)
        await eventually(lambda: scene.events(0, "node.rebalance"), 30.0, "a first attempt")
        await asyncio.sleep(28.0)
        assert len(scene.events(0, "node.rebalance")) <= 3
        assert connections(scene, 0) == [COUNT]
    finally:
        await crowd.end()
