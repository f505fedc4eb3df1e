"""What an acknowledgement means: the message is on the disk, and a broker that dies loses none."""

import asyncio
import re
from collections.abc import Callable
from pathlib import Path

from mqtt_api.node_settings import MQTTSettings, QueueSettings
from mqtt_broker.wire.packets import Properties, PubAck, Publish
from support.broker import StartBroker
from support.client import Client, ConnectionClosedError
from support.tools import require
from support.waiting import eventually

WINDOW = 50
KEPT = Properties(session_expiry_interval=3_600)


async def keep_session(client: Client, name: str, topic: str) -> None:
    await client.connect(name, properties=KEPT)
    await client.subscribe(topic, qos=1)
    await client.disconnect()


async def publish_until_closed(client: Client, topic: str) -> list[bytes]:
    """Publish as fast as the broker's window allows and collect what was acknowledged, until the connection ends."""
    waiting: dict[int, bytes] = {}
    acknowledged: list[bytes] = []
    number = 0
    try:
        while True:
            batch = []
            while len(waiting) < WINDOW:
                number += 1
                packet_id = number % 65_535 + 1
                waiting[packet_id] = b"%06d" % number
                batch.append(Publish(topic, waiting[packet_id], 1, packet_id=packet_id))
            if batch:
                await client.send(*batch)
            packet = await client.receive()
            assert isinstance(packet, PubAck)
            acknowledged.append(waiting.pop(packet.packet_id))
    except (ConnectionClosedError, ConnectionError):
        return acknowledged


async def test_every_acknowledged_message_survives_kill_minus_9(start_broker: StartBroker) -> None:
    broker = start_broker(mqtt=MQTTSettings(queue=QueueSettings(messages_max=100_000)))
    async with await broker.dial() as keeper:
        await keep_session(keeper, "keeper", "t")
    async with await broker.dial() as publisher:
        await publisher.connect("publisher")
        publishing = asyncio.create_task(publish_until_closed(publisher, "t"))
        await asyncio.sleep(0.7)
        await asyncio.to_thread(broker.kill)
        acknowledged = await publishing
    assert acknowledged
    broker.start()
    received: set[bytes] = set()
    async with await broker.dial() as keeper:
        assert (await keeper.connect("keeper", clean_start=False, properties=KEPT)).session_present
        while not received.issuperset(acknowledged):
            received.add((await keeper.receive_message()).payload)


async def test_the_disk_is_synced_before_puback_is_sent(start_broker: StartBroker, tmp_path: Path) -> None:
    """A trace of the broker's system calls: the PUBLISH is read, fdatasync returns, only then PUBACK is written."""
    strace = require("strace")
    trace = tmp_path / "trace"
    calls = "trace=recvfrom,recvmsg,read,sendto,sendmsg,write,writev,fsync,fdatasync"
    broker = start_broker(wrapper=(strace, "-D", "-f", "-ttt", "-xx", "-s", "64", "-e", calls, "-o", str(trace)))
    async with await broker.dial() as keeper, await broker.dial() as publisher:
        await keep_session(keeper, "keeper", "t")
        await publisher.connect("publisher")
        await publisher.send(Publish("t", b"durable!", 1, packet_id=0x4B4B))
        assert (await publisher.expect(PubAck)).packet_id == 0x4B4B
    broker.stop()
    lines = await eventually(lambda: finished_trace(trace, broker.program.pid), what="strace to finish its file")
    published = first(lines, 0, lambda line: re.search(r"(read|recv\w*)\(", line) and escaped(b"durable!") in line)
    answered = first(
        lines,
        published,
        lambda line: (
            re.search(r"(write\w*|send\w*)\(", line)
            and any(escaped(bytes([0x40, n, 0x4B, 0x4B])) in line for n in (2, 3, 4))
        ),
    )
    synced = [
        number
        for number in range(published, answered)
        if re.search(r"(fdatasync|fsync)(\(.*\)| resumed>\)) += 0", lines[number])
    ]
    assert synced, "\n".join(lines[published : answered + 1])


def finished_trace(path: Path, pid: int) -> list[str]:
    """The lines once the traced process has ended in them; nothing before."""
    lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    return lines if any(line.startswith(f"{pid} ") and "+++ exited" in line for line in lines) else []


def escaped(data: bytes) -> str:
    """As strace -xx prints bytes."""
    return "".join(f"\\x{byte:02x}" for byte in data)


def first(lines: list[str], start: int, wanted: Callable[[str], object]) -> int:
    for number in range(start, len(lines)):
        if wanted(lines[number]):
            return number
    raise AssertionError("not in the trace")


async def test_a_full_disk_stops_acknowledgements_and_nothing_else(start_broker: StartBroker, tmp_path: Path) -> None:
    """With no room left nothing is acknowledged that is not stored; the broker lives, and QoS 0 goes on."""
    prlimit = require("prlimit")
    limits = MQTTSettings(queue=QueueSettings(messages_max=100_000))
    broker = start_broker(mqtt=limits, wrapper=(prlimit, f"--fsize={2 * 1024 * 1024}"))
    async with await broker.dial() as keeper:
        await keep_session(keeper, "keeper", "t")
    acknowledged = 0
    async with await broker.dial() as publisher, await broker.dial() as other:
        await publisher.connect("publisher")
        await other.connect("other")
        await other.subscribe("live")
        try:
            while acknowledged < 400:
                await publisher.send(Publish("t", b"%05d" % acknowledged * 4_000, 1, packet_id=1))
                await publisher.expect(PubAck, 1.5)
                acknowledged += 1
        except (TimeoutError, ConnectionClosedError):
            pass
        assert 10 < acknowledged < 400
        await other.publish("live", b"x")
        assert (await other.receive_message()).payload == b"x"
    broker.kill()
    broker.unwrap().start()
    async with await broker.dial() as keeper:
        await keeper.connect("keeper", clean_start=False, properties=KEPT)
        received = [payload[:5] for payload in await keeper.receive_payloads(acknowledged)]
    assert received == [b"%05d" % number for number in range(acknowledged)]


async def test_what_a_full_store_has_no_room_for_is_not_acknowledged_until_there_is_room(
    start_broker: StartBroker, unique: str
) -> None:
    """sessionStore.embedded.storage: nothing is lost, the publisher waits, and the reader makes room."""
    broker = start_broker(persistent=True, store_bytes_max=1024 * 1024)
    kept = Properties(session_expiry_interval=600)
    payload, count = b"x" * 65_536, 40
    async with await broker.dial() as reader:
        await reader.connect(f"{unique}-reader", properties=kept)
        await reader.subscribe(unique, qos=1)
        await reader.disconnect()
    async with await broker.dial() as publisher:
        await publisher.connect(f"{unique}-publisher")
        for packet_id in range(1, count + 1):
            await publisher.send(Publish(unique, payload, qos=1, packet_id=packet_id))
        await eventually(lambda: not broker.status()["store_available"], what="a full store")
        async with await broker.dial() as reader:
            await reader.connect(f"{unique}-reader", clean_start=False, properties=kept)
            assert await reader.receive_payloads(count) == [payload] * count
        acknowledged = {(await publisher.expect(PubAck)).packet_id for _ in range(count)}
        assert acknowledged == set(range(1, count + 1))
