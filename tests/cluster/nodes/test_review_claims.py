"""Two nodes that are given one client id while the first of them has not answered yet."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.nodes.inside import Inside, InsideNode
from mqtt_broker.node.peers import cluster
from mqtt_broker.node.peers.cluster import FOLLOW_S
from mqtt_broker.node.turns import Turns
from mqtt_broker.store.cluster import News
from mqtt_broker.wire.packets import ConnAck, SubAck, Subscribe, SubscriptionRequest
from mqtt_broker.wire.reasons import ReasonCode
from support.redis_server import redis_binary
from support.waiting import eventually

pytestmark = pytest.mark.skipif(redis_binary() is None, reason="redis-server is not installed")


@pytest.fixture
async def inside(tmp_path: Path) -> AsyncIterator[Inside]:
    async with Inside(tmp_path) as inside:
        yield inside


async def test_a_session_claimed_elsewhere_while_it_is_decided_here_is_not_accepted_here(
    inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """[MQTT-3.1.4-3] Between the last owner's confirmation and CONNACK there are turns for others."""
    near, far = await inside.node("near"), await inside.node("far")
    first = near.come("c")
    await near.told(first, ConnAck)
    near.say(first, Subscribe(1, (SubscriptionRequest("t", 1),)))
    await near.told(first, SubAck)
    goes_on, is_there, finish_of = asyncio.Event(), asyncio.Event(), Turns.finish

    async def slow(slices: Iterator[int]) -> None:
        is_there.set()
        await goes_on.wait()
        await finish_of(near.hub.turns, slices)

    monkeypatch.setattr(
        Turns, "finish", lambda turns, slices: slow(slices) if turns is near.hub.turns else finish_of(turns, slices)
    )
    second = near.come("c")
    await is_there.wait()
    third = far.come("c")
    assert (await far.told(third, ConnAck)).reason is ReasonCode.SUCCESS
    await asyncio.sleep(0.2)
    goes_on.set()
    answer = await near.told(second, ConnAck)
    assert answer.reason is not ReasonCode.SUCCESS, near.hub.connections


async def fall_asleep(node: InsideNode, monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """From now on it hears nothing of the others, and keeps its lease; until the answer is set."""
    wakes_up, follow = asyncio.Event(), node.store.follow

    async def late(*question: Any) -> News:
        news = await follow(*question)
        await wakes_up.wait()
        return news

    monkeypatch.setattr(node.store, "follow", late)
    await asyncio.sleep(FOLLOW_S + 0.2)  # the question that was asked before
    return wakes_up


async def test_nobody_gets_a_session_that_its_owner_still_holds_by_claiming_it_from_one_who_waits_for_it(
    inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """[MQTT-3.1.4-3] The first node sleeps within its lease; the client tries a second, gives up, and tries a third."""
    sleeper, second, third = [await inside.node(name) for name in ("sleeper", "second", "third")]
    owner = sleeper.come("c")
    await sleeper.told(owner, ConnAck)
    wakes_up = await fall_asleep(sleeper, monkeypatch)
    waiting = second.come("c")
    await eventually(lambda: second.hub.connecting, what="the second CONNECT")
    await asyncio.sleep(0.3)
    newcomer = third.come("c")
    await asyncio.sleep(1)
    assert not newcomer.take(), "the sleeper may still write to its client"
    assert not owner.transport.is_closing()
    wakes_up.set()
    assert (await third.told(newcomer, ConnAck)).reason is ReasonCode.SUCCESS
    assert owner.is_closed
    assert (await second.told(waiting, ConnAck)).reason is not ReasonCode.SUCCESS


@pytest.mark.parametrize("where", ["second", "third"])
async def test_a_claim_that_was_given_up_does_not_open_the_door_for_the_next(
    inside: Inside, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """[MQTT-3.1.4-3] The owner still has not answered when the client comes back, wherever that is."""
    monkeypatch.setattr(cluster, "SETTLE_S_MAX", 0.5)
    nodes = {name: await inside.node(name) for name in ("sleeper", "second", "third")}
    owner = nodes["sleeper"].come("c")
    await nodes["sleeper"].told(owner, ConnAck)
    wakes_up = await fall_asleep(nodes["sleeper"], monkeypatch)
    for name in ("second", where, where):
        refused = await nodes[name].told(nodes[name].come("c"), ConnAck)
        assert refused.reason is ReasonCode.SERVER_UNAVAILABLE
        await asyncio.sleep(0.1)
    assert not owner.is_closed
    wakes_up.set()
    await eventually(lambda: owner.is_closed, what="the owner lets go")
    accepted = await nodes["third"].told(nodes["third"].come("c"), ConnAck)
    assert (accepted.reason, accepted.session_present) == (ReasonCode.SUCCESS, True)


async def test_a_node_that_leaves_while_it_waits_for_an_earlier_owner_does_not_let_the_next_one_in(
    inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    """[MQTT-3.1.4-3] Its name stands on the session: without its lease nobody would be waited for."""
    sleeper, second, third = [await inside.node(name) for name in ("sleeper", "second", "third")]
    owner = sleeper.come("c")
    await sleeper.told(owner, ConnAck)
    wakes_up = await fall_asleep(sleeper, monkeypatch)
    second.come("c")
    await eventually(lambda: second.cluster._settling, what="a claim")
    finished = asyncio.create_task(second.cluster.finished())
    await second.cluster.leave()
    assert await second.store.standing("second") is not None
    newcomer = third.come("c")
    await asyncio.sleep(0.5)
    assert not newcomer.take()
    assert not finished.done()
    wakes_up.set()
    assert (await third.told(newcomer, ConnAck)).reason is ReasonCode.SUCCESS
    async with asyncio.timeout(5.0):
        await finished
    await second.cluster.leave()
    assert await second.store.standing("second") is None
