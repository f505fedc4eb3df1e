"""Clients that send and receive many messages. Knows packets; does not know what a right answer is."""

import asyncio
from collections.abc import Iterable

from mqtt_broker.wire.packets import PubAck, PubComp, Publish, PubRec, PubRel
from support.client import Client

WINDOW = 60  # below what the nodes under test take


async def everything(client: Client, count: int, deadline_s: float = 20.0) -> list[bytes]:
    """The payloads of the next `count` messages."""
    async with asyncio.timeout(deadline_s):
        return await client.receive_payloads(count, deadline_s)


async def drain(client: Client, silence_s: float = 0.5) -> list[bytes]:
    """Every message that comes until none comes for so long, acknowledged."""
    payloads = []
    while True:
        try:
            payloads.append((await client.receive_message(silence_s)).payload)
        except TimeoutError:
            return payloads


async def send_all(client: Client, topic: str, payloads: Iterable[bytes], qos: int) -> None:
    """Publish without waiting in between; return when all of it is acknowledged."""
    window = asyncio.Semaphore(WINDOW)
    payloads = list(payloads)

    async def answers() -> None:
        for _ in payloads if qos else ():
            if qos == 1:
                await client.expect(PubAck)
            else:
                await client.send(PubRel((await client.expect(PubRec)).packet_id))
                await client.expect(PubComp)
            window.release()

    answering = asyncio.create_task(answers())
    for payload in payloads:
        if qos:
            await window.acquire()
        await client.send(Publish(topic, payload, qos, packet_id=client.packet_id() if qos else 0))
    await answering
