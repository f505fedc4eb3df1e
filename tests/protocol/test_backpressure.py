"""A flood to a receiver that reads little or nothing costs bounded memory and time, and others hardly notice."""

import asyncio
import contextlib
import logging
import os
import re
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from msgspec import Struct

from mqtt_api.node_settings import MQTTSettings, QueueSettings
from mqtt_broker.node.client import EFFECTS_WAITING_BYTES_HIGH, WRITE_BUFFER_BYTES_HIGH, WRITE_BUFFER_BYTES_MAX
from mqtt_broker.wire.codec import encode
from mqtt_broker.wire.packets import ProtocolVersion, Publish
from support.broker import Broker, StartBroker, get
from support.client import Client, dial
from support.round_trips import RoundTrips

MIB = 1024 * 1024
IS_LONG = bool(os.environ.get("STOA_LONG_TESTS"))
FLOOD_BYTES = 1024 * MIB if IS_LONG else 200 * MIB
FLOOD_S_MAX = 400.0 if IS_LONG else 90.0
CHUNK_BYTES = 256 * 1024
QUEUE_BYTES_MAX = 8 * MIB
SLACK_BYTES = 64 * MIB
ROUND_TRIP_MS_MAX = 50 if IS_LONG else 500  # p99
FLOOD_TO_SLOW_BYTES = 20 * MIB
SLOW_BYTES_PER_S = 8 * MIB
SLOW_READ_S = 0.005
NOTHING_MORE_S = 10.0
SHORT_QUEUE_MESSAGES = 100
CLOSE_BUFFER_BYTES = 256 * 1024
CLOSE_SEGMENT_BYTES = 1_400  # of the size of a segment depends how much the other side's kernel keeps
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


async def _forget_answers(client: Client) -> None:
    while await client.receive_bytes(MIB):
        pass


async def _flood(publisher: Client, frame: bytes, amount_bytes: int) -> None:
    """Send that much, and wait until the broker has taken it. Answers are read and forgotten."""
    answers = asyncio.create_task(_forget_answers(publisher))
    chunk = frame * max(1, CHUNK_BYTES // len(frame))
    for _ in range(amount_bytes // len(chunk)):
        await publisher.send_bytes(chunk)
    answers.cancel()


class Flood(Struct, frozen=True):
    """`is_kept`: the receiver's session outlives its connection, so that QoS 1 for it goes through the store."""

    qos: int
    payload_bytes: int
    publishers: int = 1
    is_kept: bool = False


FLOODS = {
    "qos-0": Flood(0, 16 * 1024),
    "qos-0-small": Flood(0, 64),
    "qos-0-small-from-four": Flood(0, 64, publishers=4),
    "qos-1": Flood(1, 16 * 1024),
    "qos-1-stored": Flood(1, 16 * 1024, is_kept=True),
    "qos-1-stored-large-from-four": Flood(1, 1000 * 1024, publishers=4, is_kept=True),
}


@pytest.mark.timeout(FLOOD_S_MAX + 60)
@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
async def test_a_flood_to_a_stopped_receiver_is_bounded_in_memory_and_others_are_served(
    start_broker: StartBroker, flood: Flood
) -> None:
    broker = start_broker(mqtt=MQTTSettings(queue=QueueSettings(bytes_max=QUEUE_BYTES_MAX)))
    frame = encode(Publish("flood", bytes(flood.payload_bytes), flood.qos, packet_id=1 if flood.qos else 0), V3_1_1)
    names = [f"publisher-{number}" for number in range(flood.publishers)]
    async with _connected(broker, *names) as publishers, await broker.dial(V3_1_1) as stopped:
        await stopped.connect("stopped", clean_start=not flood.is_kept)
        await stopped.subscribe("flood", qos=flood.qos)
        stopped.stop_reading()
        with RoundTrips(broker.port) as others:
            before, over = _resident_bytes(broker), asyncio.Event()
            peak = asyncio.create_task(_peak_of(broker, over))
            async with asyncio.timeout(FLOOD_S_MAX):
                share_bytes = FLOOD_BYTES // flood.publishers
                await asyncio.gather(*(_flood(publisher, frame, share_bytes) for publisher in publishers))
            over.set()
            grown_bytes = await peak - before
        await stopped.abort()
    took_ms = [1000 * took_s for took_s in others.took_s]
    p99_ms = took_ms[int(len(took_ms) * 0.99)]
    _LOG.info(
        "%d round trips: p50 %.1f, p99 %.1f, longest %.1f ms; memory grew by %.1f MiB",
        len(took_ms),
        took_ms[len(took_ms) // 2],
        p99_ms,
        took_ms[-1],
        grown_bytes / MIB,
    )
    of_receiver = QUEUE_BYTES_MAX + WRITE_BUFFER_BYTES_HIGH + WRITE_BUFFER_BYTES_MAX
    of_publishers = flood.publishers * (EFFECTS_WAITING_BYTES_HIGH + len(frame))
    assert grown_bytes <= of_receiver + of_publishers + SLACK_BYTES
    assert p99_ms < ROUND_TRIP_MS_MAX


async def _dial_closely(port: int) -> Client:
    """With so little room between the two that the broker hears at once what is read here, and what is not."""
    line = socket.socket()
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, CLOSE_BUFFER_BYTES)
    line.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, CLOSE_SEGMENT_BYTES)
    line.connect(("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=line)
    return Client(reader, writer, V3_1_1)


async def _read_slowly(receiver: Client, due_bytes: int) -> int:
    """At a steady pace on the whole: what the machine has kept it from for a moment it makes up for.

    Returns how much came: less than is due where nothing comes any more.
    """
    began, read_bytes = time.monotonic(), 0
    with contextlib.suppress(TimeoutError):
        while read_bytes < due_bytes:
            allowed_bytes = int(SLOW_BYTES_PER_S * (time.monotonic() - began)) - read_bytes
            if allowed_bytes > 0:
                async with asyncio.timeout(NOTHING_MORE_S):
                    read_bytes += len(await receiver.receive_bytes(min(allowed_bytes, due_bytes - read_bytes)))
            await asyncio.sleep(SLOW_READ_S)
    return read_bytes


@pytest.mark.parametrize("payload_bytes", [20, 2_000])
async def test_a_qos_0_flood_to_a_slow_receiver_is_slowed_and_loses_nothing(
    start_broker: StartBroker, payload_bytes: int
) -> None:
    """A publisher waits half a second for a receiver. This one reads its queue and all buffers in a tenth of that."""
    broker = start_broker(mqtt=MQTTSettings(queue=QueueSettings(messages_max=SHORT_QUEUE_MESSAGES)))
    frame = encode(Publish("flood", bytes(payload_bytes)), V3_1_1)
    count = FLOOD_TO_SLOW_BYTES // len(frame)
    async with _connected(broker, "publisher") as (publisher,), await _dial_closely(broker.port) as receiver:
        await receiver.connect("receiver")
        await receiver.subscribe("flood")
        sending = asyncio.create_task(publisher.send_bytes(frame * count))
        read_bytes = await _read_slowly(receiver, count * len(frame))
        await sending
    assert broker.status()["messages_dropped"] == 0
    assert read_bytes == count * len(frame)
    assert _pauses(broker) > 0


def _pauses(broker: Broker) -> float:
    """How often publishers were not read because a receiver was behind."""
    text = get(Path(broker.settings.admin_socket), "/metrics").decode()
    found = re.search(r'^stoa_reading_pauses_total\{reason="receivers"\} (\S+)$', text, re.MULTILINE)
    assert found is not None
    return float(found[1])
