"""A node that leaves on purpose: its clients hear so one by one, find their sessions elsewhere, and lose nothing."""

import asyncio
import time

import pytest

from cluster.nodes.scene import Scene, StartScene, connect
from mqtt_api.node_settings import DrainSettings
from mqtt_broker.wire.packets import (
    Disconnect,
    Packet,
    Properties,
    ProtocolVersion,
    PubAck,
    PubComp,
    Publish,
    PubRec,
    PubRel,
    Will,
)
from mqtt_broker.wire.reasons import ReasonCode
from support.client import Client, ConnectionClosedError
from support.waiting import eventually

KEPT = Properties(session_expiry_interval=300)
GRACE_S = 15.0  # what a supervisor waits for a process that was told to end
WAIT_S_MAX = 10.0


class Traveller:
    """A client that goes on at the other node whenever the one it is at sends it away."""

    def __init__(self, scene: Scene, client_id: str) -> None:
        self._scene = scene
        self._client_id = client_id
        self._node = 0
        self._client: Client | None = None
        self.reasons: list[ReasonCode] = []
        self.lost_sessions = 0

    async def client(self) -> Client:
        while self._client is None:
            client = await self._scene.dial(self._node)
            answer = await connect(client, self._client_id, WAIT_S_MAX, properties=KEPT)
            assert answer.reason is ReasonCode.SUCCESS
            self.lost_sessions += not answer.session_present
            self._client = client
        return self._client

    async def move(self, why: Exception) -> None:
        if isinstance(why, ConnectionClosedError) and why.last is not None:
            self.reasons.append(why.last.reason)
        await self.close()
        self._node = 1 - self._node

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()
        self._client = None


async def publish(traveller: Traveller, qos: int, stop: asyncio.Event) -> int:
    """Publish numbers, each until its handshake is complete; how many those were."""
    number, is_received = 0, False
    while not stop.is_set():
        packet_id = 1 + number % 1_000
        first: Packet = PubRel(packet_id)
        if not is_received:
            first = Publish(f"q{qos}", b"%d" % number, qos, retain=False, packet_id=packet_id)
        try:
            client = await traveller.client()
            await client.send(first)
            if qos == 2 and not is_received:
                await client.expect(PubRec, WAIT_S_MAX)
                is_received = True
                await client.send(PubRel(packet_id))
            await client.expect(PubComp if qos == 2 else PubAck, WAIT_S_MAX)
        except (ConnectionClosedError, OSError) as why:
            await traveller.move(why)
            continue
        number, is_received = number + 1, False
        await asyncio.sleep(0.002)
    return number


async def receive(traveller: Traveller, received: dict[str, list[int]]) -> None:
    """Take whatever comes, for ever. QoS 2 counts when its packet id is new."""
    open_ids: set[int] = set()
    while True:
        try:
            client = await traveller.client()
            packet = await client.receive(60.0)
            match packet:
                case Publish(qos=1):
                    received["q1"].append(int(packet.payload))
                    await client.send(PubAck(packet.packet_id))
                case Publish(qos=2):
                    if packet.packet_id not in open_ids:
                        open_ids.add(packet.packet_id)
                        received["q2"].append(int(packet.payload))
                    await client.send(PubRec(packet.packet_id))
                case PubRel():
                    open_ids.discard(packet.packet_id)
                    await client.send(PubComp(packet.packet_id))
                case Disconnect():
                    await traveller.move(ConnectionClosedError(packet))
        except (ConnectionClosedError, OSError) as why:
            await traveller.move(why)


async def test_a_rolling_restart_under_traffic_loses_and_doubles_nothing(start_scene: StartScene) -> None:
    scene = start_scene().start()
    reader = Traveller(scene, "reader")
    client = await reader.client()
    await client.subscribe("q1", qos=1)
    await client.subscribe("q2", qos=2)
    received: dict[str, list[int]] = {"q1": [], "q2": []}
    stop = asyncio.Event()
    writers = {qos: Traveller(scene, f"writer-{qos}") for qos in (1, 2)}
    reading = asyncio.create_task(receive(reader, received))
    writing = {qos: asyncio.create_task(publish(writer, qos, stop)) for qos, writer in writers.items()}
    statuses = []
    for number in (0, 1):
        await asyncio.sleep(1.0)
        statuses.append(await asyncio.to_thread(scene.drain, number))
        await asyncio.to_thread(scene.start, number)
    await asyncio.sleep(1.0)
    stop.set()
    sent = {qos: await task for qos, task in writing.items()}
    await eventually(
        lambda: all(len(set(received[f"q{qos}"])) >= count for qos, count in sent.items()), what=f"all of {sent}"
    )
    reading.cancel()
    for traveller in (reader, *writers.values()):
        await traveller.close()
    print(f"acknowledged and received over two drains: {sent}; sent away {len(reader.reasons)} times")
    assert statuses == [0, 0]
    assert sorted(set(received["q1"])) == list(range(sent[1]))
    assert received["q2"] == list(range(sent[2])), "once each, in order"
    assert reader.lost_sessions == 1, "the first time only"
    assert set(reader.reasons) == {ReasonCode.SERVER_SHUTTING_DOWN}
    assert not [name for number in (0, 1) for name in scene.events(number, "node.fenced_other")]


