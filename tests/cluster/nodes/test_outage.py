"""The store is away, slow, full or out of order: nothing false is said, nothing is lost, and it goes on by itself."""

import asyncio
import contextlib
import shutil
import time
from collections.abc import Callable

import pytest

from cluster.nodes.scene import LEASE_S, Scene, StartScene, connect, rest_of
from mqtt_broker.wire.packets import PingReq, Properties, ProtocolVersion, PubAck, Publish
from mqtt_broker.wire.reasons import ReasonCode
from support.client import Client
from support.waiting import eventually

KEPT = Properties(session_expiry_interval=300)
WAIT_S_MAX = 20.0
FROZEN_S = LEASE_S + 2.0


def stall(scene: Scene) -> None:
    for proxy in scene.proxies:
        proxy.stall()


def flow(scene: Scene) -> None:
    for proxy in scene.proxies:
        proxy.heal()


AWAY: dict[str, tuple[Callable[[Scene], None], Callable[[Scene], None]]] = {
    "stopped": (lambda scene: scene.server.pause(), lambda scene: scene.server.resume()),
    "cut off": (stall, flow),
    "killed": (lambda scene: scene.server.kill(), lambda scene: scene.server.start()),
}


@pytest.fixture(params=AWAY)
def away(request: pytest.FixtureRequest) -> tuple[Callable[[Scene], None], Callable[[Scene], None]]:
    """What takes the store away, and what brings it back."""
    return AWAY[request.param]


async def acknowledged(client: Client, packet_id: int) -> None:
    assert (await client.expect(PubAck, WAIT_S_MAX)).packet_id == packet_id


async def test_a_store_that_is_away_costs_time_and_nothing_else(
    start_scene: StartScene, away: tuple[Callable[[Scene], None], Callable[[Scene], None]]
) -> None:
    """QoS 0 goes on until the lease ends; then nobody is read, written to or judged; then all of it completes."""
    scene = start_scene(durability="Disk").start()
    begin, end = away
    async with (
        await scene.dial(0) as device,
        await scene.dial(0) as publisher,
        await scene.dial(0) as live,
        await scene.dial(0) as silent,
        await scene.dial(1) as elsewhere,
    ):
        await device.connect("device", properties=KEPT)
        await device.subscribe("kept/#", qos=1)
        await live.connect("live")
        await live.subscribe("live/#")
        await publisher.connect("publisher")
        await silent.connect("silent", keep_alive=2)
        await elsewhere.connect("elsewhere", properties=KEPT)
        await elsewhere.subscribe("kept/#", qos=1)
        await asyncio.to_thread(begin, scene)
        began_at = time.monotonic()
        await publisher.send(Publish("kept/1", b"1", 1, retain=False, packet_id=1))
        while time.monotonic() - began_at < LEASE_S - 2.5:
            await live.publish("live/a", b"live")
            assert (await live.receive_message()).payload == b"live"
            await asyncio.sleep(0.1)
        await publisher.expect_silence(0.1)
        await scene.logged(0, "node.frozen")
        assert "store" in scene.lacks(0)
        assert scene.metric(0, "stoa_frozen") == 1
        assert scene.metric(0, "stoa_store_available") == 0
        await live.send(Publish("live/a", b"frozen", 0, retain=False), PingReq())
        await live.expect_silence(0.5)
        for version in (ProtocolVersion.V5, ProtocolVersion.V3_1_1):
            async with await scene.dial(0, version) as newcomer:  # 3 in MQTT 3.1.1
                assert (await newcomer.connect("newcomer")).reason is ReasonCode.SERVER_UNAVAILABLE
        await asyncio.sleep(3.0)  # longer than one and a half times the keep-alive of `silent`
        await asyncio.to_thread(end, scene)
        ended_at = time.monotonic()
        await acknowledged(publisher, 1)
        print(f"acknowledged {time.monotonic() - ended_at:.2f} s after the store was back")
        assert (await device.receive_message(WAIT_S_MAX)).payload == b"1"
        assert (await elsewhere.receive_message(WAIT_S_MAX)).payload == b"1"
        assert (await live.receive_message(WAIT_S_MAX)).payload == b"frozen"
        for client in (silent, live, device, elsewhere):
            await client.ping()
        await publisher.publish("kept/2", b"2", qos=1)
        assert (await device.receive_message(WAIT_S_MAX)).payload == b"2"
    for number in (0, 1):
        assert [len(scene.events(number, name)) for name in ("node.frozen", "node.thawed")] == [1, 1]
        assert not scene.events(number, "node.fenced_other"), "the store was away for everybody"
        scene.wait_ready(number)


