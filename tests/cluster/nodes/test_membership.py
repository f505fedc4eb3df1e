"""A node that dies, comes back under its name, or finds that another process has taken it."""

import asyncio
import time
from collections.abc import Awaitable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from cluster.nodes.scene import Scene, connect, rest_of, subscribe
from mqtt_broker.wire.packets import Properties, Will
from mqtt_broker.wire.reasons import ReasonCode
from support.waiting import eventually

KEPT = Properties(session_expiry_interval=300)
LEASE_S = 6.0  # as it is by default: these tests measure
SERVED_S_MAX = LEASE_S + 2
WAIT_S_MAX = 20.0


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with Scene(tmp_path, store={"lease_s": LEASE_S}) as running:
        yield running.start()


async def seconds_until(awaited: Awaitable[object]) -> float:
    started_at = time.monotonic()
    await awaited
    return time.monotonic() - started_at


async def test_clients_of_a_killed_node_are_served_elsewhere_soon_after_its_lease(scene: Scene) -> None:
    """Persistent sessions resume with what was acknowledged, wills are published once, transient sessions end."""
    async with await scene.dial(0) as device, await scene.dial(0) as mortal, await scene.dial(1) as watcher:
        await device.connect("device", properties=KEPT)
        await device.subscribe("orders/#", qos=1)
        await mortal.connect("mortal", will=Will("wills/mortal", b"gone", qos=1, retain=False))
        await mortal.subscribe("mortal/#", qos=1)
        await watcher.connect("watcher")
        await watcher.subscribe("wills/#", qos=1)
        for number in range(5):
            await watcher.publish("orders/new", b"%d" % number, qos=1)
        async with await scene.dial(1) as again, await scene.dial(1) as other:
            await other.connect("other")
            await asyncio.to_thread(scene.nodes[0].kill)
            async with asyncio.TaskGroup() as all_three:
                tasks = {
                    "resumed": all_three.create_task(
                        seconds_until(connect(again, "device", WAIT_S_MAX, properties=KEPT))
                    ),
                    "subscribed": all_three.create_task(seconds_until(subscribe(other, "x", WAIT_S_MAX))),
                    "will": all_three.create_task(seconds_until(watcher.receive_message(WAIT_S_MAX))),
                }
            took_s = {what: round(task.result(), 2) for what, task in tasks.items()}
            print(f"after kill -9, in seconds: {took_s}")
            assert max(took_s.values()) <= SERVED_S_MAX, took_s
            assert sorted(await again.receive_payloads(5)) == [b"%d" % number for number in range(5)]
            await watcher.expect_silence(1.0)
            async with await scene.dial(1) as heir:
                assert not (await heir.connect("mortal", clean_start=False)).session_present
    assert scene.metric(1, "stoa_nodes_fenced_total") == 1
    assert [lease["node"] for lease in scene.status(1)["cluster"]["nodes"]] == ["node-1"]
    await eventually(lambda: scene.status(1)["subscriptions"] == 1, what="no transient route")


async def test_a_node_killed_and_started_at_once_waits_for_its_own_lease(scene: Scene) -> None:
    """Nobody but itself can know that it is dead: until then its connections could still be open."""
    async with await scene.dial(0) as device:
        await device.connect("device", properties=KEPT)
    await asyncio.to_thread(scene.nodes[0].kill)
    took_s = await seconds_until(asyncio.to_thread(scene.start, 0))
    print(f"ready {took_s:.2f} s after kill -9 and start")
    assert LEASE_S - 2 <= took_s <= SERVED_S_MAX + 3
    async with await scene.dial(0) as device:
        assert (await device.connect("device", clean_start=False, properties=KEPT)).session_present


async def test_who_is_told_to_stop_while_it_waits_takes_nobodys_name(scene: Scene) -> None:
    await asyncio.to_thread(scene.nodes[0].kill)
    scene.nodes[0].launch()
    await scene.logged(0, "node.waits")
    assert await asyncio.to_thread(scene.drain, 0) == 0
    assert "node-0" in scene.operator.members().nodes, "the lease of the one that was killed"


async def test_a_node_that_cannot_serve_leaves_at_once(scene: Scene) -> None:
    """A port that is in use is found after it joined: nobody shall wait for it."""
    third = scene.make_node("node-2", "node-2")
    third.settings = replace(third.settings, listeners=scene.nodes[0].settings.listeners)
    scene.nodes.append(third)
    third.launch()
    assert await scene.status_of_exit(2) == 1
    assert "node-2" not in scene.operator.members().nodes
    async with await scene.dial(1) as device:
        await device.connect("device")
        assert await seconds_until(device.subscribe("t")) < 1


async def test_a_node_that_comes_back_after_its_lease_does_not_wait(scene: Scene) -> None:
    await asyncio.to_thread(scene.nodes[0].kill)
    await scene.logged(1, "node.fenced_other")
    took_s = await seconds_until(asyncio.to_thread(scene.start, 0))
    assert took_s < LEASE_S
    async with await scene.dial(0) as one, await scene.dial(1) as other:
        await one.connect("one")
        await one.subscribe("t", qos=1)
        await other.connect("other")
        assert await other.publish("t", b"x", qos=1) is ReasonCode.SUCCESS
        assert (await one.receive_message()).payload == b"x"


async def test_of_two_processes_with_one_name_the_later_goes_on(scene: Scene) -> None:
    """The earlier one ends at once, with a status that says so, and its clients hear not a byte more."""
    twin = scene.make_node("node-0", "twin")
    async with await scene.dial(0) as device:
        await device.connect("device", properties=KEPT)
        await device.subscribe("t")
        await asyncio.to_thread(twin.start)
        scene.nodes.append(twin)
        assert await rest_of(device) == b""
    assert await scene.status_of_exit(0) == 1
    assert scene.events(0, "node.fenced")
    async with await scene.dial(2) as device:
        assert (await device.connect("device", clean_start=False, properties=KEPT)).session_present
    assert scene.status(2)["node"] == "node-0"
