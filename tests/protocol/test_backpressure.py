"""A flood to a receiver that reads little or nothing costs bounded memory and time, and others hardly notice."""

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from mqtt_api.node_settings import MQTTSettings, QueueSettings
from mqtt_broker.node.client import WRITE_BUFFER_BYTES_HIGH, WRITE_BUFFER_BYTES_MAX
from mqtt_broker.wire.codec import encode
from mqtt_broker.wire.packets import ProtocolVersion, Publish
from support.broker import Broker, StartBroker
from support.client import Client, dial

MIB = 1024 * 1024
IS_LONG = bool(os.environ.get("STOA_LONG_TESTS"))
FLOOD_BYTES = 1024 * MIB if IS_LONG else 200 * MIB
FLOOD_S_MAX = 400.0 if IS_LONG else 90.0
CHUNK_BYTES = 256 * 1024
QUEUE_BYTES_MAX = 8 * MIB
SLACK_BYTES = 64 * MIB
ROUND_TRIP_S_MAX = 1.0  # p99: a few milliseconds where nobody else works, and this is no benchmark
SLOW_READ_BYTES = 64 * 1024
SLOW_READ_S = 0.005
V3_1_1 = ProtocolVersion.V3_1_1

_LOG = logging.getLogger(__name__)


@asynccontextmanager
async def _connected(broker: Broker, *client_ids: str) -> AsyncIterator[list[Client]]:
    """They go without a word at the end: nobody waits for what is on its way to them."""
    clients = [await dial(broker.port, V3_1_1) for _ in client_ids]
    try:
        for client, client_id in zip(clients, client_ids, strict=True):
            await client.connect(client_id)
        yield clients
    finally:
        for client in clients:
            await client.abort()
            with contextlib.suppress(OSError):
                await client.writer.wait_closed()


def _resident_bytes(broker: Broker) -> int:
    pages = Path(f"/proc/{broker.program.pid}/statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


async def _peak_of(broker: Broker, until: asyncio.Event) -> int:
    peak = 0
    while not until.is_set():
        peak = max(peak, _resident_bytes(broker))
        await asyncio.sleep(0.02)
    return peak


async def _round_trips(client: Client, until: asyncio.Event) -> list[float]:
    """How long the client's own messages took to come back, in seconds, in growing order."""
    took = []
    while not until.is_set():
        began = time.monotonic()
        await client.publish("bystander", b"x")
        await client.receive_message(30.0)
        took.append(time.monotonic() - began)
        await asyncio.sleep(0.005)
    return sorted(took)


async def _forget_answers(client: Client) -> None:
    while await client.receive_bytes(MIB):
        pass


@pytest.mark.timeout(FLOOD_S_MAX + 60)
@pytest.mark.parametrize(("qos", "payload_bytes"), [(0, 16 * 1024), (0, 64), (1, 16 * 1024)])
async def test_a_flood_to_a_stopped_receiver_is_bounded_in_memory_and_others_are_served(
    start_broker: StartBroker, qos: int, payload_bytes: int
) -> None:
    broker = start_broker(mqtt=MQTTSettings(queue=QueueSettings(bytes_max=QUEUE_BYTES_MAX)))
    frame = encode(Publish("flood", bytes(payload_bytes), qos, packet_id=1 if qos else 0), V3_1_1)
    chunk = frame * (CHUNK_BYTES // len(frame))
    async with _connected(broker, "stopped", "bystander", "publisher") as (stopped, bystander, publisher):
        await stopped.subscribe("flood", qos=qos)
        stopped.stop_reading()
        await bystander.subscribe("bystander")
        before, over = _resident_bytes(broker), asyncio.Event()
        trips = asyncio.create_task(_round_trips(bystander, over))
        peak = asyncio.create_task(_peak_of(broker, over))
        answers = asyncio.create_task(_forget_answers(publisher))
        async with asyncio.timeout(FLOOD_S_MAX):
            for _ in range(FLOOD_BYTES // len(chunk)):
                await publisher.send_bytes(chunk)
        over.set()
        took, grown_bytes = await trips, await peak - before
        answers.cancel()
    p99_s = took[int(len(took) * 0.99)]
    _LOG.info("p99 %.1f ms of %d, memory grew by %.1f MiB", p99_s * 1000, len(took), grown_bytes / MIB)
    assert grown_bytes <= QUEUE_BYTES_MAX + WRITE_BUFFER_BYTES_HIGH + WRITE_BUFFER_BYTES_MAX + SLACK_BYTES
    assert p99_s < ROUND_TRIP_S_MAX


@pytest.mark.parametrize(
    "payload_bytes",
    [20, 2_000],
)
async def test_a_qos_0_flood_to_a_slow_receiver_is_slowed_and_loses_nothing(
    start_broker: StartBroker, payload_bytes: int
) -> None:
    broker = start_broker()
    frame = encode(Publish("flood", bytes(payload_bytes)), V3_1_1)
    due_bytes = 20 * MIB // len(frame) * len(frame)
    async with _connected(broker, "receiver", "publisher") as (receiver, publisher):
        await receiver.subscribe("flood")
        sending = asyncio.create_task(publisher.send_bytes(frame * (due_bytes // len(frame))))
        while due_bytes:
            due_bytes -= len(await asyncio.wait_for(receiver.receive_bytes(SLOW_READ_BYTES), 10.0))
            assert broker.status()["messages_dropped"] == 0
            await asyncio.sleep(SLOW_READ_S)
        await sending
