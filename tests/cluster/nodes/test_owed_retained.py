"""Retained messages of a subscription that was acknowledged by a node which is lost before they are in the queue."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest

from cluster.nodes.inside import Inside, InsideNode
from mqtt_broker.store.ports import RetainedMessage, StoreUnavailable
from mqtt_broker.wire.packets import (
    ConnAck,
    Packet,
    PubAck,
    Publish,
    SubAck,
    Subscribe,
    SubscriptionRequest,
    UnsubAck,
    Unsubscribe,
)
from support.inprocess import InProcessClient
from support.redis_server import redis_binary
from support.waiting import eventually

pytestmark = pytest.mark.skipif(redis_binary() is None, reason="redis-server is not installed")

TOPICS = [f"r/{number}" for number in range(30)]


@pytest.fixture
async def inside(tmp_path: Path) -> AsyncIterator[Inside]:
    async with Inside(tmp_path) as inside:
        yield inside


class Device:
    """A client, and every message that it was sent; acknowledged at once."""

    def __init__(self, node: InsideNode, client: InProcessClient) -> None:
        self.node = node
        self.client = client
        self.messages: list[Publish] = []

    async def told(self, kind: type[Packet]) -> None:
        await eventually(lambda: any(isinstance(packet, kind) for packet in self._take()), what=f"a {kind.__name__}")

    def _take(self) -> list[Packet]:
        packets = self.client.take()
        for packet in packets:
            if isinstance(packet, Publish):
                self.messages.append(packet)
                self.node.say(self.client, PubAck(packet.packet_id))
        return packets

    async def heard(self, count: int) -> dict[str, list[tuple[bytes, bool]]]:
        """The first `count` messages and what else comes at once, by topic: payload and retain flag."""

        def look() -> bool:
            self._take()
            return len(self.messages) >= count

        await eventually(look, what=f"{count} messages")
        await asyncio.sleep(0.3)
        look()
        by_topic: dict[str, list[tuple[bytes, bool]]] = {}
        for packet in self.messages:
            by_topic.setdefault(packet.topic, []).append((packet.payload, packet.retain))
        self.messages.clear()
        return by_topic

    async def ask(self, *filters: str, handling: int = 0) -> None:
        requests = tuple(SubscriptionRequest(each, 1, retain_handling=handling) for each in filters)
        self.node.say(self.client, Subscribe(1, requests))
        await self.told(SubAck)


async def connect(node: InsideNode, client_id: str, lasts_s: int = 300) -> Device:
    device = Device(node, node.come(client_id, lasts_s=lasts_s))
    await device.told(ConnAck)
    return device


async def retain(node: InsideNode, *topics: str, payload: bytes = b"old") -> None:
    publisher = await connect(node, "publisher", 0)
    for number, topic in enumerate(topics, 1):
        node.say(publisher.client, Publish(topic, payload, 1, retain=True, packet_id=number))
        await publisher.told(PubAck)


def break_reading(node: InsideNode, monkeypatch: pytest.MonkeyPatch, problem: Exception | None = None) -> asyncio.Event:
    """From now on it does not get to read what is retained. The answer is set when it wants to."""
    wants = asyncio.Event()

    async def never(topics: Sequence[str]) -> tuple[RetainedMessage, ...]:
        wants.set()
        if problem is not None:
            raise problem
        await asyncio.Event().wait()
        return ()

    monkeypatch.setattr(node.store, "read_retained", never)
    return wants


async def owed(node: InsideNode) -> int:
    names = await node.store._reads.command("EXISTS", f"{node.store._keys.data}owed_retained:{_incarnation(node)}")
    return int(names)


def _incarnation(node: InsideNode) -> int:
    return node.hub.sessions["c"].incarnation


@pytest.mark.parametrize("problem", [None, StoreUnavailable("away")], ids=["lost", "store away"])
async def test_the_next_node_sends_what_the_one_before_owed(
    inside: Inside, monkeypatch: pytest.MonkeyPatch, problem: Exception | None
) -> None:
    """[MQTT-3.3.1-9]"""
    near, far = await inside.node("near"), await inside.node("far")
    await retain(near, *TOPICS)
    wants = break_reading(near, monkeypatch, problem)
    client = await connect(near, "c")
    await client.ask("r/#")
    await wants.wait()
    again = await connect(far, "c")
    assert await again.heard(len(TOPICS)) == {topic: [(b"old", True)] for topic in TOPICS}
    await eventually(lambda: _nothing_owed(far), what="nothing owed")
    third = await connect(near, "c")
    assert await third.heard(0) == {}


async def _nothing_owed(node: InsideNode) -> bool:
    return await owed(node) == 0


async def test_a_value_that_came_live_meanwhile_does_not_come_again(
    inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Planned behind the subscription's own entry: it is in the queue already, and nothing older follows it."""
    near, far = await inside.node("near"), await inside.node("far")
    await retain(near, *TOPICS)
    break_reading(near, monkeypatch)
    client = await connect(near, "c")
    await client.ask("r/#")
    await retain(far, "r/0", "r/new", payload=b"new")
    again = await connect(far, "c")
    found = await again.heard(len(TOPICS) + 1)
    assert found.pop("r/0") == [(b"new", False)]
    assert found.pop("r/new") == [(b"new", False)]
    assert found == {topic: [(b"old", True)] for topic in TOPICS[1:]}


async def test_nothing_is_owed_when_all_was_sent_or_nothing_was_to_be(inside: Inside) -> None:
    near = await inside.node("near")
    await retain(near, "r/0")
    client = await connect(near, "c")
    await client.ask("r/#", "nothing/here")
    assert await client.heard(1) == {"r/0": [(b"old", True)]}
    await client.ask("r/#", "more", handling=1)
    await client.ask("$share/g/r/#", "never", handling=2)
    await eventually(lambda: _nothing_owed(near), what="nothing owed")
    assert await client.heard(0) == {}


async def test_what_is_unsubscribed_is_not_owed_any_more(inside: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    near, far = await inside.node("near"), await inside.node("far")
    await retain(near, *TOPICS)
    break_reading(near, monkeypatch)
    client = await connect(near, "c")
    await client.ask("r/#")
    near.say(client.client, Unsubscribe(2, ("r/#",)))
    await client.told(UnsubAck)
    again = await connect(far, "c")
    assert await again.heard(0) == {}


async def test_a_session_that_ends_with_its_connection_is_owed_nothing(
    inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    near = await inside.node("near")
    await retain(near, *TOPICS)
    break_reading(near, monkeypatch)
    client = await connect(near, "c", 0)
    await client.ask("r/#")
    assert await owed(near) == 0