async def test_who_waits_too_long_is_let_go(start_scene: StartScene) -> None:
    """All connections are closed after outage_s_max, so that clients look elsewhere; the node is there when it ends."""
    scene = start_scene(nodes=1, store={"outage_s_max": 2.0}).start()
    async with await scene.dial(0) as device:
        await device.connect("device", properties=KEPT)
        await device.subscribe("t", qos=1)
        scene.server.pause()
        assert await rest_of(device, LEASE_S + 8) == b""
        async with await scene.dial(0) as again:
            assert (await again.connect("device")).reason is ReasonCode.SERVER_UNAVAILABLE
        scene.server.resume()
    await asyncio.to_thread(scene.wait_ready, 0)
    async with await scene.dial(0) as device:
        assert (await device.connect("device", clean_start=False, properties=KEPT)).session_present
    assert len(scene.events(0, "node.gave_up")) == 1
    assert not scene.events(0, "node.fenced")


async def test_a_node_alone_without_the_store_is_fenced_by_the_others(start_scene: StartScene) -> None:
    """Only this one is cut off: its clients are served elsewhere, and when it is back it learns that it lost them."""
    scene = start_scene().start()
    async with await scene.dial(0) as device:
        await device.connect("device", properties=KEPT)
        await device.subscribe("t", qos=1)
        scene.proxies[0].stall()
        await scene.logged(1, "node.fenced_other")
        async with await scene.dial(1) as again:
            assert (await connect(again, "device", WAIT_S_MAX, properties=KEPT)).session_present
            await again.publish("t", b"x", qos=1)
            assert (await again.receive_message()).payload == b"x"
            scene.proxies[0].heal()
            assert await rest_of(device) == b""
    assert await scene.status_of_exit(0) == 1


async def test_a_node_that_starts_without_its_store_waits_for_it(start_scene: StartScene) -> None:
    scene = start_scene()
    scene.server.kill()
    for node in scene.nodes:
        node.launch()
    for number in (0, 1):
        waiting = await scene.logged(number, "store.waiting")
        assert "waiting for the store" in waiting["message"]
    status = await asyncio.to_thread(scene.drain, 1)
    assert status == 0, "who is told to stop meanwhile does"
    await asyncio.to_thread(scene.server.start)
    assert await scene.status_of_exit(0) == 1, "it came back empty"
    assert "holds no world" in scene.nodes[0].program.dump()


async def test_a_node_that_starts_before_its_store_serves_when_it_is_there(start_scene: StartScene) -> None:
    scene = start_scene(nodes=1, durability="Disk")
    scene.server.kill()
    scene.nodes[0].launch()
    await scene.logged(0, "store.waiting")
    await asyncio.to_thread(scene.server.start)
    back_at = time.monotonic()
    await asyncio.to_thread(scene.nodes[0].wait_until_ready)
    assert time.monotonic() - back_at < 8


