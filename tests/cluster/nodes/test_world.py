"""The store's identity and age: one that is not what the nodes knew is refused, and never served as "no sessions"."""

import asyncio

from cluster.nodes.scene import KEYS, Scene, StartScene, rest_of
from mqtt_broker.wire.packets import Properties
from mqtt_broker.wire.reasons import ReasonCode

KEPT = Properties(session_expiry_interval=300)


async def why_it_ended(scene: Scene, number: int) -> str:
    """The node ends by itself, with a status that says so; what it says."""
    assert await scene.status_of_exit(number) == 1
    return str(scene.events(number, "node.failed")[0]["message"])


async def test_a_store_that_was_emptied_is_refused_by_nodes_that_run_and_by_nodes_that_start(
    start_scene: StartScene,
) -> None:
    """Without AOF, a restart of the server is an empty store."""
    scene = start_scene().start()
    async with await scene.dial(0) as device:
        await device.connect("device", properties=KEPT)
        await device.subscribe("t", qos=1)
        await asyncio.to_thread(scene.server.kill)
        await asyncio.to_thread(scene.server.start)
        assert await rest_of(device) == b""
    for number in (0, 1):
        assert "holds no world" in await why_it_ended(scene, number)
    scene.nodes[0].launch()
    assert "holds no world" in await why_it_ended(scene, 0)


async def test_an_emptied_store_is_found_without_any_traffic_and_any_lost_connection(start_scene: StartScene) -> None:
    scene = start_scene(nodes=1).start()
    scene.server.flush()
    assert await scene.status_of_exit(0) == 1
    scene.nodes[0].launch()
    assert "holds no world" in await why_it_ended(scene, 0)


async def test_the_store_of_another_world_is_refused(start_scene: StartScene) -> None:
    scene = start_scene(nodes=1)
    scene.server.execute("HSET", KEYS.world, "id", "quite-another")
    scene.nodes[0].launch()
    assert "quite-another" in await why_it_ended(scene, 0)


async def test_a_server_that_may_evict_keys_is_refused_with_what_to_do(start_scene: StartScene) -> None:
    scene = start_scene(nodes=1, server={"maxmemory_policy": "allkeys-lru"})
    scene.nodes[0].launch()
    why = await why_it_ended(scene, 0)
    assert "allkeys-lru" in why
    assert "noeviction" in why


async def test_an_older_copy_of_the_store_closes_all_connections_and_is_served_when_it_is_accepted(
    start_scene: StartScene,
) -> None:
    """What was acknowledged after the copy is gone; nothing that the nodes still knew of it comes back [D7b]."""
    scene = start_scene(durability="Disk").start()
    async with await scene.dial(0) as device, await scene.dial(1) as publisher:
        await device.connect("device", properties=KEPT)
        await device.subscribe("t", qos=1)
        await publisher.connect("publisher", properties=KEPT)
        assert await publisher.publish("t", b"before", qos=1) is ReasonCode.SUCCESS
        assert (await device.receive_message()).payload == b"before"
        await device.ping()
        scene.save("older")
        for number in range(20):
            assert await publisher.publish("t", b"%d" % number, qos=1) is ReasonCode.SUCCESS
        await device.receive_payloads(20)
        await device.ping()
        scene.server.kill()
        scene.bring_back("older")
        await asyncio.to_thread(scene.server.start)
        await asyncio.gather(rest_of(device), rest_of(publisher))
    for number in (0, 1):
        assert await scene.status_of_exit(number) == 1
        assert scene.events(number, "node.fenced")
    scene.nodes[0].launch()
    assert "accepted generation" in await why_it_ended(scene, 0)
    scene.found(revision=2)
    await asyncio.to_thread(scene.start)
    async with await scene.dial(1) as device, await scene.dial(0) as publisher:
        assert (await device.connect("device", clean_start=False, properties=KEPT)).session_present
        await publisher.connect("publisher")
        assert await publisher.publish("t", b"after", qos=1) is ReasonCode.SUCCESS
        seen = [(await device.receive_message()).payload]
        while seen[-1] != b"after":
            seen.append((await device.receive_message()).payload)
        assert set(seen) <= {b"before", b"after"}
    assert int(scene.server.execute("HGET", KEYS.world, "generation")) == 1
