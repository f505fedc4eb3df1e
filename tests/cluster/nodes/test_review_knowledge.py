"""What a node knows of sessions elsewhere does not outlive them."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from cluster.nodes.inside import Inside
from mqtt_broker.wire.packets import ConnAck, Disconnect, PubAck, Publish, SubAck, Subscribe, SubscriptionRequest
from support.redis_server import redis_binary
from support.waiting import eventually

pytestmark = pytest.mark.skipif(redis_binary() is None, reason="redis-server is not installed")


@pytest.fixture
async def inside(tmp_path: Path) -> AsyncIterator[Inside]:
    async with Inside(tmp_path) as inside:
        yield inside


async def test_a_session_without_subscriptions_that_ended_elsewhere_is_not_remembered_by_a_node_that_started(
    inside: Inside,
) -> None:
    """The feed does not tell of its end; and who is remembered keeps its client id from every other principal."""
    near = await inside.node("near")
    publisher = near.come("p", lasts_s=0)
    await near.told(publisher, ConnAck)
    far = await inside.node("far")
    near.say(publisher, Disconnect())
    await eventually(lambda: publisher.is_closed, what="the publisher is gone")
    await near.hub.pump.idle()
    await near.told(near.come("q"), ConnAck)
    assert "p" not in far.hub.sessions


async def test_a_session_that_was_resumed_to_end_with_its_connection_keeps_its_queue_for_every_node(
    inside: Inside,
) -> None:
    """[MQTT-4.6.0-5] Or what a node sends that knows it by its record alone would overtake what waits there."""
    near = await inside.node("near")
    first = near.come("c")
    await near.told(first, ConnAck)
    near.say(first, Subscribe(1, (SubscriptionRequest("t", 1),)))
    await near.told(first, SubAck)
    again = near.come("c", lasts_s=0)
    assert (await near.told(again, ConnAck)).session_present
    told, started = near.hub.sessions["c"], await inside.node("started")
    known = started.hub.sessions["c"]
    assert (known.expiry_interval_s, known.is_persistent, told.is_persistent) == (0, True, True)
    publisher = started.come("publisher", lasts_s=0)
    await started.told(publisher, ConnAck)
    started.say(publisher, Publish("t", b"x", 1, packet_id=1))
    await started.told(publisher, PubAck)
    message = await near.told(again, Publish)
    assert (message.payload, message.packet_id) == (b"x", 1)  # the id follows from its place in the queue