async def test_a_full_store_acknowledges_nothing_that_it_does_not_hold_and_drains(start_scene: StartScene) -> None:
    scene = start_scene().start()
    payload = b"x" * 10_000
    async with (
        await scene.dial(0) as device,
        await scene.dial(0) as publisher,
        await scene.dial(1) as reader,
    ):
        await device.connect("device", properties=KEPT)
        await device.subscribe("t/#", qos=1)
        await device.disconnect(properties=Properties(session_expiry_interval=300))
        await publisher.connect("publisher")
        for _ in range(20):
            assert await publisher.publish("t/1", payload, qos=1) is ReasonCode.SUCCESS
        used = int(scene.server.execute("INFO", "memory")["used_memory"])
        scene.server.execute("CONFIG", "SET", "maxmemory", used // 2)  # well below: what clients free makes no room
        for number in range(20):
            await publisher.send(Publish("t/2", payload, 1, retain=False, packet_id=1_000 + number))
        await eventually(lambda: scene.metric(0, "stoa_store_available") == 0, what="a full store")
        early = await drained(publisher)
        assert len(early) < 20, "nothing was ever full"
        assert not scene.lacks(0), "who fetches what waits must find the way"
        await connect(reader, "device", WAIT_S_MAX, properties=KEPT)
        received = [(await reader.receive_message(WAIT_S_MAX)).topic for _ in range(20)]
        assert received == ["t/1"] * 20
        scene.server.execute("CONFIG", "SET", "maxmemory", 0)
        answers = early + [await publisher.expect(PubAck, WAIT_S_MAX) for _ in range(20 - len(early))]
        kept = [answer for answer in answers if answer.reason is ReasonCode.SUCCESS]
        assert [(await reader.receive_message(WAIT_S_MAX)).topic for _ in kept] == ["t/2"] * len(kept)
        await reader.expect_silence()
    assert not scene.events(0, "node.frozen"), "a full store costs nobody the lease"
    assert not scene.events(1, "node.frozen")


async def drained(client: Client) -> list[PubAck]:
    """The acknowledgements that come while nothing should."""
    found = []
    with contextlib.suppress(TimeoutError):
        while True:
            found.append(await client.expect(PubAck, 1.0))
    return found


REFUSALS = {
    "NOREPLICAS": (("CONFIG", "SET", "min-replicas-to-write", 1), ("CONFIG", "SET", "min-replicas-to-write", 0)),
    "READONLY": (("REPLICAOF", "127.0.0.1", 1), ("REPLICAOF", "NO", "ONE")),
}


@pytest.mark.parametrize(("begin", "end"), REFUSALS.values(), ids=REFUSALS)
async def test_a_store_that_refuses_to_write_is_a_store_that_is_away(
    start_scene: StartScene, begin: tuple[str | int, ...], end: tuple[str | int, ...]
) -> None:
    scene = start_scene(nodes=1).start()
    async with await scene.dial(0) as publisher, await scene.dial(0) as device:
        await device.connect("device", properties=KEPT)
        await device.subscribe("t", qos=1)
        await publisher.connect("publisher")
        scene.server.execute(*begin)
        await publisher.send(Publish("t", b"1", 1, retain=False, packet_id=1))
        await publisher.expect_silence(1.0)
        await eventually(lambda: "store" in scene.lacks(0), what="not ready")
        scene.server.execute(*end)
        await acknowledged(publisher, 1)
        assert (await device.receive_message(WAIT_S_MAX)).payload == b"1"
    await asyncio.to_thread(scene.wait_ready, 0)


async def test_a_store_that_cannot_save_refuses_and_the_log_says_where_to_look(start_scene: StartScene) -> None:
    scene = start_scene(nodes=1).start()
    async with await scene.dial(0) as publisher:
        await publisher.connect("publisher", properties=KEPT)
        await publisher.subscribe("t", qos=1)
        shutil.rmtree(scene.server.folder)
        scene.server.execute("CONFIG", "SET", "save", "1 1")
        failed = ("INFO", "persistence")
        await eventually(
            lambda: scene.server.execute(*failed)["rdb_last_bgsave_status"] == "err",
            WAIT_S_MAX,
            "a snapshot that fails",
        )
        await publisher.send(Publish("t", b"1", 1, retain=False, packet_id=1))
        await publisher.expect_silence(1.0)
        assert "look at its log and its volume" in scene.nodes[0].program.dump()
        scene.server.execute("CONFIG", "SET", "stop-writes-on-bgsave-error", "no")
        await acknowledged(publisher, 1)
    scene.server.execute("CONFIG", "SET", "save", "")  # or it would refuse to end


@pytest.mark.parametrize("delay_s", [0.025, 0.1])
async def test_a_slow_store_costs_latency_only(start_scene: StartScene, delay_s: float) -> None:
    """50 and 200 ms there and back."""
    scene = start_scene().start()
    for proxy in scene.proxies:
        proxy.delay(delay_s)
    took_s = []
    async with await scene.dial(0) as publisher, await scene.dial(1) as device:
        await connect(publisher, "publisher", WAIT_S_MAX)
        await connect(device, "device", WAIT_S_MAX, properties=KEPT)
        await device.subscribe("t", qos=1)
        ends_at = time.monotonic() + 2 * LEASE_S
        while time.monotonic() < ends_at:
            sent_at = time.monotonic()
            assert await publisher.publish("t", b"x", qos=1) is ReasonCode.SUCCESS
            took_s.append(time.monotonic() - sent_at)
            await device.receive_message()
    took_s.sort()
    print(f"+{2_000 * delay_s:.0f} ms: PUBACK after {1_000 * took_s[len(took_s) // 2]:.0f} ms at the median")
    assert took_s[len(took_s) // 2] < 4 * 2 * delay_s + 0.3
    for number in (0, 1):
        assert not scene.events(number, "node.frozen")
        assert not scene.events(number, "node.fenced_other")


async def test_attempts_to_come_back_are_few_and_not_all_at_once(start_scene: StartScene) -> None:
    scene = start_scene(nodes=3).start()
    came: list[float] = []

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append(time.monotonic())
        writer.transport.abort()

    trap = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    address = trap.sockets[0].getsockname()
    for proxy in scene.proxies:
        proxy.retarget((address[0], address[1]))
        proxy.cut()
    await asyncio.sleep(5.0)
    came.clear()
    await asyncio.sleep(6.0)
    per_node_and_s = len(came) / 6 / 3
    print(f"{per_node_and_s:.1f} attempts a second and node")
    assert 0.5 < per_node_and_s < 8
    busiest = max(sum(at <= other < at + 0.1 for other in came) for at in came)
    assert busiest <= 12, "4 connections of 3 nodes did not agree on a moment"
    for proxy in scene.proxies:
        proxy.retarget((scene.server.host, scene.server.port))
    for number in range(3):
        await asyncio.to_thread(scene.wait_ready, number)
    trap.close()


async def test_a_thousand_clients_come_back_at_once(start_scene: StartScene) -> None:
    """After an outage that closed all connections."""
    count = 1_000
    scene = start_scene(durability="Disk", store={"outage_s_max": 1.0}).start()
    scene.server.kill()
    await scene.logged(0, "node.gave_up")
    await asyncio.to_thread(scene.server.start)
    for number in (0, 1):
        await asyncio.to_thread(scene.wait_ready, number)
    began_at = time.monotonic()
    refused = 0
    clients: list[Client] = []

    async def serve(number: int) -> None:
        nonlocal refused
        while True:
            client = await scene.dial(number % 2)
            answer = await connect(client, f"device-{number}", 30.0, clean_start=True, properties=KEPT)
            if answer.reason is ReasonCode.SUCCESS:
                clients.append(client)
                return
            assert answer.reason in (ReasonCode.SERVER_BUSY, ReasonCode.SERVER_UNAVAILABLE)
            refused += 1
            await client.close()
            await asyncio.sleep(0.2)

    try:
        async with asyncio.timeout(60), asyncio.TaskGroup() as storm:
            for number in range(count):
                storm.create_task(serve(number))
        took_s = time.monotonic() - began_at
        print(f"{count} clients on two nodes after {took_s:.1f} s, {refused} refusals on the way")
        assert all(not scene.lacks(number) for number in (0, 1))
    finally:
        for client in clients:
            await client.abort()
