"""Nodes are added by load, as an autoscaler of Kubernetes sees it: by the processor, and by connections."""

import asyncio
from collections.abc import Callable

from cluster.chaos.link import Door
from support.fleet import Fleet
from support.kube import prometheus
from support.kube.plant import CA, PLAIN, SECURE, Plant
from support.waiting import eventually

SESSIONS = 60
MESSAGES_PER_S = 400.0
LOOKED_S_MAX = 240.0
REQUESTED = {"requests": {"cpu": "50m", "memory": "64Mi"}}
CONNECTIONS_PER_NODE = 30
LISTENERS = [
    {"name": "mqtts", "port": SECURE, "tls": {"issuerRef": {"name": CA}}},
    {
        "name": "mqtt",
        "port": PLAIN,
        "allowPlaintext": True,
        "authentication": [{"name": "anyone", "type": "Anonymous"}],
    },
]


def _broker(plant: Plant, target: dict[str, int]) -> Plant:
    """Two nodes at least, three at most."""
    plant.apply(
        plant.broker(
            replicas=2,
            listeners=LISTENERS,
            autoscaling={"minReplicas": 2, "maxReplicas": 3, **target},
            podTemplate={"spec": {"resources": REQUESTED}},
            monitoring={"serviceMonitor": {"enabled": True}},
        )
    )
    plant.open_to_anybody()
    plant.wait_ready(2)
    plant.wait_settled("topicpermission", "anybody")
    return plant


async def _until_there_are_three(plant: Plant, fleet: Fleet) -> None:
    async def grown() -> bool:
        await asyncio.sleep(1)
        return await asyncio.to_thread(lambda: plant.status().get("readyReplicas")) == 3

    await eventually(grown, LOOKED_S_MAX, f"a node is added\n{await asyncio.to_thread(_scaler, plant)}")
    await fleet.acknowledged(100)


def _scaler(plant: Plant) -> str:
    return plant.kubectl("describe", "horizontalpodautoscaler", plant.name)


async def test_a_node_is_added_when_the_others_are_busy_and_nothing_is_lost(plant: Plant) -> None:
    await asyncio.to_thread(_broker, plant, {"targetCPUUtilization": 50})
    assert plant.get("mqttbroker", plant.name)["spec"]["replicas"] == 2
    doors = {"service": Door(PLAIN, plant.address())}
    async with Fleet(doors, "busy", sessions=SESSIONS, per_s=MESSAGES_PER_S) as fleet:
        await _until_there_are_three(plant, fleet)
        report = await fleet.rest()
    print(report)
    report.assert_nothing_lost()


async def test_a_node_is_added_when_the_others_have_many_connections(settle: Callable[..., Plant]) -> None:
    plant = await asyncio.to_thread(settle)
    await asyncio.to_thread(_broker, plant, {"targetConnectionsPerNode": CONNECTIONS_PER_NODE})
    await asyncio.to_thread(prometheus.start, plant.place)
    doors = {"service": Door(PLAIN, plant.address())}
    async with Fleet(doors, "many", sessions=2 * CONNECTIONS_PER_NODE + 10, per_s=10.0) as fleet:
        await _until_there_are_three(plant, fleet)
        report = await fleet.rest()
    report.assert_nothing_lost()
