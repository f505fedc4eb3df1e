"""A node process that stands still: shorter than its lease it goes on, longer it has lost its place, and must know."""

import asyncio
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from cluster.nodes.scene import LEASE_S, Scene, connect, rest_of
from mqtt_broker.wire.packets import Disconnect, PingReq, Properties, Publish, Will
from mqtt_broker.wire.reasons import ReasonCode
from mqtt_operator.local.node_events import NodeEvent
from mqtt_operator.local.supervisor import Supervisor, node_launcher
from support.processes import environment
from support.waiting import eventually

KEPT = Properties(session_expiry_interval=300)
WAIT_S_MAX = 20.0
FENCED_S = LEASE_S + 3.5


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with Scene(tmp_path) as running:
        yield running.start()


async def test_a_node_that_stops_for_less_than_its_lease_goes_on(scene: Scene) -> None:
    async with await scene.dial(0) as device, await scene.dial(1) as publisher:
        await device.connect("device", properties=KEPT)
        await device.subscribe("t", qos=1)
        await publisher.connect("publisher")
        scene.nodes[0].pause()
        acknowledged = await publisher.publish("t", b"meanwhile", qos=1)
        await asyncio.sleep(1.0)
        scene.nodes[0].resume()
        assert acknowledged is ReasonCode.SUCCESS
        assert (await device.receive_message()).payload == b"meanwhile"
        await device.ping()
    assert not scene.events(0, "node.fenced")


async def test_a_node_that_stops_for_longer_than_its_lease_says_nothing_more_and_ends(scene: Scene) -> None:
    """What it finds in its sockets when it goes on is neither answered nor delivered, nor does a timer write."""
    async with (
        await scene.dial(0) as device,
        await scene.dial(0) as publisher,
        await scene.dial(0) as leaving,
        await scene.dial(0) as silent,
        await scene.dial(1) as watcher,
    ):
        await device.connect("device", properties=KEPT, will=Will("wills/device", b"gone", qos=1, retain=False))
        await device.subscribe("t/#", qos=1)
        await publisher.connect("publisher", properties=KEPT)
        await leaving.connect("leaving")
        await silent.connect("silent", keep_alive=2)
        await watcher.connect("watcher")
        await watcher.subscribe("wills/#", qos=1)
        for number in range(4):  # the flow is known: a lone QoS 0 packet takes the shortest way there is
            await publisher.publish("t/live", b"%d" % number)
            await device.receive_message()
        scene.nodes[0].pause()
        await publisher.send(
            Publish("t/live", b"too late", 0, retain=False),
            Publish("t/live", b"too late", 1, retain=False, packet_id=77),
            PingReq(),
        )
        await leaving.send(Disconnect(ReasonCode.NORMAL_DISCONNECTION))
        await scene.logged(1, "node.fenced_other", FENCED_S + 5)
        will = await watcher.receive_message(WAIT_S_MAX)
        assert will.topic == "wills/device"
        async with await scene.dial(1) as again:
            assert (await connect(again, "device", WAIT_S_MAX, properties=KEPT)).session_present
            scene.nodes[0].resume()
            said = await asyncio.gather(*(rest_of(client) for client in (device, publisher, leaving, silent)))
            assert said == [b""] * 4
            assert await scene.status_of_exit(0) == 1
            await again.expect_silence(1.0)  # nor was anything of it stored
            await watcher.expect_silence(0.5)
    assert scene.events(0, "node.fenced")
    assert scene.events(0, "node.failed")


async def test_a_lone_publish_after_the_lease_is_not_delivered_even_before_anybody_fenced_the_node(
    scene: Scene,
) -> None:
    """The clock decides, not the store's answer: here there is nobody else to fence it, and it thaws."""
    await asyncio.to_thread(scene.drain, 1)
    async with await scene.dial(0) as device, await scene.dial(0) as publisher:
        await device.connect("device")
        await device.subscribe("t")
        await publisher.connect("publisher")
        for _ in range(4):
            await publisher.publish("t", b"x")
            await device.receive_message()
        scene.server.pause()
        scene.nodes[0].pause()
        await publisher.publish("t", b"late")
        await asyncio.sleep(LEASE_S)
        scene.nodes[0].resume()
        await device.expect_silence(1.0)
        assert scene.status(0)["cluster"]["frozen"]
        scene.server.resume()
        assert (await device.receive_message(WAIT_S_MAX)).payload == b"late"
        await device.ping()
    assert scene.events(0, "node.thawed")


async def test_what_finds_no_room_in_the_inbox_of_a_node_that_stands_still_is_counted_there(tmp_path: Path) -> None:
    with Scene(tmp_path, store={"inbox_bytes_max": 20_000}) as scene:
        scene.start()
        async with await scene.dial(0) as device, await scene.dial(1) as publisher:
            await device.connect("device")
            await device.subscribe("t")
            await publisher.connect("publisher")
            scene.nodes[0].pause()
            for _ in range(100):
                await publisher.publish("t", b"x" * 1_000)
                await publisher.ping()
            await asyncio.sleep(0.5)
            scene.nodes[0].resume()
            assert (await device.receive_message()).payload == b"x" * 1_000
            await eventually(
                lambda: scene.metric(0, 'stoa_messages_dropped_total{reason="inbox"}') > 50, what="a count"
            )
        for name, low, high in (
            ("stoa_lease_remaining_seconds", 0.5, LEASE_S),
            ("stoa_lease_renewal_seconds", 0.00001, 1.0),
            ("stoa_barrier_waits_total", 1, 1),
            ("stoa_barrier_wait_seconds_total", 0.0, 3.0),  # the loop's clock counts milliseconds: less is nothing
            ("stoa_store_calls_total", 3, 1_000),
            ("stoa_store_call_seconds_total", 0.0001, 3.0),
            ("stoa_feed_lag", 0, 0),
        ):
            assert low <= scene.metric(0, name) <= high, name


async def test_a_supervisor_starts_a_fenced_node_again(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", environment()["PYTHONPATH"])
    twin = scene.make_node("node-2", "node-2")
    path = twin.folder / "settings.json"
    path.write_bytes(msgspec.json.encode(twin.settings))
    events: list[NodeEvent] = []
    supervisor = Supervisor("node-2", node_launcher(path), events.append, clock=time.monotonic)
    running = asyncio.create_task(supervisor.run())
    try:
        await supervisor.wait_ready()
        pid = await asyncio.to_thread(_pid_of, path)
        os.kill(pid, signal.SIGSTOP)
        await scene.logged(0, "node.peer_left", FENCED_S + 5)  # one of the two has fenced it
        os.kill(pid, signal.SIGCONT)
        await eventually(
            lambda: [event.event for event in events].count("node.ready") == 2, WAIT_S_MAX, "the node to be ready again"
        )
    finally:
        await supervisor.stop()
        await running
    (died,) = [event.message for event in events if event.event == "node.died"]
    assert "exit code 1" in died


def _pid_of(settings: Path) -> int:
    """The process that was started with this file."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and str(settings).encode() in (entry / "cmdline").read_bytes():
            return int(entry.name)
    raise AssertionError(f"no process runs on {settings}")