async def test_a_will_waits_for_its_client_to_come_back_elsewhere(start_scene: StartScene) -> None:
    drain = DrainSettings(will_grace_s=3)
    scene = start_scene(node={"drain": drain}).start()
    async with (
        await scene.dial(0) as returning,
        await scene.dial(0) as lost,
        await scene.dial(1) as watcher,
    ):
        for name, client in (("returning", returning), ("lost", lost)):
            await client.connect(name, will=Will(f"wills/{name}", b"gone", qos=1, retain=False), properties=KEPT)
        await watcher.connect("watcher")
        await watcher.subscribe("wills/#", qos=1)
        draining = asyncio.create_task(asyncio.to_thread(scene.drain, 0))
        for client in (returning, lost):
            said = await client.expect_closed()
            assert said is not None
            assert said.reason is ReasonCode.SERVER_SHUTTING_DOWN
        async with await scene.dial(1) as again:
            assert (await connect(again, "returning", WAIT_S_MAX, properties=KEPT)).session_present
            await watcher.expect_silence(2.0)
            assert (await watcher.receive_message(WAIT_S_MAX)).topic == "wills/lost"
            await watcher.expect_silence(1.0)
        assert await draining == 0


@pytest.mark.parametrize("version", [ProtocolVersion.V3_1_1, ProtocolVersion.V5])
async def test_a_client_is_told_where_else_to_go(start_scene: StartScene, version: ProtocolVersion) -> None:
    """0x9C and a server reference in MQTT 5; an older client finds its connection closed."""
    drain = DrainSettings(server_reference=True)
    scene = start_scene(node={"drain": drain, "server_reference": "other.example:8883"}).start()
    async with await scene.dial(0, version) as device:
        await device.connect("device")
        await asyncio.sleep(0)
        draining = asyncio.create_task(asyncio.to_thread(scene.drain, 0))
        said = await device.expect_closed(WAIT_S_MAX)
        assert await draining == 0
    if version is ProtocolVersion.V5:
        assert said is not None
        assert said.reason is ReasonCode.USE_ANOTHER_SERVER
        assert said.properties.server_reference == "other.example:8883"
    else:
        assert said is None


async def test_clients_are_sent_away_at_a_pace_and_nobody_waits_for_a_node_that_left(start_scene: StartScene) -> None:
    per_s, count = 20, 60
    scene = start_scene(node={"drain": DrainSettings(connections_per_s=per_s)}).start()
    clients = [await scene.dial(0) for _ in range(count)]
    for number, client in enumerate(clients):
        await client.connect(f"device-{number}", properties=KEPT)
    async with await scene.dial(1) as other:
        await other.connect("other")
        began_at = time.monotonic()
        draining = asyncio.create_task(asyncio.to_thread(scene.drain, 0))

        async def ended(client: Client) -> float:
            await client.expect_closed(GRACE_S)
            return time.monotonic() - began_at

        told = asyncio.create_task(scene.logged(0, "node.draining"))
        await eventually(lambda: "leaving" in scene.lacks(0), what="not ready")
        with pytest.raises(OSError, match="Connect call failed"):
            await scene.dial(0)
        ends = sorted(await asyncio.gather(*(ended(client) for client in clients)))
        assert await draining == 0
        left_at = time.monotonic()
        await other.subscribe("t", qos=1)  # waits for all nodes that are there
        assert time.monotonic() - left_at < 1.0
        assert f"{count} connections" in (await told)["message"]
    for client in clients:
        await client.close()
    print(f"the first after {ends[0]:.2f} s, the last after {ends[-1]:.2f} s")
    assert ends[-1] - ends[0] >= count / per_s - 0.5
    assert ends[-1] < GRACE_S


async def test_an_order_through_the_store_has_a_node_leave(start_scene: StartScene) -> None:
    scene = start_scene().start()
    member = scene.operator.members().nodes["node-0"]
    async with await scene.dial(0) as device:
        await device.connect("device")
        await asyncio.to_thread(scene.operator.order_to_drain, "node-0", member.token)
        said = await device.expect_closed()
        assert said is not None
        assert said.reason is ReasonCode.SERVER_SHUTTING_DOWN
    assert await scene.status_of_exit(0) == 0
    assert scene.events(0, "node.stopped")
    assert list(scene.operator.members().nodes) == ["node-1"]


async def test_a_node_leaves_in_time_although_the_store_is_away(start_scene: StartScene) -> None:
    """Nothing false is said: who published is not acknowledged, and sends again elsewhere."""
    scene = start_scene(nodes=1).start()
    async with await scene.dial(0) as device:
        await device.connect("device", properties=KEPT)
        await device.subscribe("t", qos=1)
        scene.server.pause()
        await device.send(Publish("t", b"x", 1, retain=False, packet_id=1))
        began_at = time.monotonic()
        draining = asyncio.create_task(asyncio.to_thread(scene.drain, 0))
        await device.expect_closed(GRACE_S)
        assert await draining == 0
        assert time.monotonic() - began_at < GRACE_S
    scene.server.resume()
