"""Wills of clients that move between nodes: taken back in time, owed by a node that is lost, never published twice."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from cluster.nodes.inside import Inside, InsideNode
from mqtt_broker.node.flows import connect as connect_flow
from mqtt_broker.store.ports import Detach, Membership, Operation, Result
from mqtt_broker.wire.packets import (
    ConnAck,
    Connect,
    Disconnect,
    Properties,
    ProtocolVersion,
    Publish,
    SubAck,
    Subscribe,
    SubscriptionRequest,
    Will,
)
from mqtt_broker.wire.reasons import ReasonCode
from support.inprocess import InProcessClient
from support.redis_server import redis_binary
from support.waiting import eventually

pytestmark = pytest.mark.skipif(redis_binary() is None, reason="redis-server is not installed")

V5 = ProtocolVersion.V5


@pytest.fixture
async def inside(tmp_path: Path) -> AsyncIterator[Inside]:
    async with Inside(tmp_path) as inside:
        yield inside


async def witness(node: InsideNode) -> InProcessClient:
    """A client that hears every will."""
    client = node.come("witness")
    await node.told(client, ConnAck)
    node.say(client, Subscribe(1, (SubscriptionRequest("will/#", 1),)))
    await node.told(client, SubAck)
    return client


def come(node: InsideNode, will: bytes | None) -> InProcessClient:
    """A CONNECT of "c" with this will."""
    client = node.open()
    left = None if will is None else Will("will/c", will, 1, retain=False)
    properties = Properties(session_expiry_interval=300)
    node.say(client, Connect(V5, "c", clean_start=False, keep_alive=0, will=left, properties=properties))
    return client


def heard(client: InProcessClient) -> list[bytes]:
    return [packet.payload for packet in client.take() if isinstance(packet, Publish)]


class SlowStore:
    """Batches with a Detach are held until `goes_on` is set."""

    def __init__(self, node: InsideNode, monkeypatch: pytest.MonkeyPatch) -> None:
        self.goes_on = asyncio.Event()
        self.is_held = asyncio.Event()
        commit = node.store.commit

        async def late(membership: Membership, number: int, operations: Sequence[Operation]) -> tuple[Result, ...]:
            if any(isinstance(operation, Detach) for operation in operations):
                self.is_held.set()
                await self.goes_on.wait()
            return await commit(membership, number, operations)

        monkeypatch.setattr(node.store, "commit", late)


@pytest.mark.parametrize("says_goodbye", [True, False])
async def test_a_will_that_was_taken_back_at_one_node_is_not_published_by_the_next(
    inside: Inside, monkeypatch: pytest.MonkeyPatch, says_goodbye: bool
) -> None:
    """[MQTT-3.14.4-3] [MQTT-3.1.2-10] DISCONNECT came before the order to let go, and was written after the claim."""
    near, far = await inside.node("near"), await inside.node("far")
    listener = await witness(far)
    first = come(near, b"first")
    await near.told(first, ConnAck)
    store = SlowStore(near, monkeypatch)
    if says_goodbye:
        near.say(first, Disconnect())
    else:
        first.transport.lose()
    await store.is_held.wait()
    second = come(far, None)
    await eventually(lambda: near.cluster._orders, what="the order to let go")
    store.goes_on.set()
    await far.told(second, ConnAck)
    if says_goodbye:
        await asyncio.sleep(0.5)
        assert heard(listener) == []
    else:
        await eventually(lambda: heard(listener) == [b"first"], what="the will")
    assert await owed(far) == 0


async def owed(node: InsideNode) -> int:
    """How many wills lie in the store that a claim made owed."""
    names = await node.store._reads.command("SMEMBERS", f"{node.store._keys.data}sessions")
    return sum(name.startswith(b"\0") for name in names)


async def test_a_client_that_a_node_sent_away_is_back_before_that_is_written_and_its_will_is_not_published(
    inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A planned end turns a will into a delayed one."""
    near, far = await inside.node("near"), await inside.node("far")
    listener = await witness(far)
    first = come(near, b"first")
    await near.told(first, ConnAck)
    store = SlowStore(near, monkeypatch)
    near.hub.connections["c"].end(ReasonCode.SERVER_SHUTTING_DOWN, planned_stop=True)
    await store.is_held.wait()
    second = come(far, None)
    await eventually(lambda: near.cluster._orders, what="the order to let go")
    store.goes_on.set()
    await far.told(second, ConnAck)
    await asyncio.sleep(0.5)
    assert heard(listener) == []
    assert await owed(far) == 0


async def test_a_will_that_a_claim_owes_is_published_though_whoever_claimed_is_lost_before(
    inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """[MQTT-3.1.2-8]"""
    near, lost, third = [await inside.node(name) for name in ("near", "lost", "third")]
    listener = await witness(third)
    first = come(near, b"first")
    await near.told(first, ConnAck)
    silent: list[Any] = []
    monkeypatch.setattr(connect_flow, "_publish_lapsed_will", lambda *told: silent.append(told))
    second = come(lost, b"second")
    await lost.told(second, ConnAck)
    assert await owed(third) == 1
    assert heard(listener) == []
    _let_all_wills_be_due(inside)
    await eventually(lambda: heard(listener) == [b"first"], 10.0, "the will")
    assert len(silent) == 1
    assert await owed(third) == 0


def _let_all_wills_be_due(inside: Inside) -> None:
    """As if enough time had passed."""
    key = f"{inside.nodes[0].store._keys.data}wills"
    for name in inside.server.execute("ZRANGE", key, 0, -1):
        inside.server.execute("ZADD", key, 1, name)
